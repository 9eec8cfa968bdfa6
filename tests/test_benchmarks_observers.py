"""The benchmark of observers works: each of them is there. Its numbers are not tested."""

from __future__ import annotations

import pytest
from support.benchmarks import NEEDS, first_cells, printed

from benchmarks.observers import ROWS

pytestmark = NEEDS


@pytest.mark.timeout(240)
def test_each_way_of_looking_is_measured():
    text = printed("observers", "--slices", "1", "--seconds", "0.2", seconds=220)
    assert first_cells(text)[2:] == [row.title for row in ROWS]
