"""Filters of all routes around the bots of a kernel that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kernels.test_bridge import Client, Kernel
from support.memory import until

from jupyter_wshandler.functions.filtering import filters_of
from jupyter_wshandler.functions.filters import filter_of
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


async def test_a_client_that_goes_while_a_filter_is_waited_for_is_finished(manager, serving):
    waits = Waits()
    kernel = serving(waits)
    client = Client(manager).open()
    client.say("first", "second")
    await until(lambda: waits.asked)
    client.transport.lost()
    await until(lambda: kernel.got("lost"))
    name = client.connection.id
    kernel.say([["closed", name, 0]])
    assert name not in manager.connections
    assert (waits.asked, kernel.got("text")) == (["first"], [])


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
