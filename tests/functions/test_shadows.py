"""A callback named `open` hides Python's own: its author is warned where that matters."""

from __future__ import annotations

import os
import textwrap

import pytest
from functions.test_resolve import Bots


def warnings_for(bots: Bots, more: str) -> list[str]:
    bots.write("wsbot.py", "def open(handler): pass\n" + textwrap.dedent(more))
    bots.find("wsbot.open", "open")
    bots.find("wsbot.open", "open")
    return [warning.replace(f"{bots.folder}{os.sep}", "") for warning in bots.resolver.warnings]


def test_row_callback_named_open_is_warned_of_where_the_module_needs_the_builtin(
    bots: Bots,
) -> None:
    more = "def on_message(h, m):\n    with open('log', 'a') as log:\n        log.write(m)\n"
    assert warnings_for(bots, more) == [
        "wsbot.open: the callback has the name of Python's open() and hides it in its module, so "
        "the call of open() in wsbot.py:3 calls the callback; rename the callback to on_open"
    ]


@pytest.mark.parametrize(
    "more",
    [
        "class Log:\n    def open(self): return open('x')\n",
        "def f():\n    def g(): return [open(x) for x in 'ab']\n",
        "f = lambda: open('x')\n",
        "def f(x=1):\n    global open\n    open = x\n    open('x')\n",
        "data = open(None)\n",
        "async def f():\n    if (text := open('x')): return text\n",
    ],
)
def test_every_call_that_would_reach_the_callback_is_warned_of(bots: Bots, more: str) -> None:
    assert len(warnings_for(bots, more)) == 1


@pytest.mark.parametrize(
    "more",
    [
        "",
        "import builtins\ndef f(): return builtins.open('x')\n",
        "def f(open): return open('x')\n",
        "def f(*open): return open('x')\n",
        "def f():\n    from io import open\n    return open('x')\n",
        "def f():\n    open = 1\n    def g(): return open('x')\n",
        "def f():\n    def open(): pass\n    open()\n",
        "def f(path): return path.open('x')\n",
        "EVENTS = {'open': open}\n",
        "f = lambda open: open('x')\n",
        "x = [open() for open in ()]\n",
        "def f(m):\n    match m:\n        case [open]: return open()\n",
        "def f():\n    try: pass\n    except ValueError as open: open()\n",
    ],
)
def test_a_call_that_does_not_reach_the_callback_is_not_warned_of(bots: Bots, more: str) -> None:
    assert warnings_for(bots, more) == []


def test_a_call_before_the_callback_is_defined_still_reaches_the_builtin(bots: Bots) -> None:
    bots.write("wsbot.py", "open(__file__).close()\ndef open(handler): pass\n")
    bots.find("wsbot.open", "open")
    assert bots.resolver.warnings == []


def test_a_callback_named_on_open_is_never_warned_of(bots: Bots) -> None:
    bots.write("wsbot.py", "def on_open(handler): return open('x')\n")
    assert bots.find("wsbot.on_open", "open").event == "open"
    assert bots.resolver.warnings == []
