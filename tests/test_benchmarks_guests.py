"""The benchmark of guests works. Its numbers are not tested."""

from __future__ import annotations

import re

import pytest
from support.benchmarks import NEEDS, printed

pytestmark = NEEDS


@pytest.mark.timeout(180)
def test_a_short_run_measures_every_way_in_which_a_guest_comes():
    text = printed("guests", "--slices", "1", "--seconds", "2")
    rows = [line.split("|")[1:-1] for line in text.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "token",
        "guest, by token",
        "token, with its session's cookie",
        "guest, by cookie",
    ]
    assert all(re.search(r"\d µs", row[1]) for row in rows)
    assert [bool(row[2].strip()) for row in rows] == [False, True, False, True]
