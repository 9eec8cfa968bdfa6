"""What docs/security.md says is shown by a test, a test shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
TABLE = [
    line
    for line in (ROOT / "docs" / "security.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| threat ", "|---"))
]
DEFINED = {
    name
    for path in TESTS.rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.split(" | ")[0][2:])
def test_each_threat_names_what_shows_that_it_is_met_and_that_is_there(row):
    shown = row.split(" | ")[-1]
    files = re.findall(r"`([\w/]+\.py)`", shown)
    tests = re.findall(r"`(test_\w+)`", shown)
    assert files or tests, "what shows it?"
    assert [name for name in files if not (TESTS / name).is_file()] == []
    assert [name for name in tests if name not in DEFINED] == []
