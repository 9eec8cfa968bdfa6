"""The `stream` transport: Tornado's IOStream, for loops without add_reader."""

from __future__ import annotations

import asyncio

from tornado.iostream import IOStream, StreamClosedError

from ..engine.shared import Frames
from ..types import Outstanding, Receiver
from .loop import RECEIVE_SIZE, LoopIO
from .outstanding import outstanding
from .queue import FrameQueue


class StreamTransport:
    """A transport of bytes over an `IOStream`, one write in flight at a time.

    Args:
        stream: The stream that `RequestHandler.detach` gave; this object owns it from now on.
        io: What the connections of this loop share.
        first_read: A read that was begun at the hand-over and has not ended yet.
    """

    __slots__ = (
        "_ended",
        "_io",
        "_queue",
        "_read",
        "_reading",
        "_receiver",
        "_stream",
        "_unread",
        "_writing",
    )

    def __init__(
        self, stream: IOStream, io: LoopIO, first_read: asyncio.Future[bytes] | None = None
    ) -> None:
        stream.set_nodelay(True)
        self._stream: IOStream | None = stream
        self._io = io
        self._receiver: Receiver | None = None
        self._queue: FrameQueue | None = None
        self._read = first_read
        self._reading = False
        self._unread = b""  # arrived while reading was paused
        self._writing = 0
        self._ended = 0  # 1: close when the queue is empty; 2: write no more, but read on

    @property
    def queued_bytes(self) -> int:
        """Bytes that the operating system has not taken yet."""
        return self._writing + (self._queue.size if self._queue is not None else 0)

    @property
    def queued_frames(self) -> int:
        """Frames that wait; what is being written counts as one."""
        return bool(self._writing) + (len(self._queue) if self._queue is not None else 0)

    def outstanding(self) -> Outstanding:
        """Return what the peer has not taken, in the operating system's hands, too."""
        stream = self._stream
        return outstanding(None if stream is None else stream.socket, self.queued_bytes)

    def fileno(self) -> int:
        """Return the socket's descriptor, or -1 where it is closed."""
        stream = self._stream
        return stream.socket.fileno() if stream is not None and stream.socket is not None else -1

    def start(self, receiver: Receiver, early: bytes) -> None:
        """Begin to read; `early` is what arrived behind the handshake."""
        self._receiver = receiver
        if self._stream is None:  # `open` has run, and its write found the peer gone
            self._io.loop.call_soon(self._tell_lost)
            return
        self._reading = True
        self._stream.set_close_callback(self._tell_lost)
        if self._read is not None:  # begun at the hand-over
            self._read.add_done_callback(self._read_done)
        if early:
            receiver.data_received(early)
        self._read_on()

    def _read_on(self) -> None:
        """Begin to read, unless a read is under way: it may be while reading is paused."""
        if self._stream is None or not self._reading or self._read is not None:
            return
        try:
            self._read = asyncio.ensure_future(self._stream.read_bytes(RECEIVE_SIZE, partial=True))
        except StreamClosedError:
            self.abort()
            return
        self._read.add_done_callback(self._read_done)

    def _read_done(self, read: asyncio.Future[bytes]) -> None:
        self._read = None
        if read.cancelled() or read.exception() is not None:
            self.abort()
        elif self._receiver is not None:
            if self._reading:
                self._receiver.data_received(read.result())
            else:
                self._unread += read.result()
            self._read_on()

    def write(self, frame: bytes) -> None:
        """Send one frame now, or queue it; never blocks and never raises."""
        if self._stream is None or self._ended or not frame:
            return
        if self._queue is None:
            self._queue = FrameQueue()
            if self._io.batching:
                self._io.add(self)
        self._queue.append(frame)
        if not self._io.batching:
            self.flush()

    def write_all(self, frames: Frames) -> bool:
        """Send the frames of some shared messages; return whether something waits."""
        if self._stream is None or self._ended:
            return False
        if self._queue is None:
            self._queue = FrameQueue()
            if self._io.batching:
                self._io.add(self)
        for frame in frames.each:
            self._queue.append(frame)
        if not self._io.batching:
            self.flush()
        return bool(self.queued_bytes)

    def seal(self) -> None:
        """Take note that the close frame has been written: nothing goes by another way here."""

    def flush(self) -> None:
        """Hand the queued frames to the stream, unless it still has some."""
        if self._stream is None or self._queue is None or self._writing:
            return
        chunk = self._queue.chunk()
        self._queue.sent(len(chunk))
        if not self._queue.size:
            self._queue = None
        try:
            write = self._stream.write(chunk)
        except StreamClosedError:
            self.abort()
            return
        if self._stream is not None and self._stream.writing():
            self._writing = len(chunk)
            write.add_done_callback(self._write_done)
            return
        if self._queue is not None:
            self._io.loop.call_soon(self._flush_on)
        else:
            self._drained()

    def _flush_on(self) -> None:
        self.flush()
        if self._receiver is not None:
            self._receiver.writing_resumed()

    def _write_done(self, write: asyncio.Future[None]) -> None:
        self._writing = 0
        if write.cancelled() or write.exception() is not None:
            self.abort()
            return
        if self._queue is not None:
            self.flush()
        else:
            self._drained()
        if self._receiver is not None:
            self._receiver.writing_resumed()

    def _drained(self) -> None:
        if self._ended == 1:
            self.abort()

    def drop_oldest(self) -> int:
        """Drop the oldest queued frame of which nothing has left; return its size, or 0."""
        if self._queue is None:
            return 0
        size = self._queue.drop_oldest()
        if not self._queue.size:
            self._queue = None
        return size

    def pause_reading(self) -> None:
        """Stop reading; at most one more chunk is held."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again."""
        if self._reading or self._receiver is None:
            return
        self._reading = True
        if self._unread:
            unread, self._unread = self._unread, b""
            self._receiver.data_received(unread)
        self._read_on()

    def close(self) -> None:
        """Send what is queued, then close the stream."""
        if self._stream is not None:
            if self._queue is None and not self._writing:
                self.abort()
            else:
                self._ended = 1

    def end(self) -> None:
        """Send what is queued, write no more, and read on; see `DirectTransport.end`."""
        if self._stream is not None:
            self._ended = 2
            self.resume_reading()

    def abort(self) -> None:
        """Close the stream at once and drop what is queued."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            self._queue, self._writing = None, 0
            stream.close()
            self._io.loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        self._stream = None
        self._queue, self._writing = None, 0
        self._reading = False
        if self._receiver is not None:
            receiver, self._receiver = self._receiver, None
            if self._unread:
                unread, self._unread = self._unread, b""
                receiver.data_received(unread)
            receiver.connection_lost()
