"""`c.WSHandlerApp.filters`: what it takes, and that nothing is served where it is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from kernels.test_bridge import Kernel
from support.memory import until

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.model import FunctionSpec, Place
from jupyter_wshandler.functions.filters import Filter
from jupyter_wshandler.kernels.routes import KernelRoutes
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.server.api.config import shown
from jupyter_wshandler.server.filtertraits import FilterTraits

YAML = """
url:
  one: {pattern: /one, handler: WebSocketHandler, kwargs: {on_message: onebot.echo}}
  two: {pattern: /two, handler: WebSocketHandler, kwargs: {on_message: onebot.echo}}
"""

GOOD = "def outgoing(handler, message):\n    return message\n"


def both_ways(handler: Any, message: Any, way: str) -> Any:
    return message


class Hides:
    def outgoing(self, handler: Any, message: Any) -> Any:
        return message


def test_names_and_what_is_at_hand_are_taken_in_their_order():
    filters = FilterTraits(filters=["audit.Cards", both_ways, Hides, Hides()])
    first, *rest = filters.filters_of_all()
    assert isinstance(first, FunctionSpec)
    assert (first.function, str(first.place)) == ("audit.Cards", "c.WSHandlerApp.filters[0]")
    assert [type(one) for one in rest] == [Filter] * 3
    assert [one.name for one in rest if isinstance(one, Filter)] == ["both_ways", "Hides", "Hides"]
    assert filters.misconfigured == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["not a name"], "expected the name of a filter, a module or something in one"),
        ([Hides, lambda handler: None], "<lambda>: expected <lambda>(handler, message, way)"),
        ([7], "expected a filter with at least one of on_open"),
        (["a"] * 17, "expected at most 16 filters, found 17"),
    ],
)
def test_a_wrong_one_costs_all_of_them_and_all_routes(given, words):
    filters = FilterTraits(filters=given)
    assert filters.filters_of_all() == ()
    assert filters.misconfigured.startswith("c.WSHandlerApp.filters: ")
    assert words in filters.misconfigured


def test_where_settings_are_told_they_have_their_names():
    told = shown("filters", ["audit", both_ways, Hides, sys])
    assert told == ["audit", "both_ways", "Hides", "sys"]


# ---- where one cannot be loaded ----------------------------------------------------------------


def applied(manager: WebSocketManager, folder: Path) -> list[tuple[str, str]]:
    (folder / "onebot.py").write_text("async def echo(handler, message):\n    return message\n")
    (folder / "wshandler.yaml").write_text(YAML)
    place = Place("c.WSHandlerApp.filters", key="[0]")
    manager.served.filter_all([FunctionSpec(function="guard", place=place)])
    manager.apply(load(files=[str(folder / "wshandler.yaml")]))
    return [(route.state, route.error) for route in manager.table]


async def test_one_that_is_not_there_breaks_every_route_and_keeps_kernels_out(
    manager: WebSocketManager, tmp_path: Path
):
    states = applied(manager, tmp_path)
    assert [state for state, _ in states] == ["broken"] * 2
    for _, error in states:
        assert error.startswith("c.WSHandlerApp.filters[0]: guard: ")
    kernel = serving(manager)
    await until(lambda: bool(kernel.got("refused")))
    ((_, _, _, why),) = kernel.got("refused")
    assert "a filter of all routes of this server (c.WSHandlerApp.filters) cannot be used" in why


async def test_one_that_is_saved_with_a_mistake_goes_on_as_it_was_for_kernels_too(
    manager: WebSocketManager, tmp_path: Path
):
    guard = tmp_path / "guard.py"
    guard.write_text(GOOD)
    assert [state for state, _ in applied(manager, tmp_path)] == ["ready"] * 2
    kernel = serving(manager)
    await until(lambda: bool(kernel.got("served")))
    route = manager.table.get("bot")
    assert route is not None
    (before,) = route.filters.outgoing
    guard.write_text("def outgoing(handler, message)\n")
    result = await manager.reload()
    assert "guard.py:1" in result.errors[0]
    assert route.filters.outgoing == (before,)
    assert all(one.state == "ready" for one in manager.table)
    guard.write_text(GOOD.replace("message\n", "message[::-1]\n"))
    assert (await manager.reload()).errors == ()
    ((name, function),) = manager.table.get("bot").filters.outgoing
    assert (name, function(None, "abc")) == ("guard.outgoing", "cba")
    assert manager.table.get("one").filters.outgoing == ((name, function),)


def serving(manager: WebSocketManager) -> Kernel:
    """Return a kernel that has asked for a route."""
    routes = KernelRoutes(manager.served, filters=manager.served.filters_of_all)
    kernel = Kernel(manager, routes)
    kernel.serve()
    return kernel


async def test_filters_of_defaults_are_not_for_kernels_and_their_bots_are_told(
    manager: WebSocketManager,
):
    routes = KernelRoutes(manager.served, enforce={"filters": ["guard"]})
    kernel = Kernel(manager, routes)
    kernel.serve()
    await until(lambda: bool(kernel.got("refused")))
    ((_, _, _, why),) = kernel.got("refused")
    assert "c.WSHandlerApp.filters" in why
