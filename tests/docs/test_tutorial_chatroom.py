"""The code of docs/chatroom.md, as it stands on the page, and that it is the example's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jupyter_wshandler.testing import Chat

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "chatroom.md").read_text()
EXAMPLE = ROOT / "examples" / "chatroom"


def blocks(label: str) -> list[str]:
    """Return the code below comments of the page."""
    return re.findall(rf"<!-- {re.escape(label)} -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


def written(folder: Path, *names: str) -> Path:
    """Write files of the page, and those that it takes from the example."""
    for name in names:
        (code,) = blocks(f"file: {name}")
        (folder / name).write_text(code)
    (folder / "chatroom.py").write_text("\n\n".join(blocks("part: chatroom.py")))
    (folder / "chatroom.html").write_bytes((EXAMPLE / "chatroom.html").read_bytes())
    return folder


def run(folder: Path, *module: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_first_room_of_the_page_is_heard_by_all_who_are_in_it():
    module = types.ModuleType("talk")
    exec(blocks("file: talk.py")[0], module.__dict__)
    options = {"rooms": ["{room}"]}
    with Chat(module, pattern="/talk/{room}", path="/talk/blue", options=options) as one:
        other, elsewhere = one.visitor(), one.visitor(path="/talk/red")
        one.send("hello")
        one.expect("hello")
        other.expect("hello")
        elsewhere.expect_nothing()


def test_the_files_of_the_page_are_the_examples(tmp_path):
    written(tmp_path, "wshandler.yaml")
    for name in ("chatroom.py", "wshandler.yaml"):
        assert (tmp_path / name).read_text() == (EXAMPLE / name).read_text()


@pytest.mark.parametrize("name", ["talk.yaml", "wshandler.yaml"])
def test_what_the_page_serves_is_served_without_a_warning(tmp_path, name):
    written(tmp_path, "talk.py", "talk.yaml", "wshandler.yaml")
    checked = run(tmp_path, "jupyter_wshandler", "check", name)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "warning" not in (checked.stdout + checked.stderr).lower()
    assert f"$ jupyter wshandler serve {name}\n" in PAGE


def test_the_test_of_the_page_passes(tmp_path):
    written(tmp_path, "test_chatroom.py")
    tested = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_chatroom.py")
    assert "2 passed" in tested.stdout, tested.stdout + tested.stderr
    assert "$ pytest test_chatroom.py\n" in PAGE
