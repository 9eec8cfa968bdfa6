"""What this kernel has asked its server to serve, and what the server has said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..kernels.batches import MAX_OPTIONS
from ..routes import Route

Answer = Callable[[str, Any], object]
"""Gets "served", "swapped", "refused", "kept" (refused, and what was before goes on) or
"displaced", and what there is to say of it."""


class Asked(NamedTuple):
    """Be one version of a bot, as the server was asked for it."""

    number: int
    route: Route
    claim: dict[str, Any]
    answer: Answer

    @property
    def size(self) -> int:
        """What asking for it counts for, in characters."""
        return len(self.claim.get("page") or "") + MAX_OPTIONS


class Claims:
    """Keep, by route name, what the server has agreed to and what it is being asked.

    Args:
        ask: Sends a claim to the server; without effect where there is none yet.
        put: Puts a route's functions in place.
        remove: Takes the functions of a name away.
    """

    def __init__(
        self,
        ask: Callable[[Asked], object],
        put: Callable[[Route], object],
        remove: Callable[[str], object],
    ) -> None:
        self._ask = ask
        self._put = put
        self._remove = remove
        self._number = 0
        self._agreed: dict[str, Asked] = {}
        self._pending: dict[str, Asked] = {}

    def __len__(self) -> int:
        return len({*self._agreed, *self._pending})

    def serve(self, route: Route, claim: dict[str, Any], answer: Answer) -> None:
        """Serve a route; the server is asked, unless only the functions have changed.

        What was served before goes on until the server has agreed to the new version.

        Args:
            route: The route with its functions.
            claim: What the server is asked for.
            answer: Hears what became of it, now and later.
        """
        self._number += 1
        asked = Asked(self._number, route, claim, answer)
        agreed = self._agreed.get(route.name)
        if agreed is not None and agreed.claim == claim and route.name not in self._pending:
            self._agreed[route.name] = asked
            self._put(route)
            answer("swapped", None)
        else:
            self._pending[route.name] = asked
            self._ask(asked)

    def ask_again(self) -> None:
        """Ask a server that knows nothing yet."""
        for asked in (*self._agreed.values(), *self._pending.values()):
            self._ask(asked)

    def answered(self, what: str, name: str, number: int, details: Any) -> None:
        """Take the server's answer to a claim.

        Args:
            what: "served" or "refused", or "displaced" for one that was served until now.
            name: The route's name.
            number: The claim's number; an answer to one that was overtaken is not looked at.
            details: Where it is served, or why not.
        """
        pending, agreed = self._pending.get(name), self._agreed.get(name)
        if what == "displaced":
            asked = pending or agreed
            self.forget(name)
            if asked is not None:
                asked.answer(what, details)
        elif pending is not None and pending.number == number:
            del self._pending[name]
            if what == "served":
                self._agreed[name] = pending
                self._put(pending.route)
            elif agreed is not None:
                what = "kept"
            pending.answer(what, details)
        elif agreed is not None and agreed.number == number:
            if what == "refused":
                self.forget(name)
            agreed.answer(what, details)

    def forget(self, name: str) -> None:
        """Serve a name no longer."""
        self._agreed.pop(name, None)
        self._pending.pop(name, None)
        self._remove(name)
