"""Who hears what becomes of connections: counts, limits, sessions, routes, and what comes later."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

EVENTS = (
    "opened",
    "ready",
    "message_in",
    "message_done",
    "message_out",
    "failed",
    "lost",
    "ended",
)
"""What can be heard of a connection; in the order of a life, but for `failed`."""


class Observer:
    """One who hears what becomes of the connections of a host.

    A subclass has the methods for what it wants to hear; of what nobody wants to hear nothing is
    told, so that it costs nothing. All are called on the event loop, at once, and must return at
    once. What one raises is logged, and disturbs neither the connection nor the others.

    As for `connection.host.Host`, ``Any`` stands for a `Connection`.
    """

    def opened(self, connection: Any) -> None:
        """Hear that a connection opens: nothing of it has been read, no callback has run."""

    def ready(self, connection: Any) -> None:
        """Hear that its `open`, where it has one, has ended; from now on messages are handled."""

    def message_in(self, connection: Any, message: Any) -> None:
        """Hear of a message that has come and is about to wait for its callback.

        Args:
            connection: Where it came.
            message: str, bytes, or a `types.Question`.
        """

    def message_done(self, connection: Any, later: int | None = None) -> None:
        """Hear that one message is done with.

        Its callback has ended; or none will get it, as it was over the route's `ratelimit`, or
        the client has taken it back.

        Args:
            connection: Where it came.
            later: How many have come after it and are not done; None of the oldest, as they are
                done in the order in which they came.
        """

    def message_out(self, connection: Any, message: Any) -> None:
        """Hear of a message that is sent.

        Args:
            connection: Where it goes.
            message: str or bytes, before it is framed.
        """

    def failed(self, connection: Any, failure: Any) -> None:
        """Hear that a callback, a task or a timer of a connection has raised something.

        Args:
            connection: Whose it is.
            failure: A `callbacks.errorlog.CallbackFailure`.
        """

    def lost(self, connection: Any) -> None:
        """Hear that the byte stream has ended, whoever ended it; `close_code` says how.

        So not only of connections that are lost, without a close frame.

        Callbacks may still run, and `on_close` is to come.
        """

    def ended(self, connection: Any) -> None:
        """Hear that the last callback of a connection has run: there is nothing left of it."""


class Observers:
    """Those who hear what becomes of the connections of a host.

    There is one tuple for each event, with the methods of those who want to hear it, so that
    whoever tells has one truth test to do where nobody does.

    Args:
        log: Where is written what an observer raises.
    """

    __slots__ = ("_all", "_log", *EVENTS)

    opened: tuple[Callable[[Any], object], ...]
    ready: tuple[Callable[[Any], object], ...]
    message_in: tuple[Callable[[Any, Any], object], ...]
    message_done: tuple[Callable[..., object], ...]
    message_out: tuple[Callable[[Any, Any], object], ...]
    failed: tuple[Callable[[Any, Any], object], ...]
    lost: tuple[Callable[[Any], object], ...]
    ended: tuple[Callable[[Any], object], ...]

    def __init__(self, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._log = log
        self._all: tuple[Observer, ...] = ()
        self._sort()

    def add(self, observer: Observer) -> None:
        """Tell one more, after those who are told already.

        Args:
            observer: Hears of everything that happens from now on.
        """
        self._all = (*self._all, observer)
        self._sort()

    def remove(self, observer: Observer) -> None:
        """Tell one no longer; without effect where it is not told."""
        self._all = tuple(one for one in self._all if one is not observer)
        self._sort()

    def _sort(self) -> None:
        for event in EVENTS:
            nothing = getattr(Observer, event)
            heard = [one for one in self._all if getattr(type(one), event) is not nothing]
            setattr(self, event, tuple(getattr(one, event) for one in heard))

    def tell(self, listeners: tuple[Callable[..., object], ...], *what: Any) -> None:
        """Call those who want to hear of one event.

        Args:
            listeners: One of the tuples, as ``observers.lost``; it may change meanwhile.
            what: The connection, and what else belongs to the event.
        """
        for listener in listeners:
            try:
                listener(*what)
            except Exception:
                self._log.exception(
                    "%s failed, which hears what becomes of connections",
                    getattr(listener, "__qualname__", listener),
                )
