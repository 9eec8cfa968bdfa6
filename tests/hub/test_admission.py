"""The table of who gets in under JupyterHub is what a real Hub, its proxy and nginx do."""

from __future__ import annotations

import re

import pytest
from support.admission import DOCUMENT, REVOKED, SERVICE_REVOKED, measured, running_house


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> str:
    with running_house(tmp_path_factory.mktemp("admission")) as house:
        return measured(house)


def test_the_table_of_who_gets_in_is_what_is_measured(document):
    assert DOCUMENT.read_text(encoding="utf-8") == document, "run make who-gets-in"


def test_only_those_who_may_get_in_by_cookie_and_only_from_this_server(document):
    """The table itself, so that a wrong one cannot become right by being generated again."""
    rows = [
        re.split(r" *\| *", line)[1:-1] for line in document.splitlines() if "| cookie |" in line
    ]
    found = {row[0]: row[2:6] for row in rows}
    refused = {"another user", REVOKED, SERVICE_REVOKED}
    assert refused < set(found)
    for who, statuses in found.items():
        assert statuses == (["403"] * 4 if who in refused else ["101", "403", "403", "101"]), who
    assert all(row[6] == "404" for row in rows if len(row) > 6)
    assert re.search(r"\| nobody \| - \| 403 \| 403 \| 403 \| 403 \|", document)
