"""The open connections of this kernel's bots: their clients are at the server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from types import SimpleNamespace

from ..connection.connection import Connection
from ..connection.observer import Observer
from ..connection.opening import Opening
from ..connection.request import Request
from ..engine.frames import Pong, reply_code
from ..engine.messages import Close, Frame, MessageProtocol, Ping
from ..kernels import events
from ..kernels.courier import LONG, WINDOW, WINDOW_SIZE
from ..kernels.events import Details, FromServer
from ..transports.messages import MessageTransport
from ..types import CloseCode, Codec
from .manager import NotebookManager
from .sessions import KernelSessions


class BotConnections(Observer):
    """The bots' side of the connections that the server has told this kernel of.

    What callbacks send leaves as events, as far as the server has room for it; the rest waits in
    the connection's queue, as it would behind a socket.

    Args:
        manager: Runs the callbacks.
        sessions: Keeps the sessions.
        put: Sends an event to the server, with a buffer and the bytes that it counts for.
        handled: Hears that a message of a connection is done with, so that the server may send
            one more.
    """

    def __init__(
        self,
        manager: NotebookManager,
        sessions: KernelSessions,
        put: Callable[[events.Event, bytes | None, int], object],
        handled: Callable[[Connection], object],
    ) -> None:
        self._manager = manager
        self._sessions = sessions
        self._put = put
        self._handled = handled
        self._open: dict[str, tuple[Connection, MessageTransport]] = {}
        # By connection: one that has ended cannot be asked any more.
        self._session_ids: dict[str, str] = {}

    @property
    def waiting(self) -> bool:
        """Whether a message of any of them waits for room at the server."""
        return any(transport.queued_frames for _, transport in self._open.values())

    def taken(self, name: str, count: int) -> None:
        """Note that the server has sent on messages of a connection."""
        if name in self._open:
            self._open[name][1].taken(count)

    def open(self, loop: asyncio.AbstractEventLoop, name: str, details: Details) -> None:
        """Open the bot's side of a connection.

        Args:
            loop: The bots' event loop.
            name: The connection's id.
            details: What the server says of it.
        """
        manager = self._manager
        route = manager.table.get(details.route)
        if route is None:  # stopped meanwhile
            code = int(CloseCode.SERVICE_RESTART)
            self._put(events.Close(name, code, "this route is gone"), None, 64)
            return
        asked, user, stored = details.request, details.user, details.session
        connection = manager.connect(
            route,
            Opening(
                Request(asked.headers, asked.uri, asked.remote_ip, asked.protocol, asked.host),
                current_user=None if user is None else SimpleNamespace(**user),
                session=None if stored is None else self._sessions.open(*stored),
                path_args=tuple(details.path_args),
                path_kwargs=details.path_kwargs,
                subprotocol=details.subprotocol,
            ),
            id=name,
        )
        transport = MessageTransport(
            loop,
            lambda frame: self._send(name, frame),
            lambda: self._end(connection),
            messages=WINDOW,
            size=WINDOW_SIZE,
        )
        self._open[name] = connection, transport
        if stored is not None:
            self._session_ids[name] = stored[0]
        codec: Codec = MessageProtocol()
        if details.chat:
            codec = connection.envelop(codec, confirms=False)
        manager.open(connection, codec, transport, ())

    def hear(self, name: str, texts: list[str]) -> None:
        """Let a connection hear texts of its client, unless it has ended.

        Args:
            name: Its id.
            texts: What the client says, in order.
        """
        if name in self._open:
            self._open[name][1].feed(texts)

    def tell(self, event: FromServer, buffer: bytes) -> None:
        """Let a connection hear what the server says of it.

        Args:
            event: The event; it may be about a connection that has ended here.
            buffer: Its payload, where that travelled beside the JSON.
        """
        connection, transport = self._open.get(event.name, (None, None))
        if connection is None or transport is None:
            if isinstance(event, events.Lost):
                self._put(events.Closed(event.name, 0), None, 64)
        elif isinstance(event, events.Text):
            transport.feed([event.text])
        elif isinstance(event, events.Long):
            transport.feed([buffer.decode()])
        elif isinstance(event, events.Binary):
            transport.feed([buffer])
        elif isinstance(event, events.Pong):
            transport.feed([Pong(buffer)])
        elif isinstance(event, events.Stop):
            if connection.chat_answers is not None:
                connection.chat_answers.stop(event.number)
            else:
                connection.stop_oldest()
        elif isinstance(event, events.Away):
            connection.hear_away(event.away)
        elif isinstance(event, events.Leaving):
            transport.feed([Close(event.code, event.reason)])
        elif isinstance(event, events.Lost):
            if connection.close_code is None:
                connection.close_code, connection.close_reason = event.code, event.reason
            transport.lost()

    def _send(self, name: str, frame: Frame) -> None:
        """Send what has left a connection's queue."""
        if isinstance(frame, str) and len(frame) > LONG:
            self._put(events.Long(name), frame.encode(), 64 + len(frame))
        elif isinstance(frame, str):
            # A character that JSON escapes takes six bytes.
            plain = frame.isascii() and frame.isprintable()
            self._put(events.Text(name, frame), None, 64 + len(frame) * (1 if plain else 6))
        elif isinstance(frame, bytes):
            self._put(events.Binary(name), frame, 64 + len(frame))
        elif isinstance(frame, Close):
            self._put(events.Close(name, frame.code, frame.reason), None, 64)
        elif isinstance(frame, Ping):
            self._put(events.Ping(name), frame.payload, 64 + len(frame.payload))

    def _end(self, connection: Connection) -> None:
        code = reply_code(connection.close_code or 1011)
        self._put(events.Close(connection.id, code, ""), None, 64)

    def message_done(self, connection: Connection, later: int | None = None) -> None:
        """Hear that a message is done with."""
        self._handled(connection)

    def ended(self, connection: Connection) -> None:
        """Tell the server that the last callback of a connection has run.

        First goes what it has changed in its session: the server forgets which one that was.
        """
        session_id = self._session_ids.pop(connection.id, None)
        if session_id is None:
            self._tell_ended(connection)
        else:
            tell = functools.partial(self._tell_ended, connection)
            self._sessions.when_sent(session_id, tell)

    def _tell_ended(self, connection: Connection) -> None:
        if self._open.pop(connection.id, None) is not None:
            self._put(events.Closed(connection.id, connection.dropped), None, 64)

    def lose_all(self) -> None:
        """End them all: the way to the server is gone."""
        for _, transport in tuple(self._open.values()):
            transport.lost()
        self._open.clear()
