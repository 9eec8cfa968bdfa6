"""Lines of the log that nobody reads are not made; all others are as before."""

from __future__ import annotations

import logging
from functools import partial
from itertools import count
from types import SimpleNamespace

import pytest
from jupyter_server.log import log_request

from jupyter_wshandler.server import heard as module
from jupyter_wshandler.server.heard import counted, heard

numbers = count()


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self, level):
        super().__init__(level)
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def log():
    root = logging.Logger("root-of-test", logging.DEBUG)
    found = logging.getLogger(f"heard-in-tests-{next(numbers)}")
    found.setLevel(logging.DEBUG)
    found.parent = root
    return found


def test_a_line_that_no_handler_takes_is_not_made(log, monkeypatch):
    handler = Kept(logging.WARNING)
    log.addHandler(handler)
    made = []
    monkeypatch.setattr(logging.Logger, "makeRecord", lambda *args, **kw: made.append(args))
    heard(log).debug("nobody reads %s", "this")
    heard(log).info("nor this")
    assert made == []


def test_a_line_that_somebody_takes_is_as_the_log_itself_would_write_it(log):
    handler = Kept(logging.INFO)
    log.addHandler(handler)
    heard(log).info("read %s", "me")
    log.info("read %s", "me")
    first, second = handler.records
    assert (first.name, first.getMessage()) == (second.name, second.getMessage())
    assert (first.pathname, first.funcName) == (second.pathname, second.funcName)
    assert second.lineno - first.lineno == 1


def test_the_handlers_further_up_count_where_lines_go_there(log):
    above = Kept(logging.DEBUG)
    log.parent.addHandler(above)
    log.addHandler(Kept(logging.ERROR))
    heard(log).debug("for those above")
    assert [r.getMessage() for r in above.records] == ["for those above"]
    log.propagate = False
    heard(log).debug("not for them")
    assert len(above.records) == 1


def test_handlers_levels_filters_and_an_end_that_come_later_count_from_then(log):
    quiet = heard(log)
    handler = Kept(logging.ERROR)
    log.addHandler(handler)
    quiet.debug("1")
    handler.setLevel(logging.DEBUG)
    quiet.debug("2")
    log.addFilter(lambda record: record.getMessage() != "3")
    quiet.debug("3")
    quiet.debug("4")
    quiet.setLevel(logging.ERROR)
    quiet.debug("5")
    assert log.level == logging.ERROR
    log.setLevel(logging.DEBUG)
    log.disabled = True
    quiet.debug("6")
    assert [r.getMessage() for r in handler.records] == ["2", "4"]


def test_what_is_given_to_it_is_given_to_the_log(log):
    handler = Kept(logging.DEBUG)
    heard(log).addHandler(handler)
    assert log.handlers == [handler]
    heard(log).removeHandler(handler)
    assert log.handlers == []
    assert heard(log).getEffectiveLevel() == logging.DEBUG


def test_what_is_no_plain_log_stays_what_it_is(log):
    adapter = logging.LoggerAdapter(log, {})
    assert heard(adapter) is adapter
    assert heard(heard(log)) is heard(log)


def test_no_more_logs_are_remembered_than_a_server_has():
    for n in range(100):
        heard(logging.Logger(f"log-{n}"))
    assert len(module._known) <= module.KNOWN_AT_MOST


@pytest.mark.parametrize("records", [True, False])
def test_a_request_is_counted_as_jupyters_log_function_does(records, monkeypatch):
    seen = []
    monkeypatch.setattr(module.log_functions, "prometheus_log_method", seen.append)
    function = partial(log_request, record_prometheus_metrics=records)
    handler = SimpleNamespace(settings={"log_function": function})
    assert counted(handler)
    assert seen == ([handler] if records else [])


@pytest.mark.parametrize(
    "function",
    [None, log_request, print, partial(print), partial(log_request), partial(log_request, None)],
)
def test_what_another_log_function_does_is_left_to_it(function):
    assert not counted(SimpleNamespace(settings={"log_function": function}))
