"""What is kept of what callbacks raise: the newest, bounded, and nothing that holds on to them."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from jupyter_wshandler.callbacks.errorlog import CallbackFailure
from jupyter_wshandler.connection.observer import EVENTS, Observer
from jupyter_wshandler.server.records import errors
from jupyter_wshandler.server.records.errors import ALL, EACH, TEXT, ErrorBook, kept_message


def raised(error: BaseException) -> BaseException:
    """Return an exception that has a traceback."""
    try:
        raise error
    except BaseException as found:
        return found


def failure(route="bot", message=None, error=None, at=100.0, number=0):
    handler = SimpleNamespace(
        id="c1", route=route, current_user=SimpleNamespace(username="ada\n"), host=None
    )
    error = error or raised(ValueError("wrong"))
    return CallbackFailure(handler, message, error, "bot.answer", at, f"{number:08x}")


def fail(book: ErrorBook, **what) -> None:
    found = failure(**what)
    book.failed(found.handler, found)


def test_an_error_is_kept_with_all_that_helps_to_find_it():
    book = ErrorBook()
    fail(book, message="a question", number=7)
    [kept] = book.newest({"bot"})
    assert (kept.error_id, kept.route, kept.connection) == ("00000007", "bot", "c1")
    assert (kept.user, kept.callback, kept.exception) == ("ada?", "bot.answer", "ValueError")
    assert kept.place.startswith(__file__ + ":")
    assert kept.traceback.endswith("ValueError: wrong")
    assert kept.message == {"text": "a question", "size": 10}
    assert book.of_id("00000007") is kept
    assert book.of_id("00000008") is None


def test_it_hears_of_nothing_but_failures_and_so_costs_nothing_without():
    heard = [event for event in EVENTS if getattr(ErrorBook, event) is not getattr(Observer, event)]
    assert heard == ["failed"]


def test_the_newest_hundred_of_a_route_are_kept_and_those_of_others_are_left_alone():
    book = ErrorBook()
    fail(book, route="quiet")
    for number in range(EACH + 50):
        fail(book, number=number)
    assert book.count("bot") == EACH
    assert book.count("quiet") == 1
    found = [int(kept.error_id, 16) for kept in book.newest({"bot"})]
    assert found == [*range(EACH + 49, 49, -1)]
    [first, *_] = book.newest({"bot"}, before=next(book.newest({"bot"})).serial)
    assert int(first.error_id, 16) == EACH + 48


def test_of_all_routes_together_so_many_are_kept_and_the_oldest_goes_first():
    book = ErrorBook()
    for number in range(ALL + 10):
        fail(book, route=f"bot{number}", number=number)
    kept = list(book.newest({f"bot{number}" for number in range(ALL + 10)}))
    assert len(kept) == ALL
    assert int(kept[-1].error_id, 16) == 10


def test_a_fault_that_comes_again_at_once_is_not_shown_anew(monkeypatch):
    made = []
    monkeypatch.setattr(
        errors, "shown", lambda error, users: made.append(error) or f"shown {len(made)}"
    )
    book, error = ErrorBook(), raised(ValueError("wrong"))
    for number in range(1000):
        fail(book, error=error, at=100.0 + number / 500, number=number)
    assert len(made) == 2  # in two seconds
    assert {kept.traceback for kept in book.newest({"bot"})} == {"shown 2"}
    fail(book, error=raised(TypeError("another")), at=102.0)
    assert next(book.newest({"bot"})).traceback == "shown 3"


def test_nothing_of_what_failed_is_held_on_to():
    class Thing(ValueError):
        pass

    book = ErrorBook()
    found = failure(error=raised(Thing("wrong")))
    thing = weakref.ref(found.exception)
    book.failed(found.handler, found)
    del found
    gc.collect()
    assert thing() is None
    assert book.count("bot") == 1


def test_the_errors_of_one_route_are_forgotten():
    book = ErrorBook()
    for route in ("bot", "other", "bot"):
        fail(book, route=route)
    book.forget("bot")
    book.forget("nothing")
    assert (book.count("bot"), book.count("other")) == (0, 1)
    for number in range(3):
        fail(book, number=number)
    assert book.count("bot") == 3


@dataclass
class Ask:
    text: str


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (None, None),
        ("", {"text": "", "size": 0}),
        ("é" * 3000, {"text": "é" * TEXT, "size": 3000}),
        (b"\0\1", {"binary": "AAE=", "size": 2}),
        (Ask("why"), {"text": '{"text":"why"}', "size": 14}),
        (object(), {"text": "(object)", "size": 0}),
    ],
    ids=["none", "empty", "long", "bytes", "typed", "odd"],
)
def test_of_a_message_the_begin_is_kept_and_its_size(message, kept):
    assert kept_message(message) == kept


def test_an_exception_that_cannot_be_looked_at_is_kept_all_the_same():
    class Broken(Exception):
        def __getattribute__(self, name):
            raise RuntimeError("never")

    book = ErrorBook()
    error = Broken()
    try:
        fail(book, error=error)
    except RuntimeError:
        pytest.fail("it was looked at")
    [kept] = book.newest({"bot"})
    assert kept.exception == "Broken"
