"""What callbacks raise is logged within bounds, whatever it is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from types import SimpleNamespace

import pytest

from jupyter_wshandler.callbacks import showing
from jupyter_wshandler.callbacks.errorlog import TRACEBACK, WHOLE, CallbackFailure, ErrorLog, shown

BOT = SimpleNamespace(route="bot", id="c1", current_user=None)


def raised(make):
    try:
        raise make()
    except BaseException as error:
        return error


def written(caplog, errors):
    log = ErrorLog(logging.getLogger("test-errors"))
    for error in errors:
        log.write(CallbackFailure(BOT, None, error, "on_message", 0.0, "e1"), 1.0)
    return [record for record in caplog.records if record.exc_info]


def test_a_class_made_at_each_call_is_one_fault(caplog):
    errors = [raised(type("Oops", (ValueError,), {})) for _ in range(50)]
    assert len(written(caplog, errors)) == WHOLE


def test_names_of_classes_made_at_each_call_are_bounded_at_one_place(caplog):
    errors = [raised(type(f"E{n}", (ValueError,), {})) for n in range(500)]
    assert len(written(caplog, errors)) <= 30


def deep():
    error = ValueError("first")
    for n in range(2000):
        following = ValueError(str(n))
        following.__cause__ = error
        error = following
    return error


class Unprintable(ValueError):
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError("x" * 10_000_000),
        lambda: ExceptionGroup("many", [ValueError(n) for n in range(10_000)]),
        lambda: ValueError("a\nERROR forged\x1b[31m"),
        deep,
        Unprintable,
    ],
)
def test_an_exception_of_any_size_takes_a_bounded_text(make):
    text = shown(raised(make))
    assert 0 < len(text) < TRACEBACK + 2000
    assert all(line.startswith("  ") and line.isprintable() for line in text.splitlines())


async def test_an_exception_that_takes_long_to_print_holds_nobody_up(caplog, monkeypatch):
    monkeypatch.setattr(showing, "PATIENCE", 0.3)
    gate = threading.Event()

    class Slow(ValueError):
        def __str__(self):
            gate.wait(20)
            return "at last"

    log = ErrorLog(logging.getLogger("test-errors"))
    began = time.monotonic()
    for make in (Slow, lambda: ValueError(Slow()), lambda: ExceptionGroup("all", [Slow()])):
        log.write(CallbackFailure(BOT, None, raised(make), "on_message", 0.0, "e1"), 1.0)
    assert time.monotonic() - began < 0.25
    assert not caplog.records
    async with asyncio.timeout(10):
        while len(caplog.records) < 3:
            await asyncio.sleep(0.01)
    assert [record.exc_text.count("takes too long to be shown") for record in caplog.records] == [
        1,
        1,
        1,
    ]
    gate.set()
    await asyncio.sleep(0.1)
    assert len(caplog.records) == 3, "an error was written twice"


async def test_a_class_with_a_str_of_its_own_is_shown_whole(caplog):
    class Told(ValueError):
        def __str__(self):
            return "in its own words"

    log = ErrorLog(logging.getLogger("test-errors"))
    log.write(CallbackFailure(BOT, None, raised(Told), "on_message", 0.0, "e1"), 1.0)
    async with asyncio.timeout(10):
        while not caplog.records:
            await asyncio.sleep(0.01)
    assert "in its own words" in caplog.records[0].exc_text


@pytest.mark.parametrize(
    "make",
    [
        ValueError,
        lambda: KeyError("a", 1),
        lambda: OSError(2, "no such file"),
        lambda: ExceptionGroup("all", [ValueError("one")]),
        lambda: AttributeError("name", name="x", obj=BOT),
    ],
)
def test_most_exceptions_are_written_without_a_thread(make):
    assert showing.is_plain(raised(make))
