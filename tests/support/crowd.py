"""Thousands of clients who want their echoes, while some of them come and go: a process.

``python -m support.crowd HOST PORT TOKEN BASE_URL COUNT CHURN`` opens COUNT connections, prints
"ready", closes and opens CHURN of them each second, and prints what happened when its standard
input ends.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.bystander import remote
from support.frames import CLOSE, PING, PONG, TEXT, close, frame, text
from support.latency import percentile
from support.rounds import upgrade_request
from support.server import RunningServer

SPARE = 512
"""Descriptors of a process beside its connections."""

AT_ONCE = 40
"""Handshakes at a time while the crowd comes in."""

ASK = 10.0
"""Seconds between two messages of one client."""

PATIENCE = 30.0
"""Seconds after which an echo counts as lost."""


class Member(asyncio.Protocol):
    """One client: opens, asks for echoes, and says what it did not expect."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.opened = asyncio.get_running_loop().create_future()
        self.gone = asyncio.get_running_loop().create_future()
        self.asked: collections.deque[tuple[bytes, float]] = collections.deque()
        self.leaving = False
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(self.crowd.request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.opened.done():
            head, end, self._data = self._data.partition(b"\r\n\r\n")
            if not end:
                self._data = head
                return
            self.opened.set_result(head.split(b" ", 2)[1].decode())
        while len(self._data) >= 2 and len(self._data) >= 2 + self._data[1]:
            opcode, size = self._data[0] & 15, self._data[1]
            payload, self._data = self._data[2 : 2 + size], self._data[2 + size :]
            self._take(opcode, payload)

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self.transport.write(frame(PONG, payload))
        elif opcode == TEXT and self.asked and self.asked[0][0] == payload:
            self.crowd.took.append(time.monotonic() - self.asked.popleft()[1])
        elif opcode == CLOSE and self.leaving:
            pass
        else:
            self.crowd.unexpected(f"frame {opcode}: {payload[:60]!r}")

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(f"lost: {error!r}")
        elif not self.leaving:
            self.crowd.unexpected(f"closed: {error!r}")
        if not self.gone.done():
            self.gone.set_result(None)

    def ask(self) -> None:
        """Send a message."""
        message = b"%d" % next(self.crowd.numbers)
        self.asked.append((message, time.monotonic()))
        self.transport.write(text(message.decode()))

    async def leave(self, *, politely: bool) -> None:
        """Close in order, or with a TCP reset in the middle of a frame."""
        self.leaving = True
        if politely:
            self.transport.write(close(1000))
            async with asyncio.timeout(PATIENCE):
                await self.gone
            return
        self.asked.clear()
        self.transport.write(text("half of it")[:5])
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Crowd:
    """All of them, and what they have seen."""

    def __init__(self, server: RunningServer, count: int, churn: float) -> None:
        self._server, self._count, self._churn = server, count, churn
        self.request = upgrade_request(server, f"{server.base_url}echo")
        self.members: list[Member] = []
        self.numbers = iter(range(10**12))
        self.took: list[float] = []
        self.problems: collections.Counter[str] = collections.Counter()
        self.left = {"in order": 0, "by reset": 0}
        self._done = asyncio.Event()
        self._dice = random.Random(count)

    def unexpected(self, what: str) -> None:
        self.problems[what] += 1

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                _, member = await loop.create_connection(
                    lambda: Member(self), self._server.host, self._server.port
                )
                status = await member.opened
        except (OSError, TimeoutError) as error:
            self.unexpected(f"handshake: {error!r}")
            return
        if status == "101":
            self.members.append(member)
        else:
            self.unexpected(f"handshake: {status}")

    async def _come_in(self) -> None:
        left = iter(range(self._count))

        async def work() -> None:
            for _ in left:
                await self._open()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def _ask(self) -> None:
        """Let each member ask every now and then, evenly."""
        turn = 0
        while not self._done.is_set():
            begun = time.monotonic()
            share = max(1, round(len(self.members) * 0.1 / ASK))
            for _ in range(share):
                turn = (turn + 1) % len(self.members)
                member = self.members[turn]
                if not member.asked:
                    member.ask()
                elif time.monotonic() - member.asked[0][1] > PATIENCE:
                    self.unexpected("an echo never came")
                    member.asked.clear()
            await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - begun)))

    async def _come_and_go(self) -> None:
        if not self._churn:
            return
        while not self._done.is_set():
            begun = time.monotonic()
            member = self.members.pop(self._dice.randrange(len(self.members)))
            politely = bool(self._dice.randrange(2))
            await self._leave(member, politely)
            await self._open()
            await asyncio.sleep(max(0.0, 1 / self._churn - (time.monotonic() - begun)))

    async def _leave(self, member: Member, politely: bool) -> None:
        self.left["in order" if politely else "by reset"] += 1
        try:
            await member.leave(politely=politely)
        except TimeoutError:
            self.unexpected("a close was never answered")

    async def run(self) -> dict:
        """Come in, stay until standard input ends, leave; return what was seen."""
        await self._come_in()
        loop = asyncio.get_running_loop()

        def wait() -> None:
            sys.stdin.read()
            loop.call_soon_threadsafe(self._done.set)

        threading.Thread(target=wait, daemon=True).start()
        print("ready", flush=True)
        # Two come and go at a time, so that one slow handshake does not end the churn.
        self._churn /= 2
        await asyncio.gather(self._ask(), self._come_and_go(), self._come_and_go())
        for member in self.members:
            if not member.asked:
                member.ask()
        end = time.monotonic() + PATIENCE
        while any(member.asked for member in self.members) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        lost = sum(len(member.asked) for member in self.members)
        there = len(self.members)
        await asyncio.gather(*(self._leave(member, True) for member in self.members))
        return {
            "there": there,
            "echoes": len(self.took),
            "lost": lost,
            "left": self.left,
            "problems": dict(self.problems.most_common(20)),
            "p50": percentile(self.took, 50),
            "p95": percentile(self.took, 95),
            "p99": percentile(self.took, 99),
            "longest": max(self.took),
        }


def enough_descriptors(count: int) -> None:
    """Let this process hold so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE
    assert hard == resource.RLIM_INFINITY or hard >= wanted, (
        f"{count} connections need {wanted} descriptors, and this user may have {hard}: "
        "raise the hard limit (ulimit -Hn)"
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


@contextmanager
def crowd(server: RunningServer, count: int, churn: float) -> Iterator[dict]:
    """Let a crowd come in; what it has seen is in the dictionary after the block."""
    seen: dict = {}
    where = (server.host, str(server.port), server.token, server.base_url)
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, *where, str(count), str(churn)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", "the crowd could not come in"
        yield seen
        found, _ = process.communicate(timeout=4 * PATIENCE)
        seen |= json.loads(found)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def main() -> None:
    """Be the crowd."""
    host, port, token, base_url, count, churn = sys.argv[1:]
    enough_descriptors(int(count))
    server = remote(host, port, "person-crowd")
    server.base_url = base_url
    assert token
    seen = asyncio.run(_run(server, int(count), float(churn)))
    print(json.dumps(seen), flush=True)


async def _run(server: RunningServer, count: int, churn: float) -> dict:
    return await Crowd(server, count, churn).run()


if __name__ == "__main__":
    main()
