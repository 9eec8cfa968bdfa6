"""What a user's server may say of a bot that it shares."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_wshandler.server.directory.messages import (
    MOST_PEOPLE,
    Registration,
    Wrong,
)

GOOD = {"id": "share-one", "route": "pingbot", "path": "/pingbot", "users": ["bob"]}


def checked(**changes) -> Registration:
    found = msgspec.convert(GOOD | changes, Registration)
    found.check()
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"users": ["zoë b", "eve@example.org"], "groups": ["the staff"]},
        {"users": [], "groups": ["staff"]},
        {"label": "Tuesday's class: 2"},
        {"path": "/"},
        {"path": "/room/caf%C3%A9%20noir/"},
        {"path": "/a/..b/...c/.d"},
        {"expires": 1e10, "page": False},
    ],
)
def test_what_may_be_shared(changes):
    checked(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"path": "pingbot"}, "expected a path"),
        ({"path": "//evil.example/x"}, "expected a path"),
        ({"path": "/a//b"}, "expected a path"),
        ({"path": "/../bob/lab"}, "expected a path"),
        ({"path": "/a/%2e%2E/b"}, "expected a path"),
        ({"path": "/a/./b"}, "expected a path"),
        ({"path": "/\\evil.example"}, "expected a path"),
        ({"path": "/a?token=x"}, "expected a path"),
        ({"path": "/a#x"}, "expected a path"),
        ({"path": "/a\r\nSet-Cookie: x"}, "expected a path"),
        ({"path": "/" + "a" * 3000}, "expected a path"),
        ({"id": "short"}, "expected an id"),
        ({"id": "../../../x"}, "expected an id"),
        ({"label": "two\nlines"}, "the label"),
        ({"label": "x" * 201}, "the label"),
        ({"route": "x\x00"}, "the route's name"),
        ({"users": []}, "at least one user or group"),
        ({"users": [" "]}, "users: expected names"),
        ({"users": ["b" * 300]}, "users: expected names"),
        ({"users": ["bob\n"]}, "users: expected names"),
        ({"groups": [""]}, "groups: expected names"),
        ({"users": ["b"] * (MOST_PEOPLE + 1)}, "use a group"),
    ],
)
def test_what_may_not_be_shared_is_refused_with_what_was_expected(changes, words):
    with pytest.raises(Wrong, match=words):
        checked(**changes)


def test_a_user_is_no_list_of_letters():
    with pytest.raises(msgspec.ValidationError):
        checked(users="bob")


def test_unknown_words_are_refused():
    with pytest.raises(msgspec.ValidationError):
        checked(owner="ada")
