"""The bots of the tests: each has its file, each file is used, and each can be compiled."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from support.bots import FOLDER, bot_text

TESTS = Path(__file__).parent
USED = {
    name
    for path in TESTS.rglob("*.py")
    for name in re.findall(r'\bbot_text\("(\w+)"\)', path.read_text())
}


def test_every_file_of_a_bot_is_used_and_every_bot_that_is_used_has_its_file():
    assert {path.stem for path in FOLDER.glob("*.py")} == USED


@pytest.mark.parametrize("name", sorted(USED))
def test_a_bot_says_in_its_first_line_what_it_is_for(name):
    text = bot_text(name)
    assert re.match(r'"""[A-Z].*\.(?:"""|\n)', text)
    compile(text, name, "exec")


@pytest.mark.parametrize("name", sorted(USED))
def test_what_a_bot_imports_of_the_package_is_there(name):
    for node in ast.walk(ast.parse(bot_text(name))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jupyter_wshandler"):
            module = importlib.import_module(node.module)
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []


def test_the_folder_of_the_bots_is_no_package_that_could_be_taken_for_a_users_module():
    assert not (FOLDER / "__init__.py").exists()
