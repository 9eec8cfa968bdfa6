"""The docs name what there is: settings, metrics, commands, and links that lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not any(
        part.startswith(".") or part in ("build", "node_modules")
        for part in page.relative_to(ROOT).parts
    )
)
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def test_every_setting_of_the_extension_is_documented_and_no_other():
    from jupyter_wshandler.server.app import WSHandlerApp

    classes = [c for c in WSHandlerApp.__mro__ if c.__module__.startswith("jupyter_wshandler.")]
    own = {name for c in classes for name in c.class_own_traits(config=True)}
    documented = set(re.findall(r"^\| `c\.WSHandlerApp\.(\w+)`", OPERATIONS, re.MULTILINE))
    assert documented == own


def people(manager):
    """Return a manager and its guests, of whom there are none."""
    from jupyter_wshandler.server.access.guests import Guests
    from jupyter_wshandler.server.access.refusals import Refusals
    from jupyter_wshandler.shares.book import ShareBook
    from jupyter_wshandler.shares.stores import MemoryShares

    book, refusals = ShareBook(MemoryShares(), manager.log), Refusals(manager, None)
    options = {"policy": "links", "why_off": "", "secure_cookie": None, "origin": str}
    return manager, Guests(manager, book, refusals, **options)


def test_every_metric_is_documented_and_no_other():
    from jupyter_wshandler.manager import WebSocketManager
    from jupyter_wshandler.server.metrics import ManagerCollector

    shown = set()
    for family in ManagerCollector(*people(WebSocketManager())).collect():
        is_counter = family.type == "counter"
        shown.add(f"{family.name}_total" if is_counter else family.name)
    assert set(re.findall(r"^\| `(wshandler_\w+)`", OPERATIONS, re.MULTILINE)) == shown


def test_every_command_is_named_in_the_readme():
    from jupyter_wshandler.cli import parser

    text = (ROOT / "README.md").read_text()
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    assert commands
    for command in commands:
        assert f"jupyter wshandler {command}" in text, command


def test_every_page_of_the_docs_is_in_their_index_once_with_a_sentence():
    folder = ROOT / "docs"
    index = folder / "README.md"
    rows = re.findall(
        r"^- \[[^\]]+\]\(([^)#\s]+\.md)\): [A-Z].+\.$", index.read_text(), re.MULTILINE
    )
    own = [row for row in rows if not row.startswith("../")]
    pages = [str(page.relative_to(folder)) for page in PAGES if folder in page.parents]
    pages.remove("README.md")
    assert sorted(own) == sorted(pages)


def test_the_readme_shows_the_cell_its_picture_and_the_installation_before_any_yaml():
    text = (ROOT / "README.md").read_text()
    parts = ["```python\n%%websocket", "](docs/images/notebook.gif)", "pip install .", "```yaml"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_installs_what_is_not_on_pypi_yet(page):
    assert not re.search(r"pip install '?jupyter.wshandler", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    missing = [
        link
        for link in links
        if "://" not in link
        and not link.startswith("mailto:")
        and not (page.parent / link).exists()
    ]
    assert missing == []
