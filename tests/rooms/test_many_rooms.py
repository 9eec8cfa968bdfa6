"""Ten thousand rooms on one node: what each takes, and how soon it is heard again after a break."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.endurance import Size, sizes
from support.stores import Store, running_store
from support.wireclients import WireClient, serve

from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.config.rooms import MAX_ROOMS
from jupyter_wshandler.manager import WebSocketManager

FIRST = 3.0
"""Seconds until the first message of a room after a break, for 99 of 100 rooms."""

MEMORY = 2048
"""Bytes that a room takes on its node."""


async def on_message(handler: Any, message: str) -> None:
    """Say nothing."""


def may_join(handler: Any, room: str) -> bool:
    """Let everybody in."""
    return True


@asynccontextmanager
async def managed(store: Store, **options: Any) -> AsyncIterator[tuple[WebSocketManager, Any]]:
    manager = WebSocketManager(backplane=RedisBackplane(store.url, patience=60))
    functions = {"on_message": on_message, "may_join": may_join}
    route = serve(manager, functions, history={"size": 10}, **options)
    await manager.start()
    try:
        yield manager, route
    finally:
        await manager.stop(5)


async def until(condition: Any, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.02)


async def joined(clients: list[WireClient], names: list[str]) -> None:
    """Have each client join its part of the rooms, and wait until all are in."""
    for number, client in enumerate(clients):
        part = names[number * MAX_ROOMS : (number + 1) * MAX_ROOMS]
        client.say(*({"join": name} for name in part))

    def are_in() -> int:
        return sum("joined" in frame for client in clients for frame in client.frames)

    await until(lambda: are_in() >= len(names), 400, f"{len(names)} rooms")
    assert are_in() == len(names)


@pytest.fixture
def store() -> Any:
    with running_store("redis") as store:
        yield store


@sizes(short=640, full=10_000)
async def test_a_room_takes_less_than_2_kib_on_its_node(store: Store, size: Size) -> None:
    names = [f"room-{number}" for number in range(size.number)]
    async with managed(store) as (manager, route):
        clients = [WireClient(manager, route, f"p{n}") for n in range(-(-len(names) // MAX_ROOMS))]
        await asyncio.sleep(0.1)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await joined(clients, names)
            for client in clients:  # what they were told is the test's
                client.frames.clear()
            await asyncio.sleep(0.1)
            gc.collect()
            taken = (tracemalloc.get_traced_memory()[0] - before) / len(names)
        finally:
            tracemalloc.stop()
        print(f"{len(names)} rooms with a history and one member: {taken:.0f} B each")
        assert taken < MEMORY


@sizes(short=640, full=10_000)
async def test_rooms_are_heard_again_within_3_s_of_a_break(store: Store, size: Size) -> None:
    names = [f"room-{number}" for number in range(size.number)]
    async with managed(store) as (manager, route):
        clients = [WireClient(manager, route, f"p{n}") for n in range(-(-len(names) // MAX_ROOMS))]
        await joined(clients, names)
        for client in clients:
            client.frames.clear()
        broken = manager.rooms.counts()["breaks"]
        first: dict[str, float] = {}
        began = 0.0

        def all_heard() -> bool:
            now = time.monotonic() - began
            for client in clients:
                for frame in client.news:
                    if frame.get("message") == "first":
                        first.setdefault(frame["room"], now)
            return len(first) == len(names)

        async with speaker(store, size.number) as speak:
            assert store.say("CLIENT", "KILL", "TYPE", "pubsub").startswith(b":")
            began = time.monotonic()
            speak()
            await until(all_heard, 90, "a message in each room")

        assert manager.rooms.counts()["breaks"] == broken + 1
        assert manager.rooms.counts()["rooms_missed"] == 0
        times = sorted(first.values())
        p99 = times[int(0.99 * (len(times) - 1))]
        print(
            f"{len(names)} rooms: the first message after a break came to half of them within "
            f"{times[len(times) // 2]:.2f} s, to 99 of 100 within {p99:.2f} s"
        )
        assert p99 < size.bound(FIRST, 10 * FIRST)


SPEAKER = """
import asyncio, sys
from jupyter_wshandler.backplane.base import Keep, Publication
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.rooms.names import channel_of

async def main():
    node = RedisBackplane(sys.argv[1], patience=60)
    await node.history("nothing")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    keep = Keep(size=10, bytes=10_000, ttl=60.0)
    names = [channel_of("m", f"room-{number}") for number in range(int(sys.argv[2]))]
    for at in range(0, len(names), 500):
        some = names[at : at + 500]
        await asyncio.gather(*(node.publish(name, Publication("first"), keep) for name in some))
    await node.close()

asyncio.run(main())
"""
"""Another node, which publishes one message to each room as fast as it goes."""


@asynccontextmanager
async def speaker(store: Store, count: int) -> AsyncIterator[Callable[[], None]]:
    """Run another node in a process of its own; yield what has it speak."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SPEAKER, store.url, str(count)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield lambda: process.stdin.write(b"now\n")
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
