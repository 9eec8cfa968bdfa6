"""What a callback raises, as it is shown below the cell."""

from __future__ import annotations

import json
import re
import types

import httpx
import pytest
from IPython.core.ultratb import AutoFormattedTB

from jupyter_wshandler.callbacks.errorlog import CallbackFailure
from jupyter_wshandler.notebook.bot import Bot
from jupyter_wshandler.notebook.tracebacks import format_error

SHELL = types.SimpleNamespace(InteractiveTB=AutoFormattedTB(mode="Context", tb_offset=0))


def shown(error: BaseException) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", format_error(SHELL, error))


def ask_a_model() -> None:
    httpx.get("http://127.0.0.1:9/x", trust_env=False)


def test_an_error_deep_in_a_library_begins_with_what_it_is_and_shows_the_users_own_line():
    with pytest.raises(httpx.ConnectError) as caught:
        ask_a_model()
    whole = caught.value.__traceback__
    lines = shown(caught.value).splitlines()
    assert lines[0].startswith("httpx.ConnectError: ")
    assert any("httpx.get(" in line for line in lines)
    assert len(lines) < 50
    assert re.fullmatch(r"\(\d+ lines of libraries are left out; .*\)", lines[-1])
    files = [line for line in lines if line.startswith("File ") and "site-packages" in line]
    assert len(files) == 2  # the last line of the error, and of what has caused it
    assert caught.value.__traceback__ is whole
    depth = 0
    while whole is not None:
        whole, depth = whole.tb_next, depth + 1
    assert depth > 5  # nothing is missing for who looks deeper


def test_an_error_of_the_users_own_lines_is_shown_as_the_notebook_shows_it():
    def divide(number):
        return 1 / number

    with pytest.raises(ZeroDivisionError) as caught:
        divide(0)
    text = shown(caught.value)
    assert text.startswith("-----")
    assert "left out" not in text
    assert "return 1 / number" in text


def test_an_error_of_pythons_own_library_shows_the_line_that_has_called_it():
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    text = shown(caught.value)
    assert text.startswith("json.decoder.JSONDecodeError: Expecting")
    assert 'json.loads("{")' in text
    assert "raw_decode" in text  # the last line
    assert "in loads(" not in text


def test_an_error_with_a_huge_message_is_cut():
    try:
        raise ValueError("x" * 9_000_000)
    except ValueError as error:
        found = shown(error)
    assert len(found) < 10_000
    assert 'raise ValueError("x" * 9_000_000)' in found
    assert "ValueError: xxx" in found
    try:
        raise ValueError("line\n" * 1_000_000)
    except ValueError as error:
        found = shown(error)
    assert len(found) < 200_000
    assert found.endswith("(the rest is not shown)")


def test_a_bot_remembers_errors_in_bounded_memory():
    bot = Bot(None, "bot", "/bot")

    def fail(message):
        bot.add_error(CallbackFailure(None, message, ValueError(), "fail", 0.0))

    for number in range(200):
        fail(str(number))
    assert [error.message for error in bot.errors] == [str(number) for number in range(100, 200)]
    for _ in range(30):
        fail("x" * 2**20)
    assert len(bot.errors) == 16
    fail(b"x" * 2**25)
    assert [len(error.message) for error in bot.errors] == [2**25]
