"""A session as callbacks see it: a dict with an id, whose stored values may come later."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from jupyter_wshandler.sessions.session import Session


def test_the_id_is_always_there_and_cannot_be_changed() -> None:
    session = Session("abc")
    assert (session.id, session["id"], dict(session)) == ("abc", "abc", {"id": "abc"})
    for change in (
        lambda: session.__setitem__("id", "x"),
        lambda: session.__delitem__("id"),
        lambda: session.pop("id"),
        lambda: session.pop("id", None),
        lambda: session.update(id="x"),
        lambda: session.update({"a": 1, "id": "x"}),
        lambda: session.update([("id", "x")]),
        lambda: session.__ior__({"id": "x"}),
        lambda: setattr(session, "id", "x"),
    ):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert session == {"id": "abc"}
    assert session.setdefault("id", "x") == "abc"
    session["id"] = "abc"


def test_in_all_else_it_is_a_dict() -> None:
    session = Session("abc")
    session["a"] = 1
    session.update({"b": 2}, c=3)
    session |= {"d": 4}
    assert session.pop("b") == 2
    assert session.pop("b", None) is None
    del session["c"]
    assert session.popitem() == ("d", 4)
    assert session == {"id": "abc", "a": 1}
    assert "a" in session
    session.clear()
    assert session == {"id": "abc"}
    with pytest.raises(KeyError):
        session.popitem()


def test_a_copy_is_a_plain_dict() -> None:
    session = Session("abc")
    session["a"] = [1]
    for copied in (
        copy.copy(session),
        copy.deepcopy(session),
        session.copy(),
        session | {},
        pickle.loads(pickle.dumps(session)),
        json.loads(json.dumps(session)),
    ):
        assert type(copied) is dict
        assert copied == {"id": "abc", "a": [1]}


def test_what_was_written_or_removed_before_the_stored_values_came_wins() -> None:
    session = Session("abc")
    session.expect_stored()
    session["written"] = "new"
    session["came and went"] = 1
    del session["came and went"]
    session.pop("popped", None)
    session.merge_stored({"written": "old", "came and went": 0, "popped": 1, "kept": 2})
    assert session == {"id": "abc", "written": "new", "kept": 2}


def test_what_was_cleared_before_the_stored_values_came_stays_cleared() -> None:
    session = Session("abc")
    session.expect_stored()
    session.clear()
    session["after"] = 1
    session.merge_stored({"before": 0})
    assert session == {"id": "abc", "after": 1}


def test_stored_values_never_change_the_id() -> None:
    session = Session("abc")
    session.expect_stored()
    session.merge_stored({"id": "of another", "n": 1})
    assert session == {"id": "abc", "n": 1}


def test_every_way_to_write_to_a_session_counts_as_its_use() -> None:
    for write in (
        lambda session: session.__setitem__("a", 1),
        lambda session: session.__delitem__("b"),
        lambda session: session.pop("b"),
        lambda session: session.popitem(),
        lambda session: session.clear(),
        lambda session: session.update(a=1),
        lambda session: session.setdefault("a", 1),
        lambda session: session.__ior__({"a": 1}),
    ):
        session = Session("abc")
        session["b"] = 2
        session.used = False
        write(session)
        assert session.used
