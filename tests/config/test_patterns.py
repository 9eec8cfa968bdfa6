"""Patterns: what they mean, what is refused, and how they are ordered."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import at_least

from jupyter_wshandler.config.patterns import (
    MAX_PATH,
    PatternError,
    address_of,
    analyse_pattern,
    below_base,
)


def matches(pattern: str, path: str) -> bool:
    return analyse_pattern(pattern).regex.match(path) is not None


def test_a_pattern_is_anchored_at_both_ends() -> None:
    assert matches("/echo", "/echo")
    assert not matches("/echo", "/echoes")
    assert not matches("/echo", "/an/echo")
    assert not matches("/echo", "/echo\n")
    assert not matches("/a|/b", "/ab")
    assert matches("/a|/b", "/b")


def test_row_trailing_slash_does_not_match() -> None:
    assert not matches("/echo", "/echo/")


def test_a_named_segment_holds_one_segment() -> None:
    match = analyse_pattern("/chat/{room}/{who}").regex.match("/chat/blue/bob")
    assert match is not None
    assert match.groupdict() == {"room": "blue", "who": "bob"}
    assert not matches("/chat/{room}", "/chat/a/b")
    assert not matches("/chat/{room}", "/chat/")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/a{2}", "/aa"),
        ("/a{1,2}", "/aa"),
        ("/a{,2}", "/a"),
        (r"/\{room\}", "/{room}"),
        ("/[{room}]", "/r"),
        ("/[]{x}]", "/]"),
        ("/[^]{x}]", "/y"),
        (r"/\N{BULLET}", "/\u2022"),
        ("/(?P<a>x)(?P=a)", "/xx"),
        ("/v{2}/{room}", "/vv/q"),
    ],
)
def test_the_braces_of_regular_expressions_keep_their_meaning(pattern: str, path: str) -> None:
    assert matches(pattern, path)


@pytest.mark.parametrize("pattern", ["/{room:int}", "/{a-b}", "/{room", "/{_}{_"])
def test_braces_around_anything_but_a_name_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"expected \{name\}"):
        analyse_pattern(pattern)


@pytest.mark.parametrize("base", ["$YAMLURL", "/$YAMLURL", "${YAMLURL}"])
def test_the_variable_for_the_base_is_dropped(base: str) -> None:
    assert matches(f"{base}/echo", "/echo")
    assert matches(base, "/")
    assert below_base(f"{base}/echo") == "/echo"
    assert below_base(base) == "/"


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("/echo", "/echo"),
        (r"/v1\.0/{room}/{who_is}", "/v1.0/{room}/{who_is}"),
        ("/two words/{room}", "/two%20words/{room}"),
        (r"/chat/(\w+)", None),
        ("/v{2}/{room}", None),
        ("/echo/?", None),
    ],
)
def test_only_a_path_with_named_segments_is_shown_as_an_address(
    pattern: str, address: str | None
) -> None:
    assert address_of(pattern) == address


@pytest.mark.parametrize("pattern", ["/$HOME", "/x/${YAMLPATH}", "/x$YAMLURL", "/$YAMLURLX"])
def test_other_variables_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="is not supported: of all variables only"):
        analyse_pattern(pattern)


def test_a_dollar_at_the_end_and_an_escaped_one_are_no_variables() -> None:
    assert matches("/echo$", "/echo")
    assert matches(r"/\$HOME", "/$HOME")


@pytest.mark.parametrize("pattern", ["", "echo", "^/echo", "(/echo)", "$YAMLURLecho", "https://x"])
def test_a_pattern_that_does_not_begin_with_a_slash_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"begins with /|is not supported"):
        analyse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["/(", "/[", "/a**", "/a)(b", "/(?P<a>)(?P<a>)", "/\\", "/{a}{a}"]
)
def test_row_bad_regex_is_refused_with_its_reason(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"not a valid regular expression: ."):
        analyse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "/(a+)+",
        "/(a*)*",
        "/(?:a|b+)*x",
        "/(?P<x>(?:[a-z]+/)*)",
        "/((a{2,}b?)+c)",
        "/(?:(?:a+){3})+",
        "/(?=(?:a+)+)b",
        "/(?>(?:a+)+)b",
        "/(a++)+",
    ],
)
def test_nested_unbounded_repeats_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="nested unbounded repeats"):
        analyse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "/(a|a)*x",
        "/(?:a|ab|b)*x",
        "/(?:a?){40}a{40}",
        "/.*.*.*.*x",
        "/(?:a{1,20}){20}x",
        "/[a-z]*[a-z]*[a-z]*x",
        "/(?i:[a-z]*[A-Z]*[a-z]*)X",
    ],
)
def test_a_pattern_with_too_many_ways_to_match_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="too many ways"):
        analyse_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "/(.*)",
        "/(.*)/(.*)",
        "/(.*)/(.*)/end",
        "/{a}/{b}/{c}/{d}/{e}/end",
        r"/(\d{1,3}\.){3}\d{1,3}",
        "/(?:foo|bar)*",
        "/[a-z]+-[0-9]+/x",
        "/(?P<a>[^/]+)/(?P<b>.*)",
    ],
)
def test_an_ordinary_pattern_is_accepted_and_fails_fast_on_the_longest_path(pattern: str) -> None:
    regex = analyse_pattern(pattern).regex
    worst = 0.0
    for filling in ("/", "a", "a/", "1.", "foo"):
        path = ("/" + filling * MAX_PATH)[: MAX_PATH - 1] + "!"
        begin = time.process_time()
        regex.match(path)
        worst = max(worst, time.process_time() - begin)
    assert worst < 1.0


@pytest.mark.parametrize(
    "pattern",
    ["/" + "a" * 1000, "/" + "(" * 400 + ")" * 400, "/(((a{9}){9}){9}){9}", "/a{99999999999}"],
)
def test_a_huge_pattern_is_refused_or_cheap(pattern: str) -> None:
    try:
        assert len(analyse_pattern(pattern).sample) <= MAX_PATH + 1
    except PatternError:
        assert len(pattern) > 10


def test_what_browsers_escape_in_a_path_may_be_written_as_it_is() -> None:
    assert matches("/caf\u00e9", "/caf%C3%A9")
    assert matches("/my bot/{room}", "/my%20bot/x")
    assert analyse_pattern("/caf\u00e9").literal == "/caf%C3%A9"


def test_only_a_pattern_without_wildcards_is_literal() -> None:
    assert analyse_pattern("/a/b").literal == "/a/b"
    assert analyse_pattern(r"/a\.b").literal == "/a.b"
    for pattern in ("/a.b", "/{x}", "/(a)", "/(?i:a)", "/a?", "/a$", "/[ab]"):
        assert analyse_pattern(pattern).literal is None, pattern


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("/a/b", "/a"),
        ("/a/b", "/a/([^/]+)"),
        ("/a/b", "/a/.*"),
        ("/a/{x}", "/.*"),
        ("/a/{x}", "/a/{x}.*"),
        ("/abc/{x}", "/a/{x}"),
        ("/a/b/.*", "/a/b"),
    ],
)
def test_row_route_order_is_slashes_then_wildcards_then_literal_characters(
    first: str, then: str
) -> None:
    assert analyse_pattern(first).sort_key(0, "z") < analyse_pattern(then).sort_key(0, "a")


def test_row_route_order_puts_priority_first_and_the_name_last() -> None:
    low, high = analyse_pattern("/a/b/c"), analyse_pattern("/.*")
    assert high.sort_key(1, "x") < low.sort_key(0, "x")
    assert high.sort_key(0, "x") < low.sort_key(-5, "x")
    assert low.sort_key(0, "a") < low.sort_key(0, "b")


@at_least(400)
@given(st.text(alphabet="/ab.*+?{}()[]|\\^$-0,2<>P=:!\u00e9 \ud800", max_size=25))
def test_no_pattern_makes_the_compiler_raise_anything_else(text: str) -> None:
    try:
        compiled = analyse_pattern("/" + text)
    except PatternError:
        return
    if compiled.literal is not None:
        assert compiled.regex.match(compiled.literal)


def test_a_back_reference_counts_for_what_it_compares() -> None:
    assert analyse_pattern(r"/(a|b)/\1").regex.match("/a/a")
    for pattern in (r"/(.*)/x(.*)\1", r"/([^/]+)(?:\1)+x"):
        with pytest.raises(PatternError):
            analyse_pattern(pattern)
