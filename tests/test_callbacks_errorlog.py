"""What callbacks raise is logged within bounds, whatever it is."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from jupyter_wshandler.callbacks.errorlog import TRACEBACK, WHOLE, ErrorLog, Failure, shown

BOT = SimpleNamespace(route="bot", id="c1", current_user=None)


def raised(make):
    try:
        raise make()
    except BaseException as error:
        return error


def written(caplog, errors):
    log = ErrorLog(logging.getLogger("test-errors"))
    for error in errors:
        log.write(Failure(BOT, None, error, "on_message", 0.0, "e1"), 1.0)
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
