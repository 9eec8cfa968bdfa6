"""A server that speaks `wsh.v1` with resume and rooms, written from its description, and breaks.

`Peer` is the server's half of one connection, without input and output; `BreakingServer` serves
peers on loopback, in a thread, and loses connections when a test wants it to. It shares no code
with the package, so that a misunderstanding of the one is seen by the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed

RETURNS = (1001, 1006, 4900)

SECONDS = 60
"""For what takes a moment, on a machine that has other things to do."""


class Peer:
    """The server's half of one connection, and its bot.

    Attributes:
        taken: What the bot was given, in order: texts and bytes.
        out: Frames that wait to be written to the socket of the moment.
        stopped: The numbers of questions that were stopped.
        violation: What the client has done that it must not; empty for nothing.
    """

    def __init__(self, id: str, *, resume: bool = True, window: float = 120.0) -> None:
        self.id, self.secret = id, f"secret-of-{id}"
        self.resume, self.window = resume, window
        self.taken: list[str | bytes] = []
        self.out: list[str | bytes] = []
        self.stopped: list[int] = []
        self.violation = ""
        self.acks: list[int] = []
        self.received = 0
        self.streams: list[list[int]] = []  # question, next token, tokens
        self.waits: set[int] = set()
        self._kept: list[tuple[int, str | bytes]] = []
        self._last = 0

    def first(self, *, resumed: bool | None = None, reason: str = "") -> None:
        """Say the first frame of a socket."""
        said: dict[str, Any] = {"wsh": "v1", "id": self.id}
        if self.resume:
            said |= {"resume": {"secret": self.secret, "window": self.window}}
            said |= {"received": self.received}
        if resumed is not None:
            said |= {"resumed": resumed}
        if reason:
            said |= {"reason": reason}
        self.out = [json.dumps(said)]

    def come_back(self, number: int) -> None:
        """Begin a new socket for the same client, which has received so much."""
        self.first(resumed=True)
        self._kept = [one for one in self._kept if one[0] > number]
        self.out += [frame for _, frame in self._kept]

    def say(self, said: dict[str, Any]) -> None:
        """Send a text frame that counts."""
        self._last += 1
        frame = json.dumps({**said, "n": self._last} if self.resume else said)
        self._kept.append((self._last, frame))
        self.out.append(frame)

    def say_bytes(self, message: bytes, number: int = 0) -> None:
        """Send a binary frame that counts."""
        self._last += 1
        head = number.to_bytes(4, "big", signed=True)
        frame = head + (self._last.to_bytes(4, "big") if self.resume else b"") + message
        self._kept.append((self._last, frame))
        self.out.append(frame)

    def skip(self) -> None:
        """Swallow the last frame that was said, as a page that was frozen does."""
        self.out.pop()

    def acknowledge(self) -> None:
        """Say what was received."""
        if self.resume:
            self.out.append(json.dumps({"ack": self.received}))

    def receive(self, frame: str | bytes) -> None:
        """Take one frame of the client's."""
        if isinstance(frame, bytes):
            number = int.from_bytes(frame[:4], "big", signed=True)
            n = int.from_bytes(frame[4:8], "big") if self.resume else None
            if self._counts(n):
                self._bot(frame[8:] if self.resume else frame[4:], number)
            return
        said = json.loads(frame)
        n = said.pop("n", None)
        if "ack" in said:
            self.acks.append(said["ack"])
            self._kept = [one for one in self._kept if one[0] > said["ack"]]
            if said["ack"] > self._last or not self.resume:
                self.violation = "acknowledged what was never sent"
        elif "stop" in said:
            self._stop(said["stop"])
        elif (n is None) == self.resume:
            self.violation = f"numbers do not fit: {frame}"
        elif self._counts(n):
            if "message" in said:
                self._bot(said["message"], said.get("ask", 0))
            else:
                self.asked_for(said)

    def _counts(self, n: int | None) -> bool:
        if n is None:
            return True
        if n > self.received + 1:
            self.violation = f"a gap: {n} behind {self.received}"
        if n != self.received + 1:
            return False
        self.received = n
        return True

    def _bot(self, message: str | bytes, number: int) -> None:
        self.taken.append(message)
        if isinstance(message, bytes):
            self.say_bytes(message[::-1], number)
            if number:
                self.say({"end": number, "how": "done"})
            return
        word, *rest = message.split(" ")
        if word == "push":
            for count in range(int(rest[0]), int(rest[1])):
                self.say({"message": str(count)})
        if word == "stream":
            self.streams.append([number, 0, int(rest[0])])
        elif word == "wait":
            self.waits.add(number)
        elif number:
            self.say({"reply": f"re {message}", "of": number})
            self.say({"end": number, "how": "done"})
        elif word != "push":
            self.say({"message": message})

    def tick(self) -> None:
        """Let each stream say one more token."""
        for stream in list(self.streams):
            number, token, tokens = stream
            if token < tokens:
                self.say({"piece": f"{token} ", "of": number})
                stream[1] += 1
            else:
                self.streams.remove(stream)
                self.say({"end": number, "how": "done", "streamed": True})

    def _stop(self, number: int) -> None:
        running = [stream for stream in self.streams if stream[0] == number]
        if running or number in self.waits:
            self.streams = [stream for stream in self.streams if stream[0] != number]
            self.waits.discard(number)
            self.stopped.append(number)
            self.say({"end": number, "how": "stopped"})

    def asked_for(self, said: dict[str, Any]) -> None:
        """Take a wish that is about rooms; a test may answer in its place."""
        if "join" in said:
            self.say({"joined": said["join"]})
        else:
            self.say({"left": said["leave"]})


class BreakingServer:
    """Peers on loopback, in a thread of their own.

    Attributes:
        url: Where it listens.
        peers: All connections that there were, in their order.
        offers: What each socket has offered beside `wsh.v1`, in order.
        resume: Whether new connections can be come back to.
        refuses: Why none is come back to; empty where they are.
        is_deaf: Whether sockets are refused with 503.
        asked_for: Answers wishes about rooms.
    """

    def __init__(self) -> None:
        self.url = ""
        self.port = 0
        self.peers: list[Peer] = []
        self.offers: list[str] = []
        self.resume = True
        self.window = 120.0
        self.refuses = ""
        self.is_deaf = False
        self.status = 503
        self.asked_for: Callable[[Peer, dict[str, Any]], None] | None = None
        self._sockets: dict[Any, Peer] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()

    # ---- what tests do, from any thread --------------------------------------------------------

    def cut(self) -> None:
        """Kill every TCP connection."""
        self.run(lambda: [socket.transport.abort() for socket in self._sockets])

    def close(self, code: int, reason: str = "") -> None:
        """Close every socket as a server does: nobody comes back to what it was."""

        def close() -> None:
            for socket, peer in self._sockets.items():
                peer.secret = "ended-" * 3
                self._tasks.add(asyncio.create_task(socket.close(code, reason)))

        self.run(close)

    def run(self, function: Callable[[], Any]) -> Any:
        """Call a function in the server's thread, and send what was said meanwhile."""

        async def call() -> Any:
            found = function()
            self._flush()
            return found

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(SECONDS)

    @property
    def connected(self) -> int:
        """How many sockets there are."""
        return len(self._sockets)

    # ---- the thread ----------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve until `stop` is called."""
        asyncio.run(self._serve())

    def stop(self) -> None:
        """End the thread's work."""
        self._loop.call_soon_threadsafe(self._over.set)

    def wait(self) -> None:
        """Wait until it listens."""
        assert self._ready.wait(SECONDS)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        server = await websockets.asyncio.server.serve(
            self._talk,
            "127.0.0.1",
            0,
            subprotocols=["wsh.v1"],
            process_request=self._admit,
            open_timeout=SECONDS,
            ping_interval=None,
            close_timeout=5,
        )
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}/bot"
        self._ready.set()
        ticker = asyncio.create_task(self._tick())
        await self._over.wait()
        ticker.cancel()
        for socket in list(self._sockets):
            socket.transport.abort()
        server.close()
        await server.wait_closed()

    def _admit(self, socket: Any, request: Any) -> Any:
        return socket.respond(self.status, "not now") if self.is_deaf else None

    async def _tick(self) -> None:
        while True:
            streams = any(peer.streams for peer in self.peers)
            await asyncio.sleep(0.005 if streams else 0.05)
            for peer in self.peers:
                peer.tick()
            self._flush()

    def _flush(self) -> None:
        for socket, peer in list(self._sockets.items()):
            out, peer.out = peer.out, []
            for frame in out:
                if socket.transport.is_closing():
                    break
                task = asyncio.create_task(_put(socket, frame))  # they begin in this order
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _peer_for(self, offer: str) -> Peer:
        words = offer.split(".")
        if len(words) == 5 and not self.refuses:
            for peer in self.peers:
                if (peer.id, peer.secret) == (words[2], words[3]):
                    for socket in [s for s, other in self._sockets.items() if other is peer]:
                        socket.transport.abort()
                        del self._sockets[socket]
                    peer.come_back(int(words[4]))
                    return peer
        peer = Peer(f"c{len(self.peers)}", resume=self.resume and bool(offer), window=self.window)
        if self.asked_for is not None:
            answers = self.asked_for
            peer.asked_for = lambda said: answers(peer, said)  # type: ignore[method-assign]
        if len(words) == 5:
            peer.first(resumed=False, reason=self.refuses or "unknown")
        else:
            peer.first()
        self.peers.append(peer)
        return peer

    async def _talk(self, socket: Any) -> None:
        offered = socket.request.headers.get("Sec-WebSocket-Protocol", "").replace(" ", "")
        offer = next((one for one in offered.split(",") if one.startswith("wsh.resume")), "")
        self.offers.append(offer)
        peer = self._peer_for(offer)
        self._sockets[socket] = peer
        self._flush()
        since = 0
        try:
            async for frame in socket:
                peer.receive(frame)
                since += 1
                if since % 64 == 0:
                    peer.acknowledge()
                self._flush()
        except ConnectionClosed:
            pass
        finally:
            self._sockets.pop(socket, None)
            if socket.close_code not in RETURNS:
                peer.secret = "ended-" * 3  # nobody comes back to it


async def _put(socket: Any, frame: str | bytes) -> None:
    with contextlib.suppress(ConnectionClosed):
        await socket.send(frame)


@contextlib.contextmanager
def breaking_server() -> Iterator[BreakingServer]:
    """Serve, and end when the block does."""
    server = BreakingServer()
    thread = threading.Thread(target=server.serve, name="breaking server")
    thread.start()
    try:
        server.wait()
        yield server
    finally:
        server.stop()
        thread.join(SECONDS)
