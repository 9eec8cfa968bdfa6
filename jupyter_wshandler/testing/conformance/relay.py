"""A relay on loopback between a client and a server: it hears all frames, and can harm them."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

HOST = "127.0.0.1"

End: TypeAlias = Literal["client", "server"]

TEXT, BINARY, CLOSE = 1, 2, 8

HEAD = 65536
"""Bytes of a request or an answer, at most."""


@dataclass
class Frame:
    """One message or control frame on its way (RFC 6455 section 5).

    Args:
        sender: Which end has sent it.
        link: Which of the connections it has come by, counted from 1.
        opcode: Its kind; a message in several frames is one.
        data: The payload, without its mask.
        raw: The bytes as they came.
        at: When, on the monotonic clock.
        passed: Whether it was passed on as it is.
    """

    sender: End
    link: int
    opcode: int
    data: bytes
    raw: bytes
    at: float = field(default_factory=time.monotonic)
    passed: bool = True

    @property
    def is_message(self) -> bool:
        """Whether it is a text or a binary message."""
        return self.opcode in (TEXT, BINARY)

    @property
    def said(self) -> dict[str, Any]:
        """The JSON object that it holds; an empty one where it holds none."""
        if self.opcode != TEXT:
            return {}
        try:
            found = json.loads(self.data)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> int:
        """The close code; 1005 where there is none."""
        return int.from_bytes(self.data[:2], "big") if len(self.data) > 1 else 1005

    def __str__(self) -> str:
        what = self.data.decode(errors="replace") if self.opcode == TEXT else self.data.hex(" ", 1)
        if self.opcode == CLOSE:
            what = f"close {self.code} {self.data[2:].decode(errors='replace')}".rstrip()
        what = re.sub(r'("secret": *)"[^"]*"', r'\1"***"', what)
        return what if len(what) <= 120 else f"{what[:120]}..."


@dataclass
class Cut:
    """The end of a connection.

    Args:
        behind: What is passed on before, in place of the frame.
    """

    behind: bytes = b""


Harm: TypeAlias = Callable[[Frame], bytes | Cut | None]
"""Returns the bytes to pass on in place of a frame; None for the frame as it is."""


def text_frame(said: dict[str, Any] | str) -> bytes:
    """Return a text frame of a server's."""
    data = (said if isinstance(said, str) else json.dumps(said)).encode()
    size = len(data)
    if size < 126:
        return bytes([0x81, size]) + data
    if size < 65536:
        return b"\x81\x7e" + struct.pack(">H", size) + data
    return b"\x81\x7f" + struct.pack(">Q", size) + data


class Relay:
    """A port that passes everything on to another one, frame by frame.

    Compression is taken out of the handshake, so that frames can be read.

    Args:
        upstream: The server's port on this machine.
        changed: Is notified when something has come.

    Attributes:
        port: Where it listens.
        frames: What has come, in its order.
        offers: The subprotocols that each handshake has offered.
        refused: Connections that were refused while `is_deaf`.
        is_deaf: Whether connections end at once.
        on_server, on_client: What becomes of frames of either end.
        on_request, on_answer: What becomes of the head of the handshake.
    """

    def __init__(self, upstream: int, changed: threading.Condition) -> None:
        self._upstream = upstream
        self._changed = changed
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.frames: list[Frame] = []
        self.offers: list[list[str]] = []
        self.refused = 0
        self.is_deaf = False
        self.on_server: Harm | None = None
        self.on_client: Harm | None = None
        self.on_request: Callable[[bytes], bytes] | None = None
        self.on_answer: Callable[[bytes], bytes] | None = None
        self._links = 0
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, name="conformance relay")]
        self._threads[0].start()

    # ---- what trials do ------------------------------------------------------------------------

    def cut(self) -> None:
        """End every connection without a close frame, on both sides."""
        with self._lock:
            pairs = list(self._open)
        for pair in pairs:
            for each in pair:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def of(self, sender: End) -> list[Frame]:
        """Return what one end has sent so far."""
        return [frame for frame in list(self.frames) if frame.sender == sender]

    def close(self) -> None:
        """End all of it."""
        self.is_deaf = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    # ---- connections ---------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.is_deaf:
                near.close()
                with self._changed:
                    self.refused += 1
                    self._changed.notify_all()
                continue
            thread = threading.Thread(target=self._serve, args=(near,), name="conformance link")
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near:
            try:
                far = socket.create_connection((HOST, self._upstream), timeout=10)
            except OSError:
                return
            far.settimeout(None)
            with far:
                pair = (near, far)
                with self._lock:
                    self._open.append(pair)
                    self._links += 1
                    link = self._links
                if self.is_deaf:
                    self.cut()
                with suppress(OSError, EOFError):
                    self._relay(near, far, link)
                for each in pair:
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
                with self._lock:
                    self._open.remove(pair)

    def _relay(self, near: socket.socket, far: socket.socket, link: int) -> None:
        client, server = Reader(near), Reader(far)
        head = client.head()
        if not re.search(rb"(?im)^upgrade: *websocket\r$", head):
            self._answer_plainly(near, far, head)
            return
        offered = re.search(rb"(?im)^sec-websocket-protocol: *(.*?)\r$", head)
        names = offered[1].decode(errors="replace").split(",") if offered else []
        with self._changed:
            self.offers.append([name.strip() for name in names])
            self._changed.notify_all()
        head = re.sub(rb"(?im)^sec-websocket-extensions:.*\r\n", b"", head)
        far.sendall(self.on_request(head) if self.on_request else head)
        answer = server.head()
        near.sendall(self.on_answer(answer) if self.on_answer else answer)
        if b" 101 " not in answer.partition(b"\r\n")[0]:
            _pour(server, near, far)
            return
        back = threading.Thread(
            target=self._pump, args=("client", client, far, link), name="conformance pump"
        )
        back.start()
        self._pump("server", server, near, link)
        back.join()

    def _answer_plainly(self, near: socket.socket, far: socket.socket, head: bytes) -> None:
        """Pass on a request that opens no WebSocket: a client may ask why none opens.

        It has the connection for itself, as what follows on it would not be heard.
        """
        head = re.sub(rb"(?im)^connection:.*\r\n", b"", head)
        far.sendall(head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n")
        _pour(Reader(far), near, far)

    def _pump(self, sender: End, reader: Reader, target: socket.socket, link: int) -> None:
        with suppress(OSError, EOFError):
            while True:
                self._pass(Frame(sender, link, *reader.message()), target)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def _pass(self, frame: Frame, target: socket.socket) -> None:
        harm = self.on_server if frame.sender == "server" else self.on_client
        raw = harm(frame) if harm is not None else None
        frame.passed = raw is None
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()
        if isinstance(raw, Cut):
            target.sendall(raw.behind)
            self.cut()
            raise EOFError
        target.sendall(frame.raw if raw is None else raw)


def _pour(server: Reader, near: socket.socket, far: socket.socket) -> None:
    """Pass on what a server still says, up to its end."""
    with suppress(OSError):
        far.settimeout(5)
        while data := server.some():
            near.sendall(data)


class Reader:
    """Reads the head of a handshake, and then messages, from a socket."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = b""
        self._later: deque[tuple[int, bytes, bytes]] = deque()

    def some(self) -> bytes:
        """Return what is there; nothing at the end."""
        data, self._buffer = self._buffer, b""
        return data or self._source.recv(65536)

    def head(self) -> bytes:
        """Return the bytes up to an empty line."""
        while b"\r\n\r\n" not in self._buffer and len(self._buffer) < HEAD:
            self._more()
        head, mark, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + mark

    def message(self) -> tuple[int, bytes, bytes]:
        """Return the next message or control frame: its opcode, its payload, and its bytes.

        Raises:
            EOFError: There is no more.
        """
        if self._later:
            return self._later.popleft()
        opcode, data, raw = 0, b"", b""
        while True:
            first, payload, bytes_of = self._frame()
            if first & 0x08:  # a control frame
                found = first & 0x0F, payload, bytes_of
                if not raw:
                    return found
                # In the middle of a message; to come behind it changes nothing for either end.
                self._later.append(found)
                continue
            opcode, data, raw = opcode or first & 0x0F, data + payload, raw + bytes_of
            if first & 0x80:
                return opcode, data, raw

    def _frame(self) -> tuple[int, bytes, bytes]:
        head = self._take(2)
        size, mask = head[1] & 0x7F, b""
        if size > 125:
            more = self._take(2 if size == 126 else 8)
            head, size = head + more, int.from_bytes(more, "big")
        if head[1] & 0x80:
            mask = self._take(4)
        payload = self._take(size)
        raw = head + mask + payload
        if mask and size:
            key = (mask * (size // 4 + 1))[:size]
            plain = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
            payload = plain.to_bytes(size, "big")
        return head[0], payload, raw

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _more(self) -> None:
        data = self._source.recv(65536)
        if not data:
            raise EOFError
        self._buffer += data
