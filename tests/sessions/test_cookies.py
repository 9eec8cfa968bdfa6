"""The names of sessions and their cookies: nobody guesses one, nobody uses another user's."""

from __future__ import annotations

import pytest

from jupyter_wshandler.sessions.cookies import cookie_value, id_from_cookie, new_id

USER = "user:alice"


def test_new_ids_are_long_and_differ() -> None:
    names = {new_id() for _ in range(1000)}
    assert len(names) == 1000
    assert {len(name) for name in names} == {32}


def test_a_cookie_names_the_session_for_the_user_it_was_made_for_and_for_nobody_else() -> None:
    for _ in range(50):
        name = new_id()
        value = cookie_value(name, USER)
        assert USER not in value
        find = id_from_cookie
        assert find(value, [USER]) == name
        assert find(value, ["token:xyz", USER]) == name
        assert find(value, ["user:mallory"]) is None
        assert find(value, []) is None


@pytest.mark.parametrize(
    "value",
    ["", ".", "abc", "abc.", ".abc", "abc.0000", "\ufffd.\ufffd", "a b.c", "x" * 500 + ".a", "é.b"],
)
def test_what_is_no_cookie_of_ours_names_no_session(value: str) -> None:
    assert id_from_cookie(value, [USER, ""]) is None


def test_a_binding_of_one_session_does_not_fit_another() -> None:
    value = cookie_value("first", USER)
    assert id_from_cookie(value.replace("first", "other"), [USER]) is None
    assert cookie_value("ab", "c") != cookie_value("a", "bc")
    assert len(value.rpartition(".")[2]) >= 16
