"""A room of two nodes under load while their store fails: each message comes once, or is told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from jupyter_wshandler.backplane.redis.lifeline import PATIENCE
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.errors import BackplaneError
from jupyter_wshandler.manager import WebSocketManager
from support.wireclients import Roster, WireClient, serve

EVERY = 0.02
"""Seconds between two messages."""


async def on_message(handler: Any, message: str) -> None:
    """Say nothing."""


OPTIONS = {"history": {"size": 1000, "bytes": "1MiB"}, "presence": {}}


class Listener:
    """Somebody in the room who writes down what they hear, over as many connections as it takes."""

    def __init__(self, manager: WebSocketManager, route: Any, name: str) -> None:
        self.name = name
        self.roster = Roster()
        self.texts: list[str] = []
        self.told = 0
        self.epoch, self.offset = "", 0
        self.join(manager, route)

    def join(self, manager: WebSocketManager, route: Any) -> None:
        """Come in, or come back on any node."""
        self.client = WireClient(manager, route, self.name)
        self.is_in = False
        wish: dict[str, Any] = {"join": "blue", "presence": True}
        if self.epoch:
            wish["since"] = {"epoch": self.epoch, "offset": self.offset}
        self.roster = Roster()
        self.client.say(wish)

    def read(self) -> None:
        """Take what has come, as docs/protocol.md says it."""
        for frame in self.client.news:
            if "joined" in frame:
                self.is_in = True
                self.told += frame.get("recovered") is False
                if frame.get("recovered") is not True and "epoch" in frame:
                    self.epoch, self.offset = frame["epoch"], frame["offset"]
            elif "message" in frame and self.is_in:
                if frame.get("epoch", self.epoch) != self.epoch:
                    self.epoch, self.offset = frame["epoch"], 0
                if "offset" in frame:
                    self.offset = frame["offset"]
                self.texts.append(frame["message"])
            else:
                self.roster.take(frame)
        self.client.frames.clear()  # three million of them would be too many to keep
        self.client.read = 0

    def leave(self) -> None:
        """Lose the connection."""
        self.read()
        self.client.transport.lost()


@asynccontextmanager
async def two_managers(
    url: str, prefix: str, patience: float
) -> AsyncIterator[list[tuple[WebSocketManager, Any]]]:
    found = []
    for _ in range(2):
        backplane = RedisBackplane(url, prefix=prefix, patience=patience)
        manager = WebSocketManager(backplane=backplane)
        route = serve(manager, {"on_message": on_message, "may_join": may_join}, **OPTIONS)
        await manager.start()
        found.append((manager, route))
        # On a busy machine the first links take their time; nobody is to be alone at the beginning.
        await until(lambda backplane=backplane: not backplane.trouble, [])
    try:
        yield found
    finally:
        for manager, _ in found:
            await manager.stop(5)


def may_join(handler: Any, room: str) -> bool:
    """Let everybody in."""
    return True


async def until(condition: Any, listeners: Sequence[Listener], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            for one in listeners:
                one.read()
            await asyncio.sleep(0.05)


async def held_under_load(
    url: str,
    what: str,
    *,
    kill: Callable[[], object],
    mend: Callable[[], object],
    times: int,
    listeners: int,
    apart: float,
    prefix: str = "wshandler",
    patience: float = PATIENCE,
) -> None:
    """Say fifty messages a second to a room of two nodes, and hold what came against them.

    Args:
        url: The store.
        what: Its name in what is printed.
        kill: Has it fail; called in a thread, as is `mend`.
        mend: Returns once it is there again.
        times: How often it fails.
        listeners: Clients in the room.
        apart: Seconds between two failures.
        prefix: Of the deployment.
        patience: Seconds of a break after which a node goes on alone.
    """
    async with two_managers(url, prefix, patience) as nodes:
        people = [Listener(*nodes[n % 2], f"p{n}") for n in range(listeners)]
        await until(lambda: all(one.is_in for one in people), people)
        roaming, refused, outcomes = people[: max(2, listeners // 10)], 0, []
        stop = asyncio.Event()

        async def speak() -> None:
            for number in itertools.count():
                if stop.is_set():
                    return
                manager = nodes[number % 2][0]
                outcomes.append((str(number), manager.rooms.publish("m", "blue", str(number))))
                await asyncio.sleep(EVERY)

        speaking = asyncio.create_task(speak())
        for number in range(times):
            await asyncio.sleep(apart)
            for one in roaming:
                one.leave()
            await asyncio.to_thread(kill)
            for one in roaming:
                one.join(*nodes[number % 2])
            await asyncio.sleep(0.2)
            await asyncio.to_thread(mend)
            for one in people:
                one.read()
        await asyncio.sleep(apart)
        stop.set()
        await speaking
        said = []
        for text, outcome in outcomes:
            try:
                await outcome
                said.append(text)
            except BackplaneError:
                refused += 1
        # Each node says a last one, behind all that it may have kept while it was alone.
        lasts = {f"last {number}" for number in range(len(nodes))}
        for text, (manager, _) in zip(sorted(lasts), nodes, strict=True):
            await manager.rooms.publish("m", "blue", text)
        await until(lambda: all(lasts <= set(one.texts) for one in people), people)
        untold = 0
        for one in people:
            heard = [text for text in one.texts if text not in lasts]
            is_whole = len(heard) == len(set(heard)) and set(said) <= set(heard)
            assert is_whole or one.told, f"{one.name} has {len(heard)} of {len(said)}"
            untold += not one.told
        whole = sum(len(set(one.texts) - lasts) for one in people)
        print(
            f"{what}: {times} failures, {len(said)} messages to {len(people)} clients, "
            f"{refused} refused; {whole} of {len(said) * len(people)} arrived, "
            f"{len(people) - untold} clients were told of a gap"
        )
        names = {one.name for one in people}
        await until(lambda: all(set(one.roster.people) == names for one in people), people)
        past = [await manager.rooms.said("m", "blue", 0, None) for manager, _ in nodes]
        assert [one.message for one in past[0]] == [one.message for one in past[1]]
