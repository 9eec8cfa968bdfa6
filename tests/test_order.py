"""The order in which `make test` begins the files."""

from __future__ import annotations

from pathlib import Path

from support.order import LONG, places


def test_files_of_the_long_folders_and_the_others_take_turns_and_the_larger_come_first():
    files = {"tests/hub/a.py": 1, "tests/hub/b.py": 2, "tests/engine/c.py": 9, "d.py": 3}
    files["tests/server/e.py"] = 5
    order = ["tests/hub/b.py", "tests/server/e.py", "tests/engine/c.py", "tests/hub/a.py", "d.py"]
    assert [*places(files)] == order
    assert [*places(files).values()] == [0, 1, 2, 3, 4]


def test_each_long_folder_is_there():
    assert [name for name in LONG if not (Path(__file__).parent / name).is_dir()] == []
