"""The `direct` transport over TLS: a socket that OpenSSL encrypts, with nothing in between."""

from __future__ import annotations

import contextlib
import ssl
from ssl import SSLWantReadError, SSLWantWriteError

from ..engine.shared import Frames
from ..types import Receiver
from .direct import DirectTransport
from .loop import RECEIVE_SIZE, LoopIO
from .queue import FrameQueue

RECORD = 16384
"""Bytes of one record at most (RFC 8446 section 5.1): OpenSSL takes it whole, or not at all."""

RECORDS_PER_TURN = 16
"""Records that one connection may write before another gets a turn."""

READS_UNTIL_LOOK = 8
"""Reads after which is looked again whether the peer sends several records at a time."""

WRITE_AWAITS_READ, READ_AWAITS_WRITE, BROKEN = 1, 2, 4
"""What is unusual: a direction waits for the other one (a new key, RFC 8446 section 4.6.3), or the
end was seen behind bytes that the receiver gets first."""

_FULL = (SSLWantWriteError, BlockingIOError, InterruptedError)


class TLSTransport(DirectTransport):
    """A transport of bytes over a TLS socket whose handshake is done.

    A record that OpenSSL has begun to send must be offered again with the same bytes until it is
    gone. It is kept apart from the queue: nothing of it is dropped, and nothing goes before it.

    Args:
        sock: A TLS socket that this object owns from now on.
        io: What the connections of this loop share.
    """

    __slots__ = ("_begun", "_until_look", "_unusual")

    _sock: ssl.SSLSocket | None

    def __init__(self, sock: ssl.SSLSocket, io: LoopIO) -> None:
        super().__init__(sock, io)
        self._begun: bytes | memoryview | None = None  # then there is a queue, too
        self._unusual = 0
        self._until_look = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that OpenSSL has not sent yet."""
        queue, begun = self.queue, self._begun
        return 0 if queue is None else queue.size + (0 if begun is None else len(begun))

    @property
    def queued_frames(self) -> int:
        """Frames that wait; a record that is being sent counts as one."""
        return 0 if self.queue is None else len(self.queue) + (self._begun is not None)

    # ---- reading ---------------------------------------------------------------------------------

    def start(self, receiver: Receiver, early: bytes) -> None:
        """Begin to read; `early` is what arrived behind the handshake."""
        super().start(receiver, early)
        self._read_what_is_decrypted()

    def _read_what_is_decrypted(self) -> None:
        """Read in a later turn what OpenSSL holds: the loop does not tell of it."""
        sock = self._sock
        if sock is not None and self._reading and (self._unusual & BROKEN or sock.pending()):
            self._loop.call_soon(self._readable)

    def _readable(self) -> None:
        sock = self._sock
        if sock is None:
            return
        if self._unusual & WRITE_AWAITS_READ:
            self._unusual &= ~WRITE_AWAITS_READ
            self._loop.call_soon(self._write_on)  # the read below may take what it waits for
            if not self._reading:
                self._loop.remove_reader(self._fd)
        if not self._reading:
            return
        io = self._io
        try:
            count = sock.recv_into(io.buffer, RECEIVE_SIZE)
        except (SSLWantReadError, BlockingIOError, InterruptedError):
            return
        except SSLWantWriteError:
            self._read_when_writable()
            return
        except OSError:
            count = 0
        if not count:
            self.abort()
            return
        # A look that finds nothing costs a system call and an exception, so that a peer that sends
        # one record at a time is seldom looked at; one that sends many saves a turn for each.
        if self._until_look:
            self._until_look -= 1
        else:
            whole = self._read_more(sock, count)
            if whole == count:
                self._until_look = READS_UNTIL_LOOK
            count = whole
        self._receiver.data_received(bytes(io.view[:count]))  # type: ignore[union-attr]
        if self._unusual or count > RECEIVE_SIZE - RECORD:
            self._read_what_is_decrypted()

    def _read_more(self, sock: ssl.SSLSocket, count: int) -> int:
        """Read the records that are there behind the first; return how many bytes there are now."""
        view = self._io.view
        while count <= RECEIVE_SIZE - RECORD:
            try:
                more = sock.recv_into(view[count:], RECEIVE_SIZE - count)
            except (SSLWantReadError, BlockingIOError, InterruptedError):
                break
            except SSLWantWriteError:
                self._read_when_writable()
                break
            except OSError:
                more = 0
            if not more:
                self._unusual |= BROKEN  # the next read finds it again
                break
            count += more
        return count

    def _read_when_writable(self) -> None:
        self._unusual |= READ_AWAITS_WRITE
        self._watch_writable()

    def pause_reading(self) -> None:
        """Stop reading; the peer's TCP window fills."""
        super().pause_reading()
        if self._unusual & WRITE_AWAITS_READ and self._sock is not None:
            self._loop.add_reader(self._fd, self._readable)

    def resume_reading(self) -> None:
        """Read again."""
        if not self._reading:
            super().resume_reading()
            self._read_what_is_decrypted()

    # ---- writing ---------------------------------------------------------------------------------

    def write(self, frame: bytes) -> None:
        """Send one frame now, or queue it; never blocks and never raises."""
        sock = self._sock
        if sock is None or self._ended or not frame:
            return
        if self.queue is not None:
            self.queue.append(frame)
        elif self._io.batching or len(frame) > RECORD:
            self.queue = FrameQueue()
            self.queue.append(frame)
            self._send_queued()
        else:
            try:
                count = sock.send(frame)
            except (SSLWantReadError, *_FULL) as why:
                self._hold(frame, why)
            except OSError:
                self._ended = 2  # nothing more is tried, however much is written meanwhile
                self._loop.call_soon(self.abort)
            else:
                if count < len(frame):  # as SSL_MODE_ENABLE_PARTIAL_WRITE permits
                    self.queue = FrameQueue()
                    self.queue.append(frame)
                    self.queue.sent(count)
                    self._watch_writable()

    def write_all(self, frames: Frames) -> bool:
        """Send the frames of some shared messages now, in one piece, or queue them one by one.

        Returns:
            Whether something waits now.
        """
        whole = frames.whole
        if self._sock is None or self._ended:
            return False
        if self.queue is not None:
            for frame in frames.each:
                self.queue.append(frame)
        elif whole is not None and frames.size <= RECORD and not self._io.batching:
            self.write(whole)
        else:
            self.queue = FrameQueue()
            for frame in frames.each:  # each counts, and may be dropped, on its own
                self.queue.append(frame)
            self._send_queued()
        return self.queue is not None

    def _send_queued(self) -> None:
        """Send what was queued first, at the end of the batch where one is open."""
        if self._io.batching:
            self._io.add(self)
        else:
            self.flush()

    def _hold(self, data: bytes | memoryview, why: OSError) -> None:
        """Keep what OpenSSL has begun to send, until it can go on."""
        self._begun = data
        if self.queue is None:
            self.queue = FrameQueue()
        if isinstance(why, SSLWantReadError):
            self._unusual |= WRITE_AWAITS_READ
            self._loop.add_reader(self._fd, self._readable)
        else:
            self._watch_writable()

    def flush(self) -> None:
        """Send what is queued, as far as the operating system takes it."""
        sock, queue = self._sock, self.queue
        if sock is None or queue is None:
            return
        for _ in range(RECORDS_PER_TURN):
            data = self._begun
            if data is None:
                if not queue.size:
                    break
                data = queue.chunk(RECORD)
                if len(data) > RECORD:
                    data = memoryview(data)[:RECORD]
                queue.sent(len(data))
            try:
                count = sock.send(data)
            except (SSLWantReadError, *_FULL) as why:
                self._hold(data, why)
                return
            except OSError:
                self._loop.call_soon(self.abort)
                return
            self._begun = memoryview(data)[count:] if count < len(data) else None
        if self._begun is not None or queue.size:
            self._watch_writable()
        else:
            self._drained()

    def _writable(self) -> None:
        if self._unusual & READ_AWAITS_WRITE:
            self._unusual &= ~READ_AWAITS_WRITE
            if self.queue is None:
                self._writing = False
                self._loop.remove_writer(self._fd)
            if self._reading:
                self._readable()
        if self.queue is not None:
            self._write_on()

    def _write_on(self) -> None:
        self.flush()
        if self._receiver is not None and not self._lost:
            self._receiver.writing_resumed()

    def _drained(self) -> None:
        self.queue = None
        if self._writing and not self._unusual & READ_AWAITS_WRITE:
            self._writing = False
            self._loop.remove_writer(self._fd)
        if self._ended == 1:
            self._say_goodbye()

    # ---- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is queued, tell the peer that nothing follows, and close the socket."""
        if self._sock is not None:
            if self.queue is None:
                self._say_goodbye()
            else:
                self._ended = 1

    def _say_goodbye(self) -> None:
        """Send `close_notify` (RFC 8446 section 6.1), without waiting for the peer's."""
        if self._sock is not None:
            with contextlib.suppress(OSError, ValueError):
                self._sock.unwrap()
        self.abort()

    def abort(self) -> None:
        """Close the socket at once and drop what is queued."""
        if self._unusual & WRITE_AWAITS_READ and self._sock is not None:
            self._loop.remove_reader(self._fd)
        self._begun = None
        super().abort()
