"""The benchmark of compression works. Its numbers are not tested."""

from __future__ import annotations

import math
import subprocess

import pytest
from support.benchmarks import NEEDS, first_cells, printed

pytestmark = NEEDS


def packs() -> bool:
    """Return whether the load client can compress: the headers of zlib may be missing."""
    from benchmarks import loadclient

    done = subprocess.run(
        [loadclient.build(), "--scenario", "idle", "--deflate", "1", "--port", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "needs a build with zlib" not in done.stderr


@pytest.mark.timeout(180)
def test_a_short_run_measures_memory_and_time_with_compression_agreed_on():
    if not packs():
        pytest.skip("the load client needs the headers of zlib")
    short = ["--rounds", "1", "--slices", "1", "--seconds", "0.5", "--members", "20"]
    short += ["--idle", "20", "--rest", "0.2", "--servers", "jupyter_wshandler"]
    text = printed("compression", *short)
    rows = first_cells(text)
    assert rows == ["", "---", "raw Tornado", "jupyter_wshandler"] * 2
    assert "of raw Tornado; 0.2 " in text


def test_what_did_not_grow_is_nothing_to_compare_with():
    from benchmarks.compression import REFERENCE, ratio

    figures = {(REFERENCE, "idle"): [0.0, 2.0, 4.0], ("ours", "idle"): [3.0, 3.0, 4.0]}
    assert ratio(figures, "ours", "idle") == 1.25
    assert ratio({**figures, (REFERENCE, "idle"): [0.0] * 3}, "ours", "idle") == math.inf
