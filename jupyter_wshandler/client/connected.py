"""What both kinds of client have: their state, their words, and what they know of `wsh.v1`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from ..engine.asking import Asked, ClientEnd, message_frame
from ..engine.payload import to_message
from ..errors import ConnectionClosed
from ..types import CloseCode, Message, Sendable

ENDED = (CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS)
"""How a connection ends without a failure: a loop over its messages just stops."""


class _Unset(Enum):
    DEFAULT = "the connection's own"


DEFAULT: Final = _Unset.DEFAULT
Timeout: TypeAlias = float | Literal[_Unset.DEFAULT] | None


class Connected:
    """What both kinds of client have; `timeout` is the default of `recv`, in seconds.

    Args:
        socket: The open socket.
        url: Its URL; it holds no token.
        timeout: Seconds, or None.
        end: What speaks `wsh.v1` for it; None where the frames are plain.
        first: A plain frame that was read already.
    """

    def __init__(
        self,
        socket: Any,
        url: str,
        timeout: float | None,
        end: ClientEnd | None = None,
        first: Message | None = None,
    ) -> None:
        self._socket = socket
        self.url = url
        self.timeout = timeout
        self._end = end
        self._first = first

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        chosen: str | None = self._socket.subprotocol
        return chosen

    @property
    def close_code(self) -> int | None:
        """How the connection ended (RFC 6455 section 7.1.5); None while it is open."""
        code: int | None = self._socket.close_code
        return code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it; None while it is open."""
        reason: str | None = self._socket.close_reason
        return reason

    def __repr__(self) -> str:
        state = "open" if self.close_code is None else f"closed {self.close_code}"
        return f"<{type(self).__name__} {self.url.partition('?')[0]} {state}>"

    def _framed(self, message: Sendable, binary: bool | None) -> Message:
        encoded = to_message(message, binary)
        return encoded if self._end is None else message_frame(encoded)

    def _ask(self, message: Sendable, binary: bool | None) -> tuple[Asked, Message]:
        if self._end is None:
            raise RuntimeError(
                f"{self.url.partition('?')[0]} does not say where an answer ends, as this "
                "connection does not speak wsh.v1: connect without subprotocols=..., or use "
                "send() and recv()"
            )
        return self._end.ask(to_message(message, binary))

    def _under_way(self, asked: Asked | None) -> list[Asked]:
        """Return the questions that are meant and whose answers have not ended, the last first.

        To stop the first one first would let the bot begin the next.
        """
        if self._end is None or self.close_code is not None:
            return []
        return [one for one in list(self._end.open.values())[::-1] if asked in (None, one)]

    def _next_message(self) -> tuple[Message] | None:
        assert self._end is not None
        return (self._end.messages.popleft(),) if self._end.messages else None

    def _wait(self, timeout: Timeout) -> float | None:
        return self.timeout if timeout is DEFAULT else timeout

    @contextmanager
    def _translated(self, timeout: float | None = None) -> Iterator[None]:
        """Raise this package's exceptions in place of the library's."""
        from websockets.exceptions import ConnectionClosed as SocketClosed

        try:
            yield
        except SocketClosed as error:
            raise self._closed(error) from None
        except TimeoutError:
            raise TimeoutError(
                f"no message from {self.url.partition('?')[0]} within {timeout or 0:g} s; "
                "recv(timeout=60) waits longer, timeout=None without end"
            ) from None

    def _closed(self, error: Any) -> ConnectionClosed:
        code, reason = self.close_code or CloseCode.ABNORMAL, self.close_reason or ""
        ours = error.sent is not None and not error.rcvd_then_sent
        if ours and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            # The peer may answer with any code, or not at all; why it ended is known here.
            code, reason = CloseCode.MESSAGE_TOO_BIG, "a message was larger than max_size"
        text = f"the connection to {self.url.partition('?')[0]} is closed: {code}"
        return ConnectionClosed(f"{text} {reason}".rstrip() + _after(code, ours), code, reason)


def _after(code: int, ours: bool) -> str:
    """Return what to do after a close code, as the end of a sentence."""
    advice: dict[int, str] = {
        CloseCode.MESSAGE_TOO_BIG: "; connect(..., max_size=...) takes larger ones" if ours else "",
        CloseCode.INTERNAL_ERROR: "" if ours else "; the server's log has the error",
        CloseCode.SERVICE_RESTART: "; connect again",
        CloseCode.TRY_AGAIN_LATER: "; connect again later",
        CloseCode.LOGGED_OUT: "; log in again",
    }
    return advice.get(code, "")


def decoded(message: Message) -> Any:
    """Return what a message holds as JSON; raise ValueError where it holds none."""
    try:
        return json.loads(message)
    except ValueError as error:
        raise ValueError(f"expected JSON, found {message[:80]!r} ({error})") from None
