"""One-time codes: once, for 30 s, at one server, for one share, in one browser."""

from __future__ import annotations

import pytest

from jupyter_wshandler.server.directory.codes import FOR_EACH_USER, SECONDS, Codes, Grant, digest

STATE = digest("what the browser was given")
GRANT = Grant("bob", "share-of-ada", "ada", "", "/pingbot", STATE)
HERE = {"owner": "ada", "server": "", "share": "share-of-ada", "path": "/pingbot", "state": STATE}


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def codes(now):
    return Codes(lambda: now[0])


def test_a_code_says_who_comes_and_is_good_once(codes):
    code = codes.issue(GRANT)
    assert codes.take(code, **HERE) == "bob"
    assert codes.take(code, **HERE) == ""


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"owner": "mallory"},
        {"server": "other"},
        {"share": "another-share"},
        {"path": "/adminbot"},
        {"state": digest("what another browser was given")},
        {"state": ""},
        {"state": "é"},
    ],
)
def test_a_code_is_for_one_server_share_path_and_browser_and_a_wrong_try_uses_it_up(
    codes, elsewhere
):
    code = codes.issue(GRANT)
    assert codes.take(code, **(HERE | elsewhere)) == ""
    assert codes.take(code, **HERE) == ""


def test_a_code_is_good_for_thirty_seconds(codes, now):
    early, late = codes.issue(GRANT), codes.issue(GRANT)
    now[0] += SECONDS - 0.1
    assert codes.take(early, **HERE) == "bob"
    now[0] += 0.1
    assert codes.take(late, **HERE) == ""
    assert SECONDS == 30


@pytest.mark.parametrize("made_up", ["", "x", "\udc80", "é" * 5000])
def test_what_is_no_code_opens_nothing(codes, made_up):
    codes.issue(GRANT)
    assert codes.take(made_up, **HERE) == ""


def test_one_user_who_asks_for_many_takes_none_from_others(codes):
    others = codes.issue(GRANT._replace(user="zoë b"))
    first = codes.issue(GRANT)
    for _ in range(5 * FOR_EACH_USER):
        last = codes.issue(GRANT)
    assert len(codes) == FOR_EACH_USER + 1
    assert codes.take(first, **HERE) == ""
    assert codes.take(last, **HERE) == "bob"
    assert codes.take(others, **HERE) == "zoë b"


def test_codes_that_nobody_takes_are_forgotten(codes, now):
    for number in range(50):
        codes.issue(GRANT._replace(user=f"user{number}"))
    now[0] += SECONDS
    codes.issue(GRANT)
    assert len(codes) == 1


def test_no_code_is_kept_as_it_is(codes):
    code = codes.issue(GRANT)
    assert code not in repr(vars(codes))
