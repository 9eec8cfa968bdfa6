"""Routes and the table."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.model import Place, RouteConfig
from jupyter_wshandler.config.patterns import PatternError
from jupyter_wshandler.routes import Route, RouteTable, compile_pattern


def route(pattern: str, name: str = "", priority: float = 0, page: str | None = None) -> Route:
    config = RouteConfig(
        name=name or pattern, pattern=pattern, place=Place("test"), priority=priority, page=page
    )
    return Route(config)


def found(table: RouteTable, path: str) -> str | None:
    match = table.match(path)
    return match and match[0].name


def test_a_route_begins_ready_and_without_connections() -> None:
    ready = route("/x")
    assert (ready.state, ready.error, ready.connections, ready.config_error) == (
        "ready",
        "",
        0,
        False,
    )
    with pytest.raises(AttributeError):
        ready.surprise = 1  # type: ignore[attr-defined]


def test_a_route_with_a_bad_pattern_cannot_be_made() -> None:
    with pytest.raises(PatternError):
        route("/(")
    with pytest.raises(PatternError):
        compile_pattern("nope")


def test_a_broken_route_still_matches_and_remembers_why() -> None:
    url = {"bad": {"pattern": "/x", "handler": "WebSocketHandler", "priority": 3, "zzz": 1}}
    table = RouteTable([Route.from_broken(load(url=url).broken[0])])
    match = table.match("/x")
    assert match is not None
    broken = match[0]
    assert (broken.state, broken.config_error, broken.config.priority) == ("broken", True, 3)
    assert "unknown key 'zzz'" in broken.error
    assert broken.config.auth.required is True


def test_a_broken_route_without_a_pattern_is_listed_and_never_matches() -> None:
    url = {"bad": {"pattern": "/(", "handler": "WebSocketHandler"}, "worse": 5}
    table = RouteTable([Route.from_broken(broken) for broken in load(url=url).broken])
    assert [entry.name for entry in table] == ["bad", "worse"]
    assert (len(table), found(table, "/("), found(table, "/"), found(table, "")) == (
        2,
        None,
        None,
        None,
    )
    assert table.get("worse") is table.routes[1]
    assert table.get("none") is None


def test_row_capture_groups_go_to_path_args_and_path_kwargs() -> None:
    table = RouteTable(
        [route("/echo/(.*)"), route("/chat/(?P<room>[^/]+)"), route("/two/{a}-(.*)")]
    )
    assert table.match("/echo/a/b")[1:] == (["a/b"], {})  # type: ignore[index]
    assert table.match("/chat/blue")[1:] == ([], {"room": "blue"})  # type: ignore[index]
    assert table.match("/two/x-y")[1:] == ([], {"a": "x"})  # type: ignore[index]


def test_groups_are_unescaped_after_the_match() -> None:
    table = RouteTable([route("/chat/{room}")])
    assert table.match("/chat/a-b%20%C3%A9+")[2] == {"room": "a-b \u00e9+"}  # type: ignore[index]
    assert table.match("/chat/%ff") is None


def test_a_group_that_took_no_part_is_empty() -> None:
    table = RouteTable([route("/a(/b)?(/c)?")])
    assert table.match("/a/c")[1] == ["", "/c"]  # type: ignore[index]


def test_row_trailing_slash_does_not_match() -> None:
    table = RouteTable([route("/echo"), route("/chat/{room}")])
    assert found(table, "/echo/") is None
    assert found(table, "/chat/x/") is None


def test_a_path_over_two_kibibytes_never_matches() -> None:
    table = RouteTable([route("/(.*)")])
    assert found(table, "/" + "a" * 2047) is not None
    assert found(table, "/" + "a" * 2048) is None


def test_row_route_order_static_beats_wildcard_and_a_negative_priority_loses() -> None:
    table = RouteTable([route("/(.*)", "wild"), route("/echo", "static")])
    assert found(table, "/echo") == "static"
    assert found(table, "/other") == "wild"
    table = RouteTable([route("/(.*)", "wild"), route("/echo", "static", -5)])
    assert found(table, "/echo") == "wild"


def test_a_regex_of_higher_priority_beats_a_literal_and_one_of_lower_does_not() -> None:
    table = RouteTable(
        [route("/e.*", "high", 1), route("/echo", "literal"), route("/.*", "low"), route("/b", "b")]
    )
    assert [found(table, path) for path in ("/echo", "/b", "/z")] == ["high", "b", "low"]
    assert [entry.name for entry in table.routes] == ["high", "literal", "b", "low"]


def test_the_first_of_two_equal_patterns_by_name_wins() -> None:
    assert found(RouteTable([route("/x", "b"), route("/x", "a")]), "/x") == "a"
    assert found(RouteTable([route("/x.*", "b"), route("/x.*", "a")]), "/xy") == "a"


def test_an_empty_table_matches_nothing() -> None:
    assert RouteTable().match("/") is None


def test_a_sample_path_matches_its_own_pattern() -> None:
    for pattern in ("/a/{b}", "/(x|y)+/[0-9]{3}", "/", "/(?P<q>.*)z", r"/\w+"):
        sample = route(pattern).sample_path()
        assert compile_pattern(pattern).match(sample), (pattern, sample)


PATTERNS = ["/a", "/b", "/a/b", "/{x}", "/a/{x}", "/.*", "/a.*", "/(a|b)", "/a/b/.*"]
PATHS = ["/" + "/".join(parts) for n in (1, 2, 3) for parts in itertools.product("abz", repeat=n)]


@given(
    st.lists(
        st.tuples(st.sampled_from(PATTERNS), st.integers(-1, 1)), max_size=6, unique_by=lambda p: p
    ),
    st.sampled_from(PATHS),
)
def test_the_table_finds_what_trying_every_route_in_order_finds(
    chosen: list[tuple[str, int]], path: str
) -> None:
    routes = [route(p, f"r{index}", priority) for index, (p, priority) in enumerate(chosen)]
    table = RouteTable(routes)
    expected = next((r.name for r in table.routes if r.regex and r.regex.match(path)), None)
    assert found(table, path) == expected
    priorities = [r.config.priority for r in table.routes]
    assert priorities == sorted(priorities, reverse=True)


@pytest.mark.parametrize(
    "room",
    [
        "..",
        ".",
        "%2e%2e",
        "a%2Fb",
        "%252e%252e",
        "a%255Cb",
        "a%5Cb",
        "a%00b",
        "%0a",
        "%7f",
        "x" * 256,
    ],
)
def test_a_named_segment_that_could_be_a_path_never_matches(room: str) -> None:
    table = RouteTable([route("/chat/{room}")])
    assert table.match(f"/chat/{room}") is None
    found = table.match("/chat/a%20b.c..d")
    assert found is not None
    assert found[2] == {"room": "a b.c..d"}


def test_what_is_no_segment_is_left_to_the_next_pattern() -> None:
    table = RouteTable([route("/chat/{room}", "room", 1), route("/chat/(.*)", "rest")])
    for path, name in (
        ("/chat/lobby", "room"),
        ("/chat/%2e%2e", "rest"),
        ("/chat/a%2Fb", "rest"),
        ("/chat/%ff", None),
    ):
        matched = table.match(path)
        assert (matched and matched[0].name) == name, path


def test_a_group_of_a_plain_regex_keeps_its_meaning() -> None:
    table = RouteTable([route("/files/(.*)")])
    found = table.match("/files/a%2F..")
    assert found is not None
    assert found[1] == ["a/.."]


def test_a_path_in_the_folder_of_a_page_is_found_and_a_route_comes_first() -> None:
    table = RouteTable(
        [
            route("/app", page="/dist/"),
            route("/app/admin", page="/admin/"),
            route("/room/{room}", page="/room/"),
            route("/app/api"),
            route("/plain", page="/plain.html"),
        ]
    )
    for path, name, rest in (
        ("/app", "/app", None),
        ("/app/", "/app", ""),
        ("/app/a/b%20c.js", "/app", "a/b%20c.js"),
        ("/app/admin", "/app/admin", None),
        ("/app/admin/x.js", "/app/admin", "x.js"),
        ("/app/api", "/app/api", None),
        ("/app/api/x.js", "/app", "api/x.js"),
        ("/room/a%20b/", "/room/{room}", ""),
        ("/room/a%20b/c/d.js", "/room/{room}", "c/d.js"),
        ("/room/%2e%2e/c.js", None, None),
        ("/room/", None, None),
        ("/plain/", None, None),
        ("/plain/x", None, None),
        ("/other/x", None, None),
        ("/app/" + "x/" * 16, None, None),
        ("/app/" + "x" * 2048, None, None),
    ):
        matched = table.find(path)
        assert (matched and matched[0][0].name) == name, path
        assert matched is None or matched[1] == rest, path
    matched = table.find("/room/a%20b/c.js")
    assert matched is not None
    assert matched[0][2] == {"room": "a b"}
    table.discard("/app")
    assert table.find("/app/x.js") is None
