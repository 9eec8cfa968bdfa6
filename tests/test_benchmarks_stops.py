"""The benchmark of stops works, and each bot is stopped. Its numbers are not tested."""

from __future__ import annotations

import sys

import pytest
from support.benchmarks import first_cells, printed

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs one clock")


@pytest.mark.timeout(180)
def test_an_answer_is_stopped_at_its_100th_token_and_its_finally_has_run_in_module_and_kernel():
    rows = first_cells(printed("stops", "--times", "1"))[2:]
    assert rows == [
        f"{kind} in a {place}"
        for place in ("module", "kernel")
        for kind in ("async generator", "generator in a thread", "coroutine that writes")
    ]
