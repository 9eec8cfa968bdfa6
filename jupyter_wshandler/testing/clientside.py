"""The client's side of one connection: what it sends, what it got, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..connection.connection import Connection
from ..engine.frames import Close, Pong, check_close
from ..engine.messages import Frame, Ping
from ..engine.payload import to_message
from ..errors import ConnectionClosed
from ..rooms.people import Member
from ..sessions.manager import Session
from ..types import CloseCode, Message, Sendable, Wish
from .arrival import Arrival
from .asking import Asking, End
from .botthread import BotThread
from .matching import describe, match, shown
from .roomside import JoinedRoom, RoomSide
from .steps import Steps, Wait
from .transport import ChatWay

__tracebackhide__ = True

STOP = 5.0
"""Seconds for the bot's thread to end when its last client has gone."""

LINES = 20
"""Lines of the transcript that a failure shows."""


class ClientSide:
    """One client of a bot; every operation is a generator for `steps.run`.

    Args:
        bot: Where the bot runs.
        arrival: How the client comes.

    Attributes:
        received: All messages so far.
        read: How many of them were read.
        finished: Whether the bot's last callback for this client has ended.
    """

    def __init__(self, bot: BotThread[Any], arrival: Arrival) -> None:
        self.bot = bot
        self.arrival = arrival
        self.connection: Connection | None = None
        self.session: Session | None = None
        self.received: list[Message] = []
        self.read = 0
        self.lines: list[tuple[str, Message]] = []
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self.finished = False
        self._transport: ChatWay
        self._opened = False
        self._asking = Asking()
        self.rooms = RoomSide()
        self._sent = 0
        self._handled = 0
        self._left = False

    # ---- called on the bot's loop -----------------------------------------------------------

    def began(self, connection: Connection, transport: ChatWay, session: Session) -> None:
        """Take what the bot has opened for this client."""
        self.connection, self._transport, self.session = connection, transport, session

    def opened(self) -> None:
        """Note that `open` has ended."""
        self._opened = True
        self.bot.watch.changed()

    def handled(self) -> None:
        """Note that a callback has ended, or that none gets the message: it is over a limit."""
        self._handled += 1
        self.bot.watch.changed()

    def deliver(self, frame: Frame) -> None:
        """Take one frame of the bot's."""
        if self._asking.takes(frame):
            if not isinstance(frame, End):
                self.lines.append(("<", frame))  # type: ignore[arg-type] # text or bytes
        elif self.rooms.takes(frame):
            pass
        elif isinstance(frame, (str, bytes)):
            plain = str.__str__(frame) if isinstance(frame, str) else bytes(frame)
            self.received.append(plain)
            self.lines.append(("<", plain))
        elif isinstance(frame, Ping):
            self._answer(Pong(frame.payload))
        else:
            self._closed(frame.code, frame.reason)
            self._answer(Close(frame.code, ""))
        self.bot.watch.changed()

    def _answer(self, event: Pong | Close) -> None:
        # Soon: whoever writes is still on the stack.
        self.bot.loop.call_soon(self._transport.feed, (event,))

    def _closed(self, code: int, reason: str) -> None:
        if self.close_code is None:
            self.close_code, self.close_reason = code, reason
            self.lines.append(("<", f"[closed {code}{' ' if reason else ''}{reason}]"))

    def lost(self) -> None:
        """Take note that the bot's side has ended the connection."""
        self._closed(CloseCode.ABNORMAL.value, "")
        self.bot.watch.changed()

    def end(self) -> None:
        """Take note that the last callback has ended."""
        self._closed(CloseCode.ABNORMAL.value, "")
        self.finished = True
        self.bot.watch.changed()

    # ---- the client's operations ---------------------------------------------------------------

    def open(self, wait: bool, timeout: float) -> Steps[None]:
        """Open the connection, and wait until `open` has ended."""
        self.bot.start()
        self.bot.add(self)
        future = self.bot.submit(self.bot.open(self, self.arrival))
        failure: BaseException | None
        if (yield self._wait(future.done, timeout)):
            failure = future.exception()
        else:
            future.cancel()
            failure = TimeoutError(f"the bot's event loop is busy: {self.bot.running()}")
        if failure is None and not wait:
            return
        if failure is None and not (
            yield self._wait(lambda: self._opened or self.finished, timeout)
        ):
            failure = TimeoutError(
                f"`open` has not ended within {timeout:g} s: {self.bot.running()}; "
                "Chat(..., wait=False) does not wait for it"
            )
            self.bot.post(self._transport.lost)
        if failure is not None:
            self.finished = True
            yield from self._leave()
            raise failure
        if self.bot.has_failed:  # nobody will get this client, to close it
            yield from self.vanish(timeout)

    def send(self, message: Sendable, wait: bool, timeout: float) -> Steps[None]:
        """Send one message, and wait until its callback has ended."""
        self.check_opened()
        self.bot.raise_error()
        whole = to_message(message)
        if self.close_code is not None or self._left:
            raise self._is_closed()
        self.lines.append((">", whole))
        self._sent += 1
        target = self._sent
        self.bot.post(self._transport.feed, (whole,))
        if not wait:
            return
        if not (yield self._wait(lambda: self._handled >= target or self.finished, timeout)):
            raise TimeoutError(
                f"the callback for {shown(whole)} has not ended within {timeout:g} s: "
                f"{self.bot.running()}; send(..., wait=False) does not wait for it"
            )
        self.bot.raise_error()

    def ask(self, message: Sendable, timeout: float) -> Steps[Any]:
        """Send one message, and return what exactly that one is answered with."""
        self.check_opened()
        self.bot.raise_error()
        whole = to_message(message)
        if self.close_code is not None or self._left:
            raise self._is_closed()
        self.lines.append((">", whole))
        self._sent += 1
        asked, question = self._asking.ask(whole)
        self.bot.post(self._transport.feed, (question,))
        ended = yield self._wait(lambda: asked.how or self.finished, timeout)
        if not ended:
            self._asking.forget(asked)
            running = self.bot.running()
            yield from self.stop(timeout)
            raise TimeoutError(
                f"the answer to {shown(whole)} has not ended within {timeout:g} s: {running}"
            )
        self.bot.raise_error()
        if asked.how is None:
            raise self._is_closed()
        return asked.result()

    def stop(self, timeout: float) -> Steps[None]:
        """Stop the answer that is being given, and wait until its callback has ended."""
        self.check_opened()
        assert self.connection is not None
        target = self._handled + 1
        future = self.bot.submit(self.bot.stop_answer(self.connection))
        if (yield self._wait(future.done, timeout)) and not future.result():
            return
        if not (yield self._wait(lambda: self._handled >= target or self.finished, timeout)):
            raise TimeoutError(
                f"the answer has not ended {timeout:g} s after its stop: {self.bot.running()}"
            )

    def join(
        self, room: str, since: tuple[str, int] | None, presence: bool, timeout: float
    ) -> Steps[JoinedRoom]:
        """Join a room as a client does, and wait for the answer."""
        self._tell_wish(self.rooms.wish(room, since, presence), f"[join {room}]")
        answered = yield self._wait(
            lambda: self.rooms.is_answered(room, presence=presence) or self.finished, timeout
        )
        self.bot.raise_error()
        if self.close_code is not None:
            raise self._is_closed()
        if not answered:
            raise TimeoutError(
                f"nothing has come of joining {room!r} within {timeout:g} s: {self.bot.running()}"
            )
        return self.rooms.answer(room)

    def leave(self, room: str, timeout: float) -> Steps[None]:
        """Leave a room as a client does, and wait until it is out."""
        self.rooms.answers.pop(room, None)
        self._tell_wish(Wish(room, False, size=len(room)), f"[leave {room}]")
        yield self._wait(lambda: self.rooms.answers.get(room) or self.finished, timeout)
        self.bot.raise_error()

    def _tell_wish(self, wish: Wish, line: str) -> None:
        self.check_opened()
        self.bot.raise_error()
        if self.close_code is not None or self._left:
            raise self._is_closed()
        self.lines.append((">", line))
        self.bot.post(self._transport.feed, (wish,))

    def expect_members(
        self, room: str, expected: dict[str, int] | list[str], timeout: float
    ) -> Steps[list[Member]]:
        """Wait until the people in a room are these, as this client is told."""
        joined = self.rooms.room(room)
        yield self._wait(lambda: _are(joined, expected) or self.finished, timeout)
        self.bot.raise_error()
        found = joined.members
        if not _are(joined, expected):
            raise AssertionError(
                f"expected: {expected} in {room}\n"
                f"found:    { ({member.id: member.connections for member in found}) }"
                f"{self._so_far()}"
            )
        return found

    def receive(self, what: str, timeout: float) -> Steps[bool]:
        """Wait for a message that was not read yet; return whether there is one.

        Raises:
            TimeoutError: None came in time, and the connection is open.
        """
        self.check_opened()
        self.bot.raise_error()
        yield self._wait(self._has_news, timeout)
        self.bot.raise_error()
        if self.read < len(self.received):
            return True
        if self.close_code is None:
            raise TimeoutError(
                f"waited {timeout:g} s for {what}, and no message came: {self.bot.running()}"
                f"{self._so_far()}"
            )
        return False

    def _has_news(self) -> bool:
        return self.read < len(self.received) or self.close_code is not None or self.bot.has_failed

    def take(self, timeout: float) -> Steps[Message]:
        """Return the next message."""
        if not (yield from self.receive("a message", timeout)):
            raise self._is_closed()
        self.read += 1
        return self.received[self.read - 1]

    def expect(self, expected: object, timeout: float) -> Steps[Any]:
        """Return the next message, which must match."""
        what = describe(expected)
        if not (yield from self.receive(what, timeout)):
            raise AssertionError(
                f"expected: {what}\nfound:    the connection is closed, {self._ending()}"
                f"{self._so_far()}"
            )
        right, found = match(expected, self.received[self.read])
        if not right:
            raise AssertionError(f"expected: {what}\nfound:    {shown(found)}{self._so_far()}")
        self.read += 1
        return found

    def expect_nothing(self, seconds: float) -> Steps[None]:
        """Fail if there is a message that was not read, or if one comes."""
        self.check_opened()
        self.bot.raise_error()
        yield self._wait(lambda: self.read < len(self.received) or self.bot.has_failed, seconds)
        self.bot.raise_error()
        if self.read < len(self.received):
            raise AssertionError(
                f"expected: no message within {seconds:g} s\n"
                f"found:    {shown(self.received[self.read])}{self._so_far()}"
            )

    def expect_close(
        self, code: int | None, reason: str | re.Pattern[str] | None, timeout: float
    ) -> Steps[int]:
        """Wait for the end, which must be this one, and for `on_close`."""
        self.check_opened()
        bot = self.bot
        is_failure = code == CloseCode.INTERNAL_ERROR
        if not is_failure:
            bot.raise_error()
        yield self._wait(lambda: self.finished or (bot.has_failed and not is_failure), timeout)
        if is_failure and self.close_code == code:
            bot.forgive(self.connection)
        bot.raise_error()
        what = "close" if code is None else f"close {code}"
        what += "" if reason is None else f", {describe(reason)}"
        if self.close_code is None:
            raise TimeoutError(
                f"waited {timeout:g} s for {what}, and the connection is still open: "
                f"{bot.running()}{self._so_far()}"
            )
        if not self.finished:
            raise TimeoutError(
                f"the connection is closed, but after {timeout:g} s its last callback has not "
                f"ended: {bot.running()}{self._so_far()}"
            )
        right = reason is None or match(reason, self.close_reason or "")[0]
        if code not in (None, self.close_code) or not right:
            raise AssertionError(f"expected: {what}\nfound:    {self._ending()}{self._so_far()}")
        return self.close_code

    def close(self, code: int | None, reason: str, timeout: float) -> Steps[None]:
        """Close as a browser does, and wait until `on_close` has ended."""
        if code is not None or reason:
            check_close(CloseCode.NORMAL if code is None else code, reason)
        frame = Close(CloseCode.NO_STATUS.value if code is None else int(code), reason)
        said = (
            f"[close {'without a code' if code is None else code}{' ' if reason else ''}{reason}]"
        )
        yield from self._depart(said, lambda: self._transport.feed((frame,)), timeout)

    def vanish(self, timeout: float) -> Steps[None]:
        """End without a close frame, and wait until `on_close` has ended."""
        yield from self._depart("[vanish]", lambda: self._transport.lost(), timeout)

    def _depart(self, said: str, how: Callable[[], object], timeout: float) -> Steps[None]:
        if self.connection is None:
            return
        if not self._left and not self.finished:
            self._left = True
            if self.close_code is None:
                self.lines.append((">", said))
            # It may wait for room: whoever leaves reads what is still to come.
            self.bot.post(self._transport.resume)
            self.bot.post(how)
        ended = yield self._wait(lambda: self.finished, timeout)
        running = self.bot.running()
        if not ended:
            self.bot.post(self._transport.lost)
            self.finished = True  # as far as this client goes
        yield from self._leave()
        self.bot.raise_error()
        if not ended:
            raise TimeoutError(f"the callbacks have not ended within {timeout:g} s: {running}")

    def _leave(self) -> Steps[None]:
        """Put the bot away if this was its last client."""
        if not self.bot.over and self.bot.is_empty():
            self.bot.put_away()
            ended = yield self._wait(lambda: self.bot.over, STOP)
            self.bot.join(STOP if ended else 0.0)

    def check_opened(self) -> None:
        """Refuse what needs a connection where there is none.

        Raises:
            LookupError: Nobody has awaited the `AsyncChat`.
        """
        if self.connection is None:
            raise LookupError(
                "this connection is not open yet; write `async with AsyncChat(...) as chat:` or "
                "`chat = await AsyncChat(...)`"
            )

    def set_reading(self, reading: bool) -> None:
        """Stop reading, or go on."""
        self.check_opened()
        self.bot.post(self._transport.resume if reading else self._transport.pause)

    # ---- words -----------------------------------------------------------------------------------

    def _wait(self, condition: Callable[[], object], seconds: float) -> Wait:
        return Wait(self.bot.watch, condition, seconds)

    def _is_closed(self) -> ConnectionClosed:
        return ConnectionClosed(
            f"the connection is closed: {self._ending()}", self.close_code, self.close_reason or ""
        )

    def _ending(self) -> str:
        return f"close {self.close_code} {self.close_reason or ''}".rstrip()

    def _so_far(self) -> str:
        text = self.transcript(LINES)
        return f"\nthe talk so far:\n{text}" if text else "\nnothing was said so far"

    def transcript(self, last: int = 0, indent: str = "  ") -> str:
        """Return what was said, a line for each message.

        Args:
            last: Lines at most, the last ones; 0 for all.
            indent: What each line begins with.
        """
        lines = list(self.lines)
        cut = len(lines) - last if last and len(lines) > last else 0
        shown_lines = [f"{indent}... {cut} more before"] if cut else []
        for arrow, message in lines[cut:]:
            text = message if isinstance(message, str) else repr(message)
            if len(text) > 1000:
                text = f"{text[:1000]}... ({len(text)} characters)"
            begin = f"{indent}{arrow} "
            shown_lines.append(begin + text.replace("\n", f"\n{' ' * len(begin)}"))
        return "\n".join(shown_lines)


def _are(room: JoinedRoom, expected: dict[str, int] | list[str]) -> bool:
    """Return whether the people in a room are these: in their order, or with their connections."""
    if not room.knows_members:
        return False
    if isinstance(expected, dict):
        return {member.id: member.connections for member in room.members} == expected
    return [member.id for member in room.members] == expected
