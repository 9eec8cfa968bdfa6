"""`ask`, `stream` and `stop` of the Python client, sync and async, on a real server."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import pytest
import websockets.sync.server
from support.bots import bot_text
from support.server import wait_for
from support.twohosts import forget, noted, two_hosts

from jupyter_wshandler.client import AnswerFailed, connect
from jupyter_wshandler.client import reading as reading_module
from jupyter_wshandler.errors import ConnectionClosed

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: {on_message: asking.on_message, on_error: {close: false}}
  closing:
    pattern: /closing
    handler: WebSocketHandler
    kwargs: {on_message: asking.on_message}
  many:
    pattern: /many
    handler: WebSocketHandler
    kwargs: {on_message: asking.many}
  greeting:
    pattern: /greeting
    handler: WebSocketHandler
    kwargs: {open: asking.greet, on_message: asking.many}
  limited:
    pattern: /limited
    handler: WebSocketHandler
    kwargs: {on_message: asking.on_message, ratelimit: {messages: 1/h, then: error}}
"""
BOTS = bot_text("asking")


CELL = """
wsh.serve('/bot', on_message=on_message, on_error={'close': False})
wsh.serve('/many', on_message=many)
"""
server, in_kernel, host = two_hosts("asking", BOTS, YAML, CELL)


def open_to(running, path, **options):
    return connect(path, server=running.url, token=running.token, **options)


VALUES = {
    "text": "hello",
    "bytes": b"\x00\xff",
    "dict": {"rows": [1, 2.5, None], "big": 2**60},
    "number": 7,
    "nothing": None,
    "json": '{"it": "is text"}',
    "héllo \U0001f680": "héllo \U0001f680",
}


async def test_ask_returns_what_the_function_returns(host):
    with open_to(host, "/bot") as bot:
        assert {word: bot.ask(word) for word in VALUES} == VALUES
        assert bot.ask(b"abc") == b"cba"
        assert bot.ask({"a": 1}) == '{"a":1}'
        assert bot.ask("text", binary=True) == b"txet"
    async with open_to(host, "/bot") as bot:
        assert {word: await bot.ask(word) for word in VALUES} == VALUES
        assert await bot.ask(b"abc") == b"cba"


async def test_ask_returns_a_list_of_what_a_generator_yields_whether_many_one_or_none(host):
    with open_to(host, "/many") as bot:
        assert bot.ask("4") == ["0", {"n": 1}, "2", {"n": 3}]
        assert bot.ask("1") == ["0"]
        assert bot.ask("0") == []
    async with open_to(host, "/many") as bot:
        assert await bot.ask("2") == ["0", {"n": 1}]


async def test_stream_gives_each_value_as_it_comes(host):
    with open_to(host, "/many") as bot:
        answer = bot.stream("3")
        assert next(answer) == "0"
        assert list(answer) == [{"n": 1}, "2"]
        assert answer.how == "done"
        assert list(answer) == []
    async with open_to(host, "/many") as bot:
        answer = bot.stream("3")
        assert [value async for value in answer] == ["0", {"n": 1}, "2"]
        assert answer.how == "done"


async def test_several_questions_under_way_each_get_their_own_answer(server):
    async with open_to(server, "/bot") as bot:
        words = [*VALUES, *(str(n) for n in range(100))]
        got = await asyncio.gather(*(bot.ask(word) for word in words))
        assert got == [VALUES.get(word, word) for word in words]
    with open_to(server, "/bot") as bot:
        got = {}
        threads = [
            threading.Thread(target=lambda n=n: got.update({n: bot.ask(f"x{n}")}))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert got == {n: f"x{n}" for n in range(20)}


async def test_what_is_pushed_meanwhile_is_received_in_order_and_is_no_answer(host):
    with open_to(host, "/bot") as bot:
        assert bot.ask("push 50") == "done"
        assert [bot.recv() for _ in range(50)] == [f"pushed {n}" for n in range(50)]
        bot.send("text")
        assert bot.recv() == "hello"  # what answers a message that nobody asked about
    async with open_to(host, "/bot") as bot:
        assert await bot.ask("push 3") == "done"
        assert [await bot.recv() for _ in range(3)] == [f"pushed {n}" for n in range(3)]


def test_what_open_yields_is_received_as_messages(server):
    with open_to(server, "/greeting") as bot:
        assert [bot.recv(), bot.recv()] == ["wel", "come"]
        bot.send("2")
        assert [bot.recv(), bot.recv_json()] == ["0", {"n": 1}]


async def test_a_failed_answer_raises_with_the_id_that_the_log_has(host):
    with open_to(host, "/bot") as bot:
        with pytest.raises(AnswerFailed) as failed:
            bot.ask("fail")
        assert failed.value.how == "failed"
        assert failed.value.id in str(failed.value)
        assert "secret" not in str(failed.value)
        assert bot.ask("text") == "hello"
    async with open_to(host, "/bot") as bot:
        with pytest.raises(AnswerFailed):
            await bot.ask("fail")
        answer = bot.stream("fail")
        with pytest.raises(AnswerFailed):
            await anext(answer)
        with pytest.raises(StopAsyncIteration):
            await anext(answer)


def test_the_id_of_a_failure_is_in_the_log(server):
    with open_to(server, "/bot") as bot, pytest.raises(AnswerFailed) as failed:
        bot.ask("fail")
    assert failed.value.id
    wait_for(lambda: failed.value.id in server.log_path.read_text(), 10, "the error in the log")


def test_a_message_over_the_rate_limit_raises_and_says_when_to_try_again(server):
    with open_to(server, "/limited") as bot:
        assert bot.ask("text") == "hello"
        with pytest.raises(AnswerFailed, match="ratelimit; try again in ") as refused:
            bot.ask("text")
        assert refused.value.how == "refused"
        assert 0 < refused.value.retry_after <= 3600


async def test_a_connection_that_ends_ends_its_questions(server):
    with open_to(server, "/closing") as bot:
        with pytest.raises(ConnectionClosed, match="1011"):
            bot.ask("fail")
        with pytest.raises(ConnectionClosed):
            bot.ask("text")
    async with open_to(server, "/bot") as bot:
        waits = asyncio.gather(bot.ask("close"), bot.ask("text"), return_exceptions=True)
        assert [getattr(error, "code", error) for error in await waits] == [4000, 4000]


async def test_who_waits_no_longer_has_the_bot_stop(host):
    with open_to(host, "/bot") as bot:
        with pytest.raises(TimeoutError):
            bot.ask("wait", timeout=0.5)
        wait_for(lambda: noted(host) == ["begun", "cancelled"], 10, "the end")
        assert bot.ask("text") == "hello"
    async with open_to(host, "/bot") as bot:
        task = asyncio.create_task(bot.ask("wait"))
        while noted(host)[2:] != ["begun"]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await bot.ask("text") == "hello"
        assert noted(host) == ["begun", "cancelled"] * 2


async def test_a_stream_that_is_left_by_its_block_is_stopped(host):
    with open_to(host, "/many") as bot:
        with bot.stream("endless") as answer:
            assert next(answer) == "more"
        assert set(answer) <= {"more"}  # what was on its way, and no failure
        assert answer.how == "stopped"
        assert noted(host) == ["closed"]
        assert bot.ask("1") == ["0"]
    async with open_to(host, "/many") as bot:
        async with bot.stream("endless") as answer:
            assert await anext(answer) == "more"
        assert await bot.ask("1") == ["0"]
        assert noted(host) == ["closed"] * 2


async def test_stop_ends_all_that_is_under_way_and_says_so(server):
    forget(server, "noted")
    async with open_to(server, "/bot") as bot:
        asked = asyncio.gather(bot.ask("wait"), bot.ask("text"), return_exceptions=True)
        while noted(server) != ["begun"]:
            await asyncio.sleep(0.01)
        await bot.stop()
        assert [getattr(error, "how", error) for error in await asked] == ["stopped"] * 2
        await bot.stop()  # nothing is left to stop
        assert await bot.ask("text") == "hello"


async def test_without_the_subprotocol_frames_are_plain_and_ask_says_why_it_cannot(server):
    with open_to(server, "/bot", subprotocols=[]) as bot:
        assert bot.subprotocol is None
        bot.send("text")
        assert bot.recv() == "hello"
        with pytest.raises(RuntimeError, match=r"does not speak wsh\.v1: connect without"):
            bot.ask("text")
        bot.stop()
    async with open_to(server, "/bot", subprotocols=[]) as bot:
        with pytest.raises(RuntimeError):
            await bot.ask("text")


def test_who_names_the_subprotocol_speaks_it_for_themselves(server):
    with open_to(server, "/bot", subprotocols=["wsh.v1"]) as bot:
        assert bot.recv_json()["wsh"] == "v1"
        bot.send({"message": "text", "ask": 1})
        assert bot.recv_json() == {"reply": "hello", "of": 1}


@contextmanager
def agreeing(handler):
    """Serve what agrees to the subprotocol and does not speak it, as some proxies do."""
    server = websockets.sync.server.serve(handler, "127.0.0.1", 0, subprotocols=["wsh.v1"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
    finally:
        server.shutdown()
        thread.join()


async def test_a_proxy_that_agrees_for_a_plain_bot_is_seen_by_its_first_frame(monkeypatch):
    def talkative(socket):
        socket.send('{"wsh": "v2", "id": "x"}')
        for message in socket:
            socket.send(message)

    with agreeing(talkative) as url:
        with connect(url) as bot:
            assert bot.recv() == '{"wsh": "v2", "id": "x"}'
            bot.send("plain")
            assert bot.recv() == "plain"
        async with connect(url) as bot:
            assert await bot.recv() == '{"wsh": "v2", "id": "x"}'
            await bot.send("plain")
            assert await bot.recv() == "plain"


async def test_a_proxy_that_agrees_for_a_bot_that_waits_is_seen_after_a_while(monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.client.connector.CONFIRM", 0.2)

    def silent(socket):
        for message in socket:
            socket.send(message)

    with agreeing(silent) as url:
        with connect(url) as bot:
            bot.send("plain")
            assert bot.recv() == "plain"
        async with connect(url) as bot:
            await bot.send("plain")
            assert await bot.recv() == "plain"


@pytest.mark.parametrize("frame", [b"\0\0", '{"piece": "{", "of": 1, "json": true}'])
async def test_a_server_that_breaks_the_protocol_is_left_with_1002(frame):
    left = []

    def wrong(socket):
        socket.send('{"wsh": "v1", "id": "x"}')
        socket.recv()
        socket.send(frame)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(10)
        left.append(closed.value.rcvd.code)

    with agreeing(wrong) as url:
        with connect(url) as bot, pytest.raises(ConnectionClosed):
            bot.ask("hello")
        async with connect(url) as bot:
            with pytest.raises(ConnectionClosed):
                await bot.ask("hello")
        wait_for(lambda: left == [1002, 1002], 10, "both closes")


async def test_a_client_ignores_what_it_does_not_know_as_a_later_server_may_say_more():
    def later(socket):
        socket.send('{"wsh": "v1", "id": "x", "rooms": []}')
        number = json.loads(socket.recv())["ask"]
        for frame in (
            '{"news": 1}',
            "[]",
            '{"end": 9, "how": "done"}',
            '{"end": 1, "how": "vanished"}',
        ):
            socket.send(frame)
        socket.send(json.dumps({"reply": "hi", "of": number, "more": 1}))
        socket.send(json.dumps({"end": number, "how": "done", "took": 1}))

    with agreeing(later) as url, connect(url) as bot:
        assert bot.ask("hello") == "hi"


def test_messages_that_nobody_reads_end_a_question_before_they_fill_the_memory(server, monkeypatch):
    monkeypatch.setattr(reading_module, "UNREAD", 100)
    with open_to(server, "/bot") as bot:
        with pytest.raises(reading_module.Overflow, match="read them with"):
            bot.ask("push 200")
        assert bot.recv() == "pushed 0"
