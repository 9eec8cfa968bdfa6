"""The Python client through breaks: nothing lost, nothing twice, and clear words at the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import websockets.asyncio.server
from support.breaking import SECONDS, BreakingServer, breaking_server
from support.cutting import cutting_proxy
from support.server import wait_for

from jupyter_wshandler.client import AnswerFailed, Change, connect, lifeline
from jupyter_wshandler.client import connector as connector_module
from jupyter_wshandler.errors import ConnectionClosed, HandshakeRefused, QueueFull


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Try again sooner than a program would."""
    monkeypatch.setattr(lifeline, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(lifeline, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(connector_module, "CONFIRM", SECONDS)


@pytest.fixture
def server():
    with breaking_server() as running:
        yield running


def open_to(url, **options):
    return connect(url, **{"timeout": SECONDS, **options})


async def until(condition):
    """Wait, on the loop, until something is so."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def numbers(first, last):
    return [str(number) for number in range(first, last)]


def events(changes):
    return [change.event for change in changes]


def healthy(server: BreakingServer):
    return [peer.violation for peer in server.peers if peer.violation] == []


# -- nothing is lost -------------------------------------------------------------------------------


@pytest.mark.timeout(600)
async def test_twenty_cuts_lose_no_message_and_no_answer_and_double_none(server):
    heard, answers, changes = [], [], []
    chance = random.Random(7)
    with cutting_proxy(server.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/bot"
        async with open_to(url, on_state=changes.append) as bot:

            async def listen():
                async for message in bot:
                    heard.append(message)
                    if len(heard) == 2000:
                        return

            async def ask():
                for turn in range(200):
                    answers.append(await bot.ask(f"push {10 * turn} {10 * turn + 10}"))

            async def cut():
                for turn in range(20):
                    await asyncio.sleep(chance.uniform(0, 0.02))
                    (proxy if turn % 2 else server).cut()
                    await until(lambda turn=turn: events(changes).count("resumed") > turn)

            async with asyncio.timeout(4 * SECONDS):
                await asyncio.gather(listen(), ask(), cut())
    assert heard == numbers(0, 2000)
    asked = [f"push {10 * turn} {10 * turn + 10}" for turn in range(200)]
    assert answers == [f"re {question}" for question in asked]
    assert [peer.taken for peer in server.peers] == [asked]
    assert events(changes) == ["away", "resumed"] * 20 + ["closed"]
    assert healthy(server)


@pytest.mark.timeout(600)
def test_a_client_without_await_loses_nothing_either(server):
    changes, answers, stop = [], [], threading.Event()

    def cut():
        for turn in range(20):
            stop.wait(random.Random(turn).uniform(0, 0.02))
            server.cut()
            wait_for(
                lambda turn=turn: events(changes).count("resumed") > turn, SECONDS, "the return"
            )

    with open_to(server.url, on_state=changes.append) as bot:
        cutter = threading.Thread(target=cut)
        cutter.start()
        for turn in range(50):
            answers.append(bot.ask(f"push {10 * turn} {10 * turn + 10}", timeout=SECONDS))
        heard = [bot.recv(timeout=SECONDS) for _ in range(500)]
        cutter.join(4 * SECONDS)
        assert bot.ask("the last one") == "re the last one"
    assert heard == numbers(0, 500)
    assert answers == [f"re push {10 * turn} {10 * turn + 10}" for turn in range(50)]
    assert len(server.peers) == 1
    assert events(changes) == ["away", "resumed"] * 20 + ["closed"]
    assert healthy(server)


async def test_what_is_sent_at_and_during_a_break_arrives_once_and_in_order(server):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        for turn in range(300):
            if turn % 60 == 30:
                server.cut()
            await bot.send(b"%d" % turn if turn % 3 else str(turn))
        assert await bot.ask("end") == "re end"
    expected = [b"%d" % turn if turn % 3 else str(turn) for turn in range(300)]
    assert server.peers[0].taken == [*expected, "end"]
    assert healthy(server)


async def test_an_answer_streams_on_through_a_break_and_is_stopped_after_it(server):
    async with open_to(server.url) as bot:
        answer, tokens = bot.stream("stream 300"), []
        async for token in answer:
            tokens.append(token)
            if len(tokens) in (50, 250):
                server.is_deaf = True
                server.cut()
                await until(lambda: bot.state == "away")
                await asyncio.sleep(0.1)
                server.is_deaf = False
        assert tokens == [f"{number} " for number in range(300)]
        assert answer.how == "done"
        answer, tokens = bot.stream("stream 1000000"), []
        async for token in answer:
            tokens.append(token)
            if len(tokens) == 100:
                server.is_deaf = True
                server.cut()
                await until(lambda: bot.state == "away")
                await answer.stop()
                server.is_deaf = False
        assert answer.how == "stopped"
        assert tokens == [f"{number} " for number in range(len(tokens))]
        assert server.peers[0].stopped == [2]
    assert healthy(server)


async def test_a_server_that_does_not_answer_pings_is_left_and_come_back_to(server, monkeypatch):
    monkeypatch.setattr(connector_module, "PING", 0.3)
    changes = []
    with cutting_proxy(server.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/bot"
        async with open_to(url, on_state=changes.append) as bot:
            proxy.hold()
            asked = asyncio.create_task(bot.ask("hello", timeout=None))
            await until(lambda: bot.state == "away")
            proxy.go_on()
            assert await asked == "re hello"
    assert server.peers[0].taken == ["hello"]
    assert events(changes)[:2] == ["away", "resumed"]


async def test_a_plain_server_that_does_not_answer_pings_is_an_end(monkeypatch):
    monkeypatch.setattr(connector_module, "PING", 0.3)

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    async with websockets.asyncio.server.serve(echo, "127.0.0.1", 0) as plain:
        with cutting_proxy(plain.sockets[0].getsockname()[1]) as proxy:
            async with open_to(f"ws://127.0.0.1:{proxy.port}/") as bot:
                await bot.send("hello")
                assert await bot.recv() == "hello"
                assert not bot.speaks
                proxy.hold()
                with pytest.raises(ConnectionClosed) as ended:
                    await bot.recv()
                assert (ended.value.code, bot.state) == (1006, "closed")


async def test_frames_that_were_swallowed_are_asked_for_again(server):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        peer = server.peers[0]

        def swallow():
            peer.say({"message": "one"})
            peer.skip()
            peer.say({"message": "two"})

        server.run(swallow)
        assert [await bot.recv(), await bot.recv()] == ["one", "two"]
        assert events(changes) == ["away", "resumed"]
        assert changes[0].code == 4900


async def test_what_has_come_is_acknowledged_after_64_and_after_a_while(server, monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.engine.lasting.ACK_AFTER", 0.2)
    async with open_to(server.url) as bot:
        await bot.send("push 0 3")
        await until(lambda: server.peers[0].acks == [3])
        assert [await bot.recv() for _ in range(3)] == ["0", "1", "2"]
        monkeypatch.setattr("jupyter_wshandler.engine.lasting.ACK_AFTER", 3600)
        await bot.send("push 0 64")
        await until(lambda: server.peers[0].acks == [3, 67])
        assert bot.state == "open"
    assert healthy(server)


async def test_who_sends_without_reading_is_not_held_up_by_acknowledgements(server):
    async with open_to(server.url, queue=1) as bot:
        for number in range(400):
            await bot.send(str(number))  # the answers to which nobody reads
    await until(lambda: server.peers[0].taken == numbers(0, 400))
    assert healthy(server)


# -- what cannot be saved is said ------------------------------------------------------------------


async def test_another_connection_is_told_with_what_was_given_up_and_what_waits_is_sent(server):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        await bot.send("sent")
        lost = asyncio.create_task(bot.ask("wait"))
        await until(lambda: server.peers[0].taken == ["sent", "wait"])
        server.refuses, server.is_deaf = "lost", True
        server.cut()
        await until(lambda: bot.state == "away")
        await bot.send("queued")
        kept = asyncio.create_task(bot.ask("asked meanwhile"))
        server.is_deaf = False
        with pytest.raises(AnswerFailed, match="may have handled the message, or not") as failed:
            await lost
        assert failed.value.how == "unknown"
        assert await kept == "re asked meanwhile"
    renewed = changes[1]
    assert events(changes) == ["away", "renewed", "closed"]
    assert (renewed.reason, renewed.state) == ("lost", "open")
    assert renewed.unsure == ("sent", "wait")
    assert "sent" not in repr(renewed)
    assert server.peers[1].taken == ["queued", "asked meanwhile"]
    assert healthy(server)


async def test_a_route_that_does_not_resume_is_connected_again_and_its_questions_fail_at_once(
    server,
):
    server.resume = False
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        asked = asyncio.create_task(bot.ask("wait"))
        await until(lambda: server.peers[0].taken == ["wait"])
        server.is_deaf = True
        server.cut()
        with pytest.raises(AnswerFailed) as failed:
            await asked
        assert failed.value.how == "unknown"
        assert bot.state == "away"
        waits = asyncio.create_task(bot.recv(timeout=None))
        await bot.send("meanwhile")
        server.is_deaf = False
        assert await waits == "meanwhile"
    assert events(changes) == ["away", "renewed", "closed"]
    assert changes[1].reason == "off"
    assert server.offers == ["wsh.resume", "wsh.resume"]


async def test_more_than_the_queue_is_an_error_that_says_so_and_is_not_sent_later(server):
    async with open_to(server.url, queue=3) as bot:
        server.is_deaf = True
        server.cut()
        await until(lambda: bot.state == "away")
        for number in range(3):
            await bot.send(str(number))
        with pytest.raises(QueueFull, match="3 messages wait until it is back: no more are kept"):
            await bot.send("more")
        with pytest.raises(QueueFull):
            await bot.ask("more")
        server.is_deaf = False
        assert [await bot.recv() for _ in range(3)] == ["0", "1", "2"]
        assert await bot.ask("end") == "re end"
    assert server.peers[0].taken == ["0", "1", "2", "end"]
    async with open_to(server.url, queue_bytes=100) as bot:
        server.is_deaf = True
        server.cut()
        await until(lambda: bot.state == "away")
        await bot.send("x" * 200)  # one is always kept
        with pytest.raises(QueueFull):
            await bot.send("y")
        server.is_deaf = False
        assert await bot.recv() == "x" * 200


@pytest.mark.parametrize("limits", [{"queue": 0}, {"queue_bytes": 0}])
def test_a_queue_without_room_is_refused(limits):
    with pytest.raises(ValueError, match="at least 1"):
        connect("/bot", **limits)


async def test_a_server_that_is_gone_for_good_is_a_clear_error_after_window_and_limit(
    server, monkeypatch
):
    monkeypatch.setattr(lifeline, "LIMIT", 0.2)
    server.window, said = 0.1, "could not be opened again within 0.3 s: .* refuses .* 503"
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        server.is_deaf = True
        server.close(1001, "good night")
        with pytest.raises(ConnectionClosed, match=said) as ended:
            async for _ in bot:
                pass
        assert (ended.value.code, ended.value.reason) == (1001, "good night")
        with pytest.raises(ConnectionClosed, match=said):
            await bot.send("more")
        with pytest.raises(ConnectionClosed, match=said):
            await bot.ask("more")
        assert (bot.state, bot.close_code) == ("closed", 1001)
    assert events(changes) == ["away", "closed"]
    server.is_deaf = False
    with open_to(server.url) as bot:
        server.is_deaf = True
        server.cut()
        with pytest.raises(ConnectionClosed, match=said):
            list(bot)


async def test_an_end_tells_what_was_never_sent_and_what_may_not_have_arrived(server):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        await bot.send("a word")
        await until(lambda: server.peers[0].taken == ["a word"])
        server.is_deaf = True
        server.cut()
        await until(lambda: bot.state == "away")
        for number in range(3):
            await bot.send(str(number))
        server.status = 403
        await until(lambda: bot.state == "closed")
    away, closed = changes
    assert (away.event, closed.event, closed.code) == ("away", "closed", 1006)
    assert closed.unsure == ("a word",)
    assert closed.unsent == ("0", "1", "2")
    assert "a word" not in repr(closed)


async def test_to_close_while_it_is_away_tells_what_had_waited_and_a_good_end_tells_nothing(server):
    changes = []
    bot = await open_to(server.url, on_state=changes.append)
    await bot.send("sent")
    await until(lambda: server.peers[0].taken == ["sent"])
    server.is_deaf = True
    server.cut()
    await until(lambda: bot.state == "away")
    await bot.send("waits")
    await bot.send(b"bytes, too")
    await bot.close()
    assert (changes[-1].unsure, changes[-1].unsent) == (("sent",), ("waits", b"bytes, too"))
    server.is_deaf = False
    async with open_to(server.url, on_state=changes.append) as bot:
        await bot.send("arrives")
    assert server.peers[-1].taken == ["arrives"]
    assert (changes[-1].unsure, changes[-1].unsent) == ((), ())
    async with open_to(server.url, on_state=changes.append) as bot:
        await bot.send("perhaps")
        await until(lambda: server.peers[-1].taken == ["perhaps"])
        server.close(4401, "signed out")
        await until(lambda: bot.state == "closed")
    assert (changes[-1].code, changes[-1].unsure) == (4401, ("perhaps",))


@pytest.mark.parametrize("status", [401, 403])
async def test_who_may_not_come_back_is_not_let_try_again(server, status):
    async with open_to(server.url) as bot:
        server.is_deaf, server.status = True, status
        server.cut()
        with pytest.raises(ConnectionClosed, match=rf"opened again: .* {status}"):
            await bot.recv(timeout=None)
    with pytest.raises(HandshakeRefused):
        await open_to(server.url)


@pytest.mark.parametrize("code", [1001, 1012, 1013])
async def test_a_server_that_restarts_is_connected_to_again(server, code):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        server.close(code, "back soon")
        await until(lambda: events(changes) == ["away", "renewed"])
        assert (changes[0].code, changes[0].reason) == (code, "back soon")
        assert await bot.ask("hello") == "re hello"


@pytest.mark.parametrize("code", [1000, 1002, 1008, 1011, 4000, 4401, 4403])
async def test_an_end_that_is_meant_is_one(server, code):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        asked = asyncio.create_task(bot.ask("wait"))
        await until(lambda: server.peers[0].taken == ["wait"])
        server.close(code, "that was all")
        with pytest.raises(ConnectionClosed) as ended:
            await asked
        assert (ended.value.code, ended.value.reason) == (code, "that was all")
        if code == 1000:
            assert [message async for message in bot] == []
    assert events(changes) == ["closed"]
    assert len(server.peers) == 1


async def test_reconnect_and_resume_can_be_left_off(server):
    async with open_to(server.url, reconnect=False) as bot:
        server.cut()
        with pytest.raises(ConnectionClosed) as ended:
            await bot.recv()
        assert ended.value.code == 1006
    assert server.offers == [""]
    changes = []
    async with open_to(server.url, resume=False, on_state=changes.append) as bot:
        server.cut()
        await until(lambda: events(changes) == ["away", "renewed"])
        assert await bot.ask("hello") == "re hello"
    assert server.offers == ["", "", ""]


async def test_a_server_that_breaks_its_word_is_left_with_1002(server):
    changes = []
    async with open_to(server.url, on_state=changes.append) as bot:
        peer = server.peers[0]
        server.run(lambda: peer.out.append('{"ack": 5}'))
        with pytest.raises(ConnectionClosed, match=r"1002 wsh\.v1: message 5 is acknowledged"):
            await bot.recv()
    async with open_to(server.url, on_state=changes.append) as bot:
        server.peers[1].received = 7  # of nothing that was sent
        server.cut()
        with pytest.raises(ConnectionClosed, match="opened again: a server that goes on elsewhere"):
            await bot.recv()


# -- for those who want to know --------------------------------------------------------------------


async def test_what_is_told_of_changes_is_a_plain_function_whose_failure_ends_nothing(
    server, caplog
):
    async def waits(change):
        pass

    for wrong in (waits, "print"):
        with pytest.raises(TypeError, match="expected a plain function as on_state"):
            open_to(server.url, on_state=wrong)

    def fails(change):
        raise RuntimeError("on purpose")

    async with open_to(server.url, on_state=fails) as bot:
        server.cut()
        assert await bot.ask("hello") == "re hello"
    assert "on_state has failed" in caplog.text
    assert Change("away").state == "away"


async def test_no_log_and_no_repr_holds_the_secret(server, caplog):
    caplog.set_level(logging.DEBUG, logger="jupyter_wshandler.client")
    shown = []
    async with open_to(server.url, on_state=lambda change: shown.append(repr(change))) as bot:
        server.cut()
        assert await bot.ask("hello") == "re hello"
        shown.append(repr(bot))
    assert server.offers[1].startswith("wsh.resume.c0.secret-of-c0.")
    assert "hello" in caplog.text
    assert "secret-of" not in caplog.text + "".join(shown)


# -- ends ------------------------------------------------------------------------------------------


class Spent(ThreadPoolExecutor):
    """The threads of an interpreter that ends: it starts no more."""

    tried = 0

    def submit(self, *args, **kwargs):
        self.tried += 1
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")


async def test_an_interpreter_that_starts_no_threads_any_more_is_no_failure(server, caplog):
    changes, spent, loop = [], Spent(), asyncio.get_running_loop()
    async with open_to(server.url, on_state=changes.append) as bot:
        loop.set_default_executor(spent)
        server.cut()
        await until(lambda: spent.tried > 1)
        loop.set_default_executor(ThreadPoolExecutor())
        assert await bot.ask("still there?") == "re still there?"
    assert events(changes) == ["away", "resumed", "closed"]
    assert "has failed" not in caplog.text


async def test_an_error_as_the_server_is_looked_for_is_no_thread_that_could_not_start(
    server, caplog
):
    def fails():
        raise RuntimeError("a fault of the client's own")

    connector = open_to(server.url)
    async with connector as bot:
        connector._find = fails
        server.cut()
        await until(lambda: bot.state == "closed")
    assert "this client has failed" in caplog.text
    assert "a fault of the client's own" in caplog.text
    assert "is not looked for" not in caplog.text


async def test_to_close_while_it_is_away_does_not_wait_for_the_server(server):
    bot = await open_to(server.url)
    server.is_deaf = True
    server.cut()
    await until(lambda: bot.state == "away")
    waits = asyncio.create_task(bot.recv(timeout=None))
    await asyncio.sleep(0)
    await bot.close()
    with pytest.raises(ConnectionClosed):
        await waits
    assert (bot.state, bot.close_code) == ("closed", 1000)
    await bot.close()
    tasks = [task.get_name() for task in asyncio.all_tasks()]
    assert [name for name in tasks if "wshandler" in name] == []


def threads():
    return [thread for thread in threading.enumerate() if "wshandler client" in thread.name]


def test_a_client_leaves_no_thread_behind_even_where_nobody_closes_it(server):
    before = threads()
    with open_to(server.url) as bot:
        assert len(threads()) == len(before) + 1
        server.is_deaf = True
        server.cut()
        wait_for(lambda: bot.state == "away", SECONDS, "the break")
    assert threads() == before
    server.is_deaf = False
    forgotten = open_to(server.url).open()
    assert forgotten.ask("hello") == "re hello"
    del forgotten
    gc.collect()
    wait_for(lambda: threads() == before, SECONDS, "the thread's end")
    server.is_deaf = True
    with pytest.raises(HandshakeRefused):
        open_to(server.url).open()
    assert threads() == before


async def test_a_question_that_waits_is_taken_back_where_nobody_waits_for_it(server):
    async with open_to(server.url) as bot:
        server.is_deaf = True
        server.cut()
        await until(lambda: bot.state == "away")
        with pytest.raises(TimeoutError):
            await bot.ask("too late", timeout=0.01)
        answer = bot.stream("never")
        async with answer:
            pass
        assert answer.how == "stopped"
        server.is_deaf = False
        assert await bot.ask("hello") == "re hello"
    assert server.peers[0].taken == ["hello"]


async def test_who_reads_slowly_is_not_read_ahead_for_without_end(server):
    async with open_to(server.url) as bot:
        await bot.send("push 0 5000")
        await until(lambda: server.peers[0].taken == ["push 0 5000"])
        assert await bot.recv() == "0"
        assert server.peers[0].acks == [] or max(server.peers[0].acks) < 1000
        assert await bot.ask("hello") == "re hello"  # which reads what stands before it
        assert [await bot.recv() for _ in range(4999)] == numbers(1, 5000)
    with open_to(server.url) as bot:
        bot.send("push 0 5000")
        assert [bot.recv() for _ in range(5000)] == numbers(0, 5000)
