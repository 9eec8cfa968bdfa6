"""The `direct` transport: a plain socket on a selector event loop, with nothing in between."""

from __future__ import annotations

import contextlib
import socket

from ..engine.shared import Frames
from ..types import Outstanding, Receiver
from .loop import LoopIO
from .outstanding import outstanding
from .queue import FrameQueue

WRITES_PER_TURN = 16
"""Chunks that one connection may write before another gets a turn."""


class _InFront:
    """What is looked at for each member of a room.

    The slots of a base stand first in the object, beside its reference count: the processor fetches
    one line of memory for them, where it would fetch two.
    """

    __slots__ = ("queue", "way")


class DirectTransport(_InFront):
    """A transport of bytes over a non-blocking stream socket.

    Reading goes into the loop's shared buffer; a frame is sent at once while nothing is queued,
    and queued where the operating system is full or a batch is open.

    Args:
        sock: A connected socket that this object owns from now on.
        io: What the connections of this loop share.
    """

    __slots__ = (
        "_ended",
        "_fd",
        "_io",
        "_loop",
        "_lost",
        "_reading",
        "_receiver",
        "_sock",
        "_writing",
    )

    def __init__(self, sock: socket.socket, io: LoopIO) -> None:
        sock.setblocking(False)
        # Nagle's algorithm holds a small message back until the last one is acknowledged.
        with contextlib.suppress(OSError):  # a unix socket has no such option
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock: socket.socket | None = sock
        # Looked at for each member of a room, so they are no properties: the socket, as long as
        # messages may be sent, and what waits for it.
        self.way: socket.socket | None = sock
        self._fd = sock.fileno()
        self._io = io
        self._loop = io.loop
        self._receiver: Receiver | None = None
        self.queue: FrameQueue | None = None
        self._reading = False
        self._writing = False
        self._ended = 0  # 1: close when the queue is empty; 2: write no more, but read on
        self._lost = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that the operating system has not taken yet."""
        return self.queue.size if self.queue is not None else 0

    @property
    def queued_frames(self) -> int:
        """Frames among them."""
        return len(self.queue) if self.queue is not None else 0

    def outstanding(self) -> Outstanding:
        """Return what the peer has not taken, in the operating system's hands, too."""
        return outstanding(self._sock, self.queued_bytes)

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 where it is closed."""
        return self._fd if self._sock is not None else -1

    def start(self, receiver: Receiver, early: bytes) -> None:
        """Begin to read; `early` is what arrived behind the handshake."""
        self._receiver = receiver
        if self._sock is None:  # `open` has run, and its write found the peer gone
            self._loop.call_soon(self._tell_lost)
            return
        self._reading = True
        self._loop.add_reader(self._fd, self._readable)
        if early:
            receiver.data_received(early)

    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        io = self._io
        try:
            count = sock.recv_into(io.buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            count = 0
        if count:
            self._receiver.data_received(bytes(io.view[:count]))  # type: ignore[union-attr]
        else:
            self.abort()

    def write(self, frame: bytes) -> None:
        """Send one frame now, or queue it; never blocks and never raises."""
        sock = self._sock
        if sock is None or self._ended or not frame:
            return
        if self.queue is None:
            if not self._io.batching:
                try:
                    count = sock.send(frame)
                except (BlockingIOError, InterruptedError):
                    count = 0
                except OSError:
                    self._ended = 2  # nothing more is tried, however much is written meanwhile
                    self.way = None
                    self._loop.call_soon(self.abort)
                    return
                if count == len(frame):
                    return
                self.queue = FrameQueue()
                self.queue.append(frame)
                if count:
                    self.queue.sent(count)
                self._watch_writable()
                return
            self.queue = FrameQueue()
            self._io.add(self)
        self.queue.append(frame)

    def write_all(self, frames: Frames) -> bool:
        """Send the frames of some shared messages now, in one piece, or queue them one by one.

        Returns:
            Whether something waits now.
        """
        sock, whole = self._sock, frames.whole
        if whole is None or self.queue is not None or self._io.batching:
            for frame in frames.each:
                self.write(frame)
            return self.queue is not None
        if sock is None or self._ended:
            return False
        try:
            count = sock.send(whole)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError:
            self._ended = 2
            self.way = None
            self._loop.call_soon(self.abort)
            return False
        if count == frames.size:
            return False
        self.keep_rest(frames, count)
        return True

    def keep_rest(self, frames: Frames, count: int) -> None:
        """Queue what the operating system has not taken of some shared messages.

        Args:
            frames: The messages; nothing else waits.
            count: Bytes of them that it has taken.
        """
        self.queue = FrameQueue()
        for frame in frames.each:  # each counts, and may be dropped, on its own
            self.queue.append(frame)
        if count:
            self.queue.sent(count)
        self._watch_writable()

    def seal(self) -> None:
        """Let no more messages pass that go to many at once: the close frame has been written."""
        self.way = None

    def flush(self) -> None:
        """Send what is queued, as far as the operating system takes it."""
        sock, queue = self._sock, self.queue
        if sock is None or queue is None:
            return
        try:
            for _ in range(WRITES_PER_TURN):
                if not queue.size:
                    break
                chunk = queue.chunk()
                count = sock.send(chunk)
                queue.sent(count)
                if count < len(chunk):
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._loop.call_soon(self.abort)
            return
        if queue.size:
            self._watch_writable()
        else:
            self._drained()

    def _watch_writable(self) -> None:
        if not self._writing:
            self._writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        self.flush()
        if self._receiver is not None and not self._lost:
            self._receiver.writing_resumed()

    def _drained(self) -> None:
        self.queue = None
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        if self._ended == 1:
            self.abort()

    def drop_oldest(self) -> int:
        """Drop the oldest queued frame of which nothing has left; return its size, or 0."""
        return self.queue.drop_oldest() if self.queue is not None else 0

    def pause_reading(self) -> None:
        """Stop reading; the peer's TCP window fills."""
        if self._reading and self._sock is not None:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read again."""
        if not self._reading and self._sock is not None:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Send what is queued, then close the socket."""
        if self._sock is None:
            return
        if self.queue is None:
            self.abort()
        else:
            self._ended = 1
            self.way = None

    def end(self) -> None:
        """Send what is queued, write no more, and read on.

        A socket that is closed with unread bytes answers with a reset, and a reset can destroy
        the close frame on its way to the peer (RFC 6455 section 7.1.1, RFC 1122 4.2.2.13). So
        does a proxy that sees the end of our direction: it ends both sides at once, while the
        peer still sends. Whoever calls this closes when the peer has answered, or after a while.
        """
        if self._sock is not None:
            self._ended = 2
            self.way = None
            self.resume_reading()

    def abort(self) -> None:
        """Close the socket at once and drop what is queued."""
        sock = self._sock
        if sock is None:
            return
        self._sock = self.way = None
        self.queue = None
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        sock.close()
        # In a later turn: a callback that writes may be on the stack, and must not find that its
        # connection was ended from within the write.
        self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        if not self._lost and self._receiver is not None:
            self._lost = True
            receiver, self._receiver = self._receiver, None
            receiver.connection_lost()
