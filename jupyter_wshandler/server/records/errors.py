"""What callbacks have raised, kept in memory for the owners of their routes."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from ...callbacks.errorlog import CallbackFailure, kind_of, on_one_line, place_of, shown, username
from ...callbacks.showing import Shower
from ...connection.observer import Observer
from ...guard import tamed

EACH = 100
"""Errors of one route that are kept, the newest."""

ALL = 2000
"""Errors of all routes together."""

TEXT = 2000
"""Characters, or bytes, of a message that are kept."""

FRESH = 1.0
"""Seconds for which the traceback of a fault stands for the next one of the same fault, too."""

FAULTS = 1000
"""Faults that are told apart for that."""


class KeptError:
    """One thing that a callback has raised: bounded, and without a hold on what it was about.

    Args:
        serial: Its number in the book.
        failure: What was raised.
    """

    __slots__ = (
        "_like",
        "_traceback",
        "at",
        "callback",
        "connection",
        "error_id",
        "exception",
        "message",
        "place",
        "route",
        "serial",
        "user",
    )

    def __init__(self, serial: int, failure: CallbackFailure) -> None:
        handler, error = failure.handler, tamed(failure.exception, "it")
        self.serial = serial
        self.at = failure.at
        self.error_id = failure.error_id
        self.route = handler.route
        self.connection = handler.id
        self.user = None if handler.current_user is None else username(handler.current_user)
        self.callback = on_one_line(failure.callback)
        self.exception = kind_of(failure.exception)
        self.place = place_of(error)
        self.message = kept_message(failure.message)
        self._traceback: str | None = None
        self._like: KeptError | None = None

    @property
    def traceback(self) -> str:
        """Its traceback, bounded; empty as long as it is still being made."""
        return (self._traceback if self._like is None else self._like.traceback) or ""

    @property
    def fault(self) -> tuple[str, ...]:
        """What it has in common with others of the same fault."""
        return self.route, self.callback, self.exception, self.place

    def show(self, error: BaseException, shower: Shower) -> None:
        """Have its traceback made: at once, or in a thread where code of the user's has a say.

        Args:
            error: What was raised.
            shower: Makes it.
        """
        show = partial(shown, users=True)
        shower.show(tamed(error, "it"), show, partial(self._take, f"{self.exception}: not shown"))

    def _take(self, instead: str, text: str | None) -> None:
        self._traceback = text or instead

    def is_like(self, other: KeptError) -> None:
        """Have the traceback of another one of the same fault."""
        self._like = other


def kept_message(message: Any) -> dict[str, Any] | None:
    """Return what is kept of a message: its begin, and its size.

    Args:
        message: What `on_message` got; None for no message.
    """
    if message is None:
        return None
    if isinstance(message, bytes):
        return {"binary": base64.b64encode(message[:TEXT]).decode(), "size": len(message)}
    if not isinstance(message, str):
        try:  # decoded by an annotation
            message = msgspec.json.encode(message).decode()
        except Exception:
            return {"text": f"({on_one_line(type(message).__name__)})", "size": 0}
    return {"text": message[:TEXT], "size": len(message)}


class ErrorBook(Observer):
    """The last errors of each route; costs nothing while nothing fails."""

    def __init__(self) -> None:
        self._serial = 0
        self._by_route: dict[str, deque[KeptError]] = {}
        self._count = 0
        self._fresh: dict[tuple[str, ...], tuple[float, KeptError]] = {}
        self._shower = Shower()

    def failed(self, connection: Any, failure: Any) -> None:
        """Keep what a callback has raised."""
        self._serial += 1
        kept = KeptError(self._serial, failure)
        since, like = self._fresh.get(kept.fault, (0.0, kept))
        if like is kept or not 0 <= kept.at - since < FRESH:
            self._remember(kept)
            kept.show(failure.exception, self._shower)
        else:
            kept.is_like(like)
        of_route = self._by_route.setdefault(kept.route, deque())
        of_route.append(kept)
        self._count += 1
        if len(of_route) > EACH:
            self._drop(of_route)
        elif self._count > ALL:
            self._drop(min(self._by_route.values(), key=lambda errors: errors[0].serial))

    def _remember(self, kept: KeptError) -> None:
        self._fresh.pop(kept.fault, None)
        self._fresh[kept.fault] = (kept.at, kept)
        if len(self._fresh) > FAULTS:
            del self._fresh[next(iter(self._fresh))]

    def _drop(self, errors: deque[KeptError]) -> None:
        """Drop the oldest error of a route."""
        route = errors.popleft().route
        self._count -= 1
        if not errors:
            del self._by_route[route]

    def forget(self, route: str) -> None:
        """Forget the errors of a route."""
        self._count -= len(self._by_route.pop(route, ()))
        self._fresh = {fault: kept for fault, kept in self._fresh.items() if fault[0] != route}

    def count(self, route: str) -> int:
        """Return how many errors of a route are kept."""
        return len(self._by_route.get(route, ()))

    def newest(self, routes: set[str], before: int | None = None) -> Iterator[KeptError]:
        """Yield errors, the newest first.

        Args:
            routes: The names of their routes.
            before: The number of the error that they come before; None for the newest.
        """
        found = [kept for name in routes for kept in self._by_route.get(name, ())]
        found.sort(key=lambda kept: -kept.serial)
        return (kept for kept in found if before is None or kept.serial < before)

    def of_id(self, error_id: str) -> KeptError | None:
        """Return the error of the id that a client was told; None where it is not kept."""
        for errors in self._by_route.values():
            for kept in errors:
                if kept.error_id == error_id:
                    return kept
        return None
