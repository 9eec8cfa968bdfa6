"""``jupyter wshandler check``."""

from __future__ import annotations

import io
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jupyter_wshandler.cli.check import check
from jupyter_wshandler.errors import CallbackError

GOOD = """\
url:
  chat:
    pattern: /chat/{room}
    handler: WebSocketHandler
    kwargs:
      on_message: {function: bot.reply}
      on_close: bot.close
      origins: [gramener.com, '*.example.org']
      auth: {membership: {groups: [staff, dev]}}
  ping:
    pattern: /ping
    handler: WebSocketHandler
    kwargs: {on_message: bot.ping}
"""


class FakeResolver:
    """Stand for the resolver: functions whose name holds `missing` do not exist."""

    def __init__(self, folders: object) -> None:
        self.warnings = ["bot.py: something to know"] if folders else []

    def resolve(self, spec: object, event: str, default_run: str) -> None:
        function = spec.function  # type: ignore[attr-defined]
        if "missing" in function:
            raise CallbackError(f"there is no {function}; did you mean bot.reply?")


@pytest.fixture(autouse=True)
def _resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("jupyter_wshandler.functions.resolve")
    module.Resolver = FakeResolver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)


def run(tmp_path: Path, text: str, **options: bool) -> tuple[int, str]:
    path = tmp_path / "w.yaml"
    path.write_text(text, encoding="utf-8")
    stream = io.StringIO()
    status = check([str(path)], stream=stream, **options)
    return status, stream.getvalue().replace(f"{tmp_path}/", "")


def test_a_good_file_prints_its_routes_in_the_order_they_match_and_ends_with_zero(
    tmp_path: Path,
) -> None:
    status, output = run(tmp_path, GOOD)
    assert status == 0
    assert output == (
        "ROUTE  PATTERN       CALLBACKS            AUTH                     ORIGINS\n"
        "chat   /chat/{room}  on_message on_close  login, groups=staff|dev  "
        "gramener.com *.example.org\n"
        "ping   /ping         on_message           login                    this server\n"
        "\n"
        "note: bot.py: something to know\n"
        "\n"
        "OK: 2 routes, no problems, 1 note\n"
    )


def test_a_mistake_is_shown_in_its_line_and_ends_with_one(tmp_path: Path) -> None:
    status, output = run(tmp_path, GOOD.replace("on_close", "on_clsoe"))
    assert status == 1
    assert (
        "w.yaml:7:7: url.chat.kwargs.on_clsoe:\n"
        "    7 |       on_clsoe: bot.close\n"
        "      |       ^\n"
        "    unknown key 'on_clsoe'; did you mean on_close?\n"
    ) in output
    assert "chat   /chat/{room}  BROKEN: 1 problem, see below\n" in output
    assert output.endswith("FAILED: 1 problem in 1 of 2 routes; the other routes work\n")


def test_a_callback_that_cannot_be_imported_breaks_its_route(tmp_path: Path) -> None:
    status, output = run(tmp_path, GOOD.replace("bot.reply", "bot.missing"))
    assert status == 1
    assert "w.yaml:6:30: url.chat.kwargs.on_message.function:" in output
    assert "there is no bot.missing; did you mean bot.reply?" in output


def test_a_condition_that_cannot_be_imported_breaks_its_route(tmp_path: Path) -> None:
    text = GOOD.replace("{membership: {groups: [staff, dev]}}", "{condition: bot.missing}")
    assert run(tmp_path, text)[0] == 1


def test_a_public_route_fails_unless_it_is_permitted_and_is_then_shown_in_capitals(
    tmp_path: Path,
) -> None:
    text = GOOD.replace("{membership: {groups: [staff, dev]}}", "false")
    assert run(tmp_path, text)[0] == 1
    status, output = run(tmp_path, text, allow_public_routes=True)
    assert status == 0
    assert "PUBLIC" in output


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (("{on_message: bot.ping}", "{}"), "nothing is configured"),
        (("{on_message: bot.ping}", "{on_open: bot.ping}"), "closed with 1003"),
    ],
)
def test_what_works_but_is_hardly_meant_is_noted_and_ends_with_zero(
    tmp_path: Path, change: tuple[str, str], note: str
) -> None:
    status, output = run(tmp_path, GOOD.replace(*change))
    assert status == 0
    assert note in " ".join(output.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("/ping", "/login"), "never reached: /login is answered by Jupyter Server"),
        (
            GOOD + "  twin: {pattern: /ping, handler: Websocket, kwargs: {on_message: bot.ping}}\n",
            "never reached: the route 'ping' has the same pattern",
        ),
    ],
)
def test_a_route_that_is_never_reached_is_a_problem_at_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    status, output = run(tmp_path, text)
    assert status == 1
    assert output.count("never reached") == 1
    assert message in " ".join(output.split())
    assert "FAILED: 1 problem in 1 of" in output


def test_what_is_wrong_with_a_function_does_not_wait_for_the_routes_other_mistakes(
    tmp_path: Path,
) -> None:
    text = GOOD.replace("{on_message: bot.ping}", "{on_message: bot.missing, zzzz: 1, qqqq: 2}")
    status, output = run(tmp_path, text)
    flat = " ".join(output.split())
    assert status == 1
    assert "there is no bot.missing" in flat
    assert "unknown key 'zzzz'; valid here: auth, compression" in flat
    assert "unknown key 'qqqq'; valid are those listed above" in flat
    assert flat.count("auth, compression") == 1


def test_what_is_outside_the_routes_is_counted_apart_from_what_is_in_them(tmp_path: Path) -> None:
    text = "import: [more.yaml]\n" + GOOD
    status, output = run(tmp_path, text)
    assert status == 1
    assert output.endswith("FAILED: 1 problem outside the routes; the routes work\n")
    status, output = run(tmp_path, text.replace("bot.ping", "bot.missing"))
    assert output.endswith(
        "FAILED: 2 problems: 1 in 1 of 2 routes, 1 outside the routes; the other routes work\n"
    )


def test_the_table_counts_the_problems_of_a_route_as_they_are_printed_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(self: object, spec: object, event: str, default_run: str) -> None:
        function = spec.function  # type: ignore[attr-defined]
        raise CallbackError(f"{function}: the module bot cannot be imported")

    monkeypatch.setattr(FakeResolver, "resolve", resolve)
    status, output = run(tmp_path, GOOD)
    assert status == 1
    assert output.count("BROKEN: 1 problem, see below") == 2
    assert output.endswith("FAILED: 1 problem in 2 of 2 routes\n")


@pytest.mark.parametrize(
    ("origins", "noted"),
    [
        ("[gramener.com]", True),
        ("['https://*.example.org', 'vscode-webview://*']", True),
        ("[gramener.com, localhost]", False),
        ("['http://127.0.0.1:8888']", False),
        ("['*']", False),
        ("[]", False),
    ],
)
def test_a_page_that_its_own_routes_origins_leave_out_is_noted(
    tmp_path: Path, origins: str, noted: bool
) -> None:
    (tmp_path / "own.html").write_text("<p>own")
    kwargs = f"{{on_message: bot.ping, page: own.html, origins: {origins}}}"
    status, output = run(tmp_path, GOOD.replace("{on_message: bot.ping}", kwargs))
    assert status == 0
    said = "page: is a page of this server, and origins admits" in " ".join(output.split())
    assert said is noted


def test_a_package_that_is_missing_is_one_problem_for_all_functions_that_need_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "needs.py").write_text("import nobody_has_this_package\n")
    text = GOOD.replace("bot.ping", "needs.ping") + (
        "  more: {pattern: /more, handler: Websocket, kwargs: "
        "{open: needs.open, on_message: needs.m}}\n"
    )
    (tmp_path / "w.yaml").write_text(text.replace("bot.reply", "needs.reply"), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "jupyter_wshandler", "check", "w.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    flat = " ".join(ran.stdout.split())
    assert ran.returncode == 1
    assert flat.count("No module named 'nobody_has_this_package'") == 1
    assert "needs.ping (line 13), needs.open (line 14), needs.m (line 14)" in flat


def test_the_place_in_a_long_line_is_marked_where_it_is(tmp_path: Path) -> None:
    long = "{description: " + "x" * 200 + ", on_message: bot.ping}"
    _, output = run(tmp_path, GOOD.replace("{on_message: bot.ping}", "{zzz" + long[1:]))
    lines = output.splitlines()
    at = next(i for i, line in enumerate(lines) if line.rstrip().endswith("^"))
    assert lines[at - 1][lines[at].index("^") :].startswith(("zzz", "desc"))
    assert max(map(len, lines)) < 110


def test_a_mistake_in_defaults_of_a_file_that_does_not_parse_needs_no_table(tmp_path: Path) -> None:
    status, output = run(tmp_path, "url: [\n")
    assert status == 1
    assert "\n\nw.yaml:2:1:" in output
    assert output.endswith("FAILED: 1 problem\n")


def test_a_missing_file_is_a_problem() -> None:
    stream = io.StringIO()
    assert check(["/nowhere/w.yaml"], stream=stream) == 1
    assert "does not exist" in stream.getvalue()


def test_a_missing_file_is_named_whole_and_its_path_is_what_is_to_be_corrected(
    tmp_path: Path,
) -> None:
    stream = io.StringIO()
    missing = tmp_path / ("a-path-with-hyphens-" * 6) / "not-here.yaml"
    assert check([str(missing)], stream=stream) == 1
    assert "create it or correct its path" in stream.getvalue()
    assert "config_file" not in stream.getvalue()


def test_a_path_in_a_message_is_not_broken_at_its_hyphens_or_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "/some-where/" + "a-folder-of-a-long-name/" * 8 + "bot.py"

    def resolve(self: object, spec: object, event: str, default_run: str) -> None:
        raise CallbackError(f"there is no function in {path}, though it was looked for")

    monkeypatch.setattr(FakeResolver, "resolve", resolve)
    _, output = run(tmp_path, GOOD)
    assert path in output


def test_two_functions_that_a_module_does_not_have_are_told_what_it_has_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(self: object, spec: object, event: str, default_run: str) -> None:
        raise CallbackError(f"there is no {spec.function}; valid here: alpha, beta")  # type: ignore[attr-defined]

    monkeypatch.setattr(FakeResolver, "resolve", resolve)
    _, output = run(tmp_path, GOOD)
    flat = " ".join(output.split())
    assert flat.count("valid here: alpha, beta") == 1
    assert "there is no bot.close; valid are those listed above" in flat
    assert "keys" not in flat


def test_what_a_terminal_would_obey_is_written_out(tmp_path: Path) -> None:
    _, output = run(tmp_path, 'url: {"a\\e[31mb\\nc": {x\\u202e: 1, pattern: "/\\e"}}\n')
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_a_stream_that_cannot_show_a_character_gets_it_escaped(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text("url: {\u00e9: 1}\n", encoding="utf-8")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    assert check([str(path)], stream=stream) == 1
    stream.flush()
    assert b"\\xe9" in raw.getvalue()


def test_checking_imports_neither_jupyter_server_nor_tornados_web_layer() -> None:
    code = (
        "import sys\n"
        "import jupyter_wshandler.cli.check, jupyter_wshandler.routes\n"
        "import jupyter_wshandler.config.reference\n"
        "print([m for m in ('jupyter_server', 'tornado.web') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
