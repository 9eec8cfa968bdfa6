"""Bots in the kernel of a real server: serve, swap, push, print, fail, refuse."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import textwrap
import time
import types
from pathlib import Path

import comm
import pytest
from support import frames
from support.bots import bot_text
from support.notebook import Notebook, eventually, notebook
from support.server import RunningServer, running_server
from support.visitor import Visitor
from websockets.exceptions import ConnectionClosed

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import AnswerFailed

CONFIG = """
url:
  configured:
    pattern: /configured
    handler: WebSocketHandler
    kwargs: {on_message: module_bot.on_message}
"""
MODULE = "def on_message(handler, message):\n    return 'module ' + message\n"

DOCS = (Path(__file__).parents[2] / "docs" / "notebooks.md").read_text()

IMPORT = "import jupyter_wshandler as wsh\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    with running_server(
        CONFIG, folder=folder, modules={"module_bot.py": MODULE}, base_url="/base/"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Notebook:
    with notebook(server, path="bots.ipynb") as opened:
        opened.run(IMPORT)
        yield opened


def code(text: str) -> str:
    return textwrap.dedent(text).strip()


def ask(socket, message: str | bytes) -> str | bytes:
    socket.send(message)
    return socket.recv(timeout=10)


def serve(book: Notebook, pattern: str, body: str = "", **kwargs):
    """Serve an `on_message` with this body in a cell, and return the cell."""
    options = "".join(f", {key}={value!r}" for key, value in kwargs.items())
    lines = textwrap.indent(body or "return 'Got message: ' + message", "    ")
    return book.run(
        f"def on_message(handler, message):\n{lines}\n"
        f"bot = wsh.serve({pattern!r}, on_message=on_message{options})"
    )


# ---- the first minute -----------------------------------------------------------------------


def test_a_function_of_a_cell_answers_at_once_behind_the_servers_login(server, book):
    cell = serve(book, "/first")
    assert cell.text == ""
    with server.connect_sync("/first") as socket:
        assert ask(socket, "Hello world") == "Got message: Hello world"
    assert Visitor(server).status("/first") == 403


def test_a_bot_says_where_it_is_and_who_is_there(server, book):
    serve(book, "/said")
    with server.connect_sync("/said") as socket:
        ask(socket, "x")
        shown = book.run("bot").result
        url = server.ws("/said")
        assert shown == f"<Bot said at {url}: live, 1 connection>"
        assert book.run("print(bot.url, bot.path, bot.state)").text == f"{url} /base/said live\n"
        text = book.run("print(bot.connections[0].current_user.username)").text
        assert text.strip()
    eventually(lambda: book.run("print(len(bot.connections))").text == "0\n")


def test_the_rich_display_is_a_chat_that_the_server_has_a_script_for(server, book):
    cell = serve(book, "/shown")
    cell = book.run("bot")
    html = next(o for o in cell.outputs if o["output_type"] == "execute_result")["data"][
        "text/html"
    ]
    assert "/base/static/wshandler/chat.js" in html
    status, headers, body = server.fetch("/static/wshandler/chat.js")
    assert status == 200
    assert "javascript" in headers["Content-Type"]
    assert b"export function mount" in body


def test_a_browser_that_opens_a_bots_address_gets_a_page_to_chat_with_it(server, book):
    serve(book, "/paged")
    status, headers, body = server.fetch("/paged", headers={"Accept": "text/html"})
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert b'src="./static/wshandler/chatpage.js"' in body
    assert b"{{" not in body
    status, headers, _ = server.fetch("/paged", token=False, headers={"Accept": "text/html"})
    assert status == 302
    assert "/login" in headers["Location"]


def test_a_page_of_ones_own_is_served_at_the_bots_address(server, book):
    (server.folder / "mine.html").write_text("<p>mine</p>")
    serve(book, "/mine", page="mine.html")
    assert server.fetch("/mine")[2] == b"<p>mine</p>"


def test_serving_again_swaps_the_functions_and_keeps_the_connections(server, book):
    serve(book, "/swapped", "return '0 ' + handler.id")
    with server.connect_sync("/swapped") as socket:
        first = ask(socket, "x").split()[1]
        for turn in range(1, 11):
            serve(book, "/swapped", f"return '{turn} ' + handler.id")
            assert ask(socket, "x") == f"{turn} {first}"


def test_no_message_is_lost_through_ten_re_runs_under_traffic(server, book):
    serve(book, "/traffic", "return f'0 {message}'")
    answers = []
    with server.connect_sync("/traffic") as socket:
        sent = 0
        for turn in range(1, 11):
            cell = book.start(
                f"def on_message(handler, message): return f'{turn} {{message}}'\n"
                "bot = wsh.serve('/traffic', on_message=on_message)"
            )
            while cell.reply is None or not cell.idle:
                for _ in range(10):
                    socket.send(str(sent))
                    sent += 1
                answers += [socket.recv(timeout=10) for _ in range(10)]
            assert cell.error is None
    assert [int(answer.split()[1]) for answer in answers] == list(range(sent))
    versions = [int(answer.split()[0]) for answer in answers]
    assert versions == sorted(versions)
    assert versions[-1] in (9, 10)


# ---- the same face --------------------------------------------------------------------------


def test_the_handler_has_the_face_that_it_has_in_a_module(server, book):
    book.run(bot_text("face_cell"))
    with server.connect_sync(
        f"/face/blue?x=1&x=2&token={server.token}", headers={"DNT": "yes"}, subprotocols=["chat"]
    ) as socket:
        ask(socket, "a")
        face = json.loads(ask(socket, "b"))
    assert face.pop("user")
    assert face == {
        "route": "face",
        "name": "face",
        "args": {"x": ["1", "2"]},
        "kwargs": {"room": "blue"},
        "count": 2,
        "path": "/base/face/blue",
        "agent": "yes",
        "ip": "127.0.0.1",
        "protocol": "chat",
        "options": {
            "subprotocols": ["chat"],
            "max_message": "64KiB",
            "on_error": {"close": False},
        },
    }


def test_a_visitors_credentials_stay_in_the_server(server, book):
    serve(
        book,
        "/secrets",
        "return repr((list(handler.request.headers.items()), handler.request.uri, "
        "dict(handler.request.cookies)))",
    )
    headers = {"Cookie": "a-cookie=a-secret"}
    with server.connect_sync(f"/secrets?a=1&token={server.token}", headers=headers) as socket:
        seen = ask(socket, "x")
    assert server.token not in seen
    assert "a-secret" not in seen
    assert "Sec-Websocket-Version" in seen


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ("async def f(handler, message): return message * 2", ["abab"]),
        ("def f(handler, message): return {'m': message}", ['{"m":"ab"}']),
        ("def f(handler, message): yield from message", ["a", "b"]),
        (
            "async def f(handler, message):\n    for c in message: yield c",
            ["a", "b"],
        ),
        (
            "import threading\n"
            "def f(handler, message):\n"
            "    threading.Thread(target=handler.write_message, args=(message,)).start()",
            ["ab"],
        ),
        (
            "import asyncio\n"
            "async def f(handler, message):\n"
            "    await asyncio.sleep(0.01)\n"
            "    await handler.write_message(message)",
            ["ab"],
        ),
    ],
    ids=["async", "dict", "generator", "async generator", "thread", "await"],
)
def test_callbacks_of_every_kind_work(server, book, definition, expected):
    book.run(f"{definition}\nbot = wsh.serve('/kinds', f)")
    with server.connect_sync("/kinds") as socket:
        socket.send("ab")
        assert [socket.recv(timeout=10) for _ in expected] == expected


def test_bytes_stay_bytes_both_ways(server, book):
    serve(book, "/binary", "return message[::-1] if isinstance(message, bytes) else 'text'")
    payload = bytes(range(256)) * 400
    with server.connect_sync("/binary", max_size=None) as socket:
        assert ask(socket, payload) == payload[::-1]
        assert ask(socket, "x") == "text"
        assert ask(socket, b"") == b""


def test_messages_of_one_connection_stay_in_order_and_open_comes_first(server, book):
    book.run(bot_text("ordered_cell"))
    with server.connect_sync("/ordered") as socket:
        for number in range(100):
            socket.send(str(number))
        assert socket.recv(timeout=10) == "done"
        socket.close(4321, "bye")
    wanted = repr(["open", *map(str, range(100)), (4321, "bye")])
    eventually(lambda: book.run("print(log)").text.strip() == wanted)


def test_a_message_that_is_followed_by_a_close_is_answered_first(server, book):
    serve(book, "/last", "import time; time.sleep(0.3); return 'answer to ' + message")
    status, _, sock = Visitor(server).handshake("/last", token=True)
    assert status == 101
    with sock:
        sock.sendall(frames.text("1") + frames.text("2") + frames.close(1000))
        answers = [frames.frame(1, b"answer to " + n, key=None) for n in (b"1", b"2")]
        wanted = b"".join(answers) + frames.frame(8, (1000).to_bytes(2, "big"), key=None)
        seen = b""
        while len(seen) < len(wanted):
            chunk = sock.recv(4096)
            assert chunk, seen
            seen += chunk
    assert seen == wanted


def test_a_bot_closes_with_its_own_code_and_reason(server, book):
    serve(book, "/closing", "handler.close(4001, 'enough')")
    with server.connect_sync("/closing") as socket:
        socket.send("x")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")


def test_a_session_survives_reconnects_and_is_the_servers_own(server, book):
    serve(
        book,
        "/session",
        "handler.session['n'] = handler.session.get('n', 0) + 1\n"
        "return {'id': handler.session['id'], 'n': handler.session['n']}",
    )
    with server.connect_sync("/session") as socket:
        first = json.loads(ask(socket, "x"))
        visitor = Visitor(server)
        visitor.keep(socket.response.headers.get_all("Set-Cookie"))
    for turn in (2, 3):
        with server.connect_sync("/session", headers=visitor.cookie_header()) as socket:
            assert json.loads(ask(socket, "x")) == {"id": first["id"], "n": turn}


def test_pings_of_a_bot_come_back_as_pongs(server, book):
    book.run(
        code(
            """
            def on_message(handler, message): handler.ping(b'beat')
            def on_pong(handler, data): handler.write_message(data)
            bot = wsh.serve('/pongs', on_message=on_message, on_pong=on_pong)
            """
        )
    )
    with server.connect_sync("/pongs") as socket:
        assert ask(socket, "x") == b"beat"


def test_a_timer_of_a_connection_ticks_in_the_kernel(server, book):
    book.run(
        code(
            """
            def opened(handler): handler.every(0.05, lambda h: h.write_message('tick'))
            bot = wsh.serve('/ticks', on_open=opened, on_message=print)
            """
        )
    )
    with server.connect_sync("/ticks") as socket:
        assert [socket.recv(timeout=10) for _ in range(3)] == ["tick"] * 3


# ---- push -----------------------------------------------------------------------------------


def test_other_cells_send_to_all_clients_or_to_one(server, book):
    serve(book, "/push", "return handler.id")
    with server.connect_sync("/push") as one, server.connect_sync("/push") as two:
        ids = ask(one, "x"), ask(two, "x")
        assert book.run("print(bot.send({'price': 42}))").text == "2\n"
        assert [socket.recv(timeout=10) for socket in (one, two)] == ['{"price":42}'] * 2
        assert book.run(f"print(bot.send(b'you', to={ids[1]!r}))").text == "1\n"
        assert two.recv(timeout=10) == b"you"
        assert book.run("print(wsh.send('push', 'by name'))").text == "2\n"
        assert one.recv(timeout=10) == "by name"
        book.run("for c in bot.connections: c.close(4000, 'over')")
        for socket in (one, two):
            while socket.close_code is None:
                with contextlib.suppress(ConnectionClosed):
                    socket.recv(timeout=10)
            assert socket.close_code == 4000


def test_a_generator_is_closed_when_its_client_leaves(server, book):
    book.run(bot_text("endless_cell"))
    with server.connect_sync("/endless", max_queue=None) as socket:
        ask(socket, "go")
        began = time.monotonic()
        socket.close(1000, "enough")
        assert time.monotonic() - began < 2
        assert (socket.close_code, socket.close_reason) == (1000, "")
    eventually(lambda: book.run("print(seen)").text.strip() == "['closed', (1000, 'enough')]")


def test_a_thousand_messages_in_a_row_reach_a_client_that_reads(server, book):
    book.run(
        code(
            """
            def on_message(handler, message):
                for number in range(int(message)):
                    handler.write_message(str(number))
            bot = wsh.serve('/burst', on_message=on_message)
            """
        )
    )
    with server.connect_sync("/burst", max_queue=None) as socket:
        socket.send("5000")
        assert [socket.recv(timeout=10) for _ in range(5000)] == [str(n) for n in range(5000)]
        cell = book.start("for number in range(30000): bot.send(str(number))")
        assert [socket.recv(timeout=20) for _ in range(30000)] == [str(n) for n in range(30000)]
        book.wait(cell)


def test_an_idle_client_that_answers_pings_stays(server, book):
    serve(book, "/idle", ping_interval="0.2s", ping_timeout="0.2s")
    with server.connect_sync("/idle") as socket:
        with pytest.raises(TimeoutError):
            socket.recv(timeout=2)
        assert ask(socket, "x") == "Got message: x"


def test_a_message_of_several_megabytes_is_the_servers_to_judge_also_after_a_re_run(server, book):
    serve(book, "/large", "return str(len(message))", max_message="4MiB")
    with server.connect_sync("/large") as socket:
        for _ in range(2):
            assert ask(socket, "x" * 3_000_000) == "3000000"
            serve(book, "/large", "return str(len(message))", max_message="4MiB")


def test_a_slow_client_makes_a_generator_wait_and_the_kernel_holds_little(server, book):
    book.run(
        code(
            """
            produced = 0
            def on_message(handler, message):
                global produced
                for number in range(2000):
                    produced += 1
                    yield bytes(64 * 1024)
            bot = wsh.serve('/slow', on_message=on_message)
            """
        )
    )
    with server.connect_sync("/slow", max_size=None, max_queue=1) as socket:
        socket.send("go")
        last = -1
        while (now := int(book.run("print(produced)").text)) != last:
            last = now
            time.sleep(0.3)  # it has stopped when it stands still from one look to the next
        assert 10 < last < 400
        for _ in range(2000):
            assert len(socket.recv(timeout=10)) == 64 * 1024


# ---- prints and errors ----------------------------------------------------------------------


def test_prints_go_to_the_serving_cell_also_while_another_one_runs(server, book):
    book.run(bot_text("printing_cell"))
    plain = book.run("bot = wsh.serve('/printing', on_message)")
    asynchronous = book.run("other = wsh.serve('/speaking', speak)")
    with server.connect_sync("/printing") as socket, server.connect_sync("/speaking") as second:
        running = book.start("import time\nprint('begin'); time.sleep(1.5); print('end')")
        book.until(lambda: "begin" in running.text)
        assert ask(socket, "1") == "ok"
        assert ask(second, "2") == "ok"
        book.wait(running)
    assert running.text == "begin\nend\n"
    eventually(lambda: "print 1" in plain.text)
    eventually(lambda: "async 2" in asynchronous.text and "logged" in asynchronous.text)
    assert "async" not in plain.text


def test_the_output_of_a_cells_own_threads_stays_its_own_under_traffic(server, book):
    serve(book, "/quiet", "return message")
    with server.connect_sync("/quiet") as socket:
        ask(socket, "x")
        cell = book.start(
            code(
                """
                import threading, time
                def work():
                    for number in range(60):
                        print('line', number)
                        time.sleep(0.01)
                thread = threading.Thread(target=work); thread.start()
                """
            )
        )
        book.wait(cell)
        deadline = time.monotonic() + 20
        while "line 59" not in cell.text and time.monotonic() < deadline:
            ask(socket, "x")
    assert cell.text == "".join(f"line {number}\n" for number in range(60))


def test_what_is_said_about_a_bot_stands_below_its_own_cell(server, book):
    """A clock says it, which the first bot of the notebook has started."""
    first = serve(book, "/said-first")
    book.run("import time, jupyter_wshandler.callbacks.deadlines as run; run.SLOW = 0.2")
    slow = serve(book, "/said-slow", "time.sleep(2.5)\nreturn 'done'")
    try:
        with server.connect_sync("/said-slow") as socket:
            socket.send("x")
            book.run("'a later cell'")
            assert socket.recv(timeout=10) == "done"
        eventually(lambda: "runs for over" in "".join(c.text for c in book.cells.values()))
        book.run("'the last one'")
        assert "Route said-slow" in slow.text
        everything = "".join(cell.text for cell in book.cells.values())
        assert everything.count("runs for over") == slow.text.count("runs for over") == 1
        assert first.text == ""
    finally:
        book.run("run.SLOW = 10.0")


def test_an_error_keeps_the_connection_and_shows_its_traceback_at_the_serving_cell(server, book):
    cell = serve(book, "/failing", "return 1 / int(message)")
    with server.connect_sync("/failing") as socket:
        answer = json.loads(ask(socket, "0"))
        assert answer["error"] == "internal error"
        assert "ZeroDivisionError" not in json.dumps(answer)
        eventually(lambda: "ZeroDivisionError" in cell.text)
        assert "int(message)" in cell.text
        assert answer["id"] in cell.text
        assert "jupyter_wshandler/callbacks" not in cell.text
        seen = book.run(
            "e = bot.errors[-1]; print(type(e.exception).__name__, e.message, e.handler.id in "
            "[c.id for c in bot.connections])"
        ).text
        assert seen == "ZeroDivisionError 0 True\n"
        for _ in range(20):
            ask(socket, "0")
        assert book.run("print(len(bot.errors))").text == "21\n"
        # The same fault over and over is shown whole some times, and then in one line each.
        eventually(lambda: "as before" in cell.text)
        assert cell.text.count("Traceback") <= 5


def test_an_error_closes_where_one_asks_for_it(server, book):
    book.run("bot = wsh.serve('/strict', lambda handler, message: 1 / 0, on_error={'close': True})")
    with server.connect_sync("/strict") as socket:
        socket.send("x")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1011


def test_what_a_failed_call_had_in_its_variables_is_kept_for_the_newest_errors_only(server, book):
    book.run(
        code(
            """
            import gc, weakref
            class Big: pass
            alive = weakref.WeakSet()
            def on_message(handler, message):
                big = Big(); alive.add(big)
                raise ValueError(message)
            bot = wsh.serve('/leaking', on_message=on_message)
            """
        )
    )
    with server.connect_sync("/leaking") as socket:
        for number in range(30):
            ask(socket, str(number))
    text = book.run("gc.collect(); print(len(bot.errors), len(alive), bot.errors[0].message)").text
    count, alive, first = text.split()
    assert (count, first) == ("30", "0")
    assert int(alive) <= 10


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("wsh.serve('/x')", ["CallbackError", "at least one callback"]),
        ("wsh.serve('/x', on_message=3)", ["CallbackError", "on_message", "found a int"]),
        ("wsh.serve('/x', lambda handler: 1)", ["CallbackError", "handler, message"]),
        ("wsh.serve('x', print)", ["ConfigError", "begins with /"]),
        ("wsh.serve('/x', print, max_mesage=1)", ["ConfigError", "did you mean max_message?"]),
        ("wsh.serve('/configured', print)", ["RouteRefused", "configured"]),
        ("wsh.serve('/api/status', print)", ["RouteRefused", "answered by"]),
        ("wsh.serve('/x', print, auth=False)", ["RouteRefused", "kernel_routes"]),
        ("wsh.serve('/x', print, select_subprotocol=print)", ["TypeError", "subprotocols="]),
        ("wsh.serve('/x', print, origins=['a.example'])", ["RouteRefused", "kernel_routes"]),
    ],
)
def test_what_cannot_be_served_says_why_in_the_cell(server, book, call, words):
    error = book.run(call, fails=True).error
    assert error is not None
    assert all(word in error for word in words), error


def test_a_change_of_pattern_that_is_refused_leaves_the_clients_where_they_are(server, book):
    book.run("bot = wsh.serve('/moving', lambda h, m: 'old', name='moving')")
    with server.connect_sync("/moving") as socket:
        assert ask(socket, "x") == "old"
        again = "wsh.serve('/api/kernels', lambda h, m: 'new', name='moving')"
        assert "RouteRefused" in book.run(again, fails=True).error
        assert ask(socket, "x") == "old"
        assert book.run("print(wsh.bots['moving'] is bot, bot.state, bot.pattern)").text == (
            "True live /moving\n"
        )
        book.run("wsh.serve('/moved', lambda h, m: 'new', name='moving')")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
    with server.connect_sync("/moved") as socket:
        assert ask(socket, "x") == "new"


def test_the_last_of_several_versions_in_a_row_is_served(server, book):
    book.run(
        "wsh.serve('/hasty', lambda h, m: 'refused', auth=False, wait=0)\n"
        "bot = wsh.serve('/hasty', lambda h, m: 'good')"
    )
    with server.connect_sync("/hasty") as socket:
        assert ask(socket, "x") == "good"


def test_patterns_that_would_have_the_same_name_are_different_bots(server, book):
    book.run(
        "one = wsh.serve('/same/name', lambda h, m: 'one')\n"
        "two = wsh.serve('/same-name', lambda h, m: 'two')"
    )
    with server.connect_sync("/same/name") as one, server.connect_sync("/same-name") as two:
        assert (ask(one, "x"), ask(two, "x")) == ("one", "two")
        assert book.run("print(one.name, two.name)").text == "same-name same-name-2\n"
        book.run("one.stop()")
        assert ask(two, "x") == "two"
        assert book.run("print(one.connections, one.send('x'), len(two.connections))").text == (
            "[] 0 1\n"
        )


def test_a_group_that_is_renamed_makes_no_other_bot(server, book):
    book.run("renamed = wsh.serve('/renamed/{room}', lambda h, m: h.path_kwargs['room'])")
    with server.connect_sync("/renamed/x") as socket:
        assert ask(socket, "m") == "x"
        book.run(
            "again = wsh.serve('/renamed/{name}', lambda h, m: 'now ' + h.path_kwargs['name'])"
        )
        assert book.run("print(again is renamed, again.pattern)").text == "True /renamed/{name}\n"
    with server.connect_sync("/renamed/y") as socket:
        assert ask(socket, "m") == "now y"


def test_overlapping_patterns_of_one_notebook_are_ordered_as_in_a_file(server, book):
    book.run(
        "a = wsh.serve('/over/{name}', lambda h, m: h.path_kwargs['name'])\n"
        "b = wsh.serve('/over/x', lambda h, m: 'the literal one')"
    )
    with server.connect_sync("/over/x") as one, server.connect_sync("/over/y") as two:
        assert (ask(one, "m"), ask(two, "m")) == ("the literal one", "y")


def test_a_callback_may_serve_another_bot(server, book):
    book.run(
        code(
            """
            async def on_message(handler, message):
                wsh.serve('/second', lambda h, m: 'second')
                return 'served'
            bot = wsh.serve('/nesting', on_message=on_message)
            """
        )
    )
    with server.connect_sync("/nesting") as socket:
        began = time.monotonic()
        assert ask(socket, "x") == "served"
        assert time.monotonic() - began < 3
    eventually(lambda: book.run("print(wsh.bots['second'].state)").text == "live\n")
    with server.connect_sync("/second") as socket:
        assert ask(socket, "x") == "second"


def test_a_page_is_read_in_the_kernel_and_never_by_the_server(server, book):
    (server.folder / "page.html").write_text("<p>first</p>")
    serve(book, "/own-page", page="page.html")
    (server.folder / "page.html").unlink()
    assert server.fetch("/own-page")[2] == b"<p>first</p>"
    error = book.run("wsh.serve('/own-page', print, page='page.html')", fails=True).error
    assert "page.html" in error


def test_a_fork_of_the_kernel_is_told_that_the_bots_are_not_in_it(server, book):
    serve(book, "/forked")
    text = book.run(
        code(
            """
            import os
            read, write = os.pipe()
            pid = os.fork()
            if not pid:
                try:
                    bot.send('x')
                except BaseException as error:
                    os.write(write, str(error).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            print(os.read(read, 1000).decode())
            """
        )
    ).text
    assert "fork of the kernel" in text


def test_a_change_that_is_refused_leaves_the_bot_as_it_was(server, book):
    serve(book, "/kept", "return 'old'")
    with server.connect_sync("/kept") as socket:
        assert ask(socket, "x") == "old"
        error = book.run("wsh.serve('/kept', lambda h, m: 'new', auth=False)", fails=True).error
        assert "RouteRefused" in error
        assert ask(socket, "x") == "old"
    assert book.run("print(bot.state)").text == "live\n"


def test_another_kernel_is_refused_by_name_and_takes_over_when_it_says_so(server, book):
    serve(book, "/contested", "return 'first'")
    with notebook(server, path="second.ipynb") as second, server.connect_sync("/contested") as old:
        assert ask(old, "x") == "first"
        second.run(IMPORT)
        claim = "other = wsh.serve('/contested', lambda h, m: 'second'{})"
        error = second.run(claim.format(""), fails=True).error
        assert "RouteRefused" in error
        assert "bots.ipynb" in error
        assert "replace=True" in error
        assert ask(old, "x") == "first"
        second.run(claim.format(", replace=True"))
        with pytest.raises(ConnectionClosed):
            old.recv(timeout=10)
        assert old.close_code == 1012
        with server.connect_sync("/contested") as socket:
            assert ask(socket, "x") == "second"
        assert "second.ipynb" in book.run("print(bot.state, bot.reason)").text


def test_visitors_with_a_kernel_each_have_a_bot_each(server):
    # As Voila does: a kernel for every visitor, and the same cells are run in all of them.
    [cell] = [each for each in re.findall(r"```python\n(.*?)```", DOCS, re.S) if "secrets" in each]
    answers = "def answer(handler, message):\n    import os\n    return str(os.getpid())\n"
    with notebook(server) as first, notebook(server) as second:
        paths = []
        for visitor in (first, second):
            visitor.run(answers + cell)
            paths.append(visitor.run("print(bot.path)").text.strip().removeprefix("/base"))
        assert len(set(paths)) == 2
        for visitor, path in zip((first, second), paths, strict=True):
            assert path.startswith("/visitor/")
            with server.connect_sync(path) as socket:
                assert ask(socket, "x") == str(visitor.pid())
        first.run("wsh.serve('/all', answer)")
        error = second.run("wsh.serve('/all', answer)", fails=True).error
        assert "one for each visitor" in error


def test_stop_closes_the_clients_and_the_address(server, book):
    serve(book, "/stopped")
    with server.connect_sync("/stopped") as socket:
        ask(socket, "x")
        book.run("bot.stop()")
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)
        assert socket.close_code == 1012
    assert Visitor(server).status("/stopped", token=True) == 404
    assert book.run("print(bot.state)").text == "stopped\n"
    assert "chat.js" not in book.run("bot").outputs[0]["data"]["text/html"]
    serve(book, "/stopped")
    with server.connect_sync("/stopped") as socket:
        assert ask(socket, "x") == "Got message: x"


# ---- the magic ------------------------------------------------------------------------------


def test_the_cell_magic_serves_the_functions_of_its_cell_and_gives_open_back(server, book):
    book.run("%load_ext jupyter_wshandler")
    cell = book.run(
        code(
            """
            %%websocket /magic max_message=64KiB --bot magic
            greeting = 'Hello'
            def open(handler): handler.write_message(greeting)
            def on_message(handler, message): return message.upper()
            """
        )
    )
    assert "magic" in cell.result
    with server.connect_sync("/magic") as socket:
        assert socket.recv(timeout=10) == "Hello"
        assert ask(socket, "hi") == "HI"
        book.run("%%websocket /magic\ndef on_message(handler, message): return message.lower()")
        assert ask(socket, "HI") == "hi"
    # From Python 3.13 on the module of its own `open` is called `_io`.
    assert book.run("print(magic.name, open.__module__.strip('_'))").text == "magic io\n"


def test_a_conflict_of_the_magic_is_one_sentence_whose_advice_the_magic_takes(server, book):
    book.run("%reload_ext jupyter_wshandler\nmine = wsh.serve('/taken', lambda h, m: 'first')")
    define = "\ndef on_message(handler, message): return 'second'"
    with notebook(server, path="rival.ipynb") as rival:
        rival.run("%load_ext jupyter_wshandler")
        ended = rival.run("%%websocket /taken" + define, fails=True)
        shown = (ended.error or "") + ended.text
        assert ended.reply["status"] == "error"
        assert "bots.ipynb" in shown
        assert "add --replace" in shown
        assert "replace=True" not in shown
        assert len(shown.splitlines()) <= 3, shown
        rival.run("%%websocket /taken --replace" + define)
        with server.connect_sync("/taken") as socket:
            assert ask(socket, "x") == "second"
        ended = rival.run("%%websocket /taken max_message=nothing" + define, fails=True)
        shown = (ended.error or "") + ended.text
        assert "%%websocket: max_message" in shown
        assert len(shown.splitlines()) <= 3, shown
        ended = rival.run("%%websocket /taken --name other" + define, fails=True)
        assert "'other' would never be reached" in ended.text
        assert rival.run("import jupyter_wshandler as w; print(w.bots['other'].state)").text == (
            "refused\n"
        )


def test_the_magic_takes_functions_for_every(server, book):
    book.run("%reload_ext jupyter_wshandler\ndef tick(handler): handler.write_message('tick')")
    define = "\ndef on_message(handler, message): return message"
    for every in ("every=50ms:tick", "'every={50ms: tick}'"):
        book.run(f"%%websocket /ticking {every}{define}")
        with server.connect_sync("/ticking") as socket:
            assert socket.recv(timeout=10) == "tick"
            assert socket.recv(timeout=10) == "tick"
    book.run(f"%%websocket /ticking every=50ms:own{define}\ndef own(h): h.write_message('own')")
    with server.connect_sync("/ticking") as socket:
        assert socket.recv(timeout=10) == "own"
    book.run("bot.stop()")


def test_the_open_of_ipython_is_not_taken_for_the_callback(server, book):
    # As it stands in every notebook that has not deleted it.
    book.run("from IPython.core.interactiveshell import _modified_open as open")
    book.run("def on_message(handler, message): return 'whole ' + message")
    book.run("whole = wsh.serve('/whole', globals()); print([*whole.functions])")
    with server.connect_sync("/whole") as socket:
        assert ask(socket, "x") == "whole x"
    text = book.run("print([*whole.functions], len(whole.errors)); whole.stop(); del open").text
    assert "'on_message'" in text
    assert "'open'" not in text
    assert text.endswith(" 0\n")


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("%%websocket /m every=30s\ndef on_message(h, m): pass", ["every", "30s:tick"]),
        ("%%websocket /m every=30s:nix\ndef on_message(h, m): pass", ["'nix'", "found nothing"]),
        ("%%websocket /m every=x:print\ndef on_message(h, m): pass", ["every", "'x'"]),
        ("%%websocket\ndef on_message(h, m): pass", ["an address", "as in: %%websocket /mybot"]),
        ("%%websocket /m max_message\ndef on_message(h, m): pass", ["option=value"]),
        ("%%websocket /m\nx = 1", ["defines no callback", "expected a function named open"]),
        ("%%websocket /m\ndef on_mesage(h, m): pass", ["did you mean on_message?"]),
        ("%%websocket /m\ndef onMessage(h, m): pass", ["found onMessage", "mean on_message?"]),
        ("%%websocket /m name=x\ndef on_message(h, m): pass", ["--name"]),
        ("%%websocket /m 'x\ndef on_message(h, m): pass", ["quotation"]),
        ("%%websocket /m\nawait x\ndef on_message(h, m): pass", ["await"]),
        ("%%websocket /m\n1/0", ["ZeroDivisionError"]),
        ("%%websocket /m\ndef on_message(", ["incomplete input"]),
    ],
)
def test_the_magic_says_what_is_wrong_with_its_cell(server, book, cell, words):
    book.run("%reload_ext jupyter_wshandler")
    ended = book.run(cell, fails=True)
    shown = (ended.error or "") + ended.text
    assert all(word in shown for word in words), shown


def test_a_callback_with_a_slip_in_its_name_is_named_where_the_cell_has_another_one(server, book):
    book.run("%reload_ext jupyter_wshandler")
    cell = book.run("%%websocket /slip\ndef open(h): pass\ndef on_mesage(h, m): pass")
    assert "never called: found on_mesage; did you mean on_message?" in cell.text
    assert "never called" not in book.run("%%websocket /slip\ndef on_message(h, m): pass").text
    book.run("bot.stop()")


def test_a_traceback_names_the_cell_of_the_magic_by_its_own_number(server, book):
    book.run("%reload_ext jupyter_wshandler")
    cell = book.run("%%websocket /numbered\ndef on_message(handler, message): 1 / 0")
    number = cell.reply["execution_count"]
    with server.connect_sync("/numbered") as socket:
        ask(socket, "x")
    eventually(lambda: "ZeroDivisionError" in cell.text)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", cell.text)
    assert f"Cell In[{number}]" in plain
    assert book.run("bot.stop(); 1").reply["execution_count"] == number + 1


def test_the_magic_takes_its_line_as_it_is_written(server, book):
    book.run("%reload_ext jupyter_wshandler\nroom = 'not this'")
    book.run(
        code(
            r"""
            %%websocket /magic/{room}/(\d+) --name lines max_message=64KiB --bot lines
            if True:
                def on_message(handler, message): return dict(handler.path_kwargs)
            """
        )
    )
    assert book.run("print(lines.pattern, lines.name)").text == "/magic/{room}/(\\d+) lines\n"
    with server.connect_sync("/magic/blue/7") as socket:
        assert json.loads(ask(socket, "x")) == {"room": "blue"}
    book.run("lines.stop()")


def test_serving_outside_a_kernel_says_what_to_do_instead():
    import jupyter_wshandler as wsh

    with pytest.raises(RuntimeError, match="Chat"):
        wsh.serve("/x", print)


def test_another_kind_of_kernel_is_named_before_a_cell_is_run(monkeypatch):
    """As xeus-python has it: a kernel with comms, and nothing else of ipykernel's."""
    import jupyter_wshandler as wsh
    from jupyter_wshandler.notebook.magics import UsageError, WebSocketMagics

    kernel = types.SimpleNamespace(comm_manager=comm.CommManager())
    shell = type("XPythonShell", (), {"__module__": "xeus_python_shell.shell", "kernel": kernel})()
    monkeypatch.setitem(
        sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell, __spec__=None)
    )
    del kernel.comm_manager.comms
    for call in (
        lambda: wsh.serve("/x", print),
        lambda: WebSocketMagics().websocket("/x", "raise SystemExit('the cell was run')"),
    ):
        with pytest.raises((RuntimeError, UsageError), match=r"another one \(xeus-python\).*Chat"):
            call()


TYPED = bot_text("typed").replace("from __future__ import annotations", "")
"""Without it, as it would hold for the cells of all tests that come later."""


def test_types_check_what_a_bot_of_a_notebook_is_sent(server, book):
    book.run(f"{TYPED}\nbot = wsh.serve('/typed', on_message)")
    with connect("/typed", server=server.url, token=server.token) as client:
        assert client.speaks
        assert client.ask({"type": "vote", "colour": "red"})["text"] == "Vote"
        with pytest.raises(AnswerFailed) as failed:
            client.ask({"type": "vote", "colour": "green"})
        assert (failed.value.how, failed.value.path) == ("refused", "$.colour")
        assert 'expected "blue" or "red", found "green"' in str(failed.value)
        client.send({"type": "vote"})
        told = json.loads(client.recv(timeout=10))
        assert (told["error"], told["path"]) == ("message", "$.colour")
    assert book.run("print(len(GIVEN), bot.errors)").text == "1 []\n"


def test_a_bot_of_a_notebook_may_have_a_function_for_each_kind_of_message(server, book):
    book.run(f"{TYPED}\nbot = wsh.serve('/kinds', types={{'ask': ask, 'vote': vote, 'x': other}})")
    with connect("/kinds", server=server.url, token=server.token) as client:
        assert client.ask({"type": "vote", "colour": "red"}) == ["red", "blue"]
        assert client.ask({"type": "ask", "text": "hi"})["text"] == "Ask"
        # What is served again takes the place of what was, while the connection stays.
        book.run("bot = wsh.serve('/kinds', types={'y': other})")
        assert client.ask({"type": "y", "a": 1}) == {"keys": ["a", "type"]}
    text = book.run(
        "from jupyter_wshandler.testing import Chat\n"
        "with Chat(bot) as chat: print(chat.ask({'type': 'y'}))"
    ).text
    assert text == "{'keys': ['type']}\n"
    book.run("%reload_ext jupyter_wshandler")
    book.run("%%websocket /kinds types=z:later\ndef later(handler, message): return 'later'")
    with connect("/kinds", server=server.url, token=server.token) as client:
        assert client.ask({"type": "z"}) == "later"
    book.run("bot.stop()")
