"""What is said of values before they are turned into JSON."""

from __future__ import annotations

import pytest

from jupyter_wshandler.sessions.values import (
    MAX_SIZE,
    TooLarge,
    holds_long_text,
    to_json_in_pieces,
)

LONG = "x" * (MAX_SIZE + 1)


@pytest.mark.parametrize(
    "value",
    [LONG, {"a": LONG}, {LONG: 1}, [1, [LONG]], ({"a": [LONG]},)],
    ids=["alone", "in a dict", "as a key", "in lists", "deep"],
)
def test_a_text_longer_than_a_session_is_found_before_it_is_encoded(value):
    assert holds_long_text(value)
    with pytest.raises(TooLarge):
        to_json_in_pieces(value)


@pytest.mark.parametrize("value", [None, 1, "x", {"a": ["b", {"c": 1.5}]}, [[]], {1: "x"}])
def test_values_without_one_are_encoded(value):
    assert not holds_long_text(value)
    assert to_json_in_pieces(value)


def test_a_value_that_holds_itself_is_looked_at_for_a_bounded_time():
    value = [*range(1000)]
    value.append(value)
    assert not holds_long_text(value)
