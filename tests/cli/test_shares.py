"""Shares in words and as a table: times as people say them."""

from __future__ import annotations

import time

import pytest

from jupyter_wshandler.cli.shares import ends, guests, named, shares_table
from jupyter_wshandler.cli.tables import aligned

NOON = time.mktime((2026, 11, 29, 12, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (45, "until 12:00 (for 45 s)"),
        (99, "until 12:01 (for 99 s)"),
        (100, "until 12:01 (for 2 min)"),
        (1800, "until 12:30 (for 30 min)"),
        (3570, "until 12:59 (for 1 h)"),
        (7199.6, "until 13:59 (for 2 h)"),
        (7260, "until 14:01 (for 2 h 1 min)"),
        (86400, "until 2026-11-30 12:00 (for 24 h)"),
        (7 * 86400, "until 2026-12-06 12:00 (for 7 days)"),
        (None, "until you revoke it"),
    ],
)
def test_an_end_is_said_as_the_clock_and_as_the_time_that_is_left(seconds, words):
    expires = None if seconds is None else NOON + seconds
    assert ends({"expires": expires}, NOON) == words


@pytest.mark.parametrize(
    ("uses", "words"), [(None, "whoever has the link"), (1, "one guest"), (30, "30 guests")]
)
def test_how_many_may_come_is_said_in_words(uses, words):
    assert guests({"uses": uses}) == words
    assert guests({"uses": uses, "users": ["bob"], "groups": ["staff"]}) == "bob, group staff"


def test_a_share_is_named_by_its_path_and_its_label():
    assert named({"path": "/pingbot", "label": ""}) == "/pingbot"
    assert named({"path": "/a", "label": "Tuesday's class"}) == """/a for "Tuesday's class\""""


def test_a_table_lines_up_and_holds_nothing_that_a_terminal_obeys():
    shares = [
        {
            "id": "3f9a1c2b",
            "path": "/pingbot",
            "label": "the \x1b[31mred\ngroup",
            "guests": 12,
            "uses": 30,
            "used": 14,
            "expires": NOON + 4800,
        },
        {"id": "8b", "path": "/room/blue", "label": "", "used": 3, "uses": None, "expires": None},
        {"id": "9c", "path": "/x", "label": "", "used": 0, "uses": 1, "expires": NOON - 1},
        {"id": "9d", "path": "/y", "label": "Us", "users": ["bob"], "groups": ["staff"]},
    ]
    assert shares_table(shares, NOON) == [
        "ID        BOT         HERE      USED  ENDS                   LABEL",
        r"3f9a1c2b  /pingbot      12  14 of 30  13:20 (in 1 h 20 min)  the \x1b[31mred\ngroup",
        "8b        /room/blue     0         3  when you revoke it",
        "9c        /x             0    0 of 1  has ended",
        "9d        /y             0         0  when you revoke it     Us [bob, group staff]",
    ]


def test_a_cell_that_is_very_long_moves_its_own_line_alone():
    name = "n" * 60
    rows = [("NAME", "HERE", "PATTERN"), ("chat", "2", "/chat"), (name, "1", "/long")]
    assert aligned(rows, right=(1,)) == [
        "NAME  HERE  PATTERN",
        "chat     2  /chat",
        f"{name}     1  /long",
    ]
