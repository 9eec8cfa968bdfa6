"""What is said of values before they are turned into JSON."""

from __future__ import annotations

import pytest

from jupyter_wshandler.sessions.values import (
    MAX_SIZE,
    TooLarge,
    is_surely_too_large,
    to_json_in_pieces,
)

LONG = "x" * (MAX_SIZE + 1)


@pytest.mark.parametrize(
    "value",
    [
        LONG,
        {"a": LONG},
        {LONG: 1},
        [1, [LONG]],
        ({"a": [LONG]},),
        [{"n": n, "text": "x" * 20} for n in range(MAX_SIZE // 30)],
        [0] * (MAX_SIZE + 1),
    ],
    ids=["alone", "in a dict", "as a key", "in lists", "deep", "many dicts", "many numbers"],
)
def test_what_is_longer_than_a_session_is_found_before_it_is_encoded(value):
    assert is_surely_too_large(value)
    with pytest.raises(TooLarge):
        to_json_in_pieces(value)


@pytest.mark.parametrize("value", [None, 1, "x", {"a": ["b", {"c": 1.5}]}, [[]], {1: "x"}])
def test_values_without_one_are_encoded(value):
    assert not is_surely_too_large(value)
    assert to_json_in_pieces(value)


def test_a_value_that_holds_itself_is_looked_at_for_a_bounded_time():
    value = [*range(1000)]
    value.append(value)
    assert not is_surely_too_large(value)
    with pytest.raises(ValueError, match="Circular"):
        to_json_in_pieces(value)


def test_what_occurs_twice_is_left_to_the_encoder():
    part = ["x" * 1000] * 10
    assert len(to_json_in_pieces([part, part])) > 20_000
