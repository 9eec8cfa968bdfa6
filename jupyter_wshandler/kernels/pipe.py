"""A socket between a server and a kernel of one machine, on which batches travel whole.

Jupyter's own channels cost a millisecond of two processes for each message: it is written, signed
and copied as a dictionary of dictionaries, and goes through four threads of the kernel and to every
notebook that is open. A Unix socket between the two event loops costs a hundredth of that. Each
message on it begins with two numbers of 32 bits, the bytes of its JSON and the number of its
buffers, and a number of 64 bits for the size of each buffer; then comes the JSON, which is a batch
as `courier` describes it, and the buffers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from .batches import MAX_EVENTS, NotABatch

AT_ONCE = 0.003
"""Seconds of an event loop that messages of one pipe take at a time."""

READ = 128 * 1024
"""Bytes that are read at a time."""

MAX_PARTS = 16_384
"""Pieces of messages that wait for the other side to read, at most: batches are bounded, so that
only one who sends and never reads gets there."""

SECRET = 32
"""Bytes of what a kernel proves with that it is the one that was told of the socket."""

_HEAD = struct.Struct("!II")
_SIZE = struct.Struct("!Q")
_encode = msgspec.json.Encoder().encode


class Pipe:
    """One end of the socket, on an event loop.

    Args:
        loop: The event loop.
        sock: The connected socket; it is the pipe's from now on.
        received: Gets the JSON and the buffers of each message.
        ended: Called once when the other side has ended it, with None, or when it sends what
            cannot be a message, with that error; not after `close`.
        largest: Bytes that the JSON of a message may have; 0 for no limit.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        received: Callable[[bytes, list[bytes]], object],
        ended: Callable[[NotABatch | None], object],
        *,
        largest: int = 0,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._received = received
        self._ended = ended
        self._largest = largest
        self._buffer = memoryview(bytearray(READ))
        self._came = bytearray()
        self._at = 0  # what of that has been handed over
        self._unsent: deque[bytes | memoryview] = deque()
        self._turn: asyncio.Handle | None = None
        self._closed = False
        self.used = False
        """Whether anything has come since somebody has set this to False."""
        sock.setblocking(False)
        loop.add_reader(sock, self._readable)

    # ---- what comes ------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            count = self._sock.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if not count:
            self._end(None)
            return
        self.used = True
        self._came += self._buffer[:count]
        self._hand_over()

    def _hand_over(self) -> None:
        """Hand over the messages that are complete, for a few milliseconds at a time."""
        self._turn = None
        until = time.monotonic() + AT_ONCE
        try:
            while not self._closed:
                content, buffers, end = self._next(self._at)
                if content is None:
                    break
                # Before it is handed over: a bot may run this event loop within a callback (as
                # nest_asyncio lets it), and what follows is then handed over from in there.
                self._at = end
                self._received(content, buffers)
                late = time.monotonic() >= until
                if late and self._at < len(self._came) and not self._closed:
                    # Nothing is read meanwhile: the other side waits, and nothing piles up here.
                    self._loop.remove_reader(self._sock)
                    self._turn = self._loop.call_soon(self._go_on)
                    break
        except NotABatch as error:
            self._end(error)
        except Exception:
            # The fault is of one message: those behind it are handed over all the same.
            self._turn = self._loop.call_soon(self._hand_over)
            raise
        finally:
            del self._came[: self._at]
            self._at = 0

    def _go_on(self) -> None:
        self._loop.add_reader(self._sock, self._readable)
        self._hand_over()

    def _next(self, at: int) -> tuple[bytes | None, list[bytes], int]:
        """Return the message that begins at a place and where it ends; None where more is to come.

        Raises:
            NotABatch: It says that it is larger than one can be.
        """
        came = self._came
        have = len(came) - at
        if have < _HEAD.size:
            return None, [], at
        size, count = _HEAD.unpack_from(came, at)
        if self._largest and size > self._largest:
            raise NotABatch(f"a batch of {size} bytes, where {self._largest} are the most")
        if count > MAX_EVENTS:
            raise NotABatch(f"a batch with {count} buffers, where {MAX_EVENTS} are the most")
        begin = at + _HEAD.size + count * _SIZE.size
        if len(came) < begin + size:
            return None, [], at
        with memoryview(came) as view:
            if not count:
                return bytes(view[begin : begin + size]), [], begin + size
            sizes = struct.unpack_from(f"!{count}Q", came, at + _HEAD.size)
            place = begin + size
            if len(came) < place + sum(sizes):
                return None, [], at
            buffers = []
            for one in sizes:
                buffers.append(bytes(view[place : place + one]))
                place += one
            return bytes(view[begin : begin + size]), buffers, place

    # ---- what goes -------------------------------------------------------------------------

    @property
    def waits(self) -> bool:
        """Whether anything that was sent waits for the system to take it."""
        return bool(self._unsent)

    def send(self, content: bytes, buffers: Sequence[bytes] = ()) -> None:
        """Send a message; never blocks and never raises.

        Args:
            content: Its JSON.
            buffers: What travels beside it.
        """
        if self._closed:
            return
        head = _HEAD.pack(len(content), len(buffers))
        parts: list[bytes | memoryview] = [head + content]
        if buffers:
            head += b"".join(_SIZE.pack(len(buffer)) for buffer in buffers)
            parts = [head, content, *buffers]
        if self._unsent:
            self._unsent += parts
            if len(self._unsent) > MAX_PARTS:
                self._loop.call_soon(self._end, NotABatch("what it is told is not read"))
            return
        self._unsent += parts
        if not self._write():
            self._loop.add_writer(self._sock, self._writable)

    def _write(self) -> bool:
        """Write what the system takes; return whether that is all."""
        unsent = self._unsent
        try:
            if len(unsent) == 1:
                sent = self._sock.send(unsent[0])
            else:
                sent = self._sock.sendmsg(list(itertools.islice(unsent, MAX_EVENTS + 2)))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            unsent.clear()  # the end is read: what came before it is not lost
            return True
        while unsent and sent >= len(unsent[0]):
            sent -= len(unsent.popleft())
        if unsent and sent:
            unsent[0] = memoryview(unsent[0])[sent:]
        return not unsent

    def _writable(self) -> None:
        if self._write():
            self._loop.remove_writer(self._sock)

    # ---- the end ---------------------------------------------------------------------------

    def _end(self, error: NotABatch | None) -> None:
        if not self._closed:
            self.close()
            self._ended(error)

    def close(self) -> None:
        """End it; what has not been sent is dropped."""
        if self._closed:
            return
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
        self._unsent.clear()
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
        self._sock.close()


def write_batch(batch: dict[str, Any], pack: Callable[[Any], object]) -> bytes:
    """Return a batch as JSON.

    Args:
        batch: The batch, with its events as they are.
        pack: Writes what is no plain JSON, as Jupyter's messages have it.

    Raises:
        Exception: What `pack` raises where it cannot, either.
    """
    try:
        return _encode(batch)
    except Exception:
        events = [event.as_list() for event in batch.get("events", ())]
        written = pack({**batch, "events": events})
        assert isinstance(written, bytes)
        return written


def connect(offer: object) -> socket.socket | None:
    """Return a socket to the server that has offered one, or None where there is no way.

    Args:
        offer: What the server says of its socket: its path, and the secret in hexadecimal.
    """
    try:
        path, secret = offer["path"], bytes.fromhex(offer["secret"])  # type: ignore[index]
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        return None
    try:
        # It must not wait: a server that accepts nobody is one to which there is no way.
        sock.setblocking(False)
        sock.connect(path)
        sock.sendall(secret)
    except (OSError, TypeError, ValueError):
        sock.close()
        return None
    return sock
