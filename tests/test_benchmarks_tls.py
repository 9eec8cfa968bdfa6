"""The benchmark of TLS works. Its numbers are not tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the load client needs epoll"),
    pytest.mark.skipif(
        not (os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")),
        reason="the load client needs a C compiler",
    ),
    pytest.mark.skipif(not shutil.which("openssl"), reason="a certificate is made with openssl"),
]


@pytest.mark.timeout(240)
def test_a_short_run_measures_every_server_over_tls():
    short = ["--slices", "1", "--seconds", "0.2", "--idle", "20", "--connections", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tls", *short],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=210,
        check=False,
    )
    if "needs a build with OpenSSL" in done.stderr:
        pytest.skip("the load client needs OpenSSL's headers")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines() if "|" in line][2:]
    assert [row[1].strip() for row in rows] == [
        "raw Tornado",
        "plain Jupyter handler",
        *(["aiohttp"] if find_spec("aiohttp") else []),
        "**jupyter_wshandler**, `async def`",
        "the same, `transport = stream`",
    ]
    costs = [float(cell.split(",")[0]) for row in rows for cell in row[2:6]]
    assert len(costs) == 4 * len(rows)
    assert min(costs) > 0
    assert len([line for line in done.stdout.splitlines() if line.startswith("- 64 B")]) == 2
