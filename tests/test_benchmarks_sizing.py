"""The measurement of what people and messages take works. Its numbers are not tested."""

from __future__ import annotations

import pytest
from support.benchmarks import NEEDS, first_cells, printed
from support.need import need

pytestmark = NEEDS


@pytest.mark.timeout(240)
def test_each_size_is_measured():
    need("redis-server")
    short = ("--slices", "1", "--seconds", "0.2", "--members", "2", "20", "--rooms", "50")
    text = printed("sizing", *short, seconds=220)
    assert first_cells(text)[-2:] == ["2", "20"]
    # What is said below the heading is a number above 0, as everything takes something.
    rows = [line.split("|") for line in text.splitlines() if line.startswith(("| a ", "| to "))]
    taken = [row[2].split()[0] for row in rows]
    assert len(taken) == 4
    assert all(float(number.replace(",", "")) > 0 for number in taken)
