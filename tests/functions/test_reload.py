"""Reloading in one process: fresh modules or none, atomic tables, connections taken along."""

from __future__ import annotations

import asyncio
import logging
import os
import py_compile
import sys
from functools import partial

import pytest

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.protocol import Protocol
from jupyter_wshandler.functions.sources import Reading, recorded
from jupyter_wshandler.manager import WebSocketManager

ECHO = "def on_message(handler, message):\n    return {answer!r}\n"


def routes(**kwargs: str) -> str:
    """Return the YAML of routes, each with the kwargs as written."""
    lines = ["url:"]
    for name, text in kwargs.items():
        pattern = f"/{name}"
        if text.startswith("/"):
            pattern, _, text = text.partition(" ")
        lines += [
            f"  {name}:",
            f"    pattern: {pattern}",
            "    handler: WebSocketHandler",
            f"    kwargs: {{{text}}}",
        ]
    return "\n".join(lines) + "\n"


def bot(module: str, more: str = "") -> str:
    return f"on_message: {module}.on_message{more}"


class Wire:
    """The transport of a connection that nobody is at the other end of."""

    queued_bytes = queued_frames = 0

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, frame: bytes) -> None:
        self.written.append(frame)

    def start(self, receiver, early) -> None: ...
    def fileno(self) -> int:
        return -1

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def seal(self) -> None: ...
    def close(self) -> None: ...
    def end(self) -> None: ...
    def abort(self) -> None: ...


class Site:
    """A folder with a config file and modules, and the manager that serves it."""

    def __init__(self, folder, watching: str = "off") -> None:
        self.folder = folder
        self.yaml = folder / "site.yaml"
        self.manager = WebSocketManager(reload=watching)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    async def start(self, yaml: str, **modules: str) -> Site:
        for name, text in modules.items():
            self.write(f"{name}.py", text)
        self.yaml.write_text(yaml)
        source = partial(load, files=[str(self.yaml)], allow_public_routes=True)
        self.manager.apply(source(), source)
        await self.manager.start()
        return self

    def answer(self, name: str, message: str = "hi"):
        """Return what the route's function says now."""
        route = self.manager.table.get(name)
        assert route is not None, name
        assert route.state == "ready", route.error
        return route.callbacks["on_message"].call(None, message)

    def connect(self, name: str, path: str | None = None):
        route = self.manager.table.get(name)
        connection = self.manager.connection(route, Opening(Request(uri=path or f"/{name}")))
        self.open(connection)
        return connection

    def open(self, connection) -> None:
        wire = Wire()
        wire.protocol = Protocol(max_message=1 << 20)
        self.manager.open(connection, wire.protocol, wire, b"")


@pytest.fixture
async def site(tmp_path):
    site = Site(tmp_path)
    yield site
    for connection in list(site.manager.connections.values()):
        connection.connection_lost()
    await site.manager.stop(2)


async def until(condition, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# ---- modules -----------------------------------------------------------------------------------


async def test_a_reload_without_a_change_does_nothing(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    route, module = site.manager.table.get("a"), sys.modules["one"]
    result = await site.manager.reload()
    assert (result.files, result.code, result.changed) == ((), False, ())
    assert site.manager.table.get("a") is route
    assert sys.modules["one"] is module


async def test_an_edited_module_is_a_fresh_object_and_the_old_one_stays_whole(site):
    await site.start(routes(a=bot("one")), one="COUNT = []\n" + ECHO.format(answer="v1"))
    old = sys.modules["one"]
    old.COUNT.append(1)
    before = site.manager.table.get("a").callbacks["on_message"]
    site.write("one.py", "COUNT = []\n" + ECHO.format(answer="v2"))
    result = await site.manager.reload()
    assert result.code
    assert result.files == ("one.py",)
    assert site.answer("a") == "v2"
    assert before.call(None, "") == "v1"
    assert old.COUNT == [1]
    assert sys.modules["one"] is not old
    assert sys.modules["one"].COUNT == []


async def test_row_imported_helper_edited_is_seen(site):
    await site.start(
        routes(a=bot("one")),
        one="import help_a, pack.inner\nfrom pack import inner\n"
        "def on_message(handler, message):\n    return help_a.V, pack.inner.V, inner.V\n",
        help_a="V = 1\n",
        **{"pack/inner": "V = 1\n", "pack/__init__": ""},
    )
    old = site.manager.table.get("a").callbacks["on_message"]
    site.write("help_a.py", "V = 2\n")
    await site.manager.reload()
    assert site.answer("a") == (2, 1, 1)
    site.write("pack/inner.py", "V = 2\n")
    await site.manager.reload()
    assert site.answer("a") == (2, 2, 2)
    assert old.call(None, "") == (1, 1, 1), "the old version is no longer whole"


async def test_a_helper_that_only_a_function_imports_is_seen(site):
    await site.start(
        routes(a=bot("one")),
        one="def on_message(handler, message):\n    import lazily\n    return lazily.V\n",
        lazily="V = 1\n",
    )
    assert site.answer("a") == 1
    site.write("lazily.py", "V = 2\n")
    assert (await site.manager.reload()).files == ("lazily.py",)
    assert site.answer("a") == 2


async def test_an_edit_of_the_same_size_in_the_same_second_is_seen(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    path = site.folder / "one.py"
    second = int(path.stat().st_mtime)
    os.utime(path, ns=(second * 10**9, second * 10**9))
    await site.manager.reload()
    py_compile.compile(str(path))  # as Python itself leaves it: valid for this second and size
    for version in ("v2", "v3"):
        path.write_text(ECHO.format(answer=version))
        os.utime(path, ns=(second * 10**9, second * 10**9 + int(version[1])))
        await site.manager.reload()
        assert site.answer("a") == version


async def test_row_broken_edit_keeps_the_last_good_version_of_all_and_heals(site, caplog):
    await site.start(
        routes(a=bot("one"), b=bot("two")),
        one=ECHO.format(answer="a1"),
        two=ECHO.format(answer="b1"),
    )
    modules = sys.modules["one"], sys.modules["two"]
    site.write("one.py", ECHO.format(answer="a2"))
    site.write("two.py", "import json\ndef on_message(handler, message) return 2\n")
    result = await site.manager.reload()
    assert not result.code
    assert len(result.errors) == 1
    assert f"{site.folder / 'two.py'}:2: SyntaxError" in result.errors[0]
    assert site.manager.reload_errors == result.errors
    assert (site.answer("a"), site.answer("b")) == ("a1", "b1")
    assert (sys.modules["one"], sys.modules["two"]) == modules
    site.write("two.py", ECHO.format(answer="b2"))
    assert (await site.manager.reload()).code
    assert (site.answer("a"), site.answer("b")) == ("a2", "b2")
    assert site.manager.reload_errors == ()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ("def on_message(:\n", "one.py:1: SyntaxError"),
        ("import json\n\n1 / 0\n", "one.py:3: ZeroDivisionError"),
        ("raise SystemExit\n", "one.py:1: SystemExit"),
        ("import no_such_thing\n", "one.py:1: ModuleNotFoundError"),
        ("def on_massage(handler, message): pass\n", "on_message"),
        ("def on_message(): pass\n", "expected on_message(handler, message)"),
        ("on_message = 3\n", "an int"),
        (None, "there is no module one"),
    ],
)
async def test_whatever_is_wrong_with_an_edit_the_old_version_goes_on(site, broken, says):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    if broken is None:
        (site.folder / "one.py").unlink()
    else:
        site.write("one.py", broken)
    result = await site.manager.reload()
    assert len(result.errors) == 1
    assert says in result.errors[0]
    assert site.answer("a") == "v1"
    site.write("one.py", ECHO.format(answer="v2"))
    await site.manager.reload()
    assert site.answer("a") == "v2"


async def test_an_error_is_logged_once_however_often_it_is_saved(site, caplog):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))

    def errors():
        return [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]

    for _ in range(3):
        site.write("one.py", "1 / 0\n")
        await site.manager.reload()
    assert len(errors()) == 1
    site.write("one.py", "\n1 / 0\n")
    await site.manager.reload()
    assert len(errors()) == 2
    assert "one.py:2: ZeroDivisionError" in errors()[1]
    site.write("one.py", ECHO.format(answer="v2"))
    await site.manager.reload()
    site.write("one.py", "\n1 / 0\n")
    await site.manager.reload()
    assert len(errors()) == 3, "after it was mended, it is news again"


async def test_a_module_that_cannot_be_imported_is_run_once_a_reload(site):
    await site.start(
        routes(a="open: one.opened, on_message: one.on_message, on_close: one.opened"),
        one="def opened(handler): pass\n" + ECHO.format(answer="v1"),
    )
    site.write("one.py", "with open(__file__ + '.runs', 'a') as file: file.write('x')\n1 / 0\n")
    result = await site.manager.reload()
    assert len(result.errors) == 1
    assert (site.folder / "one.py.runs").read_text() == "x"


async def test_a_route_that_never_worked_does_not_hold_up_the_others(site):
    await site.start(routes(a=bot("one"), b=bot("missing")), one=ECHO.format(answer="v1"))
    site.write("one.py", ECHO.format(answer="v2"))
    result = await site.manager.reload()
    assert result.errors == ()
    assert site.answer("a") == "v2"
    assert site.manager.table.get("b").state == "broken"


@pytest.mark.parametrize("file", ["late.py", "late/__init__.py"])
async def test_row_module_missing_then_created_heals(site, file):
    await site.start(routes(a=bot("late")))
    assert site.manager.table.get("a").state == "broken"
    site.write(file, ECHO.format(answer="v1"))
    assert (await site.manager.reload()).files == (file,)
    assert site.answer("a") == "v1"


async def test_row_function_missing_then_added_heals(site):
    await site.start(routes(a=bot("one")), one="def other(handler): pass\n")
    assert site.manager.table.get("a").state == "broken"
    site.write("one.py", ECHO.format(answer="v1"))
    await site.manager.reload()
    assert site.answer("a") == "v1"


async def test_a_handshake_between_an_edit_and_its_reload_hides_nothing(site):
    await site.start(routes(a=bot("one")), one="def other(handler): pass\n")
    site.write("one.py", ECHO.format(answer="v1"))
    assert not await site.manager.heal(site.manager.table.get("a")), "what is imported stays"
    assert (await site.manager.reload()).files == ("one.py",)
    assert site.answer("a") == "v1"


async def test_a_module_in_a_package_that_comes_later_heals(site):
    await site.start(routes(a=bot("later.bots.chat")))
    for name in ("later/__init__.py", "later/bots/__init__.py"):
        site.write(name, "")
        assert (await site.manager.reload()).code
    site.write("later/bots/chat.py", ECHO.format(answer="v1"))
    await site.manager.reload()
    assert site.answer("a") == "v1"


async def test_a_module_that_was_optional_is_seen_when_it_comes(site):
    await site.start(
        routes(a=bot("one")),
        one="try:\n    import extra\nexcept ImportError:\n    extra = None\n"
        "def on_message(handler, message):\n    return extra and extra.V\n",
    )
    assert site.answer("a") is None
    site.write("extra.py", "V = 'there'\n")
    await site.manager.reload()
    assert site.answer("a") == "there"


async def test_another_file_of_the_folder_changes_nothing(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"), other="V = 1\n")
    module = sys.modules["one"]
    site.write("other.py", "V = 2\n")
    site.write("data.csv", "1,2\n")
    assert (await site.manager.reload()).files == ()
    assert sys.modules["one"] is module


async def test_a_broken_route_heals_at_a_handshake_where_nothing_is_watched(site):
    await site.start(routes(a=bot("late"), b=bot("one")), one=ECHO.format(answer="v1"))
    route = site.manager.table.get("a")
    assert not await site.manager.heal(route)
    module = sys.modules["one"]
    site.write("late.py", ECHO.format(answer="v1"))
    site.write("one.py", ECHO.format(answer="v2"))
    site.manager.served._looked_up.clear()  # it is looked up once a second
    assert await site.manager.heal(route)
    assert site.answer("a") == "v1"
    assert site.answer("b") == "v1", "healing one route must not change another"
    assert sys.modules["one"] is module


async def test_files_saved_while_they_are_read_are_read_again(site):
    await site.start(
        routes(a=bot("one")),
        one="import two\n" + ECHO.format(answer="v1"),
        two="V = 1\n",
    )
    # The module saves its own helper, once, after it was imported.
    site.write(
        "one.py",
        "import os, two\nif two.V == 1:\n"
        "    with open(two.__file__, 'w') as file: file.write('V = 2  # saved\\n')\n"
        "def on_message(handler, message): return two.V\n",
    )
    await site.manager.reload()
    assert site.answer("a") == 2


async def test_a_module_may_ask_for_the_event_loop_as_it_is_imported(site):
    text = "import asyncio\nloop = asyncio.get_event_loop()\n"
    await site.start(routes(a=bot("one")), one=text + ECHO.format(answer="v1"))
    site.write("one.py", text + ECHO.format(answer="v2"))
    assert (await site.manager.reload()).errors == ()
    assert site.answer("a") == "v2"
    assert sys.modules["one"].loop is asyncio.get_running_loop()


async def test_importing_does_not_hold_up_the_loop(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    site.write("one.py", "import time\ntime.sleep(0.5)\n" + ECHO.format(answer="v2"))
    loop = asyncio.get_running_loop()
    reload = asyncio.ensure_future(site.manager.reload())
    longest, last = 0.0, loop.time()
    while not reload.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, loop.time() - last), loop.time()
    assert site.answer("a") == "v2"
    assert longest < 0.4


async def test_two_reloads_at_once_are_one_after_the_other(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    site.write("one.py", ECHO.format(answer="v2"))
    first, second = await asyncio.gather(site.manager.reload(), site.manager.reload())
    assert (first.code, second.code) == (True, False)


async def test_force_imports_again_what_has_not_changed(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    module = sys.modules["one"]
    assert (await site.manager.reload(force=True)).code
    assert sys.modules["one"] is not module


def test_other_imports_keep_pythons_own_finders(tmp_path):
    before = list(sys.path_hooks)
    manager = WebSocketManager()
    (tmp_path / "w.yaml").write_text(routes(a=bot("one")))
    manager.apply(load(files=[str(tmp_path / "w.yaml")]))
    assert str(tmp_path) in sys.path
    with recorded(Reading()) as reading:
        import json.tool  # noqa: F401
    assert not [path for path in reading.files if not path.startswith(str(tmp_path))]
    manager.served.close()
    assert sys.path_hooks == before
    assert str(tmp_path) not in sys.path


# ---- the config file -----------------------------------------------------------------------


async def test_row_yaml_add_delete_change_route(site, caplog):
    caplog.set_level(logging.INFO)
    await site.start(
        routes(a=bot("one"), b=bot("one"), c=bot("one")), one="N = []\n" + ECHO.format(answer="v1")
    )
    kept, module = site.manager.table.get("a"), sys.modules["one"]
    site.yaml.write_text(
        "# one line more\n" + routes(a=bot("one"), b=bot("one", ", ping_interval: 5"), d=bot("one"))
    )
    result = await site.manager.reload()
    assert (result.added, result.changed, result.removed) == (("d",), ("b",), ("c",))
    assert not result.code
    assert site.manager.table.get("a") is kept
    assert kept.config.place.line == 3
    assert site.manager.table.get("b").config.ping_interval == 5
    assert site.manager.table.get("c") is None
    assert sys.modules["one"] is module, "only the config changed"
    assert "Reloaded site.yaml: added d; changed b; removed c" in caplog.text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("url:\n  a: [\n", "site.yaml:3:1: not valid YAML"),
        ("", "the file is empty"),
        ("urls: {}\n", "expected the key url"),
        ("url: 3\n", "expected a mapping of names to routes"),
        ("- 1\n", "expected a mapping"),
        (None, "does not exist"),
    ],
)
async def test_row_yaml_syntax_error_keeps_the_last_good_config_and_heals(site, text, says):
    good = routes(a=bot("one"))
    await site.start(good, one=ECHO.format(answer="v1"))
    route = site.manager.table.get("a")
    if text is None:
        site.yaml.unlink()
    else:
        site.yaml.write_text(text)
    result = await site.manager.reload()
    assert says in result.errors[0]
    assert site.manager.table.get("a") is route
    assert (await site.manager.reload()).files == (), "the same mistake is not read again"
    assert says in site.manager.reload_errors[0]
    site.write("one.py", ECHO.format(answer="v2"))
    await site.manager.reload()
    assert site.answer("a") == "v2", "code is reloaded nevertheless"
    assert says in site.manager.reload_errors[0], "and the mistake is not forgotten"
    site.yaml.write_text(good + routes(b=bot("one")).removeprefix("url:\n"))
    assert (await site.manager.reload()).added == ("b",)
    assert site.manager.reload_errors == ()


async def test_a_config_without_routes_is_taken_at_its_word(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    site.yaml.write_text("url: {}\n")
    assert (await site.manager.reload()).removed == ("a",)


async def test_a_broken_route_takes_down_no_other_and_its_connections_go_on(site, caplog):
    await site.start(routes(a=bot("one"), b=bot("one")), one=ECHO.format(answer="v1"))
    connection = site.connect("b")
    site.yaml.write_text(routes(a=bot("one", ", ping_interval: 7"), b=bot("one", ", oops: 1")))
    await site.manager.reload()
    table = site.manager.table
    assert table.get("a").config.ping_interval == 7
    assert table.get("b").state == "broken"
    assert table.get("b").connections == 1
    assert connection.entry.callbacks["on_message"].call(None, "") == "v1"
    assert not connection.closed
    assert "site.yaml:9" in caplog.text
    assert "1 open connections go on as before" in caplog.text
    site.write("one.py", ECHO.format(answer="v2"))
    site.yaml.write_text(routes(a=bot("one"), b=bot("one", ", ping_interval: 8")))
    await site.manager.reload()
    assert connection.entry is site.manager.table.get("b")
    assert connection.entry.callbacks["on_message"].call(None, "") == "v2"


async def test_a_route_that_names_a_wrong_function_now_is_broken_alone(site):
    await site.start(routes(a=bot("one"), b=bot("one")), one=ECHO.format(answer="v1"))
    connection = site.connect("b")
    site.write("one.py", ECHO.format(answer="v2"))
    site.yaml.write_text(routes(a=bot("one"), b="on_message: one.nothing"))
    result = await site.manager.reload()
    assert (result.code, result.errors) == (True, ())
    assert site.answer("a") == "v2"
    assert site.manager.table.get("b").state == "broken"
    assert not connection.closed


async def test_new_config_and_broken_code_together_take_the_config_only(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    site.write("one.py", "1 / 0\n")
    site.yaml.write_text(routes(a=bot("one", ", ping_interval: 7"), b=bot("one")))
    result = await site.manager.reload()
    assert result.added == ("b",)
    assert "ZeroDivisionError" in result.errors[0]
    assert site.answer("a") == site.answer("b") == "v1"
    assert site.manager.table.get("a").config.ping_interval == 7
    site.yaml.write_text(routes(a=bot("one")))
    assert "ZeroDivisionError" in (await site.manager.reload()).errors[0]


# ---- open connections ----------------------------------------------------------------------


async def test_connections_get_the_new_route_and_keep_their_state(site):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    connection = site.connect("a")
    connection.state.count = 3
    site.write("one.py", ECHO.format(answer="v2"))
    site.yaml.write_text(routes(a=bot("one", ", max_message: 10, ping_interval: 5")))
    result = await site.manager.reload()
    assert result.closed == 0
    assert connection.entry is site.manager.table.get("a")
    assert connection.entry.connections == 1
    assert connection.state.count == 3
    assert connection._protocol._max_message == 10
    connection.connection_lost()
    await until(lambda: not site.manager.connections)
    assert site.manager.table.get("a").connections == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (bot("one", ", auth: false"), bot("one", ", auth: true")),
        (bot("one", ", auth: true"), bot("one", ", auth: false")),
        (bot("one"), bot("one", ", auth: {membership: {name: [alpha]}}")),
        (bot("one"), bot("one", ", auth: {condition: one.allow}")),
        (bot("one"), bot("one", ", auth: {recheck: 5s}")),
        (bot("one"), bot("one", ", origins: [example.org]")),
        (bot("one", ", origins: [example.org]"), bot("one")),
        (bot("one"), bot("one", ", rooms: [a]")),
        (bot("one", ", rooms: [a]"), bot("one", ", rooms: [a], space: other")),
        (bot("one", ", rooms: [a]"), bot("one", ", rooms: [a], may_join: one.may_join")),
        (bot("one"), bot("one", ", filters: one.sees")),
        (bot("one"), "/b " + bot("one")),
        (bot("one"), None),
    ],
)
async def test_row_yaml_auth_added_closes_with_1012_and_so_do_other_stricter_rules(
    site, before, after
):
    code = "def allow(handler): return True\ndef may_join(handler, room): return True\n"
    code += "def sees(handler, message, way): return message\n"
    await site.start(routes(a=before, z=bot("one")), one=code + ECHO.format(answer="v1"))
    connection, other = site.connect("a"), site.connect("z")
    site.yaml.write_text(routes(z=bot("one")) if after is None else routes(a=after, z=bot("one")))
    result = await site.manager.reload()
    assert result.closed == 1
    assert connection.close_code == 1012
    assert connection._transport.written[-1][:4] == b"\x88" + bytes(
        [len(connection.close_reason) + 2, 1012 >> 8, 1012 & 255]
    )
    assert not other.closed


@pytest.mark.parametrize("rule", ["auth: {condition: one.allow}", "may_join: one.may_join"])
async def test_a_condition_that_only_moved_in_the_file_closes_nothing(site, rule):
    code = "def allow(handler): return True\ndef may_join(handler, room): return True\n"
    code += ECHO.format(answer="v1")
    text = routes(a=bot("one", f", {rule}"))
    await site.start(text, one=code)
    connection = site.connect("a")
    site.yaml.write_text("# a comment\n\n" + text)
    assert (await site.manager.reload()).changed == ()
    assert not connection.closed


async def test_a_new_pattern_that_still_matches_names_its_groups_anew(site):
    await site.start(routes(a="/chat/{room} " + bot("one")), one=ECHO.format(answer="v1"))
    site.manager.served.base_url = "/base/"
    connection = site.connect("a", "/base/chat/blue?x=1")
    site.yaml.write_text(routes(a="/chat/{channel} " + bot("one")))
    await site.manager.reload()
    assert not connection.closed
    assert connection.path_kwargs == {"channel": "blue"}


async def test_a_handshake_that_began_before_the_reload_ends_with_the_new_route(site):
    await site.start(routes(a=bot("one"), b=bot("one")), one=ECHO.format(answer="v1"))
    table, manager = site.manager.table, site.manager
    stays = manager.connection(table.get("a"), Opening(Request(uri="/a")))
    goes = manager.connection(table.get("b"), Opening(Request(uri="/b")))
    site.write("one.py", ECHO.format(answer="v2"))
    site.yaml.write_text(routes(a=bot("one", ", ping_interval: 5")))
    await manager.reload()
    site.open(stays)
    site.open(goes)
    assert stays._route is manager.table.get("a")
    assert manager.table.get("a").connections == 1
    await until(lambda: goes.close_code == 1012)


async def test_a_route_that_comes_back_counts_its_connections_right(site):
    good = routes(a=bot("one"))
    await site.start(good, one=ECHO.format(answer="v1"))
    connection = site.connect("a")
    site.yaml.write_text("url: {}\n")
    await site.manager.reload()
    site.yaml.write_text(good)
    await site.manager.reload()
    site.connect("a")
    connection.connection_lost()
    await until(lambda: len(site.manager.connections) == 1)
    assert site.manager.table.get("a").connections == 1


# ---- files that cannot be read ---------------------------------------------------------------


@pytest.mark.parametrize("name", ["one.py", "site.yaml"])
async def test_permissions_that_are_given_back_are_noticed_though_nothing_else_has_changed(
    site, monkeypatch, name
):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    path = str(site.folder / name)
    refused = {path}
    access, opened = os.access, open

    def refuse(file, *args, **options):
        if str(file) in refused:
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **options)

    # As root may read everything, the file system's part is played.
    monkeypatch.setattr(
        os, "access", lambda file, mode: str(file) not in refused and access(file, mode)
    )
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("jupyter_wshandler.functions.sources._open", refuse)
    refused.clear()
    site.write("one.py", ECHO.format(answer="v2"))
    site.yaml.write_text(routes(a=bot("one"), b=bot("one")))
    refused.add(path)
    for _ in range(3):
        await site.manager.reload()
    (error,) = site.manager.reload_errors
    assert "Permission denied" in error
    assert name in error
    assert "sources.py" not in error
    refused.clear()
    result = await site.manager.reload()
    assert name in result.files
    assert site.manager.reload_errors == ()
    assert site.answer("b") == "v2"


async def test_a_folder_that_cannot_be_listed_keeps_nobody_from_importing(site, monkeypatch):
    await site.start(routes(a=bot("one")), one=ECHO.format(answer="v1"))
    os.rename(site.folder / "one.py", site.folder.parent / "one.py")
    config = site.folder.parent / "kept"
    os.rename(site.folder, config)
    os.symlink(site.folder, site.folder)  # a link to itself: not "missing", but an error
    try:
        with pytest.raises(ModuleNotFoundError):
            __import__("there_is_no_such_module_anywhere")
    finally:
        os.unlink(site.folder)
        os.rename(config, site.folder)
