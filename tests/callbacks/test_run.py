"""Callbacks as connections run them: order, threads, the end, stopping."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest
from support.frames import CLOSE, PONG
from support.memory import (
    Visitor,
    look_late,
    own_tasks,
    route,
    running,
    turns,
    until,
    warnings_in,
)
from tornado.gen import coroutine

from jupyter_wshandler.connection.phase import OPEN
from jupyter_wshandler.errors import ConnectionClosed
from jupyter_wshandler.manager.manager import WebSocketManager, current_manager

pytestmark = pytest.mark.timeout(30)


# ---- order -------------------------------------------------------------------------------


async def test_row_sample_pingbot_text(manager: WebSocketManager, capsys) -> None:
    def open(handler):
        print("Chatbot opened for", handler.session["id"])

    def on_message(handler, message):
        handler.write_message("Got message: " + message)

    def on_close(handler):
        print("Chatbot closed for", handler.session["id"])

    bot = route(open=open, on_message=on_message, on_close=on_close)
    session = await manager.sessions.attach("abc", "user:me")
    visitor = Visitor(manager, bot, session=session).open()
    visitor.send("Hello world")
    await visitor.received("Got message: Hello world")
    await visitor.leave()
    assert capsys.readouterr().out == "Chatbot opened for abc\nChatbot closed for abc\n"
    assert manager.connections == {}


async def test_row_message_types_text_is_str_and_binary_is_bytes(manager) -> None:
    seen = []

    async def on_message(handler, message):
        seen.append(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("", "grüß dich 🐍", b"\x00\xff", b"")
    await until(lambda: len(seen) == 4)
    assert seen == ["", "grüß dich 🐍", b"\x00\xff", b""]
    await visitor.leave()


@pytest.mark.parametrize("kind", ["async", "thread", "loop", "mixed"])
async def test_messages_are_handled_one_at_a_time_in_order_after_open(manager, kind) -> None:
    log = []

    def step(name):
        log.append(f"+{name}")
        log.append(f"-{name}")

    async def slow(name):
        log.append(f"+{name}")
        await asyncio.sleep(0.001)
        log.append(f"-{name}")

    functions = {
        "async": (
            lambda handler: slow("open"),
            lambda handler, message: slow(message),
            lambda handler: slow("close"),
        ),
        "thread": (
            lambda handler: step("open"),
            lambda handler, message: step(message),
            lambda handler: step("close"),
        ),
    }
    opener, on_message, on_close = functions["thread" if kind in ("thread", "loop") else "async"]
    if kind == "mixed":
        on_message = functions["thread"][1]
    loop = ("open", "on_message", "on_close") if kind == "loop" else ()
    bot = route(open=opener, on_message=on_message, on_close=on_close, loop=loop)
    visitor = Visitor(manager, bot).open()
    names = [str(i) for i in range(200)]
    for at in range(0, 200, 50):
        visitor.send(*names[at : at + 50])
    await visitor.leave()
    assert log == [f"{sign}{name}" for name in ["open", *names, "close"] for sign in "+-"]


async def test_row_async_on_message_is_awaited_strictly_one_at_a_time(manager) -> None:
    running, most, ended = 0, 0, []

    async def on_message(handler, message):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        ended.append(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    start = time.monotonic()
    visitor.send("1", "2", "3")
    await until(lambda: ended == ["1", "2", "3"])
    assert time.monotonic() - start >= 0.06
    assert most == 1
    await visitor.leave()


async def test_row_tornado_coroutine_on_message_is_awaited_on_the_loop(manager) -> None:
    threads, ended = [], []

    @coroutine
    def on_message(handler, message):
        threads.append(threading.get_ident())
        yield asyncio.sleep(0.001)
        ended.append(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("1", "2")
    await until(lambda: ended == ["1", "2"])
    assert set(threads) == {threading.get_ident()}
    await visitor.leave()


async def test_row_sync_callback_that_blocks_stalls_no_other_connection(manager, gate) -> None:
    def on_message(handler, message):
        if message == "block":
            gate.wait()
        handler.write_message(message)

    bot = route(on_message=on_message)
    stuck, other = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    stuck.send("block")
    await until(lambda: gate.entered)
    other.send("free")
    await other.received("free")
    assert stuck.messages == []
    gate.open()
    await stuck.received("block")
    await asyncio.gather(stuck.leave(), other.leave())


async def test_run_loop_calls_a_def_on_the_loop(manager) -> None:
    threads = []

    def on_message(handler, message):
        threads.append(threading.get_ident())

    visitor = Visitor(manager, route(on_message=on_message, loop=("on_message",))).open()
    visitor.send("x")
    await until(lambda: threads)
    assert threads == [threading.get_ident()]
    await visitor.leave()


async def test_row_async_open_frames_sent_meanwhile_are_delivered_after_it(manager) -> None:
    log, go_on = [], asyncio.Event()

    async def opener(handler):
        log.append("open")
        await go_on.wait()
        log.append("opened")

    async def on_message(handler, message):
        log.append(message)

    visitor = Visitor(manager, route(open=opener, on_message=on_message)).open()
    visitor.send("1", "2")
    await turns()
    assert log == ["open"]
    go_on.set()
    await until(lambda: len(log) == 4)
    assert log == ["open", "opened", "1", "2"]
    await visitor.leave()


async def test_bytes_that_came_with_the_handshake_are_delivered_after_open(manager) -> None:
    from support.frames import text

    log = []

    def opener(handler):
        log.append("open")

    async def on_message(handler, message):
        log.append(message)

    visitor = Visitor(manager, route(open=opener, on_message=on_message)).open(text("early"))
    await until(lambda: log == ["open", "early"])
    await visitor.leave()


async def test_a_busy_connection_lets_others_have_a_turn(manager) -> None:
    """Thousands of messages in one chunk are not handled in one turn of the loop."""
    order = []

    async def on_message(handler, message):
        order.append(handler.id)

    bot = route(on_message=on_message)
    loud, quiet = Visitor(manager, bot).open(), Visitor(manager, bot).open()
    loud.send(*["x"] * 2000)
    quiet.send("y")
    await until(lambda: len(order) == 2001)
    assert order.index(quiet.connection.id) < 200
    await asyncio.gather(loud.leave(), quiet.leave())


async def test_an_idle_connection_has_no_task(manager) -> None:
    async def on_message(handler, message):
        await asyncio.sleep(0)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("x")
    await until(lambda: visitor.connection.work is None)
    assert own_tasks() == ["wshandler clock"]
    await visitor.leave()


async def test_an_async_callback_that_awaits_nothing_is_done_within_one_turn_of_the_loop(
    manager,
) -> None:
    async def on_message(handler, message):
        handler.write_message(message)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    await turns()
    visitor.send("x")
    if sys.version_info < (3, 12):  # since then a task's first step runs at once
        await turns(1)
    assert visitor.messages == ["x"]
    assert visitor.connection.work is None
    await visitor.leave()


# ---- no callback -------------------------------------------------------------------------


async def test_row_no_on_message_configured_closes_1003_with_a_reason(manager) -> None:
    visitor = Visitor(manager, route()).open()
    await turns()
    assert visitor.connection.phase == OPEN  # as long as it says nothing
    visitor.send("x")
    goodbye = await visitor.closed_by_server()
    assert (goodbye.code, goodbye.reason) == (1003, "this route takes no messages")


async def test_on_pong_gets_the_payload_in_order_with_the_messages(manager) -> None:
    log = []

    async def on_pong(handler, data):
        log.append(data)

    async def on_message(handler, message):
        log.append(message)
        handler.ping(b"again")

    visitor = Visitor(manager, route(on_message=on_message, on_pong=on_pong)).open()
    visitor.send("1")
    visitor.pong(b"data")
    visitor.send("2")
    await until(lambda: log == ["1", b"data", "2"])
    await visitor.leave()


async def test_a_pong_without_on_pong_wakes_nobody(manager) -> None:
    visitor = Visitor(manager, route(on_message=lambda handler, message: message)).open()
    await turns()
    visitor.pong(b"x")
    assert visitor.connection.work is None
    visitor.ping(b"hi")
    assert [f.payload for f in visitor.frames if f.opcode == PONG] == [b"hi"]
    await visitor.leave()


# ---- the end -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_row_async_on_close_is_awaited_and_runs_once(manager, kind) -> None:
    log = []

    def plain(handler):
        log.append((handler.close_code, handler.close_reason))

    async def awaited(handler):
        await asyncio.sleep(0.001)
        plain(handler)

    bot = route(
        on_close=awaited if kind == "async" else plain, loop=("on_close",) if kind == "loop" else ()
    )
    visitor = Visitor(manager, bot).open()
    await visitor.leave(4999, "bye now")
    await turns()
    assert log == [(4999, "bye now")]


async def test_row_client_close_code_and_reason_are_on_the_handler(manager) -> None:
    seen = []

    def on_close(handler):
        seen.append((handler.close_code, handler.close_reason))

    bot = route(on_close=on_close)
    for code, reason in ((4999, "bye now"), (1001, ""), (None, "")):
        await Visitor(manager, bot).open().leave(code, reason)
    assert seen == [(4999, "bye now"), (1001, ""), (1005, "")]


async def test_row_abrupt_disconnect_idle_runs_on_close_with_1006(manager) -> None:
    seen = []

    def on_close(handler):
        seen.append(handler.close_code)

    visitor = Visitor(manager, route(on_close=on_close)).open()
    await turns()
    visitor.vanish()
    await visitor.gone()
    assert seen == [1006]


async def test_row_abrupt_disconnect_in_async_on_message_runs_to_its_end_then_on_close(
    manager,
) -> None:
    log, go_on = [], asyncio.Event()

    async def on_message(handler, message):
        log.append("begin")
        await go_on.wait()
        try:
            handler.write_message("late")
        except ConnectionClosed as error:
            log.append(str(error).partition(" is ")[2])
        log.append("end")

    async def on_close(handler):
        log.append("on_close")

    visitor = Visitor(manager, route(on_message=on_message, on_close=on_close)).open()
    visitor.send("x")
    await until(lambda: log)
    visitor.vanish()
    await turns()
    assert log == ["begin"]
    go_on.set()
    await visitor.gone()
    assert log == ["begin", "closed (1006)", "end", "on_close"]


@pytest.mark.parametrize("lost", ["drop", "handle"])
async def test_of_messages_before_an_abrupt_end_the_one_whose_turn_it_is_is_delivered_or_all(
    manager, lost
) -> None:
    log, go_on = [], asyncio.Event()

    async def on_message(handler, message):
        await go_on.wait()
        log.append(message)

    def on_close(handler):
        log.append("on_close")

    bot = route(on_message=on_message, on_close=on_close, options={"lost": lost})
    visitor = Visitor(manager, bot).open()
    visitor.send("1", "2", "3")
    visitor.vanish()
    await turns()  # the first one begins: at once with Python 3.12, else in the loop's next turn
    go_on.set()
    await visitor.gone()
    assert log == (["1"] if lost == "drop" else ["1", "2", "3"]) + ["on_close"]


async def test_row_write_message_in_on_close_raises(manager, caplog) -> None:
    log = []

    def on_close(handler):
        with pytest.raises(ConnectionClosed, match=r"closed \(1000\)"):
            handler.write_message("x")
        log.append("checked")
        handler.write_message("x")

    visitor = Visitor(manager, route(on_close=on_close)).open()
    await visitor.leave()
    assert log == ["checked"]
    # Whatever follows in such an on_close does not run, and that is said.
    assert ["on_close ended early" in line for line in warnings_in(caplog)] == [True]


async def test_row_handler_close_in_open_drops_messages(manager) -> None:
    seen = []

    def opener(handler):
        handler.close(4001, "not now")

    def on_message(handler, message):
        seen.append(message)

    def on_close(handler):
        seen.append((handler.close_code, handler.close_reason))

    for loop in ((), ("open", "on_message", "on_close")):
        seen.clear()
        bot = route(open=opener, on_message=on_message, on_close=on_close, loop=loop)
        visitor = Visitor(manager, bot).open()
        if not visitor.transport.lost:
            visitor.send("in flight")
        goodbye = await visitor.closed_by_server()
        assert (goodbye.code, goodbye.reason) == (4001, "not now")
        assert seen == [(4001, "not now")]


async def test_on_close_runs_when_open_was_entered_and_raised(manager) -> None:
    log = []

    def opener(handler):
        raise ValueError("no")

    def on_message(handler, message):
        log.append(message)

    def on_close(handler):
        log.append("on_close")

    visitor = Visitor(manager, route(open=opener, on_message=on_message, on_close=on_close)).open()
    visitor.send("never delivered")
    assert (await visitor.closed_by_server()).code == 1011
    assert log == ["on_close"]


async def test_the_session_and_the_count_are_released_after_on_close(manager) -> None:
    session = await manager.sessions.attach("s1", "me")
    seen = []

    def on_close(handler):
        seen.append((handler.session["id"], len(manager.connections)))

    visitor = Visitor(manager, route(on_close=on_close), session=session).open()
    await visitor.leave()
    assert seen == [("s1", 1)]
    assert manager.connections == {}
    with pytest.raises(LookupError):
        visitor.connection.session


# ---- the manager of the running callback -------------------------------------------------


async def test_the_current_manager_is_set_in_every_callback_threads_included(manager) -> None:
    seen = {}

    def remember(event):
        async def awaited(handler, *args):
            seen[event] = current_manager.get(None)

        def plain(handler, *args):
            seen[event] = current_manager.get(None)

        return awaited if event in ("on_message", "condition") else plain

    def generator(handler, data):
        seen["generator 1"] = current_manager.get(None)
        yield None
        seen["generator 2"] = current_manager.get(None)
        raise ValueError

    events = ("open", "on_message", "on_close", "on_error", "select_subprotocol", "condition")
    bot = route(**{event: remember(event) for event in events}, on_pong=generator)
    visitor = Visitor(manager, bot)
    await manager.ask(visitor.connection, "select_subprotocol", [])
    await manager.ask(visitor.connection, "condition")
    visitor.open()
    visitor.send("x")
    visitor.pong()
    await visitor.closed_by_server()
    assert seen.keys() == {*events, "generator 1", "generator 2"}
    assert set(seen.values()) == {manager}
    assert current_manager.get(None) is None


@pytest.mark.parametrize("kind", ["async", "thread", "loop"])
async def test_a_question_of_the_handshake_is_answered_or_raises(manager, kind) -> None:
    def plain(handler, *args):
        if args == ("bad",):
            raise ValueError("no")
        if args == ("exit",):
            raise SystemExit
        return args

    async def awaited(handler, *args):
        if args == ("cancel",):
            raise asyncio.CancelledError
        await asyncio.sleep(0)
        return plain(handler, *args)

    bot = route(
        condition=awaited if kind == "async" else plain,
        loop=("condition",) if kind == "loop" else (),
    )
    connection = Visitor(manager, bot).connection
    assert await manager.ask(connection, "condition", 1, 2) == (1, 2)
    with pytest.raises(ValueError, match="no"):
        await manager.ask(connection, "condition", "bad")
    with pytest.raises(RuntimeError, match="raised SystemExit"):
        await manager.ask(connection, "condition", "exit")
    if kind == "async":
        with pytest.raises(RuntimeError, match="was cancelled"):
            await manager.ask(connection, "condition", "cancel")


async def test_a_question_that_is_never_answered_times_out(manager, gate) -> None:
    def condition(handler):
        gate.wait()

    bot = route(condition=condition, options={"timeout": 0.02})
    with pytest.raises(TimeoutError):
        await manager.ask(Visitor(manager, bot).connection, "condition")
    gate.open()


async def test_stop_ends_a_question_that_is_not_answered_yet() -> None:
    async def condition(handler):
        await asyncio.Event().wait()

    manager = WebSocketManager()
    await manager.start()
    connection = Visitor(manager, route(condition=condition)).connection
    question = asyncio.ensure_future(manager.ask(connection, "condition"))
    await turns()
    await manager.stop(0.05)
    assert own_tasks() == []
    with pytest.raises(RuntimeError, match="was cancelled"):
        await question


# ---- stopping ----------------------------------------------------------------------------


async def test_stop_closes_1001_and_lets_on_close_run(caplog) -> None:
    log = []

    async def on_close(handler):
        await asyncio.sleep(0)
        log.append(handler.close_code)

    manager = WebSocketManager()
    await manager.start()
    visitors = [Visitor(manager, route(on_close=on_close)).open() for _ in range(3)]
    stopping = asyncio.ensure_future(manager.stop())
    for visitor in visitors:
        await visitor.closed_by_server()
    await stopping
    assert log == [1001] * 3
    assert own_tasks() == []
    assert manager.connections == {}
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("stubborn", [False, True])
async def test_stop_interrupts_what_still_runs_and_leaves_no_task(gate, caplog, stubborn) -> None:
    log = []

    async def on_message(handler, message):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise
            await asyncio.sleep(0.01)
        finally:
            log.append("interrupted")

    def blocking(handler, message):
        gate.wait()

    async def on_close(handler):
        log.append("on_close")
        await asyncio.Event().wait()

    manager = WebSocketManager()
    await manager.start()
    first = Visitor(manager, route("first", on_message=on_message, on_close=on_close)).open()
    second = Visitor(manager, route("second", on_message=blocking)).open()
    first.send("x")
    second.send("x")
    await until(lambda: gate.entered and running(first.connection))
    start = time.monotonic()
    await manager.stop(0.05)
    assert time.monotonic() - start < 5
    assert log == ["interrupted", "on_close"]
    assert own_tasks() == []
    assert manager.connections == {}
    assert any("bot.blocking" in line for line in warnings_in(caplog))
    assert [f.code for f in first.frames if f.opcode == CLOSE] == [1001]
    gate.open()


async def test_stop_does_not_wait_for_a_peer_that_never_answers() -> None:
    manager = WebSocketManager()
    await manager.start()
    visitor = Visitor(manager, route(), room=0).open()
    await turns()
    start = time.monotonic()
    await manager.stop(0.1)
    assert time.monotonic() - start < 3
    assert visitor.transport.aborted
    assert own_tasks() == []


async def test_what_a_thread_sends_after_the_loop_has_ended_is_refused(gate) -> None:
    # A thread that was left to itself may outlive the event loop.
    outcome = []

    def serve():
        async def main():
            manager = WebSocketManager()
            await manager.start()
            visitor = Visitor(manager, route(on_message=on_message)).open()
            visitor.send("x")
            await until(lambda: gate.entered)
            look_late(manager, visitor)
            await visitor.closed_by_server()
            await manager.stop(0.05)

        asyncio.run(main())

    def on_message(handler, message):
        gate.wait()
        try:
            handler.write_message("late")
        except Exception as error:
            outcome.append(type(error))

    await asyncio.to_thread(serve)
    gate.open()
    await until(lambda: outcome)
    assert outcome == [ConnectionClosed]


# ---- beside the callbacks -----------------------------------------------------------------


async def test_a_reload_while_open_runs_starts_each_timer_once(manager) -> None:
    go = asyncio.Event()

    async def open(handler):
        await go.wait()

    async def tick(handler):
        handler.state["turns"] = handler.state.get("turns", 0) + 1

    def version():
        return route(open=open, **{"every 600": tick})

    visitor = Visitor(manager, version()).open()
    await turns()
    visitor.connection.adopt(version())
    go.set()
    await until(lambda: visitor.connection._background is not None, "the timer")
    await turns()
    assert len(visitor.connection._background._timers) == 1
    await visitor.leave()


async def test_start_task_in_a_thread_says_what_to_do_and_runs_nothing(manager) -> None:
    async def work():
        raise AssertionError("nobody runs this")

    def on_message(handler, message):
        try:
            handler.start_task(work())
        except RuntimeError as error:
            return str(error)

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("go")
    await visitor.received(
        "start_task() belongs to the event loop, and this callback runs in a thread; "
        "make the callback `async def`"
    )
    await visitor.leave()


async def test_what_a_thread_has_sent_is_not_overtaken_by_what_it_returns(
    manager, monkeypatch
) -> None:
    """Another thread may be about to wake the loop for its own message at that very moment."""
    loop = asyncio.get_running_loop()
    schedule = loop.call_soon_threadsafe
    about_to_wake, sent = threading.Event(), threading.Event()

    def slow_to_wake(function, *args, context=None):
        if threading.current_thread().name == "other":
            about_to_wake.set()
            sent.wait(0.5)
        return schedule(function, *args, context=context)

    monkeypatch.setattr(loop, "call_soon_threadsafe", slow_to_wake)
    others = []

    def on_message(handler, message):
        other = threading.Thread(
            target=manager.io.call_from_thread, args=(others.append, 1), name="other"
        )
        other.start()
        assert about_to_wake.wait(5)
        handler.write_message("sent")
        return "returned"

    visitor = Visitor(manager, route(on_message=on_message)).open()
    visitor.send("go")
    try:
        await visitor.received("sent", "returned")
    finally:
        sent.set()
    await visitor.leave()


async def test_a_manager_that_never_started_can_be_stopped() -> None:
    await WebSocketManager().stop()
