"""Loading: sources and their order, places, and that nothing but problems comes of mistakes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import at_least

from jupyter_wshandler.config.compression import RANGES as COMPRESSION_RANGES
from jupyter_wshandler.config.described import key_names
from jupyter_wshandler.config.keys import KwargsEntry
from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.model import Config, RouteConfig
from jupyter_wshandler.engine.deflate import PerMessageDeflate
from jupyter_wshandler.engine.offers import RANGES as ENGINE_RANGES

Load = Callable[..., Config]

SEED = """\
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs:
      open:       {function: pingbot.open}
      on_message: {function: pingbot.on_message}
      on_close:   {function: pingbot.on_close}
      origins: [gramener.com, localhost, 127.0.0.1]
      auth: true
"""


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load YAML text from a file named w.yaml."""

    def loader(text: str, **options: Any) -> Config:
        path = tmp_path / "w.yaml"
        path.write_text(text, encoding="utf-8")
        return load(files=[str(path)], **options)

    return loader


def kwargs_route(**kwargs: Any) -> dict[str, Any]:
    return {"bot": {"pattern": "/bot", "handler": "WebSocketHandler", "kwargs": kwargs}}


def load_kwargs(**kwargs: Any) -> Config:
    return load(url=kwargs_route(**kwargs))


def route_of(config: Config) -> RouteConfig:
    assert [str(p) for broken in config.broken for p in broken.problems] == []
    assert len(config.routes) == 1
    return config.routes[0]


def messages(config: Config) -> list[str]:
    found = [*config.problems, *(p for broken in config.broken for p in broken.problems)]
    return [str(problem) for problem in dict.fromkeys(found)]


def only_message(config: Config) -> str:
    found = messages(config)
    assert len(found) == 1, found
    return found[0]


# ---- what works ------------------------------------------------------------------------------


def test_the_seed_configuration_gives_one_complete_route(load_text: Load, tmp_path: Path) -> None:
    config = load_text(SEED)
    route = route_of(config)
    assert config.problems == ()
    assert (route.name, route.pattern, route.auth.required) == ("pingbot", "/pingbot", True)
    assert {event: spec.function for event, spec in route.callbacks.items()} == {
        "open": "pingbot.open",
        "on_message": "pingbot.on_message",
        "on_close": "pingbot.on_close",
    }
    assert route.origins == ("gramener.com", "localhost", "127.0.0.1")
    assert route.kwargs["on_close"] == {"function": "pingbot.on_close"}
    assert config.folders == (str(tmp_path),)
    assert config.files == (str(tmp_path / "w.yaml"),)


def test_row_auth_unset_means_a_login_is_needed() -> None:
    assert route_of(load_kwargs(on_message="a.b")).auth.required is True


def test_service_is_another_spelling_of_handler() -> None:
    config = load(url={"bot": {"pattern": "/bot", "service": "WebSocketHandler"}})
    assert route_of(config).name == "bot"


def test_a_function_is_found_at_its_own_line_and_column(load_text: Load) -> None:
    place = route_of(load_text(SEED)).callbacks["on_message"].place
    assert (place.line, place.column, place.key) == (
        7,
        30,
        "url.pingbot.kwargs.on_message.function",
    )


def test_every_simple_option_arrives_in_seconds_and_bytes() -> None:
    route = route_of(
        load_kwargs(
            on_message="a.b",
            subprotocols=["chat.v1", "chat.v2"],
            compression=True,
            run="loop",
            threads=4,
            timeout="2m",
            returns="ignore",
            max_message="64KiB",
            ping_interval="500ms",
            ping_timeout=3,
            queue={"messages": 10, "bytes": "2MiB", "slow": "drop_oldest"},
        )
    )
    assert route.subprotocols == ("chat.v1", "chat.v2")
    assert (route.compression, route.run, route.threads) == ({}, "loop", 4)
    assert (route.timeout, route.returns, route.max_message) == (120.0, "ignore", 65536)
    assert (route.ping_interval, route.ping_timeout) == (0.5, 3.0)
    assert (route.queue.messages, route.queue.bytes, route.queue.slow) == (
        10,
        2 * 1024 * 1024,
        "drop_oldest",
    )


@pytest.mark.parametrize("off", [False, "off", None, 0])
def test_a_timeout_can_be_switched_off(off: Any) -> None:
    assert route_of(load_kwargs(on_message="a.b", timeout=off)).timeout is None


@pytest.mark.parametrize("off", [False, "off", 0])
def test_pings_can_be_switched_off(off: Any) -> None:
    route = route_of(load_kwargs(on_message="a.b", ping_interval=off, ping_timeout=off))
    assert (route.ping_interval, route.ping_timeout) == (0, 0)


def test_on_open_and_open_are_one_event_and_kwargs_keep_the_name_as_written() -> None:
    route = route_of(load_kwargs(on_open="a.start", on_message="a.b"))
    assert route.callbacks["open"].function == "a.start"
    assert list(route.kwargs) == ["on_open", "on_message"]


def test_open_and_on_open_together_are_a_mistake() -> None:
    assert "two spellings" in only_message(load_kwargs(open="a.b", on_open="a.c"))


def test_on_error_takes_a_function_or_close_or_both() -> None:
    plain = route_of(load_kwargs(on_error="a.fail"))
    assert (plain.callbacks["on_error"].function, plain.on_error_close) == ("a.fail", True)
    both = route_of(load_kwargs(on_error={"function": "a.fail", "close": False}))
    assert (both.callbacks["on_error"].function, both.on_error_close) == ("a.fail", False)
    alone = route_of(load_kwargs(on_error={"close": False}))
    assert ("on_error" in alone.callbacks, alone.on_error_close) == (False, False)


def test_a_misspelt_close_of_on_error_is_named() -> None:
    assert "did you mean close?" in only_message(load_kwargs(on_error={"clsoe": False}))


def test_a_page_is_relative_to_the_folder_of_its_file(load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "chat.html").write_text("hello")
    route = route_of(load_text(SEED + "      page: chat.html\n"))
    assert route.page == str(tmp_path / "chat.html")


@pytest.mark.parametrize("written", ["dist", "dist/", "./dist//"])
def test_a_page_may_be_a_folder_with_an_index(
    load_text: Load, tmp_path: Path, written: str
) -> None:
    (tmp_path / "dist").mkdir()
    text = SEED + f"      page: {written}\n"
    assert "found a folder without an index.html" in messages(load_text(text))[0]
    (tmp_path / "dist" / "index.html").touch()
    assert route_of(load_text(text)).page == f"{tmp_path / 'dist'}/"


@pytest.mark.parametrize("written", [".", "..", "link", "/"])
def test_a_folder_that_holds_the_configuration_and_the_bots_is_no_page(
    load_text: Load, tmp_path: Path, written: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path.parent):
        (folder / "index.html").touch()
    found = messages(load_text(SEED + f"      page: {written}\n"))[0]
    (tmp_path.parent / "index.html").unlink()
    expected = "without an index.html" if written == "/" else "expected a folder of its own"
    assert expected in found


@pytest.mark.parametrize("pattern", ["/a/.*", "/.*", "/a(?:/.*)?", "/(.+)"])
def test_a_folder_below_a_pattern_that_takes_its_files_is_refused(
    load_text: Load, tmp_path: Path, pattern: str
) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "index.html").touch()
    text = SEED.replace("/pingbot", f"'{pattern}'") + "      page: dist\n"
    assert "this pattern takes the paths of its files" in messages(load_text(text))[0]
    (tmp_path / "page.html").touch()
    assert not messages(load_text(text.replace("page: dist", "page: page.html")))


@pytest.mark.parametrize("page", ["missing.html", ".", "", "a\0b", 7])
def test_a_page_must_be_a_file(page: Any) -> None:
    assert "page: expected" in only_message(load_kwargs(on_message="a.b", page=page)).replace(
        "kwargs.page", "page"
    )


def test_a_boolean_key_of_yaml_is_the_text_that_was_written(load_text: Load) -> None:
    message = only_message(load_text(SEED + "      on: 5\n"))
    assert "unknown key 'on'" in message
    assert ":11:7:" in message


def test_a_merge_key_brings_in_what_an_anchor_holds(load_text: Load) -> None:
    config = load_text(
        "base: &base {auth: {membership: {groups: staff}}, timeout: 5s}\n"
        "url:\n"
        "  bot:\n"
        "    pattern: /bot\n"
        "    handler: WebSocketHandler\n"
        "    kwargs: {<<: *base, on_message: a.b, timeout: 7s}\n"
    )
    route = route_of(config)
    assert route.auth.membership == ({"groups": ("staff",)},)
    assert route.timeout == 7.0


# ---- sources -----------------------------------------------------------------------------------


def test_a_later_file_and_then_the_trait_win_on_the_same_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        text = SEED.replace("/pingbot", f"/{name}")
        (tmp_path / f"{name}.yaml").write_text(text)
    files = [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]
    assert route_of(load(files=files)).pattern == "/two"
    trait = {"pingbot": {"pattern": "/three", "handler": "WebSocketHandler"}}
    config = load(files=files, url=trait)
    assert route_of(config).pattern == "/three"
    assert any("replaces the route at" in note for note in config.notes)


def test_the_place_of_a_trait_is_its_python_path() -> None:
    config = load(url=kwargs_route(auth="yes"))
    problem = config.broken[0].problems[0]
    assert str(problem.place) == "c.WSHandlerApp.url['bot'].kwargs.auth"
    assert str(problem).startswith("c.WSHandlerApp.url['bot'].kwargs.auth: expected true")


def test_defaults_fill_in_what_a_route_leaves_out() -> None:
    config = load(url=kwargs_route(on_message="a.b"), defaults={"timeout": "9s", "run": "loop"})
    assert (route_of(config).timeout, route_of(config).run) == (9.0, "loop")
    own = load(url=kwargs_route(timeout="1s"), defaults={"timeout": "9s"})
    assert route_of(own).timeout == 1.0


def test_a_route_may_spell_open_in_another_way_than_the_defaults() -> None:
    config = load(url=kwargs_route(open="a.own"), defaults={"on_open": "a.shared"})
    route = route_of(config)
    assert route.callbacks["open"].function == "a.own"
    assert list(route.kwargs) == ["open"]


def test_enforced_kwargs_beat_files_and_traits_and_say_so() -> None:
    config = load(
        url=kwargs_route(on_message="a.b", auth=True, origins="*"),
        enforce={"auth": {"membership": {"groups": "staff"}}, "origins": "example.org"},
    )
    route = route_of(config)
    assert route.auth.membership == ({"groups": ("staff",)},)
    assert route.origins == ("example.org",)
    assert sum("is overridden by c.WSHandlerApp.enforce" in note for note in config.notes) == 2


def test_enforcing_what_a_route_says_anyway_is_not_worth_a_note() -> None:
    config = load(url=kwargs_route(on_message="a.b", auth=True), enforce={"auth": True})
    assert not any("overridden" in note for note in config.notes)


@pytest.mark.parametrize("source", ["defaults", "enforce"])
@pytest.mark.parametrize("bad", [{"atuh": True}, {"auth": "yes"}, {"auth": None}, "x", {1: 2}])
def test_a_mistake_in_defaults_or_enforce_breaks_every_route(source: str, bad: Any) -> None:
    config = load(url=kwargs_route(on_message="a.b", auth=True), **{source: bad})
    assert config.routes == ()
    assert len(config.problems) == 1
    assert str(config.problems[0]).startswith(f"c.WSHandlerApp.{source}")


def test_an_enforced_mistake_cannot_be_hidden_by_a_name_with_brackets() -> None:
    config = load(url=kwargs_route(on_message="a.b"), enforce={"a.b": 1})
    assert str(config.problems[0].place) == "c.WSHandlerApp.enforce['a.b']"


def test_a_url_trait_that_is_no_mapping_is_a_problem() -> None:
    assert "expected a mapping of names to routes" in only_message(load(url=[1]))  # type: ignore[arg-type]


def test_a_python_function_in_a_trait_is_refused_with_a_hint() -> None:
    assert "'module.function'" in messages(load_kwargs(on_message=print))[0]


def test_a_trait_that_contains_itself_is_a_problem() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    config = load_kwargs(on_message={"function": "a.b", "kwargs": endless})
    assert any("nested too deeply" in message for message in messages(config))


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "1:1", "empty"),
        ("- a\n", "1:1", "expected a mapping with the key url, found a list"),
        ("urls:\n  a: 1\n", "1:1", "found urls"),
        ("url: 5\n", "1:6", "expected a mapping of names to routes, found the number 5"),
        ("url: [\n", "2:1", "not valid YAML"),
        ("url:\n\tbot: 1\n", "2:1", "no tabs"),
        ("url: {a: 1}\nx: \0\n", "2:4", "U+0000"),
        ("import: other.yaml\nurl: {}\n", "1:1", "import is not supported"),
        ("url: {}\nurl: {}\n", "2:1", "stands twice, first in line 1"),
        ("url: {}\n---\nurl: {}\n", "2:1", "single document"),
        ("a: &a [*a]\nurl: {}\n", "", "aliases"),
        ("url: " + "[" * 100 + "]" * 100, "", "levels deep"),
        ("url: {? [1] : 2}\n", "1:9", "expected a text as key, found a list"),
        ("url: {~: 2}\n", "1:7", "expected a text as key, found nothing"),
    ],
)
def test_a_file_that_is_not_a_configuration_is_a_problem_with_its_place(
    load_text: Load, tmp_path: Path, text: str, where: str, what: str
) -> None:
    message = only_message(load_text(text))
    assert message.startswith(f"{tmp_path / 'w.yaml'}:{where}")
    assert what in message


def test_a_missing_file_a_folder_and_bad_bytes_are_problems(tmp_path: Path) -> None:
    assert "does not exist" in only_message(load(files=[str(tmp_path / "none.yaml")]))
    assert "found a folder" in only_message(load(files=[str(tmp_path)]))
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"url:\n  a\xff: 1\n")
    assert f"{bad}:2:4: the file is not UTF-8" in only_message(load(files=[str(bad)]))
    bad.write_bytes(b"#" * 600_000)
    assert "at most 524288" in only_message(load(files=[str(bad)]))


def test_a_file_that_cannot_be_opened_is_a_problem(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "the file cannot be read" in only_message(load(files=[str(loop)]))


def test_a_bomb_of_aliases_is_refused_and_not_written_out(load_text: Load) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "aliases are written out" in only_message(load_text("\n".join(lines)))


@pytest.mark.parametrize(
    "value",
    [
        "9" * 5000,
        "0x" + "f" * 5000,
        "99999999999999999999",
        "!!int abc",
        "!!float x",
        "!!bool maybe",
    ],
)
def test_numbers_beyond_measure_are_problems_of_their_route(load_text: Load, value: str) -> None:
    config = load_text(SEED + f"      threads: {value}\n")
    assert ":11:16:" in messages(config)[0]
    assert config.problems == ()


@pytest.mark.parametrize(
    "tag", ["!!python/object:os.system x", "!mine x", "!!set {a}", "!!binary aa"]
)
def test_a_tag_that_would_make_an_object_is_a_problem(load_text: Load, tag: str) -> None:
    assert (
        "is not supported; write plain data"
        in messages(load_text(SEED + f"      page: {tag}\n"))[0]
    )


def test_a_key_that_stands_twice_in_a_route_breaks_only_that_route(load_text: Load) -> None:
    config = load_text(
        SEED + "      auth: false\n  other: {pattern: /o, handler: WebSocketHandler}\n"
    )
    assert [route.name for route in config.routes] == ["other"]
    message = only_message(config)
    assert ":11:7: url.pingbot.kwargs.auth: the key stands twice, first in line 10" in message


# ---- entries -----------------------------------------------------------------------------------


def test_a_gramex_file_works_and_what_is_not_ours_is_skipped_with_two_notes(
    load_text: Load,
) -> None:
    config = load_text(
        "app: {listen: {port: 9988}}\nlog: {}\n"
        + SEED
        + "  home: {pattern: /$YAMLPATH, handler: TemplateHandler, kwargs: {headers: !x 1}}\n"
        + "  fn: {pattern: /fn, service: FunctionHandler}\n"
    )
    assert route_of(config).name == "pingbot"
    assert messages(config) == []
    skipped = [note for note in config.notes if "skipped" in note]
    assert len(skipped) == 2
    assert "app, log" in skipped[0]
    assert skipped[1].endswith("2 entries of other handlers: TemplateHandler, FunctionHandler")


@pytest.mark.parametrize(
    "handler",
    [
        *("WebsocketHandler", "websockethandler", "WebSocketHandlr", "gramex.handlers.Websocket"),
        *("WebSocket", "websocket", "Websockets", "web_socket", "WebSocketsHandler", "WEBSOCKET"),
    ],
)
def test_a_misspelt_handler_is_a_mistake_and_not_skipped(handler: str) -> None:
    config = load(url={"bot": {"pattern": "/bot", "handler": handler}})
    assert "expected WebSocketHandler" in only_message(config)


@pytest.mark.parametrize("handler", ["ProxyHandler", "Function", "MessageHandler", "SocketIO"])
def test_a_handler_that_is_clearly_another_one_is_skipped_with_a_note(handler: str) -> None:
    config = load(url={"bot": {"pattern": "/bot", "handler": handler}})
    assert (config.routes, config.broken, messages(config)) == ((), (), [])
    assert config.notes == (f"c.WSHandlerApp.url: skipped 1 entry of other handlers: {handler}",)


@pytest.mark.parametrize("key", ["handler", "service"])
@pytest.mark.parametrize("name", ["WebSocketHandler", "Websocket"])
def test_gramexs_spellings_of_the_handler_are_routes(key: str, name: str) -> None:
    config = load(url={"bot": {"pattern": "/bot", key: name}})
    assert [route.name for route in config.routes] == ["bot"]


def test_hundreds_of_skipped_entries_are_one_note(load_text: Load) -> None:
    lines = [f"  p{i}: {{pattern: /p{i}, handler: H{i % 12}andler}}" for i in range(300)]
    config = load_text(SEED + "\n".join(lines) + "\n")
    (note,) = (note for note in config.notes if "skipped" in note)
    assert "skipped 300 entries of other handlers: H0andler (25), " in note
    assert note.endswith("and 4 more")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("  bot if not prod: {pattern: /bot, handler: WebSocketHandler}\n", "2:3"),
        ("  bot:\n    pattern if x: /bot\n    pattern: /b\n    handler: Websocket\n", "3:5"),
        ("  bot:\n    pattern: /b\n    handler: Websocket\n    kwargs if x: {}\n", "5:5"),
        ("  bot: {pattern: /b, handler: Websocket, kwargs: {auth if x: true}}\n", "2:51"),
        ("  bot: {pattern: /b, handler: Websocket, kwargs: {auth: {users if x: a}}}\n", "2:58"),
    ],
)
def test_a_condition_of_gramex_in_a_key_is_a_mistake_of_its_route_and_is_not_evaluated(
    load_text: Load, text: str, where: str
) -> None:
    config = load_text("url:\n" + text + "  good: {pattern: /good, handler: Websocket}\n")
    assert [route.name for route in config.routes] == ["good"]
    (broken,) = config.broken
    found = [problem for problem in broken.problems if "has a condition" in problem.message]
    assert len(found) == 1
    assert str(found[0].place).endswith(where)
    assert "which is not evaluated here; write the key" in found[0].message
    assert "alone in the files of the servers where it holds" in found[0].message


def test_a_condition_at_the_key_url_is_a_mistake_of_the_file(load_text: Load) -> None:
    config = load_text("url if prod:\n  bot: {pattern: /b, handler: Websocket}\n")
    assert config.routes == ()
    assert any("'url if prod' has a condition" in message for message in messages(config))


def test_a_name_that_merely_has_the_word_is_no_condition(load_text: Load) -> None:
    config = load_text("url:\n  what-if: {pattern: /b, handler: Websocket}\n")
    assert [route.name for route in config.routes] == ["what-if"]


def test_a_ping_interval_in_milliseconds_is_noted_in_hours() -> None:
    config = load(url=kwargs_route(on_message="bot.f", ping_interval=30000))
    assert any("ping_interval is 8.3 hours; a number means seconds" in n for n in config.notes)
    assert not any("hours" in note for note in load(url=kwargs_route(ping_interval=60)).notes)


@pytest.mark.parametrize(
    "auth",
    [
        *({"users": "*"}, {"users": ["ada", "*"]}, {"groups": "staff*"}),
        *({"membership": {"username": "*"}}, {"membership": [{"groups": ["a", "*"]}]}),
    ],
)
def test_a_star_where_names_are_meant_is_a_mistake_as_nobody_would_match(auth: Any) -> None:
    message = only_message(load(url=kwargs_route(auth=auth)))
    assert "takes whole names, found the text" in message
    assert "nobody matches; to admit everybody who is logged in, remove it" in message


@pytest.mark.parametrize("handler", [None, 5, [], True])
def test_a_handler_that_is_no_text_is_a_mistake(handler: Any) -> None:
    config = load(url={"bot": {"pattern": "/bot", "handler": handler}})
    assert "expected WebSocketHandler" in only_message(config)


def test_a_route_without_handler_is_told_what_to_write() -> None:
    message = only_message(load(url={"bot": {"pattern": "/bot"}}))
    assert "write handler: WebSocketHandler" in message


def test_all_mistakes_of_all_routes_are_reported_and_the_good_route_works() -> None:
    good = kwargs_route(on_message="a.b")
    bad = {"pattern": "nope", "handler": "WebSocketHandler", "kwargs": {"auth": 1, "run": 2}}
    worse = {"handler": "WebSocketHandler", "priority": math.nan, "x": 1}
    config = load(url={**good, "bad": bad, "worse": worse, "worst": 5})
    assert [route.name for route in config.routes] == ["bot"]
    assert [(broken.name, len(broken.problems)) for broken in config.broken] == [
        ("bad", 3),
        ("worse", 3),
        ("worst", 1),
    ]
    assert all(p.route == broken.name for broken in config.broken for p in broken.problems)


def test_row_unknown_kwarg_fails_at_load_and_suggests_the_nearest_name() -> None:
    message = only_message(load_kwargs(on_mesage="a.b"))
    assert message.endswith("unknown key 'on_mesage'; did you mean on_message?")


def test_an_unknown_key_of_a_route_lists_or_suggests_the_valid_ones() -> None:
    route = {"pattern": "/x", "handler": "WebSocketHandler"}
    assert "did you mean pattern?" in only_message(load(url={"a": {**route, "patern": "/x"}}))
    assert "valid here: handler, kwargs" in only_message(load(url={"a": {**route, "zzz": 1}}))
    assert "belongs below kwargs" in only_message(load(url={"a": {**route, "on_message": "a.b"}}))


@pytest.mark.parametrize(
    "key",
    [
        "methods",
        "cors",
        "headers",
        "validate",
        "redirect",
        "transform",
        "set_xsrf",
        "xsrf_cookies",
        "error",
        "log",
    ],
)
def test_row_validate_methods_cors_headers_are_rejected_as_meaningless(key: str) -> None:
    message = f"{key} has no meaning on a WebSocket route; remove it"
    assert only_message(load_kwargs(**{key: 1})).endswith(message)
    route = {"pattern": "/x", "handler": "WebSocketHandler", key: 1}
    assert only_message(load(url={"a": route})).endswith(message)


def test_row_no_on_message_and_nothing_configured_are_noted_at_load() -> None:
    nothing = load(url={"a": {"pattern": "/x", "handler": "WebSocketHandler"}})
    assert any("nothing is configured" in note for note in nothing.notes)
    assert any("closed with 1003" in note for note in nothing.notes)
    only_open = load_kwargs(on_open="a.b")
    assert [("1003" in note) for note in only_open.notes] == [True]
    assert load_kwargs(on_message="a.b").notes == ()


def test_a_callback_named_open_is_no_note_by_itself() -> None:
    # The sample everybody begins with has one; whether it is in the way is seen in its module.
    assert load_kwargs(open="bot.open", on_message="bot.on_message").notes == ()


def test_the_second_of_two_routes_with_one_pattern_is_noted() -> None:
    route = {"pattern": "/x", "handler": "WebSocketHandler", "kwargs": {"on_message": "a.b"}}
    config = load(url={"b": dict(route), "a": dict(route)})
    assert any("url['b']" in note and "never reached" in note for note in config.notes)


def test_a_gramex_variable_is_refused_wherever_it_stands() -> None:
    bot = load_kwargs(on_message={"function": "a.b", "kwargs": {"path": "$YAMLPATH/x"}})
    assert "$YAMLPATH is not supported" in only_message(bot)
    route = {"pattern": "/$HOME/x", "handler": "WebSocketHandler"}
    assert "$HOME is not supported" in only_message(load(url={"a": route}))
    assert "in a pattern only" in messages(load_kwargs(page="$YAMLURL"))[0]


def test_row_bad_regex_breaks_its_route_and_no_other(load_text: Load) -> None:
    config = load_text(SEED + "  bad: {pattern: '/q/(', handler: WebSocketHandler}\n")
    assert [route.name for route in config.routes] == ["pingbot"]
    assert ":11:18: url.bad.pattern: not a valid regular expression" in only_message(config)


# ---- auth, origins and the other values --------------------------------------------------------


@pytest.mark.parametrize("auth", ["yes", "true", 1, 0, 1.0, [], ["a"], {}, None, ""])
def test_row_auth_given_a_wrong_type_is_refused_at_load(auth: Any) -> None:
    assert "expected true, false or a mapping" in only_message(load_kwargs(auth=auth))


def test_auth_false_needs_the_administrators_trait() -> None:
    message = only_message(load_kwargs(auth=False))
    assert "c.WSHandlerApp.allow_public_routes = True" in message
    config = load(url=kwargs_route(auth=False), allow_public_routes=True)
    assert route_of(config).auth.required is False


@pytest.mark.parametrize("key", ["login_url", "template", "methods", "query"])
def test_row_auth_methods_login_url_and_template_are_rejected(key: str) -> None:
    message = only_message(load_kwargs(auth={"membership": {"groups": "a"}, key: "x"}))
    assert f"auth.{key} has no meaning on a WebSocket route" in message


def test_row_membership_takes_a_mapping_or_a_list_of_mappings() -> None:
    one = route_of(load_kwargs(auth={"membership": {"groups": ["a", "b"], "name": "bob"}})).auth
    assert one.membership == ({"groups": ("a", "b"), "name": ("bob",)},)
    rules = [{"groups": "a"}, {"username": ["x", "y"]}]
    many = route_of(load_kwargs(auth={"membership": rules})).auth
    assert many.membership == ({"groups": ("a",)}, {"username": ("x", "y")})


@pytest.mark.parametrize("spelling", ["condition", "function"])
def test_row_condition_may_also_be_spelt_function(spelling: str) -> None:
    auth = route_of(load_kwargs(auth={spelling: "bots.may(handler)"})).auth
    assert auth.condition is not None
    assert auth.condition.function == "bots.may"


@pytest.mark.parametrize("key", ["users", "groups", "scopes"])
def test_auth_takes_names_of_users_groups_and_scopes(key) -> None:
    assert getattr(route_of(load_kwargs(auth={key: ["a", "b"]})).auth, key) == ("a", "b")
    assert getattr(route_of(load_kwargs(auth={key: "a"})).auth, key) == ("a",)
    for wrong in ([], [1], None, True, {"a": "b"}, [""]):
        message = only_message(load_kwargs(auth={key: wrong}))
        assert f"auth.{key}" in message
        assert "expected a " in message


def test_recheck_is_a_duration_or_off_and_never_all_the_time() -> None:
    assert route_of(load_kwargs(auth={"recheck": "off"})).auth.recheck == 0.0
    assert route_of(load_kwargs(auth={"recheck": "100ms"})).auth.recheck == 0.1
    for wrong in (0, "0s", "99ms"):
        message = only_message(load_kwargs(auth={"recheck": wrong}))
        assert "expected a duration of at least 0.1 s, or off" in message


def test_recheck_grace_is_a_duration_or_off_and_ten_times_recheck_where_it_is_not_given() -> None:
    assert route_of(load_kwargs()).auth.grace == 600.0
    assert route_of(load_kwargs(auth={"recheck": "3s"})).auth.grace == 30.0
    assert route_of(load_kwargs(auth={"recheck": "off"})).auth.grace == 0.0
    assert route_of(load_kwargs(auth={"recheck_grace": "5m"})).auth.grace == 300.0
    for never in ("off", False):
        assert route_of(load_kwargs(auth={"recheck_grace": never})).auth.grace == 0.0
    for wrong in (0, "soon", True):
        message = only_message(load_kwargs(auth={"recheck_grace": wrong}))
        assert "auth.recheck_grace" in message
        assert "expected a duration" in message


def test_xsrf_is_origin_or_ticket() -> None:
    assert route_of(load_kwargs()).xsrf == "origin"
    assert route_of(load_kwargs(xsrf="ticket")).xsrf == "ticket"
    assert "expected origin or ticket, found true" in only_message(load_kwargs(xsrf=True))


def test_an_idle_timeout_from_outside_is_for_routes_without_their_own() -> None:
    def idle(**kwargs: object) -> float:
        kwargs = {"on_message": "a.b", **kwargs}
        entry = {"pattern": "/bot", "handler": "WebSocketHandler", "kwargs": kwargs}
        return route_of(load(url={"bot": entry}, idle_timeout=1800.0)).idle_timeout

    assert idle() == 1800.0
    assert idle(keep_alive="none") == 1800.0
    assert idle(keep_alive="connections") == 0.0
    assert idle(idle_timeout="5m") == 300.0
    assert idle(idle_timeout="off") == 0.0


@pytest.mark.parametrize(
    "auth",
    [
        {"membership": {}},
        {"membership": []},
        {"membership": {"groups": []}},
        {"membership": {"groups": None}},
        {"membership": {"groups": {"a": 1}}},
        {"membership": "staff"},
        {"condition": None},
        {"condition": "a.b", "function": "a.c"},
        {"member": {"groups": "a"}},
        {"condition": "a.b(message)"},
    ],
)
def test_an_auth_rule_that_cannot_be_meant_breaks_the_route(auth: Any) -> None:
    config = load_kwargs(auth=auth)
    assert config.routes == ()
    assert messages(config)


def test_an_attribute_that_users_do_not_have_is_noted() -> None:
    config = load_kwargs(on_message="a.b", auth={"membership": {"grups": "staff"}})
    assert any("did you mean groups?" in note for note in config.notes)


def test_row_origins_with_an_empty_text_is_a_config_error() -> None:
    assert "found an empty text" in only_message(load_kwargs(origins=[""]))
    assert "found an empty text" in only_message(load_kwargs(origins=""))


def test_row_origins_unset_or_empty_mean_the_servers_own_rules() -> None:
    assert route_of(load_kwargs(on_message="a.b")).origins is None
    assert route_of(load_kwargs(origins=[])).origins is None


def test_origins_take_a_single_text() -> None:
    assert route_of(load_kwargs(origins="example.org")).origins == ("example.org",)


@pytest.mark.parametrize("origins", [None, True, 5, {"a": 1}, ["a", 5], [["a"]], "a, b"])
def test_origins_of_a_wrong_kind_are_mistakes(origins: Any) -> None:
    assert "expected a host" in only_message(load_kwargs(origins=origins))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("compression", "yes"),
        ("compression", 1),
        ("compression", None),
        ("compression", {}),
        ("compression", {"level": 1}),
        ("compression", {"compression_level": 10}),
        ("compression", {"compression_level": True}),
        ("compression", {"mem_level": 0}),
        ("compression", {"max_window_bits": 8}),
        ("compression", {"max_window_bits": "12"}),
        ("compression", {"min_size": -1}),
        ("compression", {"min_size": "2GiB"}),
        ("compression", {"min_size": True}),
        ("compression", {"server_no_context_takeover": 1}),
        ("compression", {"client_no_context_takeover": None}),
        ("run", "process"),
        ("run", True),
        ("threads", 0),
        ("threads", 1025),
        ("threads", True),
        ("threads", "4"),
        ("timeout", True),
        ("timeout", -1),
        ("timeout", math.inf),
        ("timeout", math.nan),
        ("timeout", "5 minutes"),
        ("timeout", "400d"),
        ("timeout", []),
        ("returns", "drop"),
        ("max_message", 0),
        ("max_message", False),
        ("max_message", "1kib"),
        ("max_message", "2GiB"),
        ("max_message", 1.5),
        ("ping_interval", None),
        ("ping_interval", True),
        ("ping_timeout", "20"),
        ("queue", 5),
        ("queue", {"messages": 0}),
        ("queue", {"bytes": 10}),
        ("queue", {"bytes": None}),
        ("queue", {"slow": "drop"}),
        ("queue", {"size": 1}),
        ("subprotocols", "chat"),
        ("subprotocols", ["a b"]),
        ("subprotocols", ["a", "a"]),
        ("subprotocols", [1]),
        ("on_error", {"close": "no"}),
        ("on_error", None),
    ],
)
def test_a_value_of_the_wrong_kind_is_one_problem_at_its_key(key: str, value: Any) -> None:
    message = only_message(load_kwargs(**{key: value}))
    assert message.startswith(f"c.WSHandlerApp.url['bot'].kwargs.{key}")


def test_a_function_and_its_declarative_twin_exclude_each_other() -> None:
    both = load_kwargs(subprotocols=["a"], select_subprotocol="a.b")
    assert "exclude each other" in only_message(both)
    both = load_kwargs(compression=False, get_compression_options="a.b")
    assert "exclude each other" in only_message(both)


def test_compression_says_how_in_the_words_of_get_compression_options() -> None:
    options = {
        "compression_level": 0,
        "mem_level": 9,
        "max_window_bits": 15,
        "min_size": "1KiB",
        "server_no_context_takeover": True,
        "client_no_context_takeover": False,
    }
    route = route_of(load_kwargs(on_message="a.b", compression=options))
    assert route.compression == {**options, "min_size": 1024}
    offered = ["permessage-deflate; client_max_window_bits; server_max_window_bits=15"]
    deflate, answer = PerMessageDeflate.negotiate(offered, route.compression)
    assert deflate is not None
    assert (deflate.mem_level, deflate.min_size) == (9, 1024)
    assert answer == "permessage-deflate; server_max_window_bits=15"
    assert route_of(load_kwargs(on_message="a.b", compression=False)).compression is None


def test_the_ranges_of_compression_are_those_of_its_engine() -> None:
    engine = {name: bounds for name, bounds in ENGINE_RANGES.items() if name != "min_size"}
    assert engine == COMPRESSION_RANGES


@pytest.mark.parametrize("key", ["notebook", "kernel"])
def test_what_is_not_there_yet_is_refused_and_not_ignored(key: str) -> None:
    assert f"{key} is not supported" in only_message(load_kwargs(**{key: 1}))


@pytest.mark.parametrize("kwargs", [None, {}])
def test_a_route_without_kwargs_has_no_callbacks(kwargs: Any) -> None:
    route = {"pattern": "/x", "handler": "WebSocketHandler", "kwargs": kwargs}
    assert route_of(load(url={"a": route})).callbacks == {}


# ---- whatever comes, only problems -------------------------------------------------------------


def assert_well_formed(config: Config) -> None:
    assert isinstance(config, Config)
    for problem in (*config.problems, *(p for b in config.broken for p in b.problems)):
        assert problem.message
        assert problem.place.source
    assert all(broken.problems for broken in config.broken)


FULL = (
    SEED
    + """\
      on_error: {function: a.b, close: false}
      timeout: 30s
      max_message: 64KiB
      queue: {messages: 10, slow: close}
      subprotocols: [a, b]
  second:
    pattern: /chat/{room}/(?P<who>[a-z]+)
    service: WebSocketHandler
    priority: 2
    kwargs: &k
      on_message: "a.b(handler, message, 'x', y=1)"
      auth: {membership: [{groups: [a]}], condition: a.c}
"""
)
PIECES = st.sampled_from(
    ["&a ", "*a", "*k", "<<: ", "!!x ", "- ", "{", "}", "[", "]", ": ", "\t", "\0", "'", '"', "|",
     ">", "%", "@", "`", "\n", "  ", "~", ".inf", "0x", "1e999", "\ufeff", "\x85", "\ud800", "#",
     "---\n", "...\n", "? ", "yes", "on", "=", "$X", "(a+)+", "{2}", "\\", "2024-13-45", "1:1:1"]
)  # fmt: skip


@at_least(400)
@given(
    text=st.text(max_size=200) | st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join)
)
def test_no_text_makes_the_loader_raise(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert_well_formed(load(files=[str(path)]))


@at_least(400)
@given(data=st.data())
def test_no_change_to_a_good_configuration_makes_the_loader_raise(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = FULL
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(PIECES | st.text(max_size=5)) + text[end:]
    path = tmp_path_factory.getbasetemp() / "changed.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert_well_formed(load(files=[str(path)]))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(key_names(KwargsEntry))


@at_least(400)
@given(kwargs=st.dictionaries(KEYS, PLAIN, max_size=4), pattern=PLAIN | st.just("/x"))
def test_no_python_data_makes_the_loader_raise(kwargs: dict[str, Any], pattern: Any) -> None:
    route = {"pattern": pattern, "handler": "WebSocketHandler", "kwargs": kwargs}
    assert_well_formed(load(url={"bot": route}, defaults=kwargs, enforce=kwargs))


@pytest.mark.parametrize("key", ["ping_interval", "ping_timeout", "idle_timeout", "timeout"])
def test_a_time_that_would_keep_the_server_busy_is_refused_with_its_floor(key: str) -> None:
    config = load_kwargs(on_message="a.b", **{key: "1ms"})
    assert "of at least 20 ms" in str(config.broken[0].problems[0])


def test_types_name_a_function_for_each_kind_of_message() -> None:
    route = route_of(load_kwargs(types={"ask": "bot.ask", "vote": {"function": "bot.vote"}}))
    assert {tag: spec.function for tag, spec in route.types.items()} == {
        "ask": "bot.ask",
        "vote": "bot.vote",
    }
    assert "on_message" not in route.callbacks


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"types": {}}, "expected a mapping of tags to functions"),
        ({"types": ["bot.ask"]}, "expected a mapping of tags to functions"),
        ({"types": {"ask": "ask"}}, "without a module"),
        ({"types": {"ask": "bot.ask(handler, data)"}}, "'data' is not available in types"),
        (
            {"types": {"ask": "bot.ask"}, "on_message": "bot.on_message"},
            "types and on_message exclude each other",
        ),
    ],
    ids=["empty", "a list", "no module", "another variable", "with on_message"],
)
def test_types_that_cannot_be_meant_are_refused(kwargs: dict[str, Any], words: str) -> None:
    [broken] = load_kwargs(**kwargs).broken
    assert words in " ".join(str(problem) for problem in broken.problems)


def test_a_route_with_types_takes_messages() -> None:
    notes = load_kwargs(types={"ask": "bot.ask"}).notes
    assert not any("on_message" in note or "nothing is configured" in note for note in notes)
