"""A small server of `wsh.v1` with resume, whose connections break when a test says so."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import websockets.sync.server
from websockets.exceptions import ConnectionClosed

SECRET = "c2VjcmV0"


class Conversation:
    """One connection that outlives its sockets.

    Args:
        id: Its name.
        answer: What answers a question: its values; none where the test answers itself.
    """

    def __init__(self, id: str, answer: Callable[[str], list[str]]) -> None:
        self.id = id
        self.answer = answer
        self.received = 0
        self.sent = 0
        self.kept: list[tuple[int, str | bytes]] = []
        self.messages: list[str | bytes] = []
        self.stopped: list[int] = []
        self.other: list[dict] = []
        self.acknowledged: list[int] = []
        self.repeated = 0
        self.socket: websockets.sync.server.ServerConnection | None = None
        self.lock = threading.RLock()

    def send(self, frame: dict | bytes, of: int = 0) -> None:
        """Number a frame, keep it, and send it where there is a socket."""
        with self.lock:
            self.sent += 1
            if isinstance(frame, bytes):
                head = of.to_bytes(4, "big", signed=True) + self.sent.to_bytes(4, "big")
                packed: str | bytes = head + frame
            else:
                packed = json.dumps({**frame, "n": self.sent})
            self.kept.append((self.sent, packed))
            self.write(packed)

    def write(self, packed: str | bytes) -> None:
        if self.socket is not None:
            with suppress(ConnectionClosed):
                self.socket.send(packed)

    def take(self, data: str | bytes) -> None:
        """Take a frame of the client's."""
        with self.lock:
            if isinstance(data, bytes):
                of, n = (
                    int.from_bytes(data[:4], "big", signed=True),
                    int.from_bytes(data[4:8], "big"),
                )
                self.counted(n, lambda: self.said(data[8:], of))
                return
            frame = json.loads(data)
            if "ack" in frame:
                self.acknowledged.append(frame["ack"])
                self.kept = [(n, each) for n, each in self.kept if n > frame["ack"]]
            elif "stop" in frame:
                self.stopped.append(frame["stop"])
            elif "message" in frame:
                self.counted(frame["n"], lambda: self.said(frame["message"], frame.get("ask", 0)))
            else:
                self.counted(frame["n"], lambda: self.other.append(frame))

    def counted(self, n: int, act: Callable[[], object]) -> None:
        if n <= self.received:
            self.repeated += 1
            return
        assert n == self.received + 1, f"a gap: {n} after {self.received}"
        self.received = n
        act()
        if n % 64 == 0:
            self.write(json.dumps({"ack": n}))

    def said(self, message: str | bytes, ask: int) -> None:
        self.messages.append(message)
        if isinstance(message, bytes):
            self.send(message[::-1], ask)
        elif ask:
            values = self.answer(message)
            for value in values:
                self.send({"piece": value, "of": ask})
            if values:
                self.send({"end": ask, "how": "done", "streamed": True})


class ResumingServer:
    """What a test knows of the server: its conversations, and how to break them."""

    def __init__(self) -> None:
        self.conversations: list[Conversation] = []
        self.known: dict[str, Conversation] = {}
        self.offers: list[list[str]] = []
        self.closes: list[int | None] = []
        self.answer: Callable[[str], list[str]] = lambda message: [message]
        self.reason = "unknown"
        self.resumes = True
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/bot"

    @property
    def last(self) -> Conversation:
        return self.conversations[-1]

    def cut(self) -> None:
        """Have the connection lost without a word."""
        connection = self.last.socket
        if connection is not None:
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self, code: int, reason: str = "") -> None:
        """End the conversation, as the server does."""
        ending = self.last
        self.known.pop(ending.id, None)
        assert ending.socket is not None
        ending.socket.close(code, reason)

    def serve(self, connection: websockets.sync.server.ServerConnection) -> None:
        """Serve one socket."""
        header = connection.request.headers["Sec-WebSocket-Protocol"]
        offers = [each.strip() for each in header.split(",")]
        self.offers.append(offers)
        talk, first = self.find(offers)
        with talk.lock:
            before, talk.socket = talk.socket, connection
            connection.send(json.dumps(first))
            if first.get("resumed"):
                for _, packed in talk.kept:
                    talk.write(packed)
        if before is not None:
            with suppress(OSError):
                before.socket.shutdown(socket.SHUT_RDWR)
        try:
            for data in connection:
                talk.take(data)
        except ConnectionClosed:
            pass
        finally:
            with talk.lock:
                self.closes.append(connection.close_code)
                if talk.socket is connection:
                    talk.socket = None

    def find(self, offers: list[str]) -> tuple[Conversation, dict]:
        """Return the conversation that a client means, and the first frame for it."""
        wanted = next((each for each in offers if each.startswith("wsh.resume.")), None)
        again: dict = {}
        if wanted:
            id, secret, number = wanted.split(".")[2:]
            found = self.known.get(id)
            if found and secret == SECRET:
                found.kept = [(n, each) for n, each in found.kept if n > int(number)]
                assert found.sent - len(found.kept) == int(number)
                return found, self.first(found, {"resumed": True, "received": found.received})
            again = {"resumed": False, "reason": self.reason}
        talk = Conversation(f"c{len(self.conversations) + 1}", lambda text: self.answer(text))
        self.conversations.append(talk)
        if self.resumes:
            self.known[talk.id] = talk
        return talk, self.first(talk, {"received": 0, **again})

    def first(self, talk: Conversation, more: dict) -> dict:
        if not self.resumes:
            return {"wsh": "v1", "id": talk.id}
        resume = {"secret": SECRET, "window": 120}
        return {"wsh": "v1", "id": talk.id, "resume": resume, **more}


@contextmanager
def resuming_server() -> Iterator[ResumingServer]:
    """Run a server on a free port of this machine."""
    running = ResumingServer()
    server = websockets.sync.server.serve(
        running.serve, "127.0.0.1", 0, subprotocols=["wsh.v1"], max_size=None, ping_interval=None
    )
    running.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield running
    finally:
        for talk in running.conversations:
            if talk.socket is not None:
                talk.socket.close()
        server.shutdown()
        thread.join()
