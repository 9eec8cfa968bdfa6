"""What tests of functions share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from functions.test_resolve import Bots


@pytest.fixture
def bots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bots]:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # as servers run
    path, modules = [*sys.path], {*sys.modules}
    bots = Bots(tmp_path / "conf")
    yield bots
    bots.resolver.close()
    assert str(bots.folder) not in sys.path
    sys.path[:] = path
    left = [name for name in {*sys.modules} - modules if name.startswith("wsbot")]
    assert left == []
