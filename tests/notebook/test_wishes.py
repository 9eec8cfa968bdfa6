"""What `bot.share` asks for: wrong types are told at once, and what a time left looks like."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest

from jupyter_wshandler.notebook.shareview import duration, guest_of, literal, people
from jupyter_wshandler.notebook.wishes import wish_of

GOOD = {
    "label": "",
    "expires": "2h",
    "uses": None,
    "page": True,
    "path": None,
    "users": (),
    "groups": (),
}


def wish(**given):
    return wish_of(**{**GOOD, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"label": None}, "label: expected a str, found None of type NoneType"),
        ({"label": 5}, "label: expected a str, found 5 of type int"),
        ({"expires": True}, "expires: expected a str or an int or a float or None, found True"),
        ({"expires": [2]}, "expires: expected"),
        ({"uses": "3"}, "uses: expected an int or None, found '3' of type str"),
        ({"uses": True}, "uses: expected"),
        ({"uses": 3.0}, "uses: expected"),
        ({"page": 1}, "page: expected True or False, found 1 of type int"),
        ({"path": b"/x"}, "path: expected a str or None"),
        ({"users": [5]}, "users: expected names, found 5 of type int"),
        ({"groups": [None]}, "groups: expected names, found None of type NoneType"),
    ],
)
def test_a_value_of_a_wrong_type_is_told_with_what_was_expected_and_found(given, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        wish(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"expires": float("nan")},
        {"expires": float("inf")},
        {"expires": float("-inf")},
        {"label": "half \ud83d"},
        {"users": ["\udc80"]},
        {"path": "/\ud800"},
    ],
)
def test_what_no_message_can_hold_is_refused_before_anything_is_sent(given):
    with pytest.raises(ValueError, match="expected"):
        wish(**given)


def test_a_time_may_be_a_timedelta_and_one_name_a_str():
    asked = wish(expires=timedelta(hours=2), users="bob", groups=iter(["staff", "class"]))
    assert asked["expires"] == 7200.0
    assert asked["users"] == ["bob"]
    assert asked["groups"] == ["staff", "class"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7199, "1 h 59 min"),
        (86400, "1 day"),
        (86400 * 2 + 3600 * 5, "2 days 5 h"),
        (86400 * 400, "400 days"),
    ],
)
def test_a_time_that_is_left_is_said_as_people_say_it_and_is_never_too_long(seconds, words):
    assert duration(seconds) == words


def someone(**user):
    return guest_of(SimpleNamespace(**user))


def test_three_tabs_are_one_person_and_guests_of_one_link_are_told_apart():
    label = {"display_name": "Tuesday's class"}
    inside = [
        someone(username="guest/aaaa11112222", **label),
        someone(username="guest/aaaa11112222", **label),
        someone(username="guest/bbbb11112222", **label),
        someone(username="bob", display_name="Bob Ø"),
        someone(username="eve", display_name="e" * 500),
    ]
    assert people(inside) == ["guest aaaa", "guest bbbb", "Bob Ø", "e" * 59 + "…"]


def test_what_people_have_chosen_cannot_end_the_script_that_it_stands_in():
    text = literal({"label": "</script><!--<script>"})
    assert "<" not in text
    assert ">" not in text
