"""`Chat`: a bot and its clients without a server, as a test or a notebook's cell has them."""

from __future__ import annotations

import asyncio
import builtins
import codecs
import functools
import gc
import gzip
import math
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import traceback
import types

import pytest
from IPython.core import interactiveshell
from support.bots import bot_text
from support.memory import Gate
from support.server import wait_for

import jupyter_wshandler as wsh
from jupyter_wshandler.errors import CallbackError, ConfigError, ConnectionClosed, LimitReached
from jupyter_wshandler.testing import AsyncChat, Chat, User


def threads() -> list[str]:
    """Return the threads that chats have started and that still run."""
    return sorted(t.name for t in threading.enumerate() if t.name.startswith("wshandler"))


@pytest.fixture(autouse=True)
def _nothing_left():
    """Fail a test that leaves a thread behind."""
    yield
    gc.collect()  # a chat that a failed `raises` holds
    wait_for(lambda: threads() == [], 5, "the end of all threads")


class PingBot:
    """The bot of the README, as an object."""

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []

    def open(self, handler):
        handler.write_message("Hello " + handler.current_user.username)

    def on_message(self, handler, message):
        handler.write_message("Got message: " + message)

    def on_close(self, handler):
        self.closed.append((handler.close_code, handler.close_reason))


def echo(handler, message):
    return message


# ---- what a test says first --------------------------------------------------------------------


def test_a_bot_answers_without_a_server_and_without_await():
    bot = PingBot()
    chat = Chat(bot)
    assert chat.received == ["Hello visitor"]
    chat.send("hi")
    assert chat.received == ["Hello visitor", "Got message: hi"]
    assert chat.expect("Hello visitor") == "Hello visitor"
    assert chat.expect("Got message: hi") == chat.last
    chat.close()
    assert bot.closed == [(1000, "")]
    assert (chat.closed, chat.close_code, chat.close_reason) == (True, 1000, "")
    assert threads() == []
    chat.close()


@pytest.mark.parametrize("kind", ["module", "mapping", "object", "function", "keyword", "served"])
def test_a_bot_is_whatever_holds_its_callbacks(kind):
    module = types.ModuleType("bots.echobot")
    module.on_message = echo
    served = types.SimpleNamespace(
        functions={"on_message": echo}, pattern="/echobot", name="echobot"
    )
    sources = {
        "module": (module,),
        "mapping": ({"on_message": echo, "unrelated": 1},),
        "object": (types.SimpleNamespace(on_message=echo),),
        "function": (echo,),
        "served": (served,),
    }
    given = {"on_message": echo} if kind == "keyword" else {}
    with Chat(*sources.get(kind, ()), **given) as chat:
        chat.send("hi")
        chat.expect("hi")
        expected = "echobot" if kind in ("module", "served") else "chat"
        assert chat.handler.route == expected
        assert chat.handler.request.path == f"/{expected}"


def test_a_callback_that_is_given_by_name_wins():
    with Chat(PingBot(), open=None, on_message=echo) as chat:
        chat.send("hi")
        assert chat.received == ["hi"]


@pytest.mark.parametrize(
    "theirs",
    [
        builtins.open,
        interactiveshell._modified_open,
        os.open,
        gzip.open,
        codecs.open,
        pathlib.Path("x").open,
        functools.partial(builtins.open, mode="rb"),
    ],
    ids=["builtins", "IPython", "os", "gzip", "codecs", "pathlib", "partial"],
)
def test_what_opens_files_in_a_namespace_is_no_callback(theirs):
    space = {"open": theirs, "on_message": lambda handler, message: message}
    for source in (space, types.SimpleNamespace(**space)):
        with Chat(source) as chat:
            assert [*chat._bot.route.callbacks] == ["on_message"]
            chat.send("hi")
            chat.expect("hi")
    with pytest.raises(CallbackError, match="found the one that opens files"):
        Chat(space["on_message"], open=theirs)
    with pytest.raises(CallbackError, match="found none"):
        Chat({"open": theirs})


def test_an_open_that_was_imported_from_a_library_is_no_callback():
    library, bots = types.ModuleType("imaging"), types.ModuleType("bots")
    exec("def open(fp, mode='r', formats=None): raise OSError(fp)", library.__dict__)
    exec("def open(handler): handler.write_message('opened')", bots.__dict__)
    space = {"__name__": "__main__", "on_message": lambda handler, message: message}
    with Chat({**space, "open": library.open}) as chat:
        assert [*chat._bot.route.callbacks] == ["on_message"]
    with Chat({**space, "open": bots.open}) as chat:
        chat.expect("opened")
    with pytest.raises(OSError, match="Connection"):
        Chat(library)


def test_an_open_of_ones_own_is_taken_from_a_namespace_whatever_it_is():
    def open(handler):
        handler.write_message("opened")

    class Opener:
        def open(self, handler):
            handler.write_message("opened")

    for own in (open, functools.partial(open), Opener().open, functools.cache(open)):
        with Chat({"open": own}) as chat:
            chat.expect("opened")


def test_what_cannot_be_a_bot_is_refused_in_words():
    with pytest.raises(CallbackError, match=r"found on_mesage; did you mean on_message\?"):
        Chat({"on_mesage": print, "opened": 1})
    with pytest.raises(CallbackError, match="at least one callback"):
        Chat({})
    with pytest.raises(CallbackError, match="did you mean on_message"):
        Chat(on_mesage=echo)
    with pytest.raises(CallbackError, match="expected <lambda>"):
        Chat(lambda message: message)
    with pytest.raises(ConfigError, match="did you mean max_message"):
        Chat(echo, options={"max_mesage": 3})


@pytest.mark.parametrize("kind", ["def", "async def", "generator", "async generator", "loop"])
def test_every_kind_of_callback_runs_as_on_a_server(kind):
    places = []

    def note():
        places.append(threading.current_thread().name)

    def plain(handler, message):
        note()
        handler.write_message("one")
        return "two"

    async def coroutine(handler, message):
        note()
        handler.write_message("one")
        await asyncio.sleep(0)
        return "two"

    def generator(handler, message):
        note()
        yield "one"
        yield "two"

    async def stream(handler, message):
        note()
        for word in ("one", "two"):
            await asyncio.sleep(0)
            yield word

    functions = {
        "def": plain,
        "loop": plain,
        "async def": coroutine,
        "generator": generator,
        "async generator": stream,
    }
    options = {"run": "loop"} if kind == "loop" else {}
    with Chat(functions[kind], options=options) as chat:
        chat.send("?")
        assert chat.received == ["one", "two"]
    in_thread = kind in ("def", "generator")
    assert places == ["wshandler-1" if in_thread else "wshandler chat chat"]


def test_text_bytes_and_json_go_both_ways_as_a_browser_sees_them():
    got = []

    def bot(handler, message):
        got.append(message)
        return {"n": len(got)} if isinstance(message, str) else message

    with Chat(bot) as chat:
        for message in ("grün", b"\x00\xff", {"a": [1]}, [1, 2], bytearray(b"b")):
            chat.send(message)
        assert got == ["grün", b"\x00\xff", '{"a":[1]}', "[1,2]", b"b"]
        assert chat.received == ['{"n":1}', b"\x00\xff", '{"n":3}', '{"n":4}', b"b"]
        with pytest.raises(TypeError, match="None is no message"):
            chat.send(None)


def test_send_returns_at_once_where_it_is_told_not_to_wait(gate: Gate):
    def slow(handler, message):
        gate.wait()
        return message

    with Chat(slow) as chat:
        chat.send("a", wait=False)
        chat.send("b", wait=False)
        assert chat.received == []
        gate.open()
        chat.expect("a")
        chat.expect("b")


def test_a_route_without_on_message_closes_when_one_comes():
    with Chat(open=lambda handler: None) as chat:
        chat.send("hi")
        chat.expect_close(1003)


# ---- what a test expects -----------------------------------------------------------------------


def test_expect_takes_text_bytes_json_patterns_types_and_functions():
    answers = ["hello", b"\x01", '{"id": 7, "x": []}', "[1, 2]", "grün 42", '{"b": 1}', "long"]

    def on_message(handler, message):
        yield from answers

    with Chat(on_message) as chat:
        chat.send("?")
        assert chat.expect("hello") == "hello"
        assert chat.expect(b"\x01") == b"\x01"
        assert chat.expect({"x": [], "id": 7})["id"] == 7
        assert chat.expect([1, 2]) == [1, 2]
        assert chat.expect(re.compile(r"\d+$")) == "grün 42"
        assert chat.expect(dict) == {"b": 1}
        assert chat.unread == ["long"]
        assert chat.expect(lambda text: len(text) == 4) == "long"
        chat.expect_nothing()


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        ("hi", "ho", ["expected: 'hi'", "found:    'ho'"]),
        ("hi", b"hi", ["found:    b'hi'"]),
        ({"a": 1}, '{"a": 2}', ["expected: JSON equal to {'a': 1}", "found:    {'a': 2}"]),
        (dict, "no JSON", ["expected: JSON with a dict", "found:    'no JSON'"]),
        (re.compile("x+"), "y", ["expected: a match of 'x+'"]),
        (re.compile("x+"), b"xx", ["found:    b'xx'"]),
        (bytes, "text", ["expected: a message of type bytes"]),
        (str.isdigit, "a", ["a message for which str.isdigit is true"]),
        ("hi", "x" * 10_000, ["(10002 characters)"]),
    ],
)
def test_a_message_that_is_not_the_expected_one_shows_both_and_the_talk(expected, found, words):
    with Chat(lambda handler, message: found) as chat:
        chat.send("question")
        with pytest.raises(AssertionError) as failure:
            chat.expect(expected)
        for word in [*words, "the talk so far:", "> question"]:
            assert word in str(failure.value)
        assert chat.read() == found  # it stays unread
        assert [frame.name for frame in traceback.extract_tb(failure.value.__traceback__)] == [
            "test_a_message_that_is_not_the_expected_one_shows_both_and_the_talk"
        ]


def test_what_cannot_be_expected_is_a_type_error():
    with Chat(echo) as chat:
        chat.send("hi")
        with pytest.raises(TypeError, match="found float"):
            chat.expect(3.0)


def test_expect_waits_for_what_a_thread_of_the_bot_sends_later(gate: Gate):
    def on_message(handler, message):
        def later():
            gate.wait()
            handler.write_message("later")

        threading.Thread(target=later, daemon=True).start()

    with Chat(on_message) as chat:
        chat.send("go")
        chat.expect_nothing(within=0.01)
        gate.open()
        chat.expect("later")


def test_expect_nothing_shows_the_message_that_came():
    with Chat(echo) as chat:
        chat.send("hi")
        with pytest.raises(AssertionError, match=r"no message within 0\.1 s\nfound:    'hi'"):
            chat.expect_nothing()


def test_json_is_what_the_last_message_holds():
    with Chat(echo) as chat:
        assert chat.last is None
        with pytest.raises(LookupError, match="no message has come yet"):
            chat.json
        chat.send({"a": 1})
        assert chat.json == {"a": 1}


# ---- time-outs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["in a thread", "on the event loop"])
def test_a_callback_that_does_not_end_is_named_by_the_timeout_of_send(gate: Gate, kind):
    ended = asyncio.Event()

    def sleepy(handler, message):
        gate.wait()

    async def drowsy(handler, message):
        await ended.wait()

    chat = Chat(sleepy if kind == "in a thread" else drowsy)
    with pytest.raises(TimeoutError) as timeout:
        chat.send("wake up", timeout=0.05)
    assert "the callback for 'wake up' has not ended within 0.05 s" in str(timeout.value)
    assert re.search(rf"(sleepy|drowsy) \(on_message\) runs {kind} for 0\.\d s", str(timeout.value))
    gate.open()
    chat._bot.post(ended.set)
    chat.close()


def test_a_message_that_does_not_come_is_named_by_the_timeout_of_expect():
    with Chat(lambda handler, message: None) as chat:
        chat.send("hi")
        with pytest.raises(TimeoutError) as timeout:
            chat.expect("an answer", timeout=0.02)
        assert "waited 0.02 s for 'an answer', and no message came" in str(timeout.value)
        assert "no callback runs" in str(timeout.value)
        assert "> hi" in str(timeout.value)
        with pytest.raises(TimeoutError, match=r"waited 0\.02 s for a message"):
            chat.read(timeout=0.02)
        with pytest.raises(TimeoutError, match="for close 1000, and the connection is still open"):
            chat.expect_close(1000, timeout=0.02)


def test_the_chat_has_a_timeout_for_all_its_operations_and_its_clients():
    with Chat(lambda handler, message: None, timeout=0.02) as chat:
        with pytest.raises(TimeoutError, match=r"waited 0\.02 s"):
            chat.visitor().read()
    with Chat(echo, timeout=math.inf) as chat:
        chat.send("hi")
        chat.expect("hi")


def test_an_open_that_does_not_end_is_named_and_leaves_nothing_behind(caplog):
    async def open(handler):
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError, match=r"`open` has not ended within 0\.05 s: .*open \(open\)"):
        Chat(echo, open=open, timeout=0.05)
    assert threads() == []


def test_a_chat_that_does_not_wait_for_open_gets_what_it_streams():
    async def open(handler):
        for number in range(10**9):
            yield str(number)
            await asyncio.sleep(0.001)

    chat = Chat(open=open, wait=False)
    chat.expect("0")
    chat.expect("1")
    chat.close()


def test_a_callback_that_still_runs_at_the_end_is_named_and_left(gate: Gate, caplog):
    chat = Chat(lambda handler, message: gate.wait())
    chat.send("hi", wait=False)
    wait_for(lambda: gate.entered)
    with pytest.raises(TimeoutError, match=r"have not ended within 0\.05 s: .*lambda"):
        chat.close(timeout=0.05)
    gate.open()


# ---- what callbacks raise ----------------------------------------------------------------------


def fails(handler, message):
    if message == "fail":
        raise ValueError("from the bot")
    return message


async def fails_on_the_loop(handler, message):
    fails(handler, message)


@pytest.mark.parametrize("callback", [fails, fails_on_the_loop])
def test_send_raises_what_its_callback_raises_with_the_traceback_of_the_bot(callback):
    with Chat(callback) as chat:
        with pytest.raises(ValueError, match="from the bot") as failure:
            chat.send("fail")
        frames = traceback.extract_tb(failure.value.__traceback__)
        assert {frame.filename for frame in frames} == {__file__}
        assert frames[-1].name == "fails"
        [error] = chat.errors
        assert error.handler is chat.handler
        assert (error.message, error.callback) == ("fail", callback.__name__)
        assert error.exception is failure.value
        chat.expect_close(1011, re.compile("internal error, id [0-9a-f]{8}"))


@pytest.mark.parametrize("operation", ["expect", "send", "expect_nothing", "close", "exit"])
def test_an_error_that_nobody_has_seen_is_raised_by_the_next_operation_once(operation):
    chat = Chat(fails, options={"on_error": {"close": False}})
    chat.send("fail", wait=False)
    wait_for(lambda: chat.errors)
    operations = {
        "expect": lambda: chat.expect("x"),
        "send": lambda: chat.send("x"),
        "expect_nothing": chat.expect_nothing,
        "close": chat.close,
        "exit": lambda: chat.__exit__(None, None, None),
    }
    with pytest.raises(ValueError, match="from the bot"):
        operations[operation]()
    chat.close()


def test_expect_does_not_wait_for_its_timeout_where_the_callback_has_failed():
    with Chat(fails, timeout=60) as chat:
        begun = time.monotonic()
        chat.send("fail", wait=False)
        with pytest.raises(ValueError, match="from the bot"):
            chat.expect("an answer")
        assert time.monotonic() - begun < 30


def test_errors_are_only_collected_where_the_test_says_so():
    seen = []
    with Chat(
        fails,
        on_error=lambda handler, error: seen.append(error),
        options={"on_error": {"close": False}},
        raise_errors=False,
    ) as chat:
        chat.send("fail")
        chat.send("fine")
        assert chat.expect(dict)["error"] == "internal error"
        chat.expect("fine")
        assert [error.exception for error in chat.errors] == seen


def test_an_expected_1011_takes_its_error_as_expected():
    with Chat(fails) as chat:
        chat.send("fail", wait=False)
        assert chat.expect_close(1011) == 1011
        with pytest.raises(AssertionError, match="expected: close 1000\nfound:    close 1011"):
            chat.expect_close(1000)


def test_several_errors_are_told_together():
    def on_close(handler):
        raise KeyError("again")

    chat = Chat(fails, on_close=on_close)
    chat.send("fail", wait=False)
    wait_for(lambda: len(chat.errors) == 2)
    with pytest.raises(ValueError, match="from the bot") as failure:
        chat.close()
    assert "on_close failed, too: KeyError('again')" in failure.value.__notes__[0]


def test_an_error_of_open_is_raised_where_the_chat_is_made_and_leaves_nothing_behind():
    def open(handler):
        raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        Chat(echo, open=open)
    assert threads() == []
    with Chat(echo, open=open, raise_errors=False) as chat:
        chat.expect_close(1011)


def test_a_failure_in_the_test_is_not_covered_by_one_of_the_bot():
    def body() -> None:
        with Chat(fails) as chat:
            chat.send("fail", wait=False)
            wait_for(lambda: chat.errors)
            1 / 0

    with pytest.raises(ZeroDivisionError):
        body()
    assert threads() == []


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), asyncio.CancelledError()])
def test_what_would_end_the_test_run_is_told_as_an_ordinary_failure(error):
    async def on_message(handler, message):
        raise error

    with Chat(on_message) as chat:
        with pytest.raises(RuntimeError):
            chat.send("hi")


def test_pytest_fail_in_a_callback_fails_the_test():
    async def on_message(handler, message):
        pytest.fail("wrong message")

    with Chat(on_message) as chat:
        with pytest.raises(pytest.fail.Exception, match="wrong message"):
            chat.send("hi")


def test_a_task_that_a_callback_leaves_behind_fails_the_test_too():
    async def broken():
        raise ValueError("in the task")

    async def on_message(handler, message):
        handler.start_task(broken(), name="broken")

    with Chat(on_message) as chat:
        chat.send("hi", wait=False)
        with pytest.raises(ValueError, match="in the task"):
            chat.read()
        assert chat.errors[0].callback == "broken"


# ---- how it ends -------------------------------------------------------------------------------


def test_the_close_code_of_the_bot_reaches_the_client_and_on_close_has_run():
    codes = []

    async def leave(handler, message):
        handler.write_message("bye")
        handler.close(4001, "enough")

    with Chat(leave, on_close=lambda handler: codes.append(handler.close_code)) as chat:
        chat.send("go away")
        assert chat.expect_close(4001, "enough") == 4001
        assert codes == [4001]
        chat.expect("bye")
        with pytest.raises(AssertionError, match="found:    the connection is closed, close 4001"):
            chat.expect("more")
        with pytest.raises(ConnectionClosed, match="close 4001 enough") as closed:
            chat.read()
        assert (closed.value.code, closed.value.reason) == (4001, "enough")
        with pytest.raises(ConnectionClosed):
            chat.send("hello?")
        with pytest.raises(AssertionError, match="'never'"):
            chat.expect_close(4001, "never")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (lambda chat: chat.close(), (1000, "")),
        (lambda chat: chat.close(4000, "bye"), (4000, "bye")),
        (lambda chat: chat.close(None), (1005, "")),
        (lambda chat: chat.vanish(), (1006, "")),
    ],
)
def test_the_bot_sees_how_the_client_leaves(how, expected):
    bot = PingBot()
    chat = Chat(bot)
    how(chat)
    assert bot.closed == [expected]
    assert chat.close_code == expected[0]


def test_a_close_code_that_may_not_be_sent_is_refused_and_the_chat_goes_on():
    with Chat(echo) as chat:
        with pytest.raises(ValueError, match="1006 may not be sent"):
            chat.close(1006)
        chat.send("hi")


def test_messages_before_a_close_are_handled_first(gate: Gate):
    got = []

    def on_message(handler, message):
        gate.wait()
        got.append(message)

    chat = Chat(on_message)
    chat.send("a", wait=False)
    chat.send("b", wait=False)
    gate.open()
    chat.close()
    assert got == ["a", "b"]


def test_a_generator_is_closed_when_the_client_leaves():
    ended = []

    async def on_message(handler, message):
        try:
            while True:
                yield "tick"
                await asyncio.sleep(0.001)
        finally:
            ended.append(True)

    chat = Chat(on_message)
    chat.send("go", wait=False)
    chat.expect("tick")
    chat.close()
    assert ended == [True]


# ---- several clients ---------------------------------------------------------------------------


class Room:
    """A room of talk: what one says, all others hear."""

    def open(self, handler):
        wsh.send("room", f"{handler.current_user.username} is here")

    async def on_message(self, handler, message):
        for other in wsh.connections("room"):
            if other is not handler:
                other.write_message({"from": handler.current_user.username, "text": message})

    def on_close(self, handler):
        wsh.send("room", f"{handler.current_user.username} has left")


def test_several_clients_talk_in_one_room():
    with Chat(Room(), name="room", user="ada") as ada:
        bob = ada.visitor("bob")
        with ada.visitor(user="eve") as eve:
            assert ada.clients == [ada, bob, eve]
            eve.expect("eve is here")
            bob.send("hello")
            assert eve.expect(dict) == {"from": "bob", "text": "hello"}
        assert bob.received == ["bob is here", "eve is here", "eve has left"]
        assert ada.received == [
            "ada is here",
            "bob is here",
            "eve is here",
            '{"from":"bob","text":"hello"}',
            "eve has left",
        ]
        assert ada.clients == [ada, bob]
    assert bob.closed
    assert threads() == []


def test_a_client_may_come_after_all_have_left():
    chat = Chat(echo)
    chat.close()
    assert threads() == []
    with chat.visitor() as again:
        again.send("hi")
        again.expect("hi")
    assert threads() == []


def test_two_bots_do_not_meet():
    one, two = Chat(Room(), name="room"), Chat(Room(), name="room")
    two.send("hello")
    assert one.received == two.received == ["visitor is here"]
    one.close()
    two.close()


def test_the_limit_of_connections_holds():
    with Chat(echo, options={"max_connections": {"user": 1}}, user="ada") as chat:
        with pytest.raises(LimitReached, match="1 open here already"):
            chat.visitor()
        chat.visitor("bob")


def test_a_test_sends_from_the_bots_side_with_the_handler():
    with Chat(echo) as chat:
        chat.handler.write_message("out of the blue")
        chat.expect("out of the blue")
        assert wsh.send("chat", "and again") == 1
        chat.expect("and again")


# ---- who comes, and how ------------------------------------------------------------------------


def test_the_handler_shows_who_comes_and_how():
    with Chat(
        echo,
        pattern="/room/{room}",
        path="/room/blue%20sky?x=1&x=2",
        user={"username": "ada", "name": "Ada L.", "groups": ["staff"]},
        headers={"User-Agent": "a test", "Cookie": "a=b"},
    ) as chat:
        handler = chat.handler
        assert handler.current_user.username == "ada"
        assert (handler.current_user.name, handler.current_user.groups) == ("Ada L.", ["staff"])
        assert handler.path_kwargs == {"room": "blue sky"}
        assert handler.args == {"x": ["1", "2"]}
        assert handler.request.headers["user-agent"] == "a test"
        assert handler.request.cookies == {"a": "b"}
        other = chat.visitor(path="/room/red")
        assert other.handler.path_kwargs == {"room": "red"}
        assert other.handler.current_user.username == "ada"
        assert chat.visitor(path="?y=3").handler.args == {"y": ["3"]}
        with pytest.raises(ValueError, match="does not match the path '/elsewhere'"):
            chat.visitor(path="/elsewhere")
        assert chat.visitor(None).handler.current_user is None
        thing = User("bot", admin=True)
        found = chat.visitor(thing).handler.current_user
        assert isinstance(found, type(thing))
        assert (found.admin, found["id"]) == (True, "bot")
        assert (thing.display_name, thing.admin) == ("bot", True)


def test_a_path_alone_is_its_own_pattern():
    with Chat(echo, path="/bots/a.b-{c}?x=1") as chat:
        assert chat.handler.request.path == "/bots/a.b-{c}"
        assert chat.handler.route == "bots-a.b-{c}"


def test_a_pattern_of_many_paths_needs_a_path():
    with pytest.raises(ValueError, match="say which one is asked for, such as path='/room/x'"):
        Chat(echo, pattern="/room/{room}")
    with pytest.raises(ValueError, match="expected a mapping with username"):
        Chat(echo, user={"name": "Ada"})


def test_a_session_survives_when_its_client_comes_back():
    def count(handler, message):
        handler.session["n"] = handler.session.get("n", 0) + 1
        return str(handler.session["n"])

    chat = Chat(count)
    chat.send("?")
    chat.session["from the test"] = True
    chat.close()
    back = chat.visitor(session=chat.session)
    assert back.session == {"id": chat.session["id"], "n": 1, "from the test": True}
    back.send("?")
    back.expect("2")
    assert chat.visitor().session.id != chat.session.id
    given = chat.visitor(session={"n": 41})
    given.send("?")
    given.expect("42")
    same = chat.visitor(session=given.session["id"])
    same.send("?")
    same.expect("43")
    assert given.session["n"] == 43
    for client in chat.clients:
        client.close()


def test_state_belongs_to_one_connection():
    def on_message(handler, message):
        handler.state.seen = message

    with Chat(on_message) as chat:
        chat.send("hi")
        assert chat.state == {"seen": "hi"}
        assert chat.visitor().state == {}


# ---- the options of a route --------------------------------------------------------------------


def test_a_message_over_max_message_closes_with_1009():
    with Chat(echo, options={"max_message": "1KiB"}) as chat:
        chat.send("x" * 1024)
        chat.send("x" * 1025)
        chat.expect_close(1009)


def test_a_message_over_the_ratelimit_is_answered_and_send_returns():
    options = {"ratelimit": {"messages": "1/h", "burst": "1h", "then": "error"}}
    with Chat(echo, options=options) as chat:
        chat.send("a")
        chat.send("b")
        chat.expect("a")
        assert chat.expect(dict)["error"] == "ratelimit"


def test_a_callback_over_the_routes_timeout_closes_with_1011(gate: Gate, caplog):
    with Chat(lambda handler, message: gate.wait(), options={"timeout": "50ms"}) as chat:
        chat.send("hi", wait=False)
        chat.expect_close(1011, "timeout")
        gate.open()


def test_every_calls_its_function_again_and_again():
    with Chat(
        echo, options={"every": {"10ms": lambda handler: handler.write_message("t")}}
    ) as chat:
        chat.expect("t")
        chat.expect("t")
    with pytest.raises(ConfigError, match=r"every: 1s: expected a function, found 'a\.b'"):
        Chat(echo, options={"every": {"1s": "a.b"}})


async def test_a_chat_does_not_stand_in_the_way_of_who_really_serves(manager):
    with Chat(echo, pattern="/rehearsal"):
        with pytest.raises(LookupError, match="there is no route 'rehearsal'"):
            wsh.send("rehearsal", "x")
    del manager


def test_a_pong_reaches_the_bot():
    def open(handler):
        handler.ping(b"are you there?")

    with Chat(open=open, on_pong=lambda handler, data: handler.write_message(data)) as chat:
        chat.expect(b"are you there?")


def flood(handler, message):
    for number in range(int(message)):
        handler.write_message(str(number))


def test_a_client_that_reads_slowly_is_closed_with_1013(caplog):
    with Chat(flood, options={"queue": {"messages": 10}}) as chat:
        chat.pause()
        chat.send("5")
        assert chat.received == []
        chat.resume()
        chat.expect("0")
        chat.pause()
        chat.send("100")
        chat.expect_close(1013)


def test_a_client_that_reads_slowly_loses_the_oldest_where_the_route_says_so():
    options = {"queue": {"messages": 10, "slow": "drop_oldest"}}
    with Chat(flood, options=options) as chat:
        chat.pause()
        chat.send("1000")
        chat.resume()
        chat.expect(lambda number: int(number) > 900)
        wait_for(lambda: chat.last == "999")
        assert chat.handler.dropped == 1000 - len(chat.received)


def test_messages_stay_in_order_beyond_the_inbox():
    with Chat(echo) as chat:
        for number in range(500):
            chat.send(str(number), wait=False)
        for number in range(500):
            chat.expect(str(number))


# ---- notebooks, loops and threads --------------------------------------------------------------


async def test_a_chat_works_in_a_cell_where_a_loop_runs_already():
    with Chat(PingBot()) as chat:
        chat.send("hi")
        chat.expect(re.compile("Hello"))
        chat.expect("Got message: hi")


def test_a_chat_in_its_own_bot_is_told_that_it_would_wait_for_itself():
    chats = []

    async def on_message(handler, message):
        chats[0].send("and now?")

    with Chat(on_message) as chat:
        chats.append(chat)
        with pytest.raises(RuntimeError, match="would wait for itself"):
            chat.send("hi")
        chats.clear()


async def test_the_same_words_can_be_awaited():
    bot = PingBot()
    async with AsyncChat(bot) as chat:
        await chat.send("hi")
        assert await chat.read() == "Hello visitor"
        assert await chat.expect("Got message: hi") == "Got message: hi"
        await chat.expect_nothing(0.01)
        bob = await chat.visitor("bob")
        async with chat.visitor("eve") as eve:
            await eve.expect("Hello eve")
            await eve.vanish()
        assert chat.clients == [chat, bob]
        bob.handler.close(4000)
        await bob.expect_close(4000)
        with pytest.raises(TimeoutError, match=r"waited 0\.01 s"):
            await chat.read(timeout=0.01)
    assert chat.close_code == 1000
    assert [code for code, _ in bot.closed] == [1006, 4000, 1000]


async def test_an_awaiting_client_gives_the_loop_its_turns_and_can_be_cancelled():
    turns = []

    async def count():
        while True:
            turns.append(1)
            await asyncio.sleep(0.001)

    chat = await AsyncChat(echo)
    counting = asyncio.create_task(count())
    reading = asyncio.create_task(chat.read(timeout=60))
    while len(turns) < 5:
        await asyncio.sleep(0.001)
    reading.cancel()
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await chat.send("hi")
    assert await chat.read() == "hi"
    await chat.close()


async def test_an_async_chat_that_nobody_has_awaited_says_so():
    chat = AsyncChat(echo)
    for operation in (chat.send("hi"), chat.read(), chat.expect_close()):
        with pytest.raises(LookupError, match="chat = await AsyncChat"):
            await operation
    with pytest.raises(LookupError, match="not open yet"):
        chat.handler
    await chat.close()


def test_a_chat_that_is_let_go_is_put_away_quietly():
    closed = threading.Event()
    chat = Chat(echo, on_close=lambda handler: closed.set())
    chat.visitor()
    assert len(chat.clients) == 2
    del chat
    assert closed.wait(5)
    wait_for(lambda: threads() == [], 5, "the end of the thread")


SCRIPT = bot_text("chat_script")


def test_a_script_that_closes_nothing_ends_quietly_and_on_close_has_run():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["bot: hi", "False", "closed 1001"]
    assert (done.stderr, done.returncode) == ("", 0)


def test_clients_in_many_threads_do_not_disturb_each_other():
    with Chat(echo) as chat:
        failures = []

        def talk(name: str) -> None:
            try:
                with chat.visitor(name) as client:
                    for number in range(50):
                        client.send(f"{name} {number}")
                        client.expect(f"{name} {number}")
            except BaseException as error:
                failures.append(error)

        workers = [threading.Thread(target=talk, args=(f"u{n}",)) for n in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(30)
        assert failures == []


# ---- what it prints ----------------------------------------------------------------------------


def test_a_chat_prints_as_its_transcript():
    with Chat(echo) as chat:
        assert str(chat) == ""
        chat.send("two\nlines")
        chat.send(b"\x00")
        chat.send("x" * 2000)
        assert repr(chat) == "<Chat with chat as visitor: open, 3 sent, 3 received>"
    lines = str(chat).splitlines()
    assert lines[:6] == ["> two", "  lines", "< two", "  lines", r"> b'\x00'", r"< b'\x00'"]
    assert lines[6].endswith("xxx... (2000 characters)")
    assert lines[8:] == ["> [close 1000]", "< [closed 1000]"]
    assert repr(chat) == "<Chat with chat as visitor: closed 1000, 4 sent, 3 received>"


def test_a_long_talk_is_cut_in_a_failure():
    with Chat(echo) as chat:
        for number in range(50):
            chat.send(str(number))
        with pytest.raises(AssertionError) as failure:
            chat.expect("never")
        assert "... 80 more before" in str(failure.value)
        assert len(str(failure.value).splitlines()) == 24
