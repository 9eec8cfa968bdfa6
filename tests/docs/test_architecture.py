"""The drawing of the house in docs/architecture.md is the house: folders, modules, layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE, TESTS = ROOT / "jupyter_wshandler", ROOT / "tests"
TEXT = (ROOT / "docs" / "architecture.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
CODE = {"__pycache__"}


def drawn(root: str) -> dict[str, str]:
    """Return what the drawing of a folder says: a sentence for each path below it."""
    [block] = [block for block in BLOCKS if block.startswith(f"{root}/")]
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block.splitlines()[1:]:
        indent, name, sentence = re.fullmatch(r"( +)(\S+) +(\S.*)", line).groups()
        depth = len(indent) // 2 - 1
        path = "".join([*folders[:depth], name])
        assert path not in found, f"{path} is drawn twice"
        found[path] = sentence
        folders[depth:] = [name] if name.endswith("/") else []
    return found


def folders_of(root: Path) -> set[str]:
    """Return the folders below one that hold something, as the drawing writes them."""
    return {
        f"{path.relative_to(root)}/"
        for path in root.rglob("*")
        if path.is_dir() and path.name not in CODE and any(p.is_file() for p in path.iterdir())
    }


HOUSE = drawn("jupyter_wshandler")


def test_each_folder_and_module_of_the_drawing_is_on_the_disk():
    assert [path for path in HOUSE if not (PACKAGE / path).exists()] == []


def test_each_folder_of_the_package_is_in_the_drawing():
    assert folders_of(PACKAGE) == {path for path in HOUSE if path.endswith("/")}


def test_each_module_at_the_top_is_in_the_drawing():
    assert {path.name for path in PACKAGE.glob("*.py")} == {
        path for path in HOUSE if "/" not in path
    }


@pytest.mark.parametrize("root", ["jupyter_wshandler", "tests"])
def test_each_line_of_the_drawing_is_one_sentence(root):
    for path, sentence in drawn(root).items():
        assert re.fullmatch(r"[A-Z`].*[^.]\.", sentence), path
        assert ". " not in sentence, path


def test_each_folder_of_the_tests_mirrors_one_of_the_package_or_is_in_the_drawing():
    mirrored = {path for path in HOUSE if path.endswith("/")}
    ours = {path for path in folders_of(TESTS) if path.count("/") == 1}
    assert ours - mirrored == set(drawn("tests"))


def test_the_layers_are_those_that_import_linter_checks():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    [checked] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    [shown] = [block.split("\n") for block in BLOCKS if block.startswith("cli\n")]
    assert [names(line) for line in shown if line] == [
        there for line in checked if (there := names(line) & on_disk())
    ]


def names(line: str) -> set[str]:
    return set(re.findall(r"\w+", line))


def on_disk() -> set[str]:
    """Return what may be a layer; those of rooms that are not built yet may not."""
    return {path.stem for path in PACKAGE.iterdir()}


@pytest.mark.parametrize("way", ["message", "login", "reload", "session", "kernel bot's message"])
def test_the_page_tells_the_way_of_each_thing_that_comes_in(way):
    [section] = re.findall(
        rf"^## The way of a {way}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
    assert len(re.findall(r"^\d+\. ", section, re.MULTILINE)) >= 4
    assert len(re.findall(r"`[\w/]+\.py`", section)) >= 3


PLACES = "|".join(sorted({path.name for path in PACKAGE.iterdir() if path.is_dir()} - CODE))
WRITTEN = [
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "findings").glob("*.md")),
    *sorted(PACKAGE.rglob("*.py")),
]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_module_that_a_page_or_a_comment_names_by_its_folder_is_there(page):
    named = re.findall(rf"(?<![\w/.])((?:{PLACES})/[\w/]+\.py)\b", page.read_text())
    missing = [path for path in named if not ((PACKAGE / path).exists() or (TESTS / path).exists())]
    assert missing == []


@pytest.mark.parametrize(
    "page",
    [page for page in WRITTEN if page.suffix == ".py"],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_a_module_that_a_docstring_names_with_dots_is_there(page):
    named = re.findall(
        rf"`(?:jupyter_wshandler\.)?((?:{PLACES})\.(?!py\b)[a-z_]+)\b", page.read_text()
    )
    missing = []
    for dotted in named:
        folder, _, name = dotted.partition(".")
        face = (PACKAGE / folder / "__init__.py").read_text()
        if not (PACKAGE / folder / f"{name}.py").exists() and not re.search(rf"\b{name}\b", face):
            missing.append(dotted)
    assert missing == []
