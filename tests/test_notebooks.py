"""Every notebook runs from top to bottom and prints what its committed outputs say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def printed(notebook: dict) -> list[str]:
    """Return what each code cell printed or returned."""
    found = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            text = ""
            for output in cell["outputs"]:
                part = output.get("text", output.get("data", {}).get("text/plain", ""))
                text += part if isinstance(part, str) else "".join(part)
            found.append(text.strip())
    return found


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_what_it_shows(path, tmp_path):
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute"),
            *("--output-dir", str(tmp_path), "--ExecutePreprocessor.timeout=90", str(path)),
        ],
        env={**os.environ, "JUPYTER_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    shown = printed(json.loads(path.read_text()))
    assert printed(json.loads((tmp_path / path.name).read_text())) == shown
    assert any(shown), "a notebook is committed with its outputs"
