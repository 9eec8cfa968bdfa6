"""What this kernel has asked its server to serve, and what the server has said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..kernels.batches import MAX_OPTIONS
from ..routes import Route

Answer = Callable[[str, Any], object]
"""Gets "served", "swapped", "waiting" (no server is in reach any more), "refused", "kept"
(refused, and what was before goes on), "overtaken" (a later version was asked for meanwhile, and
decides) or "displaced", and what there is to say of it: of an overtaken version why it was
refused, or None."""


class Asked(NamedTuple):
    """One version of a bot, as the server was asked for it."""

    number: int
    route: Route
    claim: dict[str, Any]
    answer: Answer

    @property
    def size(self) -> int:
        """What asking for it counts for, in characters."""
        return len(self.claim.get("page") or "") + MAX_OPTIONS


class Claims:
    """What the server has agreed to and what it is being asked, by the name of the route.

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
        self._overtaken: dict[tuple[str, int], Asked] = {}

    def __len__(self) -> int:
        return len({*self._agreed, *self._pending})

    def __contains__(self, name: str) -> bool:
        return name in self._agreed or name in self._pending

    def is_agreed(self, name: str) -> bool:
        """Return whether the server has agreed to serve a name."""
        return name in self._agreed

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
            # Nothing is to be asked: the server goes on to know it by the number it has agreed to.
            self._agreed[route.name] = asked._replace(number=agreed.number)
            self._put(route)
            answer("swapped", None)
        else:
            before = self._pending.get(route.name)
            if before is not None:
                self._overtaken[route.name, before.number] = before
            self._pending[route.name] = asked
            self._ask(asked)

    def ask_again(self) -> None:
        """Ask a server that knows nothing yet."""
        for asked in self._overtaken.values():
            asked.answer("overtaken", None)
        self._overtaken.clear()
        for asked in (*self._agreed.values(), *self._pending.values()):
            self._ask(asked)

    def answered(self, what: str, name: str, number: int, details: Any) -> None:
        """Take the server's answer to a claim.

        Args:
            what: "served" or "refused", or "displaced" for one that was served until now.
            name: The route's name.
            number: The claim's number; an answer to one that was overtaken changes nothing.
            details: Where it is served, or why not.
        """
        pending, agreed = self._pending.get(name), self._agreed.get(name)
        overtaken = self._overtaken.pop((name, number), None)
        if overtaken is not None:
            overtaken.answer("overtaken", details if what == "refused" else None)
        if what == "displaced":
            # Only what was served is gone: the server may still agree to a later version.
            if agreed is not None and agreed.number == number:
                del self._agreed[name]
                self._remove(name)
                if pending is None:
                    agreed.answer(what, details)
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

    def unattended(self) -> None:
        """Take note that no server is in reach: what was served waits for one."""
        for asked in self._agreed.values():
            asked.answer("waiting", None)

    def end(self, reason: str) -> None:
        """Serve nothing any longer that a server has agreed to or is being asked.

        Args:
            reason: Why, for those who have asked.
        """
        for asked in self._overtaken.values():
            asked.answer("overtaken", None)
        self._overtaken.clear()
        for name in {*self._agreed, *self._pending}:
            agreed, pending = self._agreed.get(name), self._pending.get(name)
            self.forget(name)
            if agreed is not None:
                agreed.answer("displaced", reason)
            if pending is not None:
                pending.answer("refused" if agreed is None else "displaced", reason)

    def forget(self, name: str) -> None:
        """Serve a name no longer."""
        self._agreed.pop(name, None)
        self._pending.pop(name, None)
        self._remove(name)
