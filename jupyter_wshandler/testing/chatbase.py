"""What a chat shows of itself, whether one blocks or awaits."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..callbacks.errorlog import CallbackFailure
from ..connection.connection import Connection
from ..connection.state import State
from ..sessions.manager import Session
from ..types import Message
from .arrival import Arrival, Who, path_of, route_of
from .botthread import BotThread
from .breaking import BreakingClient
from .steps import Steps

__tracebackhide__ = True

TIMEOUT = 5.0
"""Seconds that anything may take by default."""

VISITOR = "visitor"
"""The user who comes where a test names none."""

C = TypeVar("C", bound="ChatBase")


class Company:
    """What all clients of a bot share: when nobody has one any more, the bot is put away.

    Args:
        bot: Where the bot runs; it knows no `ChatBase`, so that this can be seen.
        timeout: Seconds for each operation.
    """

    def __init__(self, bot: BotThread[BreakingClient], timeout: float) -> None:
        self.bot = bot
        self.timeout = timeout
        self.chats: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        weakref.finalize(self, bot.put_away).atexit = False


class ChatBase:
    """The client's side of one connection, without its operations; see `Chat` and `AsyncChat`."""

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
        bot: BotThread[BreakingClient] = BotThread(route, raises=raise_errors)
        arrival = Arrival(path_of(route, path), user, session, headers or {})
        self._take(Company(bot, timeout), BreakingClient(bot, arrival), wait)
        self._begin()

    def _begin(self) -> None:
        """Open the connection, where that needs no `await`."""

    def _take(self, company: Company, client: BreakingClient, wait: bool) -> None:
        self._company = company
        self._bot = company.bot
        self._client = client
        self._waits = wait
        self.timeout = company.timeout
        company.chats[id(client)] = self

    def _chat_of(self: C, client: BreakingClient, wait: bool = True) -> C:
        chat = self._company.chats.get(id(client))
        if not isinstance(chat, type(self)):
            chat = object.__new__(type(self))
            chat._take(self._company, client, wait)
        return chat

    def _another(
        self: C,
        user: Who,
        path: str,
        session: Session | Mapping[str, Any] | str | None,
        headers: Mapping[str, str] | None,
        wait: bool,
    ) -> C:
        own = self._client.arrival
        if not path.startswith("/"):
            path = own.path.partition("?")[0] + path
        arrival = Arrival(path, own.user if user == "" else user, session, headers or {})
        return self._chat_of(BreakingClient(self._bot, arrival), wait)

    def _close_all(self, *, quietly: bool) -> Steps[None]:
        """Close this client; where it is the first one, all clients of the bot.

        Args:
            quietly: Whether to raise nothing, as another failure is on its way.
        """
        clients = self._bot.clients
        leaving = [self._client]
        if self._client is clients[0]:
            leaving += reversed(clients)
        failure: Exception | None = None
        for one in leaving:
            try:
                yield from one.close(1000, "", self.timeout)
            except Exception as error:
                failure = failure or error
        if failure is not None and not quietly:
            raise failure

    def _seconds(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    # ---- messages --------------------------------------------------------------------------------

    @property
    def received(self) -> list[Message]:
        """All messages so far: text as str, binary as bytes, dict and list as their JSON text."""
        return list(self._client.received)

    @property
    def unread(self) -> list[Message]:
        """Those of them that `read` and `expect` have not taken yet."""
        return self._client.received[self._client.read :]

    @property
    def last(self) -> Message | None:
        """The last message; None if there is none."""
        return self._client.received[-1] if self._client.received else None

    @property
    def json(self) -> Any:
        """What the last message holds as JSON.

        Raises:
            LookupError: No message has come.
            ValueError: It is no JSON.
        """
        if not self._client.received:
            raise LookupError("no message has come yet")
        return json.loads(self._client.received[-1])

    # ---- the connection --------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, as the client sees it."""
        return self._client.close_code is not None

    @property
    def close_code(self) -> int | None:
        """How it ended (RFC 6455 section 7.1.5); None while it is open."""
        return self._client.close_code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it; None while it is open."""
        return self._client.close_reason

    @property
    def clients(self: C) -> list[C]:
        """All clients of the bot that are connected, in the order in which they came."""
        clients = [client for client in self._bot.clients if client.close_code is None]
        return [self._chat_of(client) for client in clients]

    # ---- the bot's side --------------------------------------------------------------------------

    @property
    def handler(self) -> Connection:
        """What the callbacks get as `handler`.

        Raises:
            LookupError: The connection was never opened.
        """
        self._client.check_opened()
        assert self._client.connection is not None
        return self._client.connection

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
        assert self._client.session is not None
        return self._client.session

    @property
    def errors(self) -> list[CallbackFailure]:
        """What the bot's callbacks have raised so far, for any client.

        Each has ``handler``, ``message``, ``exception``, ``callback`` and ``at`` (seconds since
        1970).
        """
        return list(self._bot.errors)

    # ---- a client that reads slowly ------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading: what the bot sends waits in its queue, as for a slow browser."""
        self._client.set_reading(False)

    def resume(self) -> None:
        """Read on."""
        self._client.set_reading(True)

    # ---- words -----------------------------------------------------------------------------------

    def __str__(self) -> str:
        return self._client.transcript(indent="")

    def __repr__(self) -> str:
        client = self._client
        state = "away" if client.is_away else "open"
        state = state if client.close_code is None else f"closed {client.close_code}"
        user = client.arrival.user if isinstance(client.arrival.user, str) else ""
        user = user or getattr(
            getattr(client.connection, "current_user", None), "username", "nobody"
        )
        sent = sum(arrow == ">" for arrow, _ in client.lines)
        name = self._bot.route.name
        return (
            f"<{type(self).__name__} with {name} as {user}: {state}, "
            f"{sent} sent, {len(client.received)} received>"
        )
