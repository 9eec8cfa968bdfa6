"""What kernels may serve: policy, rivals, configured routes, the administrator's word."""

from __future__ import annotations

import logging
import random

import pytest

from jupyter_wshandler.config.loader import load, load_route
from jupyter_wshandler.errors import RouteRefused
from jupyter_wshandler.kernels import rivals
from jupyter_wshandler.kernels.routes import Claim, KernelRoutes
from jupyter_wshandler.manager.served import ServedRoutes
from jupyter_wshandler.routes import Route, RouteTable


class FakeBridge:
    """Stand for the bridge of one kernel."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.log = logging.getLogger("test")
        self.told: list[tuple[str, str]] = []

    def displaced(self, name: str, reason: str) -> None:
        self.told.append((name, reason))


@pytest.fixture
def table() -> ServedRoutes:
    return ServedRoutes(logging.getLogger("test"), {}, lambda: None)


@pytest.fixture
def one() -> FakeBridge:
    return FakeBridge("kernel one")


@pytest.fixture
def two() -> FakeBridge:
    return FakeBridge("kernel two")


def claim(pattern: str = "/bot", name: str = "bot", **given) -> Claim:
    return Claim(name=name, pattern=pattern, events=("on_message",), **given)


def configure(table: ServedRoutes, pattern: str, name: str = "configured") -> None:
    entry = {"pattern": pattern, "handler": "WebSocketHandler", "kwargs": {}}
    table.apply(load(url={name: entry}))


def served_by(table: ServedRoutes, path: str) -> object:
    found = table.table.match(path)
    return found and (found[0].host or found[0].name)


def test_a_route_of_a_kernel_is_served_by_its_bridge(table, one):
    KernelRoutes(table).claim(one, claim())
    assert served_by(table, "/bot") is one
    assert table.table.get("bot").callbacks["on_message"].name == "on_message"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("/bot", "/bot", True),
        ("/room/{name}", "/room/{who}", True),
        ("/room/(\\d+)", "/room/(\\d+)", True),
        ("/room/{name}", "/room/blue", False),
        ("/room/(\\d+)", "/room/(\\w+)", False),
    ],
)
def test_a_second_name_for_the_same_paths_of_one_kernel_is_refused_or_takes_its_place(
    table, one, first, second, same
):
    routes = KernelRoutes(table)
    routes.claim(one, claim(first, "a"))
    if not same:
        routes.claim(one, claim(second, "b"))
        return
    with pytest.raises(RouteRefused, match=r"'b' would never be reached; .*bots\['a'\]\.stop\(\)"):
        routes.claim(one, claim(second, "b"))
    assert table.table.get("b") is None
    routes.claim(one, claim(first, "a"))
    routes.claim(one, claim(second, "b", replace=True))
    assert table.table.get("a") is None
    assert one.told == [("a", "the bot 'b' has taken it over")]
    routes.claim(one, claim(second, "b"))


def test_every_configured_route_comes_before_any_of_a_kernel(table, one):
    KernelRoutes(table).claim(one, claim("/bots/chat"))
    configure(table, "/bots/other")
    assert served_by(table, "/bots/chat") is one
    configure(table, "/bots/.*")
    assert served_by(table, "/bots/chat") == "configured"


@pytest.mark.parametrize(
    ("pattern", "name", "words"),
    [
        ("/bot", "configured", "'configured' \\(/bot\\)"),
        ("/b.*", "configured", "'configured' \\(/b\\.\\*\\)"),
        ("/elsewhere", "bot", "a route named 'bot'"),
    ],
)
def test_a_configured_route_is_never_replaced(table, one, pattern, name, words):
    configure(table, pattern, name)
    with pytest.raises(RouteRefused, match=words):
        KernelRoutes(table).claim(one, claim(replace=True))


def test_what_jupyter_answers_itself_is_refused(table, one):
    routes = KernelRoutes(table, elsewhere=lambda route: "MainHandler")
    with pytest.raises(RouteRefused, match="MainHandler"):
        routes.claim(one, claim())


def test_another_kernel_is_refused_and_the_first_is_named(table, one, two):
    routes = KernelRoutes(table)
    routes.claim(one, claim())
    for rival in (claim(), claim(name="other"), claim("/b..", name="other")):
        with pytest.raises(RouteRefused, match=r"kernel one.*replace=True"):
            routes.claim(two, rival)
    assert served_by(table, "/bot") is one


def test_replace_takes_a_route_over_and_tells_the_other_kernel(table, one, two):
    routes = KernelRoutes(table)
    routes.claim(one, claim())
    routes.claim(two, claim(replace=True))
    assert served_by(table, "/bot") is two
    assert one.told == [("bot", "kernel two has taken it over")]
    routes.withdraw(one, "bot")  # it is not its own any more
    routes.forget(one)
    assert served_by(table, "/bot") is two


def test_a_kernel_that_ends_takes_its_routes_along_and_no_others(table, one, two):
    routes = KernelRoutes(table)
    routes.claim(one, claim("/a", "a"))
    routes.claim(one, claim("/b", "b"))
    routes.claim(two, claim("/c", "c"))
    routes.forget(one)
    assert [served_by(table, path) for path in ("/a", "/b", "/c")] == [None, None, two]


def test_a_refused_change_leaves_what_was_served(table, one):
    routes = KernelRoutes(table)
    routes.claim(one, claim(options={"max_message": "64KiB"}))
    with pytest.raises(RouteRefused, match="max_message"):
        routes.claim(one, claim(options={"max_message": "much"}))
    assert table.table.get("bot").config.max_message == 64 * 1024


@pytest.mark.parametrize(
    ("policy", "public", "options", "words"),
    [
        ("off", True, {}, "serves no routes of kernels"),
        ("private", True, {"auth": False}, "auth cannot be set"),
        ("private", True, {"origins": ["https://a.example"]}, "origins cannot be set"),
        ("private", True, {"auth": {"membership": {"username": "ada"}}}, None),
        ("any", False, {"auth": False}, "allow_public_routes"),
        ("any", True, {"auth": False}, None),
        ("any", False, {"origins": ["https://a.example"]}, None),
        ("any", True, {"auth": {"condition": "os.getcwd"}}, "handler.close"),
        ("any", True, {"select_subprotocol": "os.getcwd"}, None),
    ],
)
def test_the_policy_says_what_a_kernel_may_set(table, one, policy, public, options, words):
    routes = KernelRoutes(table, policy=policy, allow_public_routes=public)
    if words is None:
        routes.claim(one, claim(options=options))
        # No function of the server's is ever called for a kernel.
        assert table.table.get("bot").config.callbacks == {}
    else:
        with pytest.raises(RouteRefused, match=words):
            routes.claim(one, claim(options=options))


@pytest.mark.parametrize("defaults", [{"auth": False}, {"origins": ["https://a.example"]}])
def test_defaults_of_files_do_not_open_the_routes_of_kernels(table, one, defaults):
    KernelRoutes(table, defaults=defaults, allow_public_routes=True).claim(one, claim())
    config = table.table.get("bot").config
    assert config.auth.required
    assert config.origins is None


def test_what_the_administrator_enforces_holds_for_kernels_too(table, one):
    routes = KernelRoutes(table, defaults={"ping_interval": 7}, enforce={"max_message": 1024})
    routes.claim(one, claim(options={"max_message": 4096}))
    config = table.table.get("bot").config
    assert (config.max_message, config.ping_interval) == (1024, 7)


def test_a_configured_route_that_comes_later_displaces_a_kernels_and_says_so(table, one):
    routes = KernelRoutes(table)
    table.displaced = routes.displaced
    routes.claim(one, claim())
    configure(table, "/bot", "later")
    assert served_by(table, "/bot") == "later"
    assert one.told == [("bot", "/bot is answered by the configured route 'later' (/bot)")]


def test_what_is_taken_away_is_the_route_that_was_looked_up_and_none_that_came_later(table, one):
    routes = KernelRoutes(table)
    table.displaced = routes.displaced
    routes.claim(one, claim())
    looked_up = table.table.get("bot")
    routes.claim(one, claim(options={"max_message": "2KiB"}))  # its cell was run again meanwhile
    assert not table.take_away(looked_up, "somebody has stopped it")
    assert (served_by(table, "/bot"), one.told) == (one, [])
    served = table.table.get("bot")
    assert table.take_away(served, "somebody has stopped it")
    assert (served_by(table, "/bot"), one.told) == (None, [("bot", "somebody has stopped it")])
    assert not table.take_away(served, "once is enough")


def test_a_kernel_may_serve_so_many_routes_and_is_told_who_can_raise_it(table, one, two):
    routes = KernelRoutes(table, limit=2)
    for number in (1, 2):
        routes.claim(one, claim(f"/bot{number}", f"bot{number}"))
    with pytest.raises(RouteRefused, match=r"2 routes.*c\.WSHandlerApp\.kernel_routes_limit"):
        routes.claim(one, claim("/bot3", "bot3"))
    routes.claim(one, claim("/elsewhere", "bot2"))  # a new version of what there is
    routes.claim(two, claim("/bot3", "bot3"))
    routes.withdraw(one, "bot1")
    routes.claim(one, claim("/bot4", "bot4"))
    routes.forget(one)
    routes.claim(one, claim("/bot5", "bot5"))


def test_taking_over_takes_all_that_is_in_the_way(table, one, two):
    routes = KernelRoutes(table)
    for name, pattern in (("a", "/bots/a"), ("b", "/bots/{x}"), ("c", "/other"), ("d", "/d")):
        routes.claim(one, claim(pattern, name))
    routes.claim(two, claim("/bots/.*", "c", replace=True))
    assert sorted(name for name, _ in one.told) == ["a", "b", "c"]
    assert served_by(table, "/bots/a") is two
    assert served_by(table, "/other") is None
    assert served_by(table, "/d") is one


@pytest.mark.parametrize(
    "name", ["", "a\nb", "\x1b[31m", "x" * 201, "a\u202eb", "tab\t", "\x00", "nul\ud800"]
)
def test_a_name_that_would_break_a_log_line_is_refused(table, one, name):
    with pytest.raises(RouteRefused, match="printable characters") as refused:
        KernelRoutes(table).claim(one, claim(name=name))
    assert str(refused.value).isprintable()


def test_a_pattern_with_a_line_break_is_refused(table, one):
    with pytest.raises(RouteRefused, match="printable"):
        KernelRoutes(table).claim(one, claim("/a\nb"))


@pytest.mark.parametrize("event", ["condition", "select_subprotocol", "every", "__init__"])
def test_a_kernel_answers_no_question_of_the_handshake(table, one, event):
    with pytest.raises(RouteRefused, match="no callback named"):
        KernelRoutes(table).claim(one, Claim(name="bot", pattern="/bot", events=(event,)))


@pytest.mark.parametrize("pattern", ["/bot{}", "/bot{}/{{room}}", "/x/{{room}}/{}"])
def test_a_thousand_claims_build_no_table_and_ask_few_routes(table, one, two, monkeypatch, pattern):
    built, asked = [], []
    monkeypatch.setattr(
        RouteTable,
        "__init__",
        lambda self, *args, make=RouteTable.__init__, **options: (
            built.append(1),
            make(self, *args, **options),
        )[1],
    )
    monkeypatch.setattr(
        rivals,
        "_matches",
        lambda route, path, is_so=rivals._matches: (asked.append(1), is_so(route, path))[1],
    )
    routes = KernelRoutes(table, limit=1000)
    routes.claim(two, claim("/a/{b}/{c}/{d}", "other"))
    for number in range(1000):
        routes.claim(one, claim(pattern.format(number), f"bot{number}"))
    assert not built
    if not pattern.startswith("/x"):  # there, one sees of the path only what they all begin with
        assert len(asked) < 5000
    for number in range(0, 1000, 2):
        routes.withdraw(one, f"bot{number}")
    assert len(table.table) == 501
    assert [route.name for route in table.table] == [
        route.name for route in RouteTable((), table.live.values())
    ]
    routes.forget(one)
    assert [route.name for route in table.table] == ["other"]
    assert not routes._rivals._prefixes.keys() - {"/a/"}


def test_a_table_that_routes_came_to_and_left_is_as_if_made_anew():
    patterns = ["/a", "/b", "/a/{x}", "/{x}/a", "/.*", "/a.*", "/a/b", "/a/(b|c)", "/A", "/a"]
    routes = [
        Route(load_route(f"r{n}", pattern, {"on_message": "m.f"}))
        for n, pattern in enumerate(patterns)
    ]
    first, later = routes[:2], routes[2:]
    paths = ["/a", "/b", "/a/b", "/a/c", "/a/d", "/b/a", "/x", "/ax", "/A", "/nothing/here/x"]
    generator = random.Random(5)
    for _ in range(200):
        table, there = RouteTable(first), {}
        for _ in range(12):
            route = generator.choice(later)
            if generator.random() < 0.6:
                table.put(route)
                there[route.name] = route
            else:
                table.discard(route.name)
                there.pop(route.name, None)
        fresh = RouteTable(first, there.values())
        assert table.routes == fresh.routes
        assert len(table) == len(fresh)
        assert [table.match(path) for path in paths] == [fresh.match(path) for path in paths]
        assert [table.get(route.name) for route in routes] == [
            fresh.get(route.name) for route in routes
        ]


def test_what_meets_is_found_as_by_asking_each():
    parts = ["a", "b", "[^/]+", "[ab]", ".*", "a+", "(a|b)", "%C3%BC", "ü"]
    generator = random.Random(7)
    every = [
        Route(load_route(f"r{n}", "/" + "/".join(generator.choices(parts, k=k)), {}))
        for n, k in enumerate(generator.choices([1, 2], k=150))
    ]
    held = rivals.Rivals()
    for route in every[:100]:
        held.add(route)
    for route in every[:30]:
        held.remove(route)
    for new in every[100:]:
        wanted = {
            old.name
            for old in every[30:100]
            if old.regex.match(new.sample_path()) or new.regex.match(old.sample_path())
        }
        assert {route.name for route in held.of(new)} == wanted
