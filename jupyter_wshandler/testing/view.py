"""What a chat shows of itself, whether one blocks or awaits."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..callbacks.errorlog import Failure
from ..connection.connection import Connection
from ..connection.state import State
from ..sessions.manager import Session
from ..types import Message
from .stage import Stage
from .talk import Talk
from .visit import Visit, Who, path_of, route_of

__tracebackhide__ = True

TIMEOUT = 5.0
"""Seconds that anything may take by default."""

VISITOR = "visitor"
"""The user who comes where a test names none."""

C = TypeVar("C", bound="ChatView")


class Company:
    """Hold what all clients of a bot share: when nobody has one any more, the bot is put away.

    Args:
        stage: Where the bot runs; it knows no `ChatView`, so that this can be seen.
        timeout: Seconds for each operation.
    """

    def __init__(self, stage: Stage[Talk], timeout: float) -> None:
        self.stage = stage
        self.timeout = timeout
        self.views: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        weakref.finalize(self, stage.put_away).atexit = False


class ChatView:
    """Show the client's side of one connection; see `Chat` and `AsyncChat`."""

    def __init__(
        self,
        source: object = None,
        /,
        *,
        options: Mapping[str, Any] | None = None,
        pattern: str = "",
        path: str = "",
        name: str = "",
        user: Who = VISITOR,
        session: Session | Mapping[str, Any] | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        raise_errors: bool = True,
        wait: bool = True,
        **callbacks: Callable[..., Any],
    ) -> None:
        """Take the bot, and how its first client comes.

        Args:
            source: The bot: a module, a mapping such as ``globals()``, an object with the
                callbacks as attributes, or one function, which is taken for `on_message`.
            options: Options of the route, as below ``kwargs:`` in a file (``{"max_message":
                "64KiB"}``); `every` takes functions.
            pattern: The route's pattern; from `path` or the module's name where empty.
            path: Path and query that the client asks for.
            name: The route's name; from the pattern where empty.
            user: Who the client is: a name, the attributes of a user with `username`, any
                object, or None for nobody.
            session: A session to come back to, the id of one, or the values of a new one.
            headers: Header fields of the opening request.
            timeout: Seconds that each operation may take unless it says otherwise; `math.inf`
                for no limit.
            raise_errors: Whether what a callback raises is raised by the next operation, once;
                it is in `errors` in any case.
            wait: Whether to wait for the end of `open`.
            callbacks: The callbacks by name (``on_message=...``); they win.
        """
        __tracebackhide__ = True  # for a notebook; see `traces`
        route = route_of(source, callbacks, options, pattern, path, name)
        stage: Stage[Talk] = Stage(route, raises=raise_errors)
        visit = Visit(path_of(route, path), user, session, headers or {})
        self._take(Company(stage, timeout), Talk(stage, visit), wait)
        self._begin()

    def _begin(self) -> None:
        """Open the connection, where that needs no `await`."""

    def _take(self, company: Company, talk: Talk, wait: bool) -> None:
        self._company = company
        self._stage = company.stage
        self._talk = talk
        self._waits = wait
        self.timeout = company.timeout
        company.views[id(talk)] = self

    def _view_of(self: C, talk: Talk, wait: bool = True) -> C:
        view = self._company.views.get(id(talk))
        if not isinstance(view, type(self)):
            view = object.__new__(type(self))
            view._take(self._company, talk, wait)
        return view

    def _another(
        self: C,
        user: Who,
        path: str,
        session: Session | Mapping[str, Any] | str | None,
        headers: Mapping[str, str] | None,
        wait: bool,
    ) -> C:
        own = self._talk.visit
        if not path.startswith("/"):
            path = own.path.partition("?")[0] + path
        visit = Visit(path, own.user if user == "" else user, session, headers or {})
        return self._view_of(Talk(self._stage, visit), wait)

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    # ---- messages --------------------------------------------------------------------------------

    @property
    def received(self) -> list[Message]:
        """All messages so far: text as str, binary as bytes, dict and list as their JSON text."""
        return list(self._talk.received)

    @property
    def unread(self) -> list[Message]:
        """Those of them that `read` and `expect` have not taken yet."""
        return self._talk.received[self._talk.read :]

    @property
    def last(self) -> Message | None:
        """The last message; None if there is none."""
        return self._talk.received[-1] if self._talk.received else None

    @property
    def json(self) -> Any:
        """What the last message holds as JSON.

        Raises:
            LookupError: No message has come.
            ValueError: It is no JSON.
        """
        if not self._talk.received:
            raise LookupError("no message has come yet")
        return json.loads(self._talk.received[-1])

    # ---- the connection --------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, as the client sees it."""
        return self._talk.close_code is not None

    @property
    def close_code(self) -> int | None:
        """How it ended (RFC 6455 section 7.1.5); None while it is open."""
        return self._talk.close_code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it; None while it is open."""
        return self._talk.close_reason

    @property
    def clients(self: C) -> list[C]:
        """All clients of the bot that are connected, in the order in which they came."""
        talks = [talk for talk in self._stage.talks if talk.close_code is None]
        return [self._view_of(talk) for talk in talks]

    # ---- the bot's side --------------------------------------------------------------------------

    @property
    def handler(self) -> Connection:
        """What the callbacks get as `handler`.

        Raises:
            LookupError: The connection was never opened.
        """
        self._talk.check_opened()
        assert self._talk.connection is not None
        return self._talk.connection

    @property
    def state(self) -> State:
        """``handler.state``."""
        return self.handler.state

    @property
    def session(self) -> Session:
        """``handler.session``; also when the connection has ended."""
        handler = self.handler
        if handler.attached_session is not None:
            return handler.session  # what is written here is kept, as if a callback had done it
        assert self._talk.session is not None
        return self._talk.session

    @property
    def errors(self) -> list[Failure]:
        """What the bot's callbacks have raised so far, for any client.

        Each has ``handler``, ``message``, ``exception``, ``callback`` and ``at`` (seconds since
        1970).
        """
        return list(self._stage.errors)

    # ---- a client that reads slowly ------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading: what the bot sends waits in its queue, as for a slow browser."""
        self._talk.set_reading(False)

    def resume(self) -> None:
        """Read on."""
        self._talk.set_reading(True)

    # ---- words -----------------------------------------------------------------------------------

    def __str__(self) -> str:
        return self._talk.transcript(indent="")

    def __repr__(self) -> str:
        talk = self._talk
        state = "open" if talk.close_code is None else f"closed {talk.close_code}"
        user = talk.visit.user if isinstance(talk.visit.user, str) else ""
        user = user or getattr(getattr(talk.connection, "current_user", None), "username", "nobody")
        sent = sum(arrow == ">" for arrow, _ in talk.lines)
        name = self._stage.route.name
        return (
            f"<{type(self).__name__} with {name} as {user}: {state}, "
            f"{sent} sent, {len(talk.received)} received>"
        )
