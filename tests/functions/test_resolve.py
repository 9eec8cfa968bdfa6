"""From a function's name in the configuration to a callback, or to a sentence saying why not."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bots import bot_text

from jupyter_wshandler.config.model import FunctionSpec, Place, Variable
from jupyter_wshandler.errors import CallbackError
from jupyter_wshandler.functions.resolve import BoundCallback, Resolver

HANDLER, MESSAGE = Variable("handler"), Variable("message")
PLACE = Place("test.yaml", 1, 1)
_clock = itertools.count(1)


class Bots:
    """A folder with callback modules, and the resolver that reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.resolver = Resolver([str(folder)])

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def find(
        self, function: str, event: str = "on_message", default_run: str = "thread", **options: Any
    ) -> BoundCallback:
        spec = FunctionSpec(function=function, place=PLACE, **options)
        return self.resolver.resolve(spec, event, default_run)

    def refusal(self, function: str, event: str = "on_message", **options: Any) -> str:
        with pytest.raises(CallbackError) as caught:
            self.find(function, event, **options)
        return str(caught.value).replace(f"{self.folder}{os.sep}", "")


SAMPLE = bot_text("gramex_pingbot")


# ---- what is found ---------------------------------------------------------------------------


def test_row_sample_pingbot_is_found_and_called_without_anything_in_between(bots: Bots) -> None:
    bots.write("wsbot.py", SAMPLE)
    for event in ("open", "on_message", "on_close"):
        callback = bots.find(f"wsbot.{event}", event)
        assert (callback.name, callback.event) == (f"wsbot.{event}", event)
        assert (callback.kind, callback.inline) == ("plain", False)
        assert callback.call is getattr(sys.modules["wsbot"], event)
    assert bots.resolver.warnings == []


@pytest.mark.parametrize(
    ("name", "kind", "inline"),
    [
        ("plain", "plain", False),
        ("coroutine", "async", True),
        ("generator", "gen", False),
        ("async_generator", "asyncgen", True),
        ("partial", "async", True),
        ("partial_generator", "gen", False),
        ("Bot.static", "async", True),
        ("Bot.of_class", "plain", False),
        ("bot.method", "async", True),
        ("bot.stream", "asyncgen", True),
        ("bot", "asyncgen", True),
        ("blocking", "plain", False),
        ("wrapped_async", "async", True),
        ("tornado", "async", True),
        ("wrapped_tornado", "plain", False),
    ],
)
def test_what_runs_on_the_loop_is_known_by_what_the_function_is(
    bots: Bots, name: str, kind: str, inline: bool
) -> None:
    bots.write("wsbot.py", bot_text("function_kinds"))
    callback = bots.find(f"wsbot.{name}")
    assert (callback.kind, callback.inline) == (kind, inline)
    assert bots.find(f"wsbot.{name}", default_run="loop").inline is True
    assert bots.find(f"wsbot.{name}", run="loop").inline is True
    assert bots.find(f"wsbot.{name}", default_run="loop", run="thread").inline is inline


def test_packages_namespaces_and_installed_modules_are_found(bots: Bots) -> None:
    bots.write("wsbot_package/__init__.py", "from .chat import chat\n")
    bots.write("wsbot_package/chat.py", "def chat(h, m): pass\ndef reply(h, m): pass\n")
    bots.write("wsbot_space/deep/echo.py", "def reply(h, m): pass\n")
    assert bots.find("wsbot_package.chat.reply").call.__name__ == "reply"
    assert bots.find("wsbot_package.chat").call.__name__ == "chat"
    assert bots.find("wsbot_space.deep.echo.reply").call.__name__ == "reply"
    assert bots.find("os.path.join").call is os.path.join
    assert bots.find("json.dumps", "open").call is json.dumps
    assert sorted(bots.resolver.modules()) == [
        "wsbot_package",
        "wsbot_package.chat",
        "wsbot_space",
        "wsbot_space.deep",
        "wsbot_space.deep.echo",
    ]


def test_a_helper_in_the_folder_can_be_imported_and_is_listed_with_the_modules(bots: Bots) -> None:
    bots.write("wsbot.py", "import wsbot_helper\ndef f(h, m): return wsbot_helper.N\n")
    bots.write("wsbot_helper.py", "N = 1\n")
    assert bots.find("wsbot.f").call(None, None) == 1
    assert bots.resolver.modules() == {
        "wsbot": sys.modules["wsbot"],
        "wsbot_helper": sys.modules["wsbot_helper"],
    }


def test_the_folders_are_appended_once_and_the_working_directory_never_is(
    bots: Bots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wsbot_here.py").write_text("def f(h, m): pass\n")
    before = [*sys.path]
    again = Resolver([str(bots.folder), str(bots.folder), ""])
    assert sys.path == before
    assert sys.path.count(str(bots.folder)) == 1
    assert sys.path.index(str(bots.folder)) == len(sys.path) - 1
    assert "wsbot_here" in bots.refusal("wsbot_here.f")
    again.close()
    again.close()
    assert str(bots.folder) in sys.path


def test_closing_forgets_the_modules_so_that_another_folder_may_use_their_names(
    bots: Bots, tmp_path: Path
) -> None:
    bots.write("wsbot.py", "def f(h, m): return 'first'\n")
    first = bots.find("wsbot.f")
    bots.resolver.close()
    assert "wsbot" not in sys.modules
    other = Bots(tmp_path / "other")
    other.write("wsbot.py", "def f(h, m): return 'second'\n")
    try:
        assert other.find("wsbot.f").call(None, None) == "second"
        assert first.call(None, None) == "first"
    finally:
        other.resolver.close()


# ---- arguments -------------------------------------------------------------------------------


def test_row_args_and_kwargs_give_the_function_variables_and_literals(bots: Bots) -> None:
    bots.write("wsbot.py", "def f(*args, **kwargs): return args, kwargs\n")
    call = bots.find("wsbot.f", args=(MESSAGE, "en", 3), kwargs={"h": HANDLER, "n": None}).call
    assert call("the handler", "the message") == (
        ("the message", "en", 3),
        {"h": "the handler", "n": None},
    )
    call = bots.find("wsbot.f", kwargs={"language": "en"}).call
    assert call("the handler", "the message") == (
        ("the handler", "the message"),
        {"language": "en"},
    )
    assert bots.find("wsbot.f", args=()).call("the handler", "the message") == ((), {})


def test_row_args_scalar_means_that_the_message_is_not_passed(bots: Bots) -> None:
    bots.write("wsbot.py", "async def f(handler): return handler\n")
    callback = bots.find("wsbot.f", args=(HANDLER,))
    assert callback.inline
    assert asyncio.run(callback.call("the handler", "the message")) == "the handler"


def test_a_literal_list_is_a_new_one_for_each_call(bots: Bots) -> None:
    bots.write("wsbot.py", "def f(items): items.append(1); return items\n")
    call = bots.find("wsbot.f", args=([],)).call
    assert call(None, None) == [1]
    assert call(None, None) == [1]


@pytest.mark.parametrize(
    ("event", "code", "expected"),
    [
        ("open", "def f(): pass", "expected f(handler), found f()"),
        ("on_message", "def f(handler): pass", "expected f(handler, message), found f(handler)"),
        (
            "on_message",
            "def f(handler, message, room, *, db, limit=1): pass",
            "expected f(handler, message), found f(handler, message, room, *, db, limit=...)",
        ),
        ("on_close", "def f(h, code): pass", "expected f(handler), found f(h, code)"),
        ("on_error", "async def f(h): pass", "expected f(handler, exc), found f(h)"),
        ("on_pong", "def f(h): pass", "expected f(handler, data), found f(h)"),
        ("select_subprotocol", "def f(h): pass", "expected f(handler, protocols), found f(h)"),
        ("get_compression_options", "def f(): pass", "expected f(handler), found f()"),
        ("condition", "def f(a, b): pass", "expected f(handler), found f(a, b)"),
    ],
)
def test_a_function_that_cannot_take_the_arguments_is_refused_when_it_is_loaded(
    bots: Bots, event: str, code: str, expected: str
) -> None:
    bots.write("wsbot.py", code + "\n")
    text = bots.refusal("wsbot.f", event)
    assert text.startswith(f"wsbot.f: {expected}, in wsbot.py:1: ")


def test_configured_arguments_that_do_not_fit_are_refused(bots: Bots) -> None:
    bots.write("wsbot.py", "def f(message): pass\n")
    text = bots.refusal("wsbot.f", args=(MESSAGE, "en"), kwargs={"n": [1] * 50})
    assert text.startswith("wsbot.f: expected f(message, 'en', n=[1, 1, 1")
    assert "found f(message), in wsbot.py:1" in text


def test_more_parameters_are_fine_where_they_have_defaults(bots: Bots) -> None:
    bots.write("wsbot.py", "def f(handler, message=None, *rest, lang='en', **more): pass\n")
    for event in ("open", "on_message"):
        assert bots.find("wsbot.f", event).kind == "plain"


def test_a_decorator_that_adds_arguments_is_judged_by_what_it_takes(bots: Bots) -> None:
    bots.write(
        "wsbot.py",
        """
        import functools

        def with_database(function):
            @functools.wraps(function)
            def outer(handler, message):
                return function(handler, message, "database")
            return outer

        @with_database
        def f(handler, message, database): return database
        """,
    )
    assert bots.find("wsbot.f").call(None, None) == "database"


@pytest.mark.parametrize(
    ("function", "found"),
    [
        ("one", "one(handler)"),
        ("Bot.one", "one(handler)"),
        ("bot.one", "one(handler)"),
        ("bot", "bot(handler)"),
        ("partial", "partial(handler)"),
    ],
)
def test_a_tornado_coroutine_is_judged_by_the_function_that_it_decorates(
    bots: Bots, function: str, found: str
) -> None:
    bots.write("wsbot.py", bot_text("tornado_coroutines"))
    text = bots.refusal(f"wsbot.{function}")
    short = function.rpartition(".")[2]
    assert text.startswith(f"wsbot.{function}: expected {short}(handler, message), found {found}")
    assert "in wsbot.py:" in text
    handed = {"args": (), "kwargs": {"handler": HANDLER, "message": MESSAGE}}
    assert "found one(handler)" in bots.refusal("wsbot.instance.one", **handed)
    for good in ("both", "bot.both"):
        assert bots.find(f"wsbot.{good}").kind == "async"
        assert bots.find(f"wsbot.{good}", **handed).kind == "async"


def test_row_capture_groups_are_on_the_handler_and_never_extra_arguments(bots: Bots) -> None:
    bots.write("wsbot.py", "def open_(handler): pass\ndef wants(handler, room): pass\n")
    assert bots.find("wsbot.open_", "open").kind == "plain"
    assert "expected wants(handler), found wants(handler, room)" in bots.refusal(
        "wsbot.wants", "open"
    )


@pytest.mark.parametrize("event", ["condition", "select_subprotocol", "get_compression_options"])
@pytest.mark.parametrize("how", ["def", "async def"])
def test_a_generator_cannot_answer_a_question_of_the_handshake(
    bots: Bots, event: str, how: str
) -> None:
    bots.write("wsbot.py", f"{how} f(handler, *more): yield False\n")
    assert "is a generator" in bots.refusal("wsbot.f", event)


def test_row_generator_on_close_is_accepted(bots: Bots) -> None:
    bots.write("wsbot.py", "def f(handler): yield 1\nasync def g(handler): yield 1\n")
    assert bots.find("wsbot.f", "on_close").kind == "gen"
    assert bots.find("wsbot.g", "on_close").kind == "asyncgen"


# ---- what is missing or wrong ------------------------------------------------------------------


def test_row_module_missing_names_the_searched_folder_and_the_nearest_module(bots: Bots) -> None:
    bots.write("wsbot.py", SAMPLE)
    assert bots.refusal("wsbto.on_message") == (
        f"wsbto.on_message: there is no module wsbto in {bots.folder}, "
        "nor among the installed ones; did you mean wsbot?"
    )


def test_without_folders_only_installed_modules_are_looked_for() -> None:
    resolver = Resolver([])
    spec = FunctionSpec(function="wsbot_nowhere.f", place=PLACE)
    with pytest.raises(CallbackError, match="no module wsbot_nowhere among the installed"):
        resolver.resolve(spec, "open")


def test_row_function_missing_names_the_file_and_the_nearest_function(bots: Bots) -> None:
    bots.write("wsbot.py", SAMPLE)
    assert bots.refusal("wsbot.on_mesage") == (
        "wsbot.on_mesage: there is no on_mesage in wsbot.py; did you mean on_message?"
    )
    assert "valid here: on_close, on_message, open" in bots.refusal("wsbot.zzz")


def test_a_module_missing_in_a_package_names_the_nearest_one(bots: Bots) -> None:
    bots.write("wsbot/__init__.py", "")
    bots.write("wsbot/chat.py", "def f(h, m): pass\n")
    text = bots.refusal("wsbot.chta.f")
    assert text == "wsbot.chta.f: there is no chta in wsbot/__init__.py; did you mean chat?"


def test_a_method_missing_names_the_nearest_one(bots: Bots) -> None:
    bots.write("wsbot.py", "class Bot:\n    def reply(self, h, m): pass\nbot = Bot()\n")
    assert "no replay in bot of wsbot.py; did you mean reply?" in bots.refusal("wsbot.bot.replay")
    assert "no replay in Bot of wsbot.py; did you mean reply?" in bots.refusal("wsbot.Bot.replay")


def test_an_empty_module_says_that_it_has_no_function(bots: Bots) -> None:
    bots.write("wsbot.py", "")
    assert bots.refusal("wsbot.f").endswith("no f in wsbot.py; there is no function in it")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NAME", "expected a function, but wsbot.NAME is a str, in wsbot.py"),
        ("NUMBER", "expected a function, but wsbot.NUMBER is an int, in wsbot.py"),
        ("Bot", "wsbot.Bot is a class, in wsbot.py; name a function, or a method of it"),
        ("itself", "wsbot.itself is a module; name one of its functions (f)"),
        (
            "lazy.f",
            "wsbot.lazy.f: reading f raises ZeroDivisionError: division by zero, at wsbot.py:8",
        ),
    ],
)
def test_what_is_no_function_is_refused(bots: Bots, name: str, text: str) -> None:
    bots.write(
        "wsbot.py",
        """
        import sys
        NAME, NUMBER = "x", 1
        def f(h, m): pass
        class Bot: pass
        class Lazy:
            @property
            def f(self): return 1 / 0
        lazy = Lazy()
        itself = sys.modules[__name__]
        """,
    )
    assert bots.refusal(f"wsbot.{name}") == text


def test_row_syntax_error_in_a_module_names_file_and_line(bots: Bots) -> None:
    bots.write("wsbot.py", "x = 1\ndef f(:\n    pass\n")
    text = bots.refusal("wsbot.f")
    assert text.startswith(
        "wsbot.f: the module wsbot cannot be imported: wsbot.py:2: SyntaxError: "
    )
    assert "\n" not in text
    assert "wsbot" not in sys.modules


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError", "ValueError"),
        ("raise ValueError('one\\ntwo')", "ValueError: one"),
        (
            "import wsbot_nothing",
            "ModuleNotFoundError: No module named 'wsbot_nothing'; "
            "install it in the environment of the server, or mend the import",
        ),
        ("import json; json.loads('{')", "JSONDecodeError: Expecting property name"),
    ],
)
def test_a_module_that_raises_names_the_users_line_and_leaves_nothing_behind(
    bots: Bots, line: str, text: str
) -> None:
    bots.write("wsbot.py", "import wsbot_good\nimport wsbot_bad\ndef f(h, m): pass\n")
    bots.write("wsbot_good.py", "N = 1\n")
    bots.write("wsbot_bad.py", f"# first line\n{line}\n")
    found = bots.refusal("wsbot.f")
    start = f"wsbot.f: the module wsbot cannot be imported: wsbot_bad.py:2: {text}"
    assert found.startswith(start)
    assert bots.resolver.modules() == {}


def test_an_exception_that_cannot_be_printed_is_still_reported(bots: Bots) -> None:
    bots.write(
        "wsbot.py",
        "class Odd(Exception):\n    def __str__(self): return 1 / 0\nraise Odd\n",
    )
    assert bots.refusal("wsbot.f").endswith("wsbot.py:3: Odd")


def test_an_interrupt_from_the_keyboard_is_not_swallowed(bots: Bots) -> None:
    bots.write("wsbot.py", "import _thread, time; _thread.interrupt_main(); time.sleep(1)\n")
    with pytest.raises(KeyboardInterrupt):
        bots.find("wsbot.f")
    assert bots.resolver.modules() == {}


# ---- healing -------------------------------------------------------------------------------------


def change(write: Callable[[], Path]) -> None:
    """Write a file so that its time of change differs, whatever the file system's clock."""
    path = write()
    seconds = path.stat().st_mtime + 2 * next(_clock)
    os.utime(path, (seconds, seconds))


def test_row_module_missing_heals_when_it_is_created(bots: Bots) -> None:
    os.utime(bots.folder, (1e9, 1e9))
    bots.refusal("wsbot.on_message")
    bots.write("wsbot.py", SAMPLE)
    os.utime(bots.folder, (1e9, 1e9))  # a file system with a coarse clock
    assert bots.find("wsbot.on_message").kind == "plain"


def test_row_function_missing_heals_when_it_is_added(bots: Bots) -> None:
    bots.write("wsbot.py", "def open(handler): return 1\n")
    bots.find("wsbot.open", "open")
    bots.refusal("wsbot.on_message")
    change(lambda: bots.write("wsbot.py", SAMPLE))
    bots.resolver.set_aside()
    # The server looks all callbacks of the route up again: they come from one module object.
    opener, receiver = bots.find("wsbot.open", "open"), bots.find("wsbot.on_message")
    assert opener.call.__globals__ is receiver.call.__globals__


def test_a_module_whose_file_has_not_changed_is_not_run_again(bots: Bots) -> None:
    bots.write("wsbot.py", "RAN = []\ndef open(handler): pass\n")
    bots.find("wsbot.open", "open")
    module = sys.modules["wsbot"]
    bots.refusal("wsbot.on_message")
    bots.refusal("wsbot.on_message")
    assert sys.modules["wsbot"] is module


def test_row_syntax_error_heals_when_it_is_mended(bots: Bots) -> None:
    bots.write("wsbot.py", "def f(h, m:\n")
    bots.refusal("wsbot.f")
    bots.write("wsbot.py", "def f(h, m): pass\n")
    assert bots.find("wsbot.f").kind == "plain"


def test_a_quick_repair_of_the_same_size_is_seen(bots: Bots) -> None:
    for n in range(5):
        path = bots.write("wsbot.py", "1 / 0\ndef f(h, m): pass\n")
        os.utime(path, (1e9, 1e9))
        assert "ZeroDivisionError" in bots.refusal("wsbot.f"), n
        path = bots.write("wsbot.py", "1 / 1\ndef f(h, m): pass\n")
        os.utime(path, (1e9, 1e9))
        assert bots.find("wsbot.f").kind == "plain"
        bots.resolver.close()
        bots.resolver = Resolver([str(bots.folder)])


def test_a_repaired_helper_heals_what_imports_it(bots: Bots) -> None:
    bots.write("wsbot_other.py", "import wsbot_helper\ndef f(h, m): return wsbot_helper\n")
    bots.write("wsbot_helper.py", "")
    bots.write("wsbot.py", "from wsbot_helper import reply\ndef f(h, m): return reply\n")
    other = bots.find("wsbot_other.f")
    assert "cannot import name 'reply'" in bots.refusal("wsbot.f")
    change(lambda: bots.write("wsbot_helper.py", "reply = 'good'\n"))
    bots.resolver.set_aside()
    assert bots.find("wsbot.f").call(None, None) == "good"
    assert not hasattr(other.call(None, None), "reply")


def test_what_a_failed_import_leaves_in_a_package_is_imported_afresh(bots: Bots) -> None:
    bots.write("wsbot/__init__.py", "def f(h, m): pass\n")
    bots.write("wsbot/helper.py", "N = 1\n")
    bots.write("wsbot/chat.py", "from . import helper\n1 / 0\ndef f(h, m): return helper.N\n")
    bots.find("wsbot.f")
    package = sys.modules["wsbot"]
    bots.refusal("wsbot.chat.f")
    assert list(bots.resolver.modules()) == ["wsbot"]
    bots.write("wsbot/helper.py", "N = 2\n")
    bots.write("wsbot/chat.py", "from . import helper\ndef f(h, m): return helper.N\n")
    assert bots.find("wsbot.chat.f").call(None, None) == 2
    assert sys.modules["wsbot"] is package


def test_a_forgotten_submodule_is_not_found_as_an_attribute_of_its_package(bots: Bots) -> None:
    bots.write("wsbot/__init__.py", "")
    bots.write("wsbot/helper.py", "N = 1\n")
    bots.write("wsbot/chat.py", "from . import helper\ndef f(h, m): return helper.N\n")
    assert bots.find("wsbot.chat.f").call(None, None) == 1
    change(lambda: bots.write("wsbot/helper.py", "N = 2\n"))
    assert set(bots.resolver.set_aside()) == {"wsbot", "wsbot.helper", "wsbot.chat"}
    assert bots.resolver.modules() == {}
    assert bots.find("wsbot.chat.f").call(None, None) == 2


@pytest.mark.parametrize("raised", ["SystemExit('bye')", "KeyboardInterrupt", "GeneratorExit"])
def test_an_object_that_ends_the_program_when_it_is_looked_at_is_refused(bots, raised) -> None:
    bots.write(
        "exits.py",
        f"""
        class Exits:
            def __getattribute__(self, name):
                raise {raised}
            def __call__(self, handler, message):
                return message

        class Unspeakable(Exception):
            def __str__(self):
                raise {raised}

        bot = Exits()

        def __getattr__(name):
            if name == "unspeakable":
                raise Unspeakable
            raise {raised}
        """,
    )
    kind = raised.partition("(")[0]
    assert f"exits.bot: looking at it raises {kind}" in bots.refusal("exits.bot")
    assert f"exits.lazy: reading lazy raises {kind}" in bots.refusal("exits.lazy")
    assert "reading unspeakable raises Unspeakable" in bots.refusal("exits.unspeakable")
    assert f"exits.bot.more: looking at it raises {kind}" in bots.refusal("exits.bot.more")
    bots.write("fails.py", "import exits\nraise exits.Unspeakable\n")
    assert "fails.f: the module fails cannot be imported" in bots.refusal("fails.f")
