"""Filters of all routes around the bots of a kernel that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kernels.test_bridge import Client, Kernel
from support.memory import turns, until

from jupyter_wshandler.connection.phase import CLOSED
from jupyter_wshandler.engine.messages import Close
from jupyter_wshandler.functions.filtering import filters_of
from jupyter_wshandler.functions.filters import filter_of
from jupyter_wshandler.kernels import filtered
from jupyter_wshandler.kernels.filtered import FilteredKernels
from jupyter_wshandler.kernels.routes import KernelRoutes


@pytest.fixture
def serving(manager) -> Iterator[Callable[..., Kernel]]:
    """Return what makes a kernel whose bot has filters of the server around it."""
    kernels: list[Kernel] = []

    def serve(*filters: Any) -> Kernel:
        found = filters_of(filter_of(f"f{number}", one) for number, one in enumerate(filters))
        manager.observers.add(FilteredKernels(manager.io.loop))
        kernel = Kernel(manager, KernelRoutes(manager.served, filters=lambda: found))
        kernel.serve()
        kernels.append(kernel)
        return kernel

    yield serve
    for kernel in kernels:
        kernel.bridge.end("the test is over")
    for connection in list(manager.connections.values()):
        connection._transport.lost()


class Waits:
    """A filter that lets a message in when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.opened = asyncio.Event()

    async def incoming(self, handler: Any, message: str) -> str:
        self.asked.append(message)
        await self.opened.wait()
        return message


@pytest.mark.parametrize("ends", [True, False])
async def test_a_client_that_goes_while_a_filter_is_waited_for_is_finished_behind_it(
    manager, serving, monkeypatch, ends
):
    monkeypatch.setattr(filtered, "PATIENCE", 30.0 if ends else 0.01)
    waits = Waits()
    kernel = serving(waits)
    client = Client(manager).open()
    client.say("first", "second")
    client.transport.feed([Close(1000, "")])
    await until(lambda: waits.asked)
    client.transport.lost()
    await until(lambda: client.connection.phase is CLOSED)
    assert kernel.got("lost") == []
    if ends:
        waits.opened.set()
    await until(lambda: kernel.got("lost"))
    assert waits.asked == ["first", "second"]
    handled = [event[2] for event in kernel.got("text")]
    assert handled == (["first", "second"] if ends else [])
    name = client.connection.id
    kernel.say([["closed", name, 0]])
    assert name not in manager.connections


async def test_a_filter_that_is_waited_for_outlives_a_new_version_of_the_bot(manager, serving):
    waits = Waits()
    kernel = serving(waits)
    client = Client(manager).open()
    client.say("first", "second")
    await until(lambda: waits.asked)
    route = client.connection.entry
    kernel.serve(2)
    await until(lambda: client.connection.entry is not route)
    waits.opened.set()
    await until(lambda: len(kernel.got("text")) == 2)
    assert [event[2] for event in kernel.got("text")] == ["first", "second"]


async def test_a_filter_that_cancels_itself_lets_nothing_in(manager, serving):
    class Cancels:
        async def incoming(self, handler: Any, message: str) -> str:
            raise asyncio.CancelledError

    kernel = serving(Cancels)
    client = Client(manager).open()
    client.say("first")
    await until(lambda: client.code is not None)
    assert client.code == 1011
    assert kernel.got("text") == []


# ---- the beginning and the end of a connection -------------------------------------------------


class Hears:
    """A filter that writes down what it hears of in a list that others write to as well.

    Args:
        name: What it is called there.
        heard: The list.
        fails: The function of it that raises.
    """

    def __init__(self, name: str, heard: list[str], fails: str = "") -> None:
        self.name = name
        self.heard = heard
        self.fails = fails

    def on_open(self, handler: Any) -> None:
        self._hear("open")

    def on_error(self, handler: Any, exc: BaseException) -> None:
        self._hear("error")

    def on_close(self, handler: Any) -> None:
        self._hear("close")

    def _hear(self, what: str) -> None:
        self.heard.append(f"{self.name} {what}")
        if what == self.fails:
            raise ValueError("a filter's fault")


class HearsLater(Hears):
    """The same, where it has to wait until the test says so."""

    def __init__(self, *args: Any, **details: Any) -> None:
        super().__init__(*args, **details)
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def on_open(self, handler: Any) -> None:
        self.asked.set()
        await self.may.wait()
        super().on_open(handler)

    async def on_close(self, handler: Any) -> None:
        await asyncio.sleep(0)
        super().on_close(handler)


async def test_filters_open_in_order_before_the_bot_and_close_in_order_behind_it(manager, serving):
    heard: list[str] = []
    later = HearsLater("1st", heard)
    kernel = serving(later, Hears("2nd", heard))
    client = Client(manager).open()
    client.say("hello")
    await later.asked.wait()
    await turns()
    assert (heard, kernel.got("open"), kernel.got("text")) == ([], [], [])
    later.may.set()
    await until(lambda: kernel.got("text"))
    assert heard == ["1st open", "2nd open"]
    assert [event[0] for event in kernel.events[-2:]] == ["open", "text"]
    client.transport.lost()
    await until(lambda: kernel.got("lost"))
    kernel.say([["closed", client.connection.id, 0]])
    await until(lambda: len(heard) == 4)
    assert heard[2:] == ["2nd close", "1st close"]


@pytest.mark.parametrize("kind", [Hears, HearsLater])
async def test_a_filter_that_fails_as_a_connection_opens_lets_nobody_hear_of_it(
    manager, serving, kind
):
    heard: list[str] = []
    first = kind("1st", heard, fails="open")
    kernel = serving(first, Hears("2nd", heard))
    if kind is HearsLater:
        first.may.set()
    client = Client(manager).open()
    client.say("hello")
    await until(lambda: client.code is not None)
    assert client.code == 1011
    client.transport.lost()
    await until(lambda: len(heard) == 5)
    assert heard == ["1st open", "2nd error", "1st error", "2nd close", "1st close"]
    assert client.connection.id not in manager.connections
    assert [event[0] for event in kernel.events if event[0] != "served"] == []


async def test_a_client_that_goes_before_filters_have_opened_is_told_of_then(manager, serving):
    heard: list[str] = []
    later = HearsLater("1st", heard)
    kernel = serving(later)
    client = Client(manager).open()
    client.say("hello")
    client.transport.feed([Close(1000, "")])
    await later.asked.wait()
    client.transport.lost()
    await until(lambda: client.connection.phase is CLOSED)
    later.may.set()
    await until(lambda: kernel.got("lost"))
    order = [event[0] for event in kernel.events if event[0] != "served"]
    assert order == ["open", "text", "lost"]
    kernel.say([["closed", client.connection.id, 0]])
    await until(lambda: heard == ["1st open", "1st close"])


async def test_a_client_that_goes_before_a_filter_that_never_opens_is_finished(
    manager, serving, monkeypatch
):
    monkeypatch.setattr(filtered, "PATIENCE", 0.01)
    heard: list[str] = []
    later = HearsLater("1st", heard)
    kernel = serving(later)
    client = Client(manager).open()
    client.say("hello")
    await later.asked.wait()
    client.transport.lost()
    await until(lambda: client.connection.id not in manager.connections)
    await until(lambda: heard == ["1st close"])
    assert [event[0] for event in kernel.events if event[0] != "served"] == []


async def test_a_client_that_closes_before_filters_have_opened_is_answered_then(manager, serving):
    later = HearsLater("1st", [])
    kernel = serving(later)
    client = Client(manager).open()
    client.say("hello")
    client.transport.feed([Close(1000, "")])
    await later.asked.wait()
    await turns()
    assert (client.code, kernel.got("leaving")) == (None, [])
    later.may.set()
    await until(lambda: kernel.got("leaving"))
    order = [event[0] for event in kernel.events if event[0] != "served"]
    assert order == ["open", "text", "leaving"]
    kernel.say([], {"taken": {client.connection.id: 1}})
    await until(lambda: client.code is not None)
    assert client.code == 1000


async def test_each_filter_hears_of_the_end_whatever_others_raise(manager, serving):
    heard: list[str] = []
    filters = [Hears("1st", heard), Hears("2nd", heard, fails="close")]
    later = HearsLater("3rd", heard, fails="close")
    later.may.set()
    kernel = serving(*filters, later)
    client = Client(manager).open()
    await until(lambda: kernel.got("open"))
    client.transport.lost()
    await until(lambda: kernel.got("lost"))
    kernel.say([["closed", client.connection.id, 0]])
    await until(lambda: "1st close" in heard)
    assert [what for what in heard if "close" in what] == ["3rd close", "2nd close", "1st close"]


async def test_a_filter_that_waits_as_it_hears_of_an_error_hears_of_it(manager, serving):
    heard: list[str] = []

    class Tells:
        def incoming(self, handler: Any, message: str) -> str:
            raise ValueError("a filter's fault")

        async def on_error(self, handler: Any, exc: BaseException) -> None:
            await asyncio.sleep(0)
            heard.append(str(exc))

    serving(Tells)
    client = Client(manager).open()
    client.say("hello")
    await until(lambda: heard)
    assert (heard, client.code) == (["a filter's fault"], 1011)
