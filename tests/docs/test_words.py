"""Words that were retired, since another one says it better, do not come back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EVERYWHERE = ("jupyter_wshandler", "docs", "tests", "examples", "notebooks", "README.md")
TEST_KIT = ("jupyter_wshandler/testing", "tests/testing", "docs")
BRIDGE = (
    "jupyter_wshandler/kernels",
    "jupyter_wshandler/notebook",
    "jupyter_wshandler/server/kernels",
)
BRIDGE_TESTS = ("tests/kernels", "tests/notebook", "docs")
READ = {".py", ".md", ".ipynb", ".js", ".ts", ".html", ".yaml"}


@dataclass(frozen=True)
class Retired:
    """A word that is used no longer.

    Attributes:
        word: As a regular expression.
        instead: What is said now.
        where: The folders and files in which it must not be; other things may have its name.
    """

    word: str
    instead: str
    where: tuple[str, ...] = EVERYWHERE


RETIRED = (
    Retired(r"\bStage\b", "BotThread", TEST_KIT),
    Retired(r"\bTalk\b(?! to | until )", "ClientSide", TEST_KIT),
    Retired(r"\bView\b", "ChatBase", TEST_KIT),
    Retired(r"\bVisit\b", "Arrival", TEST_KIT),
    Retired(r"\bFailure\b", "CallbackFailure", TEST_KIT),
    Retired(r"\brehearses\b", "is_stand_in"),
    Retired(r"\bNowhere\b|\bNOWHERE\b", "NoConnection"),
    Retired(r"\bSILENCE\b", "SILENT_LOG", ("jupyter_wshandler/server/access", "tests/server")),
    Retired(r"\bBridge\b", "KernelBridge", (*BRIDGE, "docs")),
    Retired(r"\bLink\b", "ServerLink", (*BRIDGE, "docs")),
    Retired(r"\b(?<!fairness\.)Owner\b", "Host", (*BRIDGE, "jupyter_wshandler/connection")),
    Retired(r"\bRouteHost\b", "Host"),
    Retired(r"\b(?:handler|connection)\.refused\b", "rate_limited"),
    Retired(r"\b[Cc]arriers?\b|\bCARRIERS\b", "transport"),
)


def read(where: tuple[str, ...]) -> dict[str, str]:
    """Return the text of every file below some places that people write."""
    files: dict[str, str] = {}
    for place in where:
        start = ROOT / place
        paths = [start] if start.is_file() else sorted(start.rglob("*"))
        for path in paths:
            if path.suffix in READ and path != Path(__file__) and path.is_file():
                files[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    return files


@pytest.mark.parametrize("retired", RETIRED, ids=lambda retired: retired.instead)
def test_a_word_that_was_retired_does_not_come_back(retired):
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in read(retired.where).items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(retired.word, line)
    ]
    assert found == [], f"say {retired.instead} instead"


@pytest.mark.parametrize("retired", RETIRED, ids=lambda retired: retired.instead)
def test_every_place_where_a_retired_word_is_looked_for_is_there(retired):
    assert [place for place in retired.where if not (ROOT / place).exists()] == []
