"""Paths that are equal have one spelling (RFC 3986 section 6.2.2), in requests and in patterns."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.paths import as_escaped, normal_path, path_below
from jupyter_wshandler.routes import Route, RouteTable

EQUAL = [
    ("/caf\u00e9", "/caf%C3%A9", "/caf%c3%a9", "/caf%C3%a9", "/c%61f%c3%A9", "/%63af\u00e9"),
    ("/~bob", "/%7Ebob", "/%7ebob", "/~%62ob"),
    ("/a-b_c", "/%61%2Db%5fc", "/a%2db%5Fc"),
    ("/my bot", "/my%20bot", "/my%20%62ot"),
    (
        "/\u65e5\u672c",
        "/%E6%97%A5%E6%9C%AC",
        "/%e6%97%a5%e6%9c%ac",
        "/%e6%97\u672c"[:7] + "%a5\u672c",
    ),
    ("/a%2Fb", "/a%2fb"),
    ("/50%25", "/50%"),
    ("/a%3Ab%3F", "/a%3ab%3f"),
]
"""Spellings of one path each."""


def table(*patterns: str) -> RouteTable:
    url = {
        f"r{number}": {"pattern": pattern, "handler": "WebSocketHandler", "kwargs": {}}
        for number, pattern in enumerate(patterns)
    }
    config = load(url=url)
    assert not config.broken, config.broken
    return RouteTable([Route(route) for route in config.routes])


@pytest.mark.parametrize("spellings", EQUAL, ids=lambda spellings: spellings[1])
def test_a_pattern_in_any_spelling_matches_a_path_in_any_spelling(spellings):
    for pattern in spellings:
        routes = table(pattern)
        for path in spellings:
            assert routes.match(path) is not None, (pattern, path)


@pytest.mark.parametrize("spellings", EQUAL, ids=lambda spellings: spellings[1])
def test_a_part_of_a_path_is_the_same_text_in_any_spelling_and_still_unescaped_once(spellings):
    routes = table("/(.*)")
    assert len({tuple(routes.match(path)[1]) for path in spellings}) == 1


def test_what_browsers_escape_or_not_matches_either_way():
    for plain, pattern in [("|", r"/a\|b"), ("{", r"/a\{b"), ('"', '/a"b'), ("[", r"/a[[]b")]:
        routes = table(pattern)
        assert routes.match(f"/a{plain}b") is not None, plain
        assert routes.match(f"/a{quote(plain)}b") is not None, plain
        assert routes.match(f"/a{quote(plain).lower()}b") is not None, plain


def test_an_escaped_slash_is_no_slash_and_other_delimiters_keep_their_escapes():
    routes = table("/a/b", "/x;y", "/c%2Fd")
    for path in ("/a%2Fb", "/a%2fb", "/x%3By", "/c/d"):
        assert routes.match(path) is None, path
    assert routes.match("/x;y") is not None
    assert table("/{name}").match("/a%2fb") is None
    assert table("/([^/]+)").match("/a%2fb")[1] == ["a/b"]


def test_nothing_is_unescaped_twice():
    routes = table("/(.*)")
    for path, text in [
        ("/%2541", "%41"),
        ("/%%341", "%41"),
        ("/%2525", "%25"),
        ("/%zz%4", "%zz%4"),
        ("/%252e%252e", "%2e%2e"),
    ]:
        assert routes.match(path)[1] == [text], path
    assert table("/A").match("/%2541") is None
    assert table("/A").match("/%%341") is None


def test_two_routes_with_patterns_that_are_equal_are_found_out():
    kwargs = {"handler": "WebSocketHandler", "kwargs": {}}
    for one, two in [
        ("/caf\u00e9", "/caf%c3%a9"),
        ("/caf\u00e9/(.*)", "/caf%c3%a9/(.*)"),
        ("/~bob", "/%7ebob"),
    ]:
        url = {"one": {"pattern": one, **kwargs}, "two": {"pattern": two, **kwargs}}
        (problem,) = load(url=url).hidden
        assert "'one' has the same pattern" in problem.message
        assert problem.route == "two"


def test_an_escape_of_several_bytes_is_repeated_as_the_character_it_is():
    routes = table("/%c3%a9+", "/\u65e5?x")
    assert routes.match("/%C3%A9%c3%a9\u00e9") is not None
    assert routes.match("/%C3%A9%A9") is None
    assert routes.match("/x") is not None


def test_the_base_url_of_a_server_may_be_spelt_in_any_way_too():
    for base in ("/user/jos\u00e9/", "/user/jos%C3%A9/", "/user/jos%c3%a9/"):
        for path in ("/user/jos%c3%a9/x", "/us%65r/jos%C3%A9/x"):
            assert path_below(base, path) == "/x"
    assert path_below("/", "/%78") == "/x"
    assert path_below("/user/a/", "/user/a") is None
    assert path_below("/user/a/", "/user/ab/x") is None


def test_bytes_that_a_client_has_not_escaped_are_escaped_as_they_are():
    received = "/caf\u00e9?q=\u00e9".encode().decode("latin-1")
    assert as_escaped(received) == "/caf%C3%A9?q=%C3%A9"
    assert as_escaped("/a%20b?c=%C3%A9&d=[1]") == "/a%20b?c=%C3%A9&d=[1]"
    assert as_escaped("/\xff") == "/%FF"


@given(st.text(max_size=40))
def test_the_normal_spelling_is_its_own_and_nothing_is_lost(text):
    path = "/" + text
    once = normal_path(path)
    assert normal_path(once) == once
    assert once.isascii()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_an_escaped_text_comes_back_from_a_path(text):
    found = table("/((?s:.*))").match("/" + quote(text, safe=""))
    assert found[1] == [text]
