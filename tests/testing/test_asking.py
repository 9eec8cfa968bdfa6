"""`ask` and `stop` of the test kit: the answer to one message, and its end before its time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from jupyter_wshandler.errors import AnswerFailed, ConnectionClosed
from jupyter_wshandler.testing import AsyncChat, Chat

VALUES = ["text", b"\x00\xff", {"a": [1]}, 7, None, '{"it": "is text"}']


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("kind", ["async", "thread"])
def test_ask_returns_what_the_callback_returns_and_nothing_that_it_writes(kind, value):
    def answer(handler, message):
        handler.write_message("beside")
        return value

    async def answer_on_the_loop(handler, message):
        return answer(handler, message)

    with Chat(answer if kind == "thread" else answer_on_the_loop) as chat:
        assert chat.ask("hi") == value
        chat.expect("beside")
        assert chat.unread == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_ask_returns_a_list_of_what_a_generator_yields(count):
    def answer(handler, message):
        for n in range(count):
            yield {"n": n} if n % 2 else b"bytes"

    with Chat(answer) as chat:
        assert chat.ask("hi") == [b"bytes", {"n": 1}, b"bytes"][:count]
        assert chat.received == []
        chat.send("hi")
        assert len(chat.received) == count


def test_an_asked_callback_that_raises_fails_the_test_as_any_other():
    def answer(handler, message):
        raise ValueError("a mistake")

    with Chat(answer, options={"on_error": {"close": False}}) as chat:
        with pytest.raises(ValueError, match="a mistake"):
            chat.ask("hi")
        with pytest.raises(ValueError, match="a mistake"):
            chat.send("hi")
        chat.expect({"error": "internal error", "id": chat.json["id"]})
    with Chat(answer, options={"on_error": {"close": False}}, raise_errors=False) as chat:
        with pytest.raises(AnswerFailed) as failed:
            chat.ask("hi")
        assert failed.value.how == "failed"
        assert failed.value.id


def test_an_answer_that_takes_too_long_is_named_and_stopped():
    ended = []

    async def answer(handler, message):
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(message)

    with Chat(answer) as chat:
        with pytest.raises(TimeoutError, match=r"the answer to 'hi' has not ended within 0\.2 s: "):
            chat.ask("hi", timeout=0.2)
        assert ended == ["hi"]


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
def test_stop_ends_a_generator_and_its_finally_has_run(kind):
    ended = []
    go_on = threading.Event()

    def in_a_thread(handler, message):
        try:
            while True:
                yield "more"
                time.sleep(0.01)
        finally:
            ended.append(message)
            go_on.set()

    async def on_the_loop(handler, message):
        try:
            while True:
                yield "more"
                await asyncio.sleep(0.01)
        finally:
            ended.append(message)

    options = {"run": "loop"} if kind == "loop" else {}
    with Chat(on_the_loop if kind == "async" else in_a_thread, options=options) as chat:
        chat.send("hi", wait=False)
        chat.expect("more")
        chat.stop()
        assert ended == ["hi"]
        assert set(chat.unread) <= {"more"}
        chat.stop()  # nothing is being answered


def test_a_function_in_a_thread_that_is_stopped_before_it_returns_a_generator_has_it_closed():
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def answer(handler, message):
        if message == "hi":
            return "hello"
        begun.set()
        assert go_on.wait(10)
        return pieces()

    def pieces():
        try:
            while True:
                yield "more"
        finally:
            ended.append(True)

    with Chat(answer) as chat:
        chat.send("go", wait=False)
        assert begun.wait(10)
        stopper = threading.Thread(target=chat.stop)
        stopper.start()
        assert wait_until(lambda: chat.handler.work.why == "stopping")
        go_on.set()
        stopper.join(10)
        assert (ended, chat.received) == ([True], [])
        assert chat.ask("hi") == "hello"


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def test_a_question_that_is_stopped_says_so():
    async def answer(handler, message):
        if message == "wait":
            handler.write_message("begun")
            await asyncio.sleep(60)
        return "hello"

    with Chat(answer) as chat:
        stopper = threading.Thread(target=lambda: (chat.expect("begun"), chat.stop()))
        stopper.start()
        with pytest.raises(AnswerFailed, match="stopped"):
            chat.ask("wait")
        stopper.join(10)
        assert chat.ask("hi") == "hello"


def test_the_ratelimit_the_size_and_the_end_of_the_connection_hold_for_questions():
    def answer(handler, message):
        if message == "close":
            return handler.close(4000, "enough")
        return message

    with Chat(answer, options={"ratelimit": {"messages": "1/h", "then": "error"}}) as chat:
        assert chat.ask("a") == "a"
        with pytest.raises(AnswerFailed) as refused:
            chat.ask("a")
        assert refused.value.how == "refused"
    with Chat(answer, options={"max_message": 10}) as chat:
        assert chat.ask("x" * 10) == "x" * 10
        with pytest.raises(ConnectionClosed, match="1009"):
            chat.ask("x" * 11)
    with Chat(answer) as chat, pytest.raises(ConnectionClosed, match="4000 enough"):
        chat.ask("close")


def test_the_stop_message_of_the_route_stops_what_is_sent():
    ended = []

    async def answer(handler, message):
        try:
            while True:
                yield "more"
                await asyncio.sleep(0.01)
        finally:
            ended.append(message)

    with Chat(answer, options={"stop_message": "/stop"}) as chat:
        chat.send("/stop")  # for nothing
        chat.send("hi", wait=False)
        chat.expect("more")
        chat.send("/stop", wait=False)
        chat.send("/stop")
        assert wait_until(lambda: ended == ["hi"])


async def test_an_async_chat_has_the_same_words():
    async def answer(handler, message):
        if message == "endless":
            while True:
                yield "more"
                await asyncio.sleep(0.01)
        yield message

    async with AsyncChat(answer) as chat:
        assert await chat.ask("a") == ["a"]
        await chat.send("endless", wait=False)
        assert await chat.expect("more") == "more"
        await chat.stop()
