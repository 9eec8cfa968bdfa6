"""A client of `wsh.v1` that can resume, as docs/protocol.md says it: tests drive it by hand."""

from __future__ import annotations

import contextlib
import json
import socket as sockets
import struct
from typing import Any

from websockets.exceptions import ConnectionClosed

from support.server import RunningServer

HEAD = struct.Struct(">iI")


class Resumer:
    """One end of a connection that outlives breaks; nothing happens but what is asked for.

    Args:
        server: The server.
        path: The route's address.
        options: For `RunningServer.connect_sync`.
    """

    def __init__(self, server: RunningServer, path: str, **options: Any) -> None:
        self.server, self.path, self.options = server, path, options
        self.id = self.secret = ""
        self.got = self.sent = 0
        self.first: dict[str, Any] = {}
        self.socket: Any = None
        self.connect()

    def connect(self, *, offer: str | None = None, **options: Any) -> dict[str, Any]:
        """Open a socket, a new one or one that comes back; return the server's first frame."""
        if offer is None:
            offer = "wsh.resume"
            if self.id:
                offer += f".{self.id}.{self.secret}.{self.got}"
        given = {**self.options, **options}
        opening = self.server.connect_sync(self.path, subprotocols=["wsh.v1", offer], **given)
        self.socket = opening.__enter__()
        assert self.socket.subprotocol == "wsh.v1"
        self.first = json.loads(self.socket.recv(timeout=10))
        if "resume" in self.first and self.first.get("resumed") is not True:
            self.id, self.secret = self.first["id"], self.first["resume"]["secret"]
            self.got = self.sent = 0
        return self.first

    def send(self, message: str | bytes, ask: int = 0) -> None:
        """Send a message, with its number."""
        self.sent += 1
        if isinstance(message, bytes):
            self.socket.send(HEAD.pack(ask, self.sent) + message)
        else:
            more = {"ask": ask} if ask else {}
            self.socket.send(json.dumps({"message": message, **more, "n": self.sent}))

    def send_frame(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame))

    def frame(self, seconds: float = 10) -> Any:
        """Return the next frame as it is, an acknowledgement too."""
        frame = self.socket.recv(timeout=seconds)
        return frame if isinstance(frame, bytes) else json.loads(frame)

    def recv(self, seconds: float = 10) -> Any:
        """Return the next counted frame without its number, which must be the next one."""
        while True:
            frame = self.frame(seconds)
            if isinstance(frame, bytes):
                of, number = HEAD.unpack_from(frame)
                assert number == self.got + 1
                self.got = number
                return of, frame[HEAD.size :]
            if "ack" not in frame:
                assert frame.pop("n") == self.got + 1
                self.got += 1
                return frame

    def ack(self) -> None:
        self.send_frame(ack=self.got)

    def message(self) -> str:
        """Return the text of the next frame, which is a message."""
        return str(self.recv()["message"])

    def cut(self) -> None:
        """End the byte stream without a close handshake."""
        self.socket.socket.shutdown(sockets.SHUT_RDWR)
        with contextlib.suppress(ConnectionClosed, OSError):
            while True:
                self.socket.recv(timeout=5)

    def closed(self) -> tuple[int, str]:
        """Return the code and the reason that the server closes with."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.socket.recv(timeout=10)
        return self.socket.close_code, self.socket.close_reason

    def __enter__(self) -> Resumer:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self.socket.close()
