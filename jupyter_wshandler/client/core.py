"""What both kinds of client do, as coroutines: messages, questions, rooms and the end."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engine.asking import Asked, message_frame
from ..engine.comeback import Outgoing
from ..engine.frames import check_close
from ..engine.joined import Joined
from ..engine.payload import to_message
from ..errors import RoomRefused
from ..types import Message, Sendable
from .answers import ended, next_value
from .ends import Closing, translated
from .keepalive import keep_alive
from .lifeline import Lifeline
from .states import State

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket


class Core:
    """A connection to a route, on its own event loop.

    Args:
        socket: The open socket.
        url: Its URL; it holds no token.
        line: What speaks `wsh.v1` for it; None where the frames are plain.
        first: A plain frame that was read already.
        ping: Seconds between pings that are sent here; 0 where its line sends them.
    """

    def __init__(
        self,
        socket: AsyncSocket,
        url: str,
        line: Lifeline | None = None,
        first: Message | None = None,
        ping: float = 0.0,
    ) -> None:
        self._plain = socket
        self.url = url
        self._line = line
        self._first = first
        self._pings: asyncio.Task[None] | None = None
        if ping:
            self._pings = asyncio.create_task(
                keep_alive(socket, ping, lambda: False), name="wshandler client pings"
            )

    @property
    def _socket(self) -> AsyncSocket:
        return self._plain if self._line is None else self._line.socket

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self._socket.subprotocol

    @property
    def state(self) -> State:
        """Whether it is "open", "away" or "closed"."""
        if self._line is not None:
            return self._line.state
        return "open" if self._plain.close_code is None else "closed"

    @property
    def closing(self) -> Closing | None:
        """How it has ended; None while it is open or away."""
        if self._line is not None:
            return self._line.closing
        code = self._plain.close_code
        return None if code is None else Closing(code, self._plain.close_reason or "", ours=False)

    @property
    def speaks(self) -> bool:
        """Whether `wsh.v1` is spoken."""
        return self._line is not None

    @property
    def speaking(self) -> Lifeline:
        """What speaks `wsh.v1`.

        Raises:
            RuntimeError: The connection does not.
        """
        if self._line is None:
            raise RuntimeError(
                f"{self.url.partition('?')[0]} does not say where an answer ends, as this "
                "connection does not speak wsh.v1: connect without subprotocols=..., or use "
                "send() and recv()"
            )
        return self._line

    def translated(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """Raise this package's exceptions in place of others; see `ends.translated`."""
        return translated(self.url, self._socket, timeout)

    # ---- messages ------------------------------------------------------------------------------

    async def send(self, message: Sendable, binary: bool | None) -> None:
        """Send one message."""
        encoded = to_message(message, binary)
        if self._line is not None:
            await self._transmit(Outgoing(message_frame(encoded)))
            return
        with self.translated():
            await self._plain.send(encoded)

    async def _transmit(self, outgoing: Outgoing) -> None:
        with self.translated():
            await self.speaking.send(outgoing)

    async def recv(self, wait: float | None) -> Message:
        """Return the next message."""
        if self._line is not None:
            message: Message = await self._until(self._next_message, wait)
            return message
        if self._first is not None:
            first, self._first = self._first, None
            return first
        with self.translated(wait):
            async with asyncio.timeout(wait):
                return await self._plain.recv()

    def recv_now(self) -> tuple[Message] | None:
        """Return a message that is there already, in a tuple; for any thread."""
        try:
            return None if self._line is None else self._next_message()
        except IndexError:
            return None  # another thread has taken the last one

    def _next_message(self) -> tuple[Message] | None:
        messages = self.speaking.life.end.messages
        return (messages.popleft(),) if messages else None

    @property
    def is_held(self) -> bool:
        """Whether no more is read, as so much is unread."""
        return self._line is not None and self._line.is_held

    def taken(self) -> None:
        """Take note that a message was taken by `recv_now`."""
        if self._line is not None:
            self._line.taken()

    async def _until(self, take: Any, wait: float | None) -> Any:
        with self.translated(wait):
            return await self.speaking.until(take, wait)

    # ---- questions -----------------------------------------------------------------------------

    async def ask(self, message: Sendable, binary: bool | None, wait: float | None) -> Any:
        """Send a message and return its answer; who waits no longer has the bot stop."""
        question = self._question(message, binary)
        asked = question.asked
        assert asked is not None
        try:
            await self._transmit(question)
            await self._until(partial(ended, asked), wait)
        except BaseException:
            await self._give_up(question, asked)
            raise
        return asked.result()

    async def begin(self, message: Sendable, binary: bool | None) -> Asked:
        """Send a message whose answer is wanted."""
        question = self._question(message, binary)
        assert question.asked is not None
        try:
            await self._transmit(question)
        except BaseException:
            await self._give_up(question, question.asked)
            raise
        return question.asked

    async def take(self, wait: float | None, asked: Asked) -> tuple[Any, ...]:
        """Return the next value of an answer in a tuple, an empty one at its end."""
        values: tuple[Any, ...] = await self._until(partial(next_value, asked), wait)
        return values

    async def stop(self, asked: Asked | None) -> None:
        """Have the bot stop one answer, or all."""
        if self._line is None or self._line.closing is not None:
            return
        # To stop the first one first would let the bot begin the next.
        for one in list(self._line.life.end.open.values())[::-1]:
            if asked in (None, one):
                await self._line.stop(one)

    def _question(self, message: Sendable, binary: bool | None) -> Outgoing:
        encoded = to_message(message, binary)
        asked, frame = self.speaking.life.end.ask(encoded)
        return Outgoing(frame, asked)

    async def _give_up(self, question: Outgoing, asked: Asked) -> None:
        # Whoever was cancelled must not wait for a server that takes nothing any more.
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                if question.is_taken:
                    await self.stop(asked)
        self.speaking.life.end.forget(asked)

    # ---- rooms ---------------------------------------------------------------------------------

    async def join(self, room: Joined, wait: float | None) -> None:
        """Join a room, and wait until the server has said whether that may be."""
        life = self.speaking.life
        try:
            await self._transmit(life.join(room))
            await self._until(lambda: _decided(room), wait)
            if room.refusal is not None:
                raise RoomRefused(f"room {room.name!r}: {room.refusal}")
        except BaseException:
            life.forget(room)
            raise

    async def leave(self, room: Joined) -> None:
        """Leave a room, if the connection has not ended."""
        outgoing = self.speaking.life.leave(room)
        if outgoing is not None and self.state != "closed":
            await self._transmit(outgoing)

    async def hear(self, room: Joined, wait: float | None) -> str | None:
        """Return the next message that was said in a room; None where it was left."""
        heard: tuple[str | None] = await self._until(lambda: _heard(room), wait)
        return heard[0]

    # ---- the end -------------------------------------------------------------------------------

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, and wait for the server's answer."""
        check_close(code, reason)
        if self._line is not None:
            await self._line.close(code, reason)
            return
        # What nobody has read stands before the server's answer, and the library reads on only
        # as its queue is emptied.
        reader = asyncio.create_task(self._drain(), name="wshandler client close")
        try:
            await self._plain.close(code, reason)
        finally:
            tasks = [reader, self._pings] if self._pings is not None else [reader]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _drain(self) -> None:
        from websockets.exceptions import ConcurrencyError, ConnectionClosed

        with suppress(ConnectionClosed, ConcurrencyError):
            while True:
                await self._plain.recv()


def _decided(room: Joined) -> tuple[bool] | None:
    return (room.is_in,) if room.is_in or room.refusal is not None else None


def _heard(room: Joined) -> tuple[tuple[str | None]] | None:
    if room.messages:
        return ((room.messages.popleft(),),)
    if room.refusal is not None:
        # It was joined again on another connection, and is not open to this one any more.
        raise RoomRefused(f"room {room.name!r}: {room.refusal}")
    return ((None,),) if room.is_left else None
