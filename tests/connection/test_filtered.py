"""Filters around the messages of open connections, as their bots and clients see it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from support.server import wait_for

import jupyter_wshandler as wsh
from jupyter_wshandler.testing import Chat


class Audit:
    """A filter that hides card numbers, and writes down what it hears of."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_open(self, handler: Any) -> None:
        self.heard.append(("open", handler.route))

    def incoming(self, handler: Any, message: Any) -> Any:
        self.heard.append(("in", message))
        if message == "spam":
            raise wsh.RefuseMessage("no spam here")
        if message == "fail in":
            raise ValueError("a filter's fault")
        return message.replace("0000", "####") if isinstance(message, str) else message

    def outgoing(self, handler: Any, message: Any) -> Any:
        self.heard.append(("out", message))
        if message == "fail out":
            raise ValueError("a filter's fault")
        return message.replace("4711", "****") if isinstance(message, str) else message

    def on_error(self, handler: Any, exc: BaseException) -> None:
        self.heard.append(("error", str(exc)))

    def on_close(self, handler: Any) -> None:
        self.heard.append(("close", handler.close_code))


class Slow(Audit):
    """The same, where what comes in is awaited."""

    async def on_open(self, handler: Any) -> None:
        await asyncio.sleep(0)
        super().on_open(handler)

    async def incoming(self, handler: Any, message: Any) -> Any:
        await asyncio.sleep(0)
        return super().incoming(handler, message)

    async def on_close(self, handler: Any) -> None:
        await asyncio.sleep(0)
        super().on_close(handler)


def plain(handler: Any, message: str) -> str:
    return f"card 4711: {message}"


async def coroutine(handler: Any, message: str) -> str:
    return f"card 4711: {message}"


def generator(handler: Any, message: str) -> Any:
    yield f"card 4711: {message}"


async def async_generator(handler: Any, message: str) -> Any:
    yield f"card 4711: {message}"


def written(handler: Any, message: str) -> None:
    handler.write_message(f"card 4711: {message}")


def timed(handler: Any, message: str) -> None:
    handler.every(0.02, lambda handler: f"card 4711: {message}")


def sent_by_a_task(handler: Any, message: str) -> None:
    wsh.send(handler.route, f"card 4711: {message}")


KINDS = [plain, coroutine, generator, async_generator, written, timed, sent_by_a_task]


@pytest.mark.parametrize("audit", [Audit, Slow])
@pytest.mark.parametrize("bot", KINDS, ids=lambda bot: bot.__name__)
def test_filters_stand_around_every_kind_of_callback(bot, audit):
    heard = audit()
    with Chat(bot, options={"filters": [heard]}, name="bot", wait=True) as chat:
        chat.send("pin 0000", wait=False)
        assert chat.read() == "card ****: pin ####"
        assert heard.heard[:3] == [
            ("open", "bot"),
            ("in", "pin 0000"),
            ("out", "card 4711: pin ####"),
        ]
    assert heard.heard[-1] == ("close", 1000)


@pytest.mark.parametrize("audit", [Audit, Slow])
@pytest.mark.parametrize("bot", [plain, coroutine], ids=lambda bot: bot.__name__)
def test_a_message_that_a_filter_refuses_reaches_nobody_and_its_client_is_told(bot, audit):
    heard = audit()
    with Chat(bot, options={"filters": heard}) as chat:
        chat.send("spam")
        assert chat.expect({"error": "message", "reason": "no spam here"})
        chat.send("pin")
        assert chat.read() == "card ****: pin"
        assert chat.errors == []
        assert ("error", "no spam here") not in heard.heard


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (404, "404"),
        (ValueError("too rude"), "too rude"),
        (None, "None"),
        ("\ud83d half", "? half"),
        ("long " * 1000, "long " * 200),
    ],
    ids=["number", "exception", "nothing", "half a pair", "long"],
)
def test_a_client_is_told_a_reason_as_text_whatever_it_is(reason, told):
    class Refuses:
        def incoming(self, handler: Any, message: str) -> str:
            if message == "spam":
                raise wsh.RefuseMessage(reason)
            return message

    with Chat(echo, options={"filters": [Refuses]}) as chat:
        chat.send("spam")
        chat.expect({"error": "message", "reason": told})
        chat.send("pin")
        assert chat.read() == "pin"


@pytest.mark.parametrize("kind", ["async", "def"])
@pytest.mark.parametrize("where", ["open", "on_open", "on_pong", "on_close"])
def test_where_there_is_no_message_to_refuse_it_is_an_error_as_any_other(where, kind):
    def refuses(handler: Any, *_: Any) -> None:
        raise wsh.RefuseMessage("not you")

    async def refuses_later(handler: Any, *_: Any) -> None:
        await asyncio.sleep(0)
        refuses(handler)

    raises = refuses if kind == "def" else refuses_later
    filtered = {"filters": [SimpleNamespace(on_open=raises)]} if where == "on_open" else {}
    callbacks = {} if filtered else {where: raises}
    with Chat(echo, options=filtered, raise_errors=False, **callbacks) as chat:
        if where == "on_pong":
            chat.handler.ping()
        if where != "on_close":
            chat.expect_close(1011)
    (error,) = chat.errors
    assert isinstance(error.exception, wsh.RefuseMessage)
    assert chat.received == []


@pytest.mark.parametrize("audit", [Audit, Slow])
@pytest.mark.parametrize("bot", [plain, coroutine], ids=lambda bot: bot.__name__)
def test_a_filter_that_fails_on_the_way_in_is_a_callback_that_fails(bot, audit):
    heard = audit()
    with Chat(bot, options={"filters": [heard]}, raise_errors=False) as chat:
        chat.send("fail in", wait=False)
        chat.expect_close(1011)
        (error,) = chat.errors
        assert (str(error.exception), error.message) == ("a filter's fault", None)
        assert error.callback == f"{audit.__name__}.incoming"
        assert chat.received == []
    assert [what for what in heard.heard if what[0] in ("error", "close")] == [
        ("error", "a filter's fault"),
        ("close", 1011),
    ]


def echo(handler: Any, message: str) -> str:
    return message


async def echo_at_once(handler: Any, message: str) -> str:
    return message


async def async_echo(handler: Any, message: str) -> Any:
    for _ in range(3):
        yield message


@pytest.mark.parametrize("bot", [echo, async_echo], ids=lambda bot: bot.__name__)
def test_a_message_that_a_filter_fails_on_never_leaves_nor_does_what_follows(bot):
    heard = Audit()
    told: list[str] = []

    def on_error(handler: Any, exc: BaseException) -> None:
        told.append(f"{exc}, closed: {handler.closed}")

    options = {"filters": [heard]}
    with Chat(bot, on_error=on_error, options=options, raise_errors=False) as chat:
        chat.send("fail out", wait=False)
        chat.expect_close(1011)
        (error,) = chat.errors
        assert error.callback == "Audit.outgoing"
        assert error.error_id in (chat.close_reason or "")
        assert chat.received == []
    assert told == ["a filter's fault, closed: True"]
    assert [what for what in heard.heard if what[0] in ("error", "close")] == [
        ("error", "a filter's fault"),
        ("close", 1011),
    ]


def tells(handler: Any, exc: BaseException) -> None:
    handler.write_message(f"failed: {exc}")


async def tells_at_once(handler: Any, exc: BaseException) -> None:
    handler.write_message(f"failed: {exc}")


async def fails(handler: Any, message: str) -> None:
    raise ValueError("of the bot's own")


class Fails:
    """A filter that lets nothing out."""

    def outgoing(self, handler: Any, message: str) -> str:
        raise ValueError("no message leaves")


@pytest.mark.parametrize("on_error", [tells, tells_at_once])
@pytest.mark.parametrize(("bot", "told"), [(echo, 2), (echo_at_once, 2), (fails, 3)])
def test_on_error_is_not_told_of_what_it_cannot_send_itself(bot, told, on_error):
    options = {"filters": [Fails], "on_error": {"close": False}}
    with Chat(bot, on_error=on_error, options=options, raise_errors=False) as chat:
        for visitor in (chat, chat.visitor("bob")):
            visitor.send("hello", wait=False)
            for _ in range(told):
                assert "internal error" in visitor.read()
        chat.expect_nothing()
        # What cannot leave, and where the bot has failed itself, that once more.
        assert len(chat.errors) == 2 * (told if bot is not fails else told + 1)


def test_what_on_error_sends_to_others_and_cannot_is_not_told_to_theirs():
    async def tells_all(handler: Any, exc: BaseException) -> None:
        wsh.send(handler.route, f"failed: {exc}")

    options = {"filters": [Fails], "on_error": {"close": False}}
    with Chat(
        echo_at_once, on_error=tells_all, options=options, name="bot", raise_errors=False
    ) as ada:
        bob = ada.visitor("bob")
        ada.send("hello", wait=False)
        for visitor in (ada, ada, bob):
            assert "internal error" in visitor.read()
        ada.expect_nothing()
        bob.expect_nothing()
        assert len(ada.errors) == 3


def tells_route(handler: Any, exc: BaseException) -> None:
    handler.told.append(handler.id)
    wsh.send(handler.route, f"failed: {exc}")


async def tells_room(handler: Any, exc: BaseException) -> None:
    handler.told.append(handler.id)
    handler.broadcast(f"failed: {exc}")


async def tells_later(handler: Any, exc: BaseException) -> None:
    async def later() -> None:
        wsh.send(handler.route, f"failed: {exc}")

    handler.told.append(handler.id)
    handler.later = asyncio.create_task(later())


@pytest.mark.parametrize("on_error", [tells_route, tells_room, tells_later])
def test_connections_that_tell_each_other_of_errors_come_to_an_end(on_error):
    told: list[str] = []

    def opens(handler: Any) -> None:
        handler.told = told

    options = {"filters": [Fails], "on_error": {"close": False}, "rooms": ["all"]}
    callbacks = {"open": opens, "on_error": on_error}
    with Chat(echo_at_once, **callbacks, options=options, name="bot", raise_errors=False) as ada:
        ada.visitor("bob")
        ada.send("hello", wait=False)
        before = 0

        def is_quiet() -> bool:
            nonlocal before
            was, before = before, len(ada.errors)
            return 2 < was == before

        wait_for(is_quiet, 10, "the end of the errors", every=0.3)
    # Of what happens in ada's own turn, and once each of what comes from elsewhere.
    assert 1 <= len(told) <= 3


@pytest.mark.parametrize("bot", [echo, echo_at_once], ids=lambda bot: bot.__name__)
def test_a_route_that_stays_open_after_errors_sends_the_error_in_place_of_the_message(bot):
    heard = Audit()
    options = {"filters": [heard], "on_error": {"close": False}}
    with Chat(bot, options=options, raise_errors=False) as chat:
        chat.send("fail out")
        chat.send("fail in")
        chat.send("4711")
        errors = chat.errors
        for error in errors:
            chat.expect({"error": "internal error", "id": error.error_id})
        assert len(errors) == 2
        assert chat.read() == "****"


def test_an_error_is_kept_with_the_message_as_its_callback_got_it():
    def fails(handler: Any, message: str) -> None:
        raise ValueError("of the bot's own")

    with Chat(fails, options={"filters": [Audit()]}, raise_errors=False) as chat:
        chat.send("pin 0000", wait=False)
        chat.expect_close(1011)
        assert [error.message for error in chat.errors] == ["pin ####"]


def test_an_error_of_on_pong_is_kept_with_what_the_pong_has_brought():
    def on_pong(handler: Any, data: bytes) -> None:
        raise ValueError("of the bot's own")

    options = {"filters": [Audit()]}
    with Chat(echo, on_pong=on_pong, options=options, raise_errors=False) as chat:
        chat.send("pin 0000")
        chat.handler.ping(b"beat")
        chat.expect_close(1011)
        assert [error.message for error in chat.errors] == [b"beat"]


def hears(handler: Any, message: str) -> None:
    """Answer nothing."""


async def hears_at_once(handler: Any, message: str) -> None:
    """Answer nothing."""


@pytest.mark.parametrize("bot", [hears, hears_at_once])
def test_an_idle_connection_keeps_no_message(bot):
    made = "pin ####" * len(bot.__name__)

    class Hides:
        def incoming(self, handler: Any, message: str) -> str:
            return made

    with Chat(bot, options={"filters": [Hides]}) as chat:
        before = sys.getrefcount(made)
        chat.send("pin 0000")
        deadline = time.monotonic() + 5
        while sys.getrefcount(made) > before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert sys.getrefcount(made) == before


def test_an_outgoing_filter_cannot_send():
    class Talks:
        def outgoing(self, handler: Any, message: str) -> str:
            handler.write_message("and another one")
            return message

    with Chat(echo, options={"filters": [Talks]}, raise_errors=False) as chat:
        chat.send("hello", wait=False)
        chat.expect_close(1011)
        assert "cannot send another one" in str(chat.errors[0].exception)
        assert chat.received == []


def test_an_outgoing_filter_that_sends_to_others_fails_and_they_stay():
    company: list[Any] = []

    class Passes:
        def on_open(self, handler: Any) -> None:
            company.append(handler)

        def outgoing(self, handler: Any, message: str) -> str:
            if message != "quiet":
                for other in company:
                    if other is not handler:
                        other.write_message(f"to others: {message}")
            return message

    with Chat(echo, options={"filters": [Passes]}, raise_errors=False) as ada:
        bob = ada.visitor("bob")
        ada.send("hello", wait=False)
        ada.expect_close(1011)
        (error,) = ada.errors
        assert "cannot send another one" in str(error.exception)
        assert error.handler is ada.handler
        bob.send("quiet")
        assert bob.read() == "quiet"
        assert bob.received == ["quiet"]


def test_what_an_outgoing_filter_says_in_a_room_holds_up_nobody_and_ends_nobody():
    quiet = threading.Event()

    class Goes:
        def outgoing(self, handler: Any, message: str) -> str:
            if not quiet.is_set():
                handler.broadcast("on and on")
                with contextlib.suppress(RuntimeError):
                    wsh.send(handler.route, "to all")
            return message

    def say(handler: Any, message: str) -> None:
        handler.broadcast(message)

    options = {"filters": [Goes], "rooms": ["lobby"]}
    with Chat(say, options=options, name="bot") as chat:
        try:
            chat.send("begin", wait=False)
            assert [chat.read() for _ in range(3)] == ["begin", "on and on", "on and on"]
        finally:
            quiet.set()
        assert not chat.closed
        assert chat.errors == []


def test_what_cannot_be_encoded_is_the_filters_fault():
    class Halves:
        def outgoing(self, handler: Any, message: str) -> str:
            return "\ud800"

    with Chat(echo, options={"filters": [Halves]}, raise_errors=False) as chat:
        chat.send("hello", wait=False)
        chat.expect_close(1011)
        assert chat.errors[0].callback.endswith("Halves.outgoing")


def test_what_is_said_in_a_room_goes_through_the_filters_of_each_who_gets_it():
    audit = Audit()

    def say(handler: Any, message: str) -> None:
        handler.broadcast(message)

    options = {"filters": [audit], "rooms": ["lobby"], "history": True}
    with Chat(say, options=options) as ada:
        bob = ada.visitor("bob")
        ada.send("card 4711")
        assert (ada.read(), bob.read()) == ("card ****", "card ****")
        assert audit.heard.count(("out", "card 4711")) == 2


def test_one_answer_that_is_asked_for_and_its_pieces_go_through_them(tmp_path):
    options = {"filters": [Audit()], "resume": True}
    with Chat(async_echo, options=options) as chat:
        assert chat.ask("card 4711") == ["card ****"] * 3
        with chat.breaks():
            wsh.send(chat.handler.route, "while away: 4711")
        assert chat.read() == "while away: ****"


def test_a_message_waits_for_the_filter_of_the_one_before():
    order: list[str] = []

    class Waits:
        async def incoming(self, handler: Any, message: str) -> str:
            await asyncio.sleep(0.05 if message == "first" else 0)
            return message

    def bot(handler: Any, message: str) -> None:
        order.append(message)

    with Chat(bot, options={"filters": [Waits]}) as chat:
        chat.send("first", wait=False)
        chat.send("second")
        deadline = time.monotonic() + 5
        while len(order) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert order == ["first", "second"]


def ending(kind: str, heard: list[str]) -> Any:
    """Return an `on_close` of some kind."""

    def plain(handler: Any) -> None:
        heard.append("bot")

    def fails(handler: Any) -> None:
        plain(handler)
        raise ValueError("bot")

    async def coroutine(handler: Any) -> None:
        await asyncio.sleep(0)
        plain(handler)

    def generator(handler: Any) -> Any:
        yield
        plain(handler)

    async def async_generator(handler: Any) -> Any:
        yield
        await coroutine(handler)

    def handed_on(handler: Any) -> Any:
        return coroutine(handler)

    kinds = (plain, fails, coroutine, generator, async_generator, handed_on)
    return {one.__name__: one for one in kinds}[kind]


@pytest.mark.parametrize("filters", ["def", "async"])
@pytest.mark.parametrize(
    "kind", ["plain", "fails", "coroutine", "generator", "async_generator", "handed_on"]
)
def test_each_filter_hears_of_the_end_behind_the_bot_whatever_others_raise(kind, filters):
    heard: list[str] = []
    told: list[str] = []

    def closes(name: str) -> Any:
        def on_close(handler: Any) -> None:
            heard.append(name)
            if name != "first":
                raise ValueError(name)

        async def on_close_later(handler: Any) -> None:
            await asyncio.sleep(0)
            on_close(handler)

        is_def = filters == "def" or name == "second"
        return SimpleNamespace(on_close=on_close if is_def else on_close_later)

    def on_error(handler: Any, exc: BaseException) -> None:
        told.append(str(exc))

    callbacks = {"on_close": ending(kind, heard), "on_error": on_error}
    options = {"filters": [closes("first"), closes("second"), closes("third")]}
    with Chat(echo, options=options, raise_errors=False, **callbacks) as chat:
        chat.send("hello")
    assert heard == ["bot", "third", "second", "first"]
    failed = ["bot"] if kind == "fails" else []
    assert sorted(str(one.exception) for one in chat.errors) == [*failed, "second", "third"]
    assert told == [*failed, "third"][:1]
