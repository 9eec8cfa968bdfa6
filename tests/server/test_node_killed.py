"""A node is killed under load: its clients go on at another one, and nothing of a room is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cutting import cutting_proxy
from support.endurance import Size, sizes
from support.nodes import health, node
from support.server import RunningServer, wait_for
from support.stores import running_store

from jupyter_wshandler.client import AsyncClient, Change, connect

YAML = """
url:
  talk:
    pattern: /talk
    handler: WebSocketHandler
    kwargs:
      on_message: rooms.on_message
      may_join: rooms.may_join
      rooms: [blue]
      history: {size: 10000, bytes: 8MiB}
      presence: {linger: 1s}
      resume: true
"""

EVERY = 0.02
"""Seconds between two messages."""

GONE = 30.0
"""Seconds after which a node that has died is in no list of members."""

BACK = 5.0
"""Seconds within which a client is at another node."""


class Person:
    """Somebody who reads along in a room, whatever becomes of the node."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.texts: list[str] = []
        self.back_at = 0.0
        self.connector = connect(
            f"ws://127.0.0.1:{port}/talk",
            token="",
            headers={"X-Person": name},
            timeout=60,
            on_state=self.changed,
        )

    def changed(self, change: Change) -> None:
        if change.event in ("renewed", "resumed"):
            self.back_at = time.monotonic()

    async def read(self, stack: AsyncExitStack) -> None:
        """Come in, and go on reading until the test ends."""
        self.client: AsyncClient = await stack.enter_async_context(self.connector)
        self.room = await self.client.join("blue", presence=True)
        self.reading = asyncio.create_task(self.listen())
        stack.push_async_callback(self.stop)

    async def listen(self) -> None:
        async for text in self.room.messages:
            self.texts.append(text)

    async def stop(self) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)

    @property
    def members(self) -> dict[str, int]:
        """The connections of each in the room, as this client knows it; nobody is there twice."""
        members = self.room.members
        found = {member.id: member.connections for member in members}
        assert len(found) == len(members)
        return found


@asynccontextmanager
async def speaking(client: AsyncClient) -> Any:
    """Have somebody speak until the block ends; yield what was said."""
    said: list[str] = []

    async def speak() -> None:
        for number in itertools.count():
            await client.send(f"say {number}")
            said.append(str(number))
            await asyncio.sleep(EVERY)

    task = asyncio.create_task(speak())
    try:
        yield said
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()


async def until(condition: Any, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        await asyncio.sleep(0.02)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[RunningServer, RunningServer]]:
    """Return two nodes, one of which is to be killed."""
    with ExitStack() as stack:
        store = stack.enter_context(running_store("redis"))
        one, two = (
            stack.enter_context(node(tmp_path / name, store.url, config=YAML))
            for name in ("one", "two")
        )
        for server in (one, two):
            wait_for(lambda server=server: health(server) == "ok", 60, "a backplane that is up")
        yield one, two


@sizes(short=6, full=100)
async def test_clients_of_a_node_that_is_killed_are_back_within_5_s_and_miss_nothing(
    pair: tuple[RunningServer, RunningServer], size: Size
) -> None:
    one, two = pair
    with cutting_proxy(one.port, two.port) as balancer:
        async with AsyncExitStack() as stack:
            people = [Person(balancer.port, f"p{number}") for number in range(size.number)]
            for person in people:
                await person.read(stack)
            # They know no other way than to the node that is killed, and so are gone for good.
            lost = [Person(one.port, f"gone{number}") for number in range(2)]
            for person in lost:
                await person.read(stack)
            names = {person.name for person in people}
            everybody = names | {person.name for person in lost}
            speaker = Person(two.port, "p0")
            await speaker.read(stack)
            await until(lambda: all(set(p.members) == everybody for p in people), 60, "a full list")
            async with speaking(speaker.client) as said:
                await until(lambda: len(said) >= 50, 60, "some messages")
                os.kill(one.pid, signal.SIGKILL)
                killed_at = time.monotonic()
                bound = size.bound(BACK, 6 * BACK)
                await until(
                    lambda: sum(p.back_at > killed_at for p in people) >= size.number // 2,
                    bound,
                    "half of the clients at the other node",
                )
                await asyncio.sleep(1)
                moved = [person for person in people if person.back_at > killed_at]
                assert all(person.client.state == "open" for person in people)
            await speaker.client.send("say last")
            await until(
                lambda: all(p.texts[-1:] == ["last"] for p in [*people, speaker]), 60, "the last"
            )
            assert speaker.texts == [*said, "last"]
            for person in people:
                assert person.texts == speaker.texts, person.name
                assert person.room.recovered is not False
            slowest = max(person.back_at for person in moved) - killed_at
            assert slowest < bound
            print(
                f"{len(moved)} of {size.number} clients were at the node that was killed; the last "
                f"one was back after {slowest:.2f} s, and {len(said)} messages came to each once"
            )
            if size.full:
                await leave_with_their_lease(people, names, killed_at)


async def leave_with_their_lease(people: list[Person], names: set[str], killed_at: float) -> None:
    """Wait until nobody is in a list who is not there, and nobody has a connection too many."""
    wanted = dict.fromkeys(names, 1) | {"p0": 2}  # who speaks has two
    await until(
        lambda: all(person.members == wanted for person in people),
        killed_at + GONE - time.monotonic(),
        "a list of those who are there",
    )
    print(f"lists were right {time.monotonic() - killed_at:.1f} s after the kill")
