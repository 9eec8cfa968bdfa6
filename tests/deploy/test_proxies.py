"""The table of docs/deploy/proxies.md is what proxies do, with the files of examples/proxies."""

from __future__ import annotations

import re

import pytest
from support.proxies import EXAMPLES, PROXIES
from support.proxymatrix import AGAIN, DOCUMENT, NO, YES, documented, measure, running_house

from jupyter_wshandler.config.model import Place, RouteConfig

MUST = {
    "text and bytes": YES,
    "20 MB in one message, there and back": YES,
    "compression": YES,
    "each close code, with its reason": YES,
    "1007, 1008 and 1011 of the server's own": YES,
    "20 MB to a route that takes 1 MiB: 1009 with its reason": f"{AGAIN} of {AGAIN}",
    "who is slow in the middle of such a message is not cut off": YES,
    "the client's own code and reason reach `on_close`": YES,
    "the session cookie is `Secure`": YES,
    "refusals: 403, 404, 429": YES,
    "silence over its time-out, with our pings": "open",
    "a new socket after it": YES,
}
"""What must hold behind any proxy of any version; the rest is the proxy's affair."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with running_house(tmp_path_factory.mktemp("proxies")) as server:
        yield server


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_does_what_the_table_says_of_it(house, name, tmp_path):
    found = measure(name, tmp_path, house)
    assert {case: found[case] for case in MUST} == MUST
    column = documented()[name]
    if column["version"] == found["version"]:
        assert found == column, "run make proxies"
    else:  # what another version does is only compared where it must be so
        assert set(found) == set(column)


def test_the_table_itself_says_what_must_be():
    """So that a wrong one cannot become right by being generated again."""
    table = documented()
    assert set(table) == set(PROXIES)
    for column in table.values():
        assert {case: column[case] for case in MUST} == MUST
        assert column["HTTP/2: a WebSocket (RFC 8441)"] in (YES, NO)


def test_each_example_bears_more_silence_than_our_pings_need():
    route = RouteConfig(name="any", pattern="/any", place=Place("any"))
    settings = r"(?:proxy_\w+_timeout|timeout (?:client|server|tunnel)|ProxyTimeout) +(\d+)"
    found = [
        int(seconds)
        for kind in PROXIES.values()
        for seconds in re.findall(settings, (EXAMPLES / kind.example).read_text())
    ]
    assert len(found) == 6
    assert min(found) > route.ping_interval + route.ping_timeout


def test_the_page_shows_each_file_whole():
    text = DOCUMENT.read_text(encoding="utf-8")
    for kind in PROXIES.values():
        assert f"{(EXAMPLES / kind.example).read_text()}```" in text, kind.example
