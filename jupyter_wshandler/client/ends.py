"""How connections end, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engine.resuming import COMES_BACK
from ..errors import ConnectionClosed
from ..types import CloseCode

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket

ENDED = (CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.NO_STATUS)
"""How a connection ends without a failure: a loop over its messages just stops."""

RETURNING = frozenset({1001, 1005, 1006, 1012, 1013})
"""Close codes of the server's after which a connection is opened again."""


class Closing(NamedTuple):
    """How a socket has ended.

    Args:
        code: The close code.
        reason: What came with it.
        ours: Whether this end has closed it.
        returns: Whether the connection is to be opened again.
        tried: What has become of the attempts; empty where there were none.
    """

    code: int
    reason: str
    ours: bool
    returns: bool = False
    tried: str = ""


class Ended(Exception):
    """The end of a connection: how."""

    def __init__(self, closing: Closing) -> None:
        self.closing = closing
        super().__init__(closing.code)


def closing_of(error: Any, socket: AsyncSocket) -> Closing:
    """Return what the library's exception says of an end.

    Args:
        error: Its `ConnectionClosed`.
        socket: What has ended.
    """
    code, reason = socket.close_code or CloseCode.ABNORMAL, socket.close_reason or ""
    ours = error.sent is not None and not error.rcvd_then_sent
    if ours:
        sent = error.sent.code
        if sent == CloseCode.MESSAGE_TOO_BIG:
            # The peer may answer with any code, or not at all; why it ended is known here.
            return Closing(sent, "a message was larger than max_size", ours)
        # Of itself the library closes with 1011 where no pong comes.
        silent = sent == CloseCode.INTERNAL_ERROR
        return Closing(code, reason, ours, returns=silent or sent == COMES_BACK)
    return Closing(code, reason, ours, returns=error.rcvd is None or code in RETURNING)


@contextmanager
def translated(url: str, socket: Any, timeout: float | None = None) -> Iterator[None]:
    """Raise this package's exceptions in place of the library's.

    Args:
        url: What is connected to.
        socket: What a library's exception is about.
        timeout: Seconds that somebody waits, or None.
    """
    from websockets.exceptions import ConnectionClosed as SocketClosed

    try:
        yield
    except SocketClosed as error:
        raise closed(url, closing_of(error, socket)) from None
    except Ended as error:
        raise closed(url, error.closing) from None
    except TimeoutError:
        raise TimeoutError(
            f"no message from {url.partition('?')[0]} within {timeout or 0:g} s; "
            "recv(timeout=60) waits longer, timeout=None without end"
        ) from None


def closed(url: str, closing: Closing) -> ConnectionClosed:
    """Return the exception that says how a connection has ended, and what to do."""
    text = f"the connection to {url.partition('?')[0]} is closed: {closing.code}"
    text = f"{text} {closing.reason}".rstrip()
    after = f"; {closing.tried}" if closing.tried else _after(closing)
    return ConnectionClosed(text + after, closing.code, closing.reason)


def ends_well(closing: Closing | None, code: int | None) -> bool:
    """Return whether a loop over the messages just stops at this end.

    Args:
        closing: The end; None where only its code is known.
        code: Its code.
    """
    return code in ENDED and not (closing and closing.tried)


def _after(closing: Closing) -> str:
    """Return what to do after a close code, as the end of a sentence."""
    ours = closing.ours
    advice: dict[int, str] = {
        CloseCode.MESSAGE_TOO_BIG: "; connect(..., max_size=...) takes larger ones" if ours else "",
        CloseCode.INTERNAL_ERROR: "" if ours else "; the server's log has the error",
        CloseCode.SERVICE_RESTART: "; connect again",
        CloseCode.TRY_AGAIN_LATER: "; connect again later",
        CloseCode.LOGGED_OUT: "; log in again",
    }
    return advice.get(closing.code, "")
