"""examples/scale: three servers behind nginx, restarted one after another under their clients."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.endurance import Size, sizes
from support.need import need
from support.server import free_port
from support.stores import program

from jupyter_wshandler import publish as publish_once
from jupyter_wshandler.cli import main
from jupyter_wshandler.client import AsyncClient, Change, connect
from jupyter_wshandler.manager.publish import Publisher

EXAMPLE = Path(__file__).parents[2] / "examples" / "scale"

LONGEST_BREAK = 5.0
"""Seconds that a client may be without a connection."""

EVERY = 0.1
"""Seconds between two messages from outside; those who talk say something each second."""

SECONDS = 90
"""For what takes a moment, on a machine that has other things to do."""


def example() -> Any:
    """Import the example without touching sys.path."""
    spec = importlib.util.spec_from_file_location("example_scale", EXAMPLE / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.START = SECONDS
    return module


@pytest.fixture(scope="module")
def deployment() -> Iterator[Any]:
    need("nginx")
    with tempfile.TemporaryDirectory(prefix="wsh-scale-") as folder:
        ports = [free_port() for _ in range(4)]
        running = example().Deployment(Path(folder), ports, store=program("redis"))
        try:
            running.start()
            yield running
        finally:
            running.stop()


def test_check_finds_nothing_wrong_in_the_example(capsys):
    assert main(["check", str(EXAMPLE / "wshandler.yaml")]) == 0
    printed = capsys.readouterr()
    assert "warning" not in (printed.out + printed.err).lower()


class Person:
    """A client in the hall, who writes down what they hear and how long they were away."""

    def __init__(self, url: str, token: str) -> None:
        self.heard: list[str] = []
        self.nodes: list[str] = []
        self.breaks: list[float] = []
        self.changes: list[Change] = []
        self._left = 0.0
        self.opening = connect(f"{url}hall", token=token, on_state=self.changed, timeout=SECONDS)
        self.bot: AsyncClient

    def changed(self, change: Change) -> None:
        self.changes.append(change)
        if change.event == "away":
            self._left = time.monotonic()
        elif change.event in ("resumed", "renewed"):
            self.breaks.append(time.monotonic() - self._left)

    async def come(self) -> None:
        self.bot = await self.opening
        self.hall = await self.bot.join("hall")
        self.tasks = [asyncio.create_task(work) for work in (self.listen(), self.look())]

    async def listen(self) -> None:
        async for text in self.hall.messages:
            self.heard.append(json.loads(text)["text"])

    async def look(self) -> None:
        async for message in self.bot:
            self.nodes.append(json.loads(message)["node"])

    async def leave(self) -> None:
        await self.bot.close()
        await asyncio.gather(*self.tasks)


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.05)


@sizes(short=30, full=300, seconds=400)
async def test_a_rolling_restart_loses_nothing_in_rooms_and_keeps_nobody_waiting(
    deployment, size: Size
):
    people = [Person(deployment.url, deployment.token) for _ in range(size.number)]
    for start in range(0, len(people), 50):
        await asyncio.gather(*(one.come() for one in people[start : start + 50]))
    await until(lambda: all(one.nodes for one in people))
    assert len({one.nodes[0] for one in people}) == 3  # nobody has to go where others are
    said: list[str] = []
    over = asyncio.Event()

    async def publish() -> None:
        async with Publisher(deployment.backplane) as publisher:
            while not over.is_set():
                text = f"from outside {len(said)}"
                said.append(text)
                await publisher.publish("hall", "hall", {"text": text}, timeout=SECONDS)
                await asyncio.sleep(EVERY)

    async def talk(person: Person, name: int) -> None:
        for number in range(1_000_000):
            if over.is_set():
                return
            text = f"{name} says {number}"
            said.append(text)
            assert (await person.bot.ask(text, timeout=SECONDS))["offset"]
            await asyncio.sleep(10 * EVERY)

    def roll() -> None:
        for _ in deployment.roll():
            pass

    began = time.monotonic()
    talking = [asyncio.create_task(talk(one, n)) for n, one in enumerate(people[:10])]
    publishing = asyncio.create_task(publish())
    await asyncio.to_thread(roll)
    over.set()
    await asyncio.gather(publishing, *talking)  # no answer was lost
    seconds = time.monotonic() - began
    await until(lambda: all(len(one.heard) >= len(said) for one in people))
    for one in people:
        assert one.heard == people[0].heard  # in one order
        assert one.hall.recovered is not False
        assert [change.unsure for change in one.changes if change.unsure] == []
        await one.leave()
    assert Counter(people[0].heard) == Counter(said)  # each of them once
    breaks = [each for one in people for each in one.breaks]
    moved = Counter(
        change.reason for one in people for change in one.changes if change.event == "renewed"
    )
    print(
        f"{len(people)} clients, {len(said)} messages, three servers restarted in {seconds:.1f} s: "
        f"{len(breaks)} breaks, the longest {max(breaks):.2f} s; renewed as {dict(moved)}"
    )
    assert len(breaks) >= len(people)
    assert max(breaks) < size.bound(LONGEST_BREAK, 3 * LONGEST_BREAK)


def test_the_page_says_which_server_has_it_and_goes_to_another_one_when_that_stops(
    deployment, browser
):
    page = browser.new_page()
    page.goto(f"{deployment.url}hall?token={deployment.token}")
    page.wait_for_function("document.getElementById('node').textContent !== 'nobody yet'")
    before = page.text_content("#node")
    page.fill("#text", "hello <b>all</b>")
    page.press("#text", "Enter")
    page.get_by_text("hello <b>all</b>").wait_for()
    with ThreadPoolExecutor() as threads:  # in this one Playwright's event loop runs
        threads.submit(publish_once, deployment.backplane, "hall", "hall", "plain words").result()
    page.locator("li", has_text="plain words").get_by_text("outside").wait_for()
    # It stays away: this is the last test here, and a start takes seconds.
    deployment.nodes[deployment.names.index(before)].send_signal(signal.SIGTERM)
    page.wait_for_function(
        "before => document.getElementById('node').textContent !== before", arg=before
    )
    page.fill("#text", "still here")
    page.press("#text", "Enter")
    page.get_by_text("still here").wait_for()
    assert page.get_by_text("hello <b>all</b>").count() == 1  # nothing comes twice
    assert page.get_by_text("is lost").count() == 0
