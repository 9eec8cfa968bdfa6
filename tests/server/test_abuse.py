"""What a client may try, against this server and a raw Tornado handler: the table in docs/."""

from __future__ import annotations

import pytest
import tornado
from support.abuse import (
    BOUNDED,
    CASES,
    DOCUMENT,
    documented,
    measure_both,
    our_target,
    tornado_target,
)
from support.endurance import sizes
from support.server import wait_for
from support.wire import open_sockets


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Return a Tornado server, ours, and how many sockets ours had."""
    with (
        tornado_target(tmp_path_factory.mktemp("tornado")) as theirs,
        our_target(tmp_path_factory.mktemp("ours")) as ours,
    ):
        ours.ended("nobody")
        yield theirs, ours, open_sockets(ours.server.pid)


def test_the_table_has_every_case_and_no_other():
    assert list(documented()) == [one.name for one in CASES]


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.run.__name__)
@sizes(short=1, full=10)
def test_abuse_ends_as_the_table_says_in_bounded_memory_and_others_go_on(targets, one, size):
    theirs, ours, _ = targets
    theirs.scale = ours.scale = size.number
    tornado_does, we_do = measure_both(theirs, ours, one)
    expected_of_tornado, expected_of_us = documented()[one.name]
    assert we_do.words == expected_of_us, "if this is meant, run `make abuse`"
    assert we_do.growth < BOUNDED
    assert we_do.waited < size.bound(0.25, 1.5)
    if f"Tornado {tornado.version} " in DOCUMENT.read_text():
        assert tornado_does.words == expected_of_tornado, "if this is meant, run `make abuse`"
    else:
        assert tornado_does.words


def test_after_all_of_it_nothing_is_left_and_nothing_failed(targets):
    _, ours, sockets = targets
    wait_for(
        lambda: open_sockets(ours.server.pid) <= sockets,
        seconds=30,
        what="the end of all connections",
    )
    log = ours.server.log_text()
    assert "Traceback" not in log
    assert "ResourceWarning" not in log
    assert "never retrieved" not in log


def test_a_server_under_abuse_still_serves(targets):
    _, ours, _ = targets
    assert ours.server.fetch("api/status")[0] == 200
