"""A chat's connection breaks, and the chat comes back; no time really passes."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from bots import rooms

from jupyter_wshandler.errors import ConnectionClosed
from jupyter_wshandler.testing import AsyncChat, Chat


class Bot:
    """Answers, streams, and writes down what becomes of its clients."""

    def __init__(self) -> None:
        self.journal: list[Any] = []

    async def on_message(self, handler: Any, message: Any) -> Any:
        self.journal.append(message)
        if message == "story":
            return self.story()
        return f"got {message}" if isinstance(message, str) else message

    async def story(self) -> Any:
        for number in range(5):
            yield f"piece {number}"
            await asyncio.sleep(0.5)

    def on_away(self, handler: Any) -> None:
        self.journal.append(("away", handler.away))

    def on_resume(self, handler: Any) -> None:
        self.journal.append(("back", handler.away))

    def on_close(self, handler: Any) -> None:
        self.journal.append(("closed", handler.close_code))


RESUME: dict[str, Any] = {"resume": True}


def test_in_a_break_on_away_has_run_and_behind_it_on_resume() -> None:
    bot = Bot()
    with Chat(bot, options=RESUME) as chat:
        with chat.breaks():
            assert bot.journal == [("away", True)]
            assert chat.handler.away
            assert "away" in repr(chat)
            assert not chat.closed
        assert bot.journal == [("away", True), ("back", False)]
        assert not chat.handler.away
        assert "open" in repr(chat)
    assert bot.journal[2:] == [("closed", 1000)]


def test_what_the_bot_writes_in_a_break_arrives_behind_it_once_and_in_order() -> None:
    with Chat(Bot(), options=RESUME) as chat:
        chat.send("a")
        for number in range(3):
            with chat.breaks():
                chat.handler.write_message(f"text {number}")
                chat.handler.write_message(b"\0\1bytes")
                chat.handler.write_message({"number": number})
                assert chat.received[3 * number + 1 :] == []
            assert chat.received[3 * number + 1 :] == [
                *(f"text {number}", b"\0\1bytes", f'{{"number":{number}}}'),
            ]
        assert chat.read() == "got a"


def test_what_the_chat_sends_in_a_break_is_handled_behind_it_once_and_in_order() -> None:
    bot = Bot()
    with Chat(bot, options=RESUME) as chat:
        chat.send("1")
        with chat.breaks(2):
            chat.send("2")
            chat.send(b"3")
            chat.send("4")
            assert bot.journal == ["1", ("away", True)]
        assert bot.journal == ["1", ("away", True), ("back", False), "2", b"3", "4"]
        assert chat.received == ["got 1", "got 2", b"3", "got 4"]


def test_seconds_pass_at_once_and_an_answer_goes_on_meanwhile() -> None:
    began = time.monotonic()
    bot = Bot()
    with Chat(bot, options=RESUME) as chat:
        chat.send("story", wait=False)
        chat.expect("piece 0")
        with chat.breaks(60):
            assert chat.received == ["piece 0"]
            assert bot.journal[-1] == ("away", True), "behind the answer, which is over"
        for number in range(1, 5):
            chat.expect(f"piece {number}")
        chat.expect_nothing(0)
    assert time.monotonic() - began < 30


def test_a_callback_that_runs_goes_on_and_on_away_waits_for_its_end() -> None:
    bot, gate = Bot(), threading.Event()

    def on_message(handler: Any, message: str) -> str:
        gate.wait(10)
        return "done"

    with Chat(bot, on_message=on_message, options=RESUME) as chat:
        chat.send("wait", wait=False)
        with chat.breaks():
            assert chat.handler.away
            assert bot.journal == []
            gate.set()
        chat.expect("done")
        chat.send("again")
        assert [word for word, _ in bot.journal] in ([], ["away", "back"])


@pytest.mark.parametrize("seconds", [0.5, 4])
def test_timers_and_the_routes_clocks_see_the_time_in_its_order(seconds: float) -> None:
    ticks = []

    def tick(handler: Any) -> None:
        ticks.append(handler.away)

    options = {"resume": True, "every": {"1s": tick}, "idle_timeout": "10s", "ping_interval": "1s"}
    with Chat(Bot(), options=options) as chat:
        before = len(ticks)
        with chat.breaks(seconds):
            away = ticks[before:]
        # A busy machine may add some of its own.
        assert int(seconds) <= len(away) <= int(seconds) + 5, "one each second, not one for all"
        chat.send("still here")
        other = chat.visitor()
        with chat.breaks(11):
            assert other.expect_close(1000, "idle") == 1000, "time passes for all clients"
        assert not chat.closed, "nobody is there who could be idle"


def test_a_break_that_is_longer_than_the_window_closes_the_chat_with_1006() -> None:
    bot = Bot()
    with Chat(bot, options={"resume": {"window": "30s"}}) as chat:
        other = chat.visitor()
        with chat.breaks(20):
            pass
        assert not chat.closed
        with chat.breaks(31):
            assert bot.journal[-1] == ("closed", 1006)
            assert chat.closed
        assert chat.expect_close() == 1006
        with pytest.raises(ConnectionClosed, match="1006"):
            chat.send("too late")
        with pytest.raises(ConnectionClosed, match="1006"), chat.breaks():
            pass
        other.send("hi")
        other.expect("got hi")
        again = chat.visitor(session=chat.session)
        assert again.session.id == chat.session.id


@pytest.mark.parametrize("seconds", [0, 5])
def test_without_resume_a_break_is_the_end(seconds: float) -> None:
    bot = Bot()
    with Chat(bot) as chat:
        other = chat.visitor()
        with chat.breaks(seconds):
            assert chat.close_code == 1006
            assert bot.journal == [("closed", 1006)]
        other.send("hi")
        other.expect("got hi")
    chat = Chat(bot)
    with chat.breaks(seconds):
        assert chat.closed, "the only client, with which the bot's thread has ended"


def test_a_bot_that_closes_in_a_break_closes_the_chat() -> None:
    bot = Bot()
    with Chat(bot, options=RESUME) as chat:
        with chat.breaks():
            chat.handler.close(4000, "enough")
        assert chat.expect_close() == 1006, "the close frame reached nobody"
        assert bot.journal[-1] == ("closed", 4000)


def test_a_chat_that_leaves_for_good_in_a_break_or_without_a_word_is_not_waited_for() -> None:
    for leave in (
        lambda chat: chat.close(),
        lambda chat: chat.vanish(),
        lambda chat: chat.close(1001),
        lambda chat: chat.close(4900),
    ):
        for in_break in (False, True):
            bot = Bot()
            chat = Chat(bot, options=RESUME)
            if in_break:
                with chat.breaks():
                    leave(chat)
            else:
                leave(chat)
            assert bot.journal[-1][0] == "closed"
            assert chat.closed


def test_what_a_slow_reader_has_not_taken_comes_behind_the_break() -> None:
    with Chat(Bot(), options=RESUME) as chat:
        chat.pause()
        for number in range(200):
            chat.handler.write_message(str(number))
        with chat.breaks():
            pass
        assert chat.received == []
        chat.resume()
        assert [int(chat.read()) for _ in range(200)] == [*range(200)]


def test_what_the_bot_can_keep_no_more_closes_the_chat() -> None:
    options = {"resume": {"keep": {"messages": 2}}, "queue": {"slow": "close"}}
    with Chat(Bot(), options=options) as chat:
        with chat.breaks():
            for number in range(10):
                chat.handler.write_message(str(number))
        assert chat.expect_close() == 1006


def test_where_an_answer_is_needed_a_break_is_no_place_to_ask() -> None:
    options = {**RESUME, "may_join": lambda handler, room: True}
    with Chat(Bot(), options=options) as chat:
        chat.join("blue", presence=False)
        with chat.breaks():
            for word in (
                lambda: chat.ask("?"),
                lambda: chat.stop(),
                lambda: chat.join("red"),
                lambda: chat.leave("blue"),
                lambda: chat.expect_members("blue", []),
                lambda: chat.breaks().__enter__(),
            ):
                with pytest.raises(RuntimeError, match="away"):
                    word()
        assert chat.ask("now") == "got now"
        chat.leave("blue")


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "2s", None])
def test_what_is_no_time_is_refused(seconds: Any) -> None:
    with Chat(Bot(), options=RESUME) as chat:
        with pytest.raises(ValueError, match=r"such as breaks\(2\)"), chat.breaks(seconds):
            pass
        chat.send("still here")


def test_what_cannot_travel_is_refused_and_the_chat_goes_on() -> None:
    options = {**RESUME, "may_join": lambda handler, room: True, "max_message": 1000}
    with Chat(Bot(), options=options) as chat:
        for word in (chat.send, chat.ask, chat.join, chat.leave):
            with pytest.raises(UnicodeEncodeError):
                word("\ud800")
        with chat.breaks():
            with pytest.raises(UnicodeEncodeError):
                chat.send({"text": "\ud800"}["text"])
            chat.send('"' * 1000)
        chat.expect("got " + '"' * 1000)
        chat.send("x" * 1001)
        chat.expect_close(1009)


def test_what_on_away_raises_fails_the_test() -> None:
    def on_away(handler: Any) -> None:
        raise ZeroDivisionError("a mistake")

    with (
        Chat(Bot(), on_away=on_away, options=RESUME) as chat,
        pytest.raises(ZeroDivisionError, match="a mistake"),
        chat.breaks(),
    ):
        pass


def test_a_failure_in_the_block_is_what_fails_the_test() -> None:
    with Chat(Bot(), options=RESUME) as chat:
        with pytest.raises(AssertionError, match="of the test"), chat.breaks():
            raise AssertionError("of the test")
        chat.send("it is back all the same")


def test_others_see_who_is_away_in_the_room_until_window_and_linger_are_over() -> None:
    options = {
        "may_join": rooms.may_join,
        "presence": {"linger": "10s"},
        "history": True,
        "resume": {"window": "30s"},
    }
    with Chat(rooms, user="ada", options=options) as ada:
        bob = ada.visitor("bob")
        ada.join("blue", presence=True)
        room = bob.join("blue", presence=True)
        with bob.breaks(20):
            ada.expect_members("blue", ["ada", "bob"])
            ada.send("to blue hello")
            ada.expect("hello")
        bob.expect("hello")
        assert room.offset == 1
        bob.expect_members("blue", ["ada", "bob"])
        with bob.breaks(33):
            assert bob.closed
            ada.expect_members("blue", ["ada", "bob"])
        with ada.breaks(11):
            pass
        ada.expect_members("blue", ["ada"])


def test_each_of_several_breaks_alone() -> None:
    bot = Bot()
    with Chat(bot, user="ada", options=RESUME) as ada:
        bob = ada.visitor("bob")
        with ada.breaks(5), bob.breaks(5):
            assert ada.handler.away
            assert bob.handler.away
        with bob.breaks(5):
            assert not ada.handler.away
            ada.send("hi")
            ada.expect("got hi")


async def test_awaited_an_answer_goes_on_through_a_break() -> None:
    async with AsyncChat(Bot(), options=RESUME) as chat:
        story = asyncio.create_task(chat.ask("story"))
        while not chat.handler.work:
            await asyncio.sleep(0.001)
        async with chat.breaks(60):
            assert chat.handler.away
            await chat.send("hi")
        assert await story == [f"piece {number}" for number in range(5)]
        await chat.expect("got hi")
        with pytest.raises(ValueError, match="of the test"):
            async with chat.breaks():
                raise ValueError("of the test")
        assert not chat.handler.away
