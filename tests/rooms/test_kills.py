"""The store is killed again and again: each message comes once, or its client is told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.stores import KINDS, running_store
from support.wireclients import Roster, WireClient, serve

from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.errors import BackplaneError
from jupyter_wshandler.manager import WebSocketManager

FILES = {"without files": (), "with files": ("appendonly yes", "appendfsync everysec")}

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
async def two_managers(url: str) -> AsyncIterator[list[tuple[WebSocketManager, Any]]]:
    found = []
    for _ in range(2):
        manager = WebSocketManager(backplane=RedisBackplane(url))
        route = serve(manager, {"on_message": on_message, "may_join": may_join}, **OPTIONS)
        await manager.start()
        found.append((manager, route))
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


async def held_under_load(kind: str, files: str, kills: int, listeners: int, apart: float) -> None:
    with running_store(kind, *FILES[files]) as store:
        async with two_managers(store.url) as nodes:
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
            for number in range(kills):
                await asyncio.sleep(apart)
                for one in roaming:
                    one.leave()
                await asyncio.to_thread(store.kill)
                for one in roaming:
                    one.join(*nodes[number % 2])
                await asyncio.sleep(0.2)
                await asyncio.to_thread(store.start)
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
            await nodes[0][0].rooms.publish("m", "blue", "last")
            await until(lambda: all(one.texts[-1:] == ["last"] for one in people), people)
            untold = 0
            for one in people:
                heard = one.texts[:-1]
                is_whole = len(heard) == len(set(heard)) and set(said) <= set(heard)
                assert is_whole or one.told, f"{one.name} has {len(heard)} of {len(said)}"
                untold += not one.told
            whole = sum(len(set(one.texts)) - 1 for one in people)
            print(
                f"{kind} {files}: {kills} kills, {len(said)} messages to {len(people)} clients, "
                f"{refused} refused; {whole} of {len(said) * len(people)} arrived, "
                f"{len(people) - untold} clients were told of a gap"
            )
            names = {one.name for one in people}
            await until(lambda: all(set(one.roster.people) == names for one in people), people)
            past = [await manager.rooms.said("m", "blue", 0, None) for manager, _ in nodes]
            assert [one.message for one in past[0]] == [one.message for one in past[1]]


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("kind", KINDS)
async def test_each_message_comes_once_or_its_client_is_told_while_the_store_is_killed(kind, files):
    await held_under_load(kind, files, kills=2, listeners=20, apart=0.7)


@pytest.mark.endurance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("kind", KINDS)
async def test_twenty_kills_within_five_minutes_under_fifty_messages_a_second(kind, files):
    await held_under_load(kind, files, kills=20, listeners=200, apart=12)
