"""The Python client: sync and async words, its errors, and the server that it finds by itself."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest
import websockets.sync.server
from jupyter_client.blocking import BlockingKernelClient
from support.bots import bot_text
from support.nginx import make_certificate
from support.server import TOKEN, free_port, running_server, wait_for

from jupyter_wshandler.client import AsyncClient, Client, connect
from jupyter_wshandler.client.running import running_servers
from jupyter_wshandler.client.servers import find_server, hub_server
from jupyter_wshandler.client.targets import resolve
from jupyter_wshandler.errors import (
    ConnectError,
    ConnectionClosed,
    HandshakeRefused,
    ServerNotFound,
)

YAML = """\
url:
  echo:
    pattern: /echo
    handler: WebSocketHandler
    kwargs: {on_message: clientbot.echo, subprotocols: [one.v1, two.v1], max_message: 4MiB}
  request:
    pattern: /request/{room}
    handler: WebSocketHandler
    kwargs: {on_message: clientbot.request}
  obey:
    pattern: /obey
    handler: WebSocketHandler
    kwargs: {open: clientbot.opened, on_message: clientbot.obey, on_close: clientbot.closed}
  finder:
    pattern: /finder
    handler: WebSocketHandler
    kwargs: {on_message: clientbot.find}
  private:
    pattern: /private
    handler: WebSocketHandler
    kwargs: {on_message: clientbot.echo, auth: {function: clientbot.nobody}}
  single:
    pattern: /single
    handler: WebSocketHandler
    kwargs: {on_message: clientbot.echo, max_connections: 1}
  broken:
    pattern: /broken
    handler: WebSocketHandler
    kwargs: {on_message: clientbot.there_is_no_such_function}
"""
BOTS = bot_text("client")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Return one server for all tests, at a base URL of its own."""
    with running_server(
        YAML,
        folder=tmp_path_factory.mktemp("client"),
        modules={"clientbot.py": BOTS},
        base_url="/base/",
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def runtime(monkeypatch, tmp_path) -> Path:
    """Return an empty runtime folder, in an environment that names no server."""
    for name in list(os.environ):
        if name.startswith(("JUPYTER", "JPY_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "runtime"
    folder.mkdir()
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def here(served, monkeypatch):
    """Return the server, with its runtime folder as this process's own."""
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(served.folder / ".jupyter-state" / "runtime"))
    return served


@pytest.fixture
def idle():
    """Return the pid of a process that is alive and no relative of this one."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate(b"\n", timeout=20)


def leave(folder: Path, pid: int, **changes) -> dict:
    """Write a runtime file as a Jupyter server does, and return what it holds."""
    info = {
        "base_url": "/",
        "hostname": "localhost",
        "password": False,
        "pid": pid,
        "port": 8888,
        "root_dir": "/home/ada/bots",
        "secure": False,
        "sock": "",
        "token": f"token-of-{pid}",
        "url": "http://localhost:8888/",
        "version": "2.21.1",
        **changes,
    }
    (folder / f"jpserver-{pid}.json").write_text(json.dumps(info))
    return info


def ended_pid() -> int:
    """Return the pid of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)
    return process.pid


def opens(kind: str, target: str, **options) -> None:
    """Open and close a connection, the one way or the other."""

    async def opens_async():
        async with connect(target, **options):
            pass

    if kind == "sync":
        connect(target, **options).open().close()
    else:
        asyncio.run(opens_async())


def error_of(kind: str, error: type[BaseException], target: str, **options):
    """Return what opening raises; nothing that could be printed of it shows a token."""
    with pytest.raises(error) as caught:
        opens(kind, target, **options)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert TOKEN not in shown
    assert "hidden" not in shown
    return caught.value


both = pytest.mark.parametrize("kind", ["sync", "async"])


# -- talking -----------------------------------------------------------------------------------


@both
def test_closing_with_messages_unread_is_quick_and_in_order(here, kind):
    """The server's close frame stands behind what nobody reads."""

    def talk_sync() -> tuple[int | None, float]:
        client = connect("/obey").open()
        client.send("many")
        assert client.recv() == "0"
        began = time.monotonic()
        client.close()
        return client.close_code, time.monotonic() - began

    async def talk_async() -> tuple[int | None, float]:
        client = await connect("/obey")
        await client.send("many")
        assert await client.recv() == "0"
        began = time.monotonic()
        await client.close()
        return client.close_code, time.monotonic() - began

    code, seconds = talk_sync() if kind == "sync" else asyncio.run(talk_async())
    assert code == 1000
    assert seconds < 5


def test_a_block_opens_sends_receives_and_closes(here):
    with connect("/echo") as bot:
        assert isinstance(bot, Client)
        bot.send("hello")
        assert bot.recv() == "hello"
        assert bot.close_code is None
    assert (bot.close_code, bot.close_reason) == (1000, "")


async def test_an_async_block_has_the_same_words(here):
    async with connect("/echo") as bot:
        assert isinstance(bot, AsyncClient)
        await bot.send("hello")
        assert await bot.recv() == "hello"
        assert bot.close_code is None
    assert (bot.close_code, bot.close_reason) == (1000, "")


async def test_without_a_block_it_stays_open_until_it_is_closed(here):
    bot = await connect("echo")
    await bot.send("one")
    assert await bot.recv() == "one"
    await bot.close()
    await bot.close()
    assert bot.close_code == 1000
    bot = connect("echo").open()
    bot.send("two")
    assert bot.recv() == "two"
    bot.close()
    bot.close()
    assert bot.close_code == 1000


async def test_what_is_sent_follows_the_rules_of_write_message(here):
    def cases():
        yield "text", None, "text"
        yield b"\x00\xff", None, b"\x00\xff"
        yield bytearray(b"ab"), None, b"ab"
        yield memoryview(b"ab"), None, b"ab"
        yield {"a": [1, None, "ü"]}, None, '{"a":[1,null,"ü"]}'
        yield [1, 2], None, "[1,2]"
        yield 7, None, "7"
        yield (True, None, 1.5), None, "[true,null,1.5]"
        yield "text", True, b"text"
        yield b"bytes", False, "bytes"

    with connect("/echo") as bot:
        for message, binary, expected in cases():
            bot.send(message, binary)
            assert bot.recv() == expected
        with pytest.raises(TypeError, match="None is no message"):
            bot.send(None)
    async with connect("/echo") as bot:
        for message, binary, expected in cases():
            await bot.send(message, binary)
            assert await bot.recv() == expected
        with pytest.raises(TypeError, match="None is no message"):
            await bot.send(None)


async def test_json_is_read_and_what_is_none_is_named(here):
    with connect("/echo") as bot:
        bot.send({"a": 1})
        assert bot.recv_json() == {"a": 1}
        bot.send("no JSON")
        with pytest.raises(ValueError, match="expected JSON, found 'no JSON'"):
            bot.recv_json()
    async with connect("/echo") as bot:
        await bot.send([1])
        assert await bot.recv_json(timeout=5) == [1]


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_loop_takes_every_message_and_stops_where_the_connection_ends_well(here, code):
    expected = [{"number": number} for number in range(3)]
    with connect("/obey", reconnect=False) as bot:
        bot.send(f"three {code}")
        assert [json.loads(message) for message in bot] == expected
        assert bot.close_code == code
    async with connect("/obey", reconnect=False) as bot:
        await bot.send(f"three {code}")
        assert [json.loads(message) async for message in bot] == expected


async def test_a_close_by_the_server_is_raised_with_its_code_and_reason(here):
    with connect("/obey", reconnect=False) as bot:
        bot.send("close 1012 a new version")
        with pytest.raises(ConnectionClosed) as caught:
            list(bot)
        assert (caught.value.code, caught.value.reason) == (1012, "a new version")
        assert str(caught.value).endswith("/base/obey is closed: 1012 a new version; connect again")
        with pytest.raises(ConnectionClosed) as caught:
            bot.send("more")
        assert caught.value.code == bot.close_code == 1012
    async with connect("/obey") as bot:
        await bot.send("close 4000 enough")
        with pytest.raises(ConnectionClosed) as caught:
            await bot.recv()
        assert (caught.value.code, caught.value.reason) == (4000, "enough")
        assert (bot.close_code, bot.close_reason) == (4000, "enough")
        with pytest.raises(ConnectionClosed):
            await bot.send("more")


def test_the_server_sees_the_code_and_reason_of_a_close_and_1011_for_a_block_that_fails(here):
    def ends():
        return [line for line in here.log_text().splitlines() if line.startswith("closed ")]

    before = len(ends())
    bot = connect("/obey").open()
    bot.close(3001, "done")
    wait_for(lambda: ends()[before:] == ["closed 3001 done"], what="on_close")
    with pytest.raises(ZeroDivisionError), connect("/obey"):
        1 / 0
    wait_for(lambda: ends()[before + 1 :] == ["closed 1011 "], what="on_close")


async def test_a_close_code_that_may_not_be_sent_is_refused_before_anything_is(here):
    with connect("/echo") as bot:
        for code in (999, 1005, 1006, 1015, 2999, 5000):
            with pytest.raises(ValueError, match="may not be sent"):
                bot.close(code)
        with pytest.raises(ValueError, match="at most 123 bytes, found 124"):
            bot.close(1000, "ü" * 62)
        with pytest.raises(ValueError, match=r"text that UTF-8 can write, found '\\ud800'"):
            bot.close(1000, "\ud800")
        assert bot.close_code is None
    async with connect("/echo") as bot:
        with pytest.raises(ValueError, match="may not be sent"):
            await bot.close(1006)


async def test_a_wait_ends_with_what_was_waited_for_and_leaves_the_connection_open(here):
    with connect("/echo", timeout=0.05) as bot:
        with pytest.raises(TimeoutError, match=r"no message from ws://\S+/base/echo within 0.05 s"):
            bot.recv()
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            bot.recv(timeout=0.01)
        bot.send("late")
        assert bot.recv(timeout=10) == "late"
    async with connect("/echo", timeout=5) as bot:
        bot.timeout = 0.05
        with pytest.raises(TimeoutError, match=r"no message from ws://\S+/base/echo within 0.05 s"):
            await bot.recv()
        with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
            await bot.recv_json(timeout=0.01)
        await bot.send("late")
        assert await bot.recv(timeout=None) == "late"


async def test_query_headers_and_subprotocol_reach_the_route(here):
    options = {"args": {"n": [1, 2], "s": "a&b ü"}, "headers": {"X-Who": "ada"}}
    expected = {
        "args": {"q": ["0"], "n": ["1", "2"], "s": ["a&b ü"]},
        "room": "b l",
        "header": "ada",
    }
    with connect("/request/b l?q=0", **options) as bot:
        bot.send("X-Who")
        assert bot.recv_json() == expected
        assert bot.url == f"{here.ws('request/b%20l')}?q=0&n=1&n=2&s=a%26b+%C3%BC"
    async with connect("/request/b l?q=0", **options) as bot:
        await bot.send("X-Who")
        assert await bot.recv_json() == expected
    with connect("/echo", subprotocols=["zero.v1", "two.v1"]) as bot:
        assert bot.subprotocol == "two.v1"
    async with connect("/echo", subprotocols=[]) as bot:
        assert bot.subprotocol is None
    async with connect("/echo") as bot:
        assert bot.subprotocol == "wsh.v1"


async def test_messages_are_compressed_where_that_is_asked_for_and_agreed_to(here):
    with connect("/echo", compression="deflate") as bot:
        bot.send("a" * 1000)
        assert bot.recv() == "a" * 1000


async def test_a_message_over_max_size_closes_with_1009_and_says_what_to_do(here):
    big = "a" * (2 * 2**20)
    with connect("/echo") as bot:
        bot.send(big)
        assert bot.recv() == big
    with connect("/echo", max_size=1000) as bot:
        bot.send(big)
        with pytest.raises(ConnectionClosed, match=r"1009 .*max_size=\.\.\.") as caught:
            bot.recv()
        assert caught.value.code == 1009
    async with connect("/echo", max_size=1000) as bot:
        await bot.send(big)
        with pytest.raises(ConnectionClosed, match=r"1009 .*max_size=\.\.\."):
            await bot.recv()


def test_a_connector_that_is_used_like_a_client_says_how_to_open_it():
    with pytest.raises(AttributeError, match=r"'send'; it is not open yet: .*\.open\(\)"):
        connect("/echo").send("hello")
    with pytest.raises(AttributeError, match=r"no 'nothing'$"):
        connect("/echo").nothing


def test_neither_a_client_nor_an_endpoint_shows_the_token(here):
    with connect("/echo", token=TOKEN) as bot:
        assert repr(bot) == f"<Client {bot.url} open>"
    assert repr(bot) == f"<Client {bot.url} closed 1000>"
    for shown in (repr(find_server()), repr(resolve("/echo")), resolve(f"/echo?token={TOKEN}").url):
        assert TOKEN not in shown


@both
def test_the_debug_log_hides_the_token(here, caplog, kind):
    with caplog.at_level(logging.DEBUG):
        opens(kind, "/echo")
    assert "> Authorization: ***" in caplog.text
    assert TOKEN not in caplog.text


# -- refusals ----------------------------------------------------------------------------------


@both
def test_a_403_says_that_no_token_was_sent_or_which_one(here, kind):
    error = error_of(kind, HandshakeRefused, "/echo", token="")
    assert error.status == 403
    assert "refuses the connection with 403" in str(error)
    assert "Pass token=... to log in; no token was sent, as asked for" in str(error)
    error = error_of(kind, HandshakeRefused, "/echo", token="hidden-and-wrong")
    assert "the token that was passed was sent" in str(error)
    error = error_of(kind, HandshakeRefused, "/private")
    assert error.reason
    assert f"403: {error.reason}. " in str(error)
    assert f"the token from the runtime file jpserver-{here.pid}.json was sent" in str(error)
    assert isinstance(error, ConnectionError)


@both
def test_a_404_says_that_there_is_no_such_route(here, kind):
    error = error_of(kind, HandshakeRefused, "/nothing", args={"secret": "hidden"})
    assert (error.status, error.reason) == (404, "")
    assert "/base/nothing refuses the connection with 404" in str(error)
    assert "no such route" in str(error)


@both
def test_a_broken_and_a_full_route_say_what_to_do(here, kind):
    error = error_of(kind, HandshakeRefused, "/broken")
    assert error.status == 503
    assert "check FILE" in str(error)
    with connect("/single"):
        error = error_of(kind, HandshakeRefused, "/single")
    assert error.status == 429
    assert "Try again in " in str(error)


@both
def test_a_server_that_is_gone_is_named(kind):
    server = f"http://127.0.0.1:{free_port()}/base/"
    error = error_of(kind, ConnectError, "/echo", server=server, token="hidden")
    assert f"cannot reach {server.replace('http', 'ws')}echo: " in str(error)
    assert "is the server running?" in str(error)


@contextmanager
def answering(handler, process_request=None, **options):
    """Run a WebSocket server in a thread; yields it."""
    start = websockets.sync.server.serve
    if "path" in options:
        start, address = websockets.sync.server.unix_serve, ()
    else:
        address = ("127.0.0.1", 0)
    with start(handler, *address, process_request=process_request, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(20)


def headers_of(socket) -> None:
    """Send what a handshake carried."""
    request = socket.request
    socket.send(json.dumps([request.path, request.headers.get("Authorization")]))


def address_of(server, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.socket.getsockname()[1]}/"


@both
@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_not_followed_and_its_query_is_not_shown(kind, status):
    reached = []
    with answering(headers_of, lambda _, request: reached.append(request)) as other:

        def redirect(connection, _request):
            response = connection.respond(status, "")
            response.headers["Location"] = f"{address_of(other, 'ws')}login?next=hidden"
            return response

        with answering(headers_of, redirect) as server:
            error = error_of(
                kind, HandshakeRefused, "/echo", server=address_of(server), token="hidden"
            )
        assert f"redirects to {address_of(other, 'ws')}login, which is not followed" in str(error)
    assert error.status == status
    assert reached == []


@both
def test_a_server_that_repeats_the_token_does_not_bring_it_into_the_error(kind):
    def refuse(connection, request):
        return connection.respond(418, f"418: {request.headers['Authorization']} is no tea\nmore")

    with answering(headers_of, refuse) as server:
        error = error_of(kind, HandshakeRefused, "/", server=address_of(server), token="hidden")
    assert error.reason == "token *** is no tea"


@both
def test_a_certificate_that_is_not_trusted_is_said_and_ssl_trusts_it(kind, tmp_path):
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with answering(headers_of, ssl=context) as server:
        address = address_of(server, "https")
        error = error_of(kind, ConnectError, "/echo", server=address, token="hidden")
        assert "is not trusted (self-signed certificate)" in str(error)
        assert "ssl=ssl.create_default_context(cafile=" in str(error)
        trusting = ssl.create_default_context(cafile=str(certificate))
        opens(kind, "/echo", server=address, token="hidden", ssl=trusting)
        error = error_of(kind, ConnectError, "/echo", server=address_of(server), token="hidden")
        assert "wss and https are for a server with TLS" in str(error)
    with answering(headers_of) as server:
        error = error_of(kind, ConnectError, "/echo", server=address_of(server, "https"))
        assert "wss and https are for a server with TLS" in str(error)


@both
def test_a_server_that_does_not_answer_is_given_up_after_the_timeout(kind):
    release = threading.Event()
    with answering(headers_of, lambda *_: release.wait(30) and None) as server:
        try:
            error = error_of(
                kind, TimeoutError, "/echo", server=address_of(server), token="hidden", timeout=0.2
            )
        finally:
            release.set()
    assert str(error).endswith("/echo did not answer the opening handshake within 0.2 s")


# -- where the token goes ----------------------------------------------------------------------


def seen(target="/echo", **options):
    """Return the path and the Authorization that a server of `headers_of` sees."""
    with connect(target, **options) as bot:
        return bot.recv_json()


def test_a_token_that_is_found_goes_to_its_own_server_and_to_no_other(here):
    owned = (
        here.ws("echo"),
        here.ws("echo").replace("ws://", "http://"),
        here.ws("echo").replace("127.0.0.1", "localhost"),
    )
    for url in owned:
        assert resolve(url).token == TOKEN
        assert resolve(url).url == here.ws("echo")
    for url in (
        here.ws("echo").replace("127.0.0.1", "127.0.0.2"),
        here.ws("echo").replace("127.0.0.1", "example.org"),
        here.ws("echo").replace(f":{here.port}", f":{here.port - 1}"),
        here.ws("echo").replace("ws://", "wss://"),
        here.ws("echo").replace("/base/", "/based/"),
        here.ws("echo").replace("/base/", "/"),
    ):
        assert resolve(url).token == ""
        assert resolve(url).server is None
        assert resolve("/echo", server=url).token == ""
    with answering(headers_of) as other:
        assert seen(f"{address_of(other)}echo?a=1") == ["/echo?a=1", None]
        assert seen(server=address_of(other)) == ["/echo", None]
        assert seen(server=address_of(other), token="own") == ["/echo", "token own"]


def test_a_whole_url_of_the_server_opens_with_its_token(here):
    with connect(here.ws("echo").replace("127.0.0.1", "localhost")) as bot:
        bot.send("hello")
        assert bot.recv() == "hello"
    with connect("/echo", server=here.url) as bot:
        bot.send("hello")
        assert bot.recv() == "hello"


def test_a_whole_url_that_is_no_server_of_ours_is_refused_with_the_reason(here):
    def refuse(connection, _request):
        return connection.respond(403, "403: Forbidden\n")

    with answering(headers_of, refuse) as other:
        error = error_of("sync", HandshakeRefused, f"{address_of(other)}echo")
    assert "no token was sent, as the URL belongs to no server that was found here" in str(error)


def test_the_url_that_jupyter_prints_is_a_server_and_its_token_leaves_the_url():
    for tail in ("?token=abc", "lab?token=abc", "tree?token=abc", "lab/?token=abc"):
        endpoint = resolve("/echo", server=f"http://127.0.0.1:1/base/{tail}")
        assert endpoint.url == "ws://127.0.0.1:1/base/echo"
        assert endpoint.token == "abc"
    endpoint = resolve("ws://127.0.0.1:1/echo?a=%2B1&token=abc&b=")
    assert (endpoint.url, endpoint.token) == ("ws://127.0.0.1:1/echo?a=%2B1&b=", "abc")
    assert resolve("/echo?token=abc", server="https://h/", token="mine").token == "mine"


def test_a_header_of_the_callers_own_replaces_the_token():
    with answering(headers_of) as server:
        given = {"server": address_of(server), "headers": {"authorization": "Basic eA=="}}
        assert seen(token="abc", **given) == ["/echo", "Basic eA=="]


def test_no_proxy_of_the_environment_is_used(here, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for kind in ("sync", "async"):
        opens(kind, "/echo")


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ("ftp://127.0.0.1/echo", {}, "found ftp://"),
        ("ws:///echo", {}, "expected a URL with a host"),
        ("ws://ada:hidden@127.0.0.1/echo", {}, "must not hold a user name or password"),
        ("ws://127.0.0.1:99999/echo", {}, "out of range"),
        ("/echo#part", {}, "no '#'"),
        ("/a/../b", {}, r"without '\.' and '\.\.'"),
        ("ws://127.0.0.1/user/ada/%2e%2e/bob", {}, r"without '\.' and '\.\.'"),
        ("/echo", {"server": "127.0.0.1:8888"}, "expected the base URL of a server"),
        ("/echo", {"server": "http://:1/?token=hidden"}, "expected a URL with a host"),
        ("/echo", {"server": "http://127.0.0.1/", "token": "hidden\nX: y"}, "printable ASCII"),
    ],
)
def test_an_address_or_a_token_that_cannot_be_is_a_value_error(target, options, said):
    assert re.search(said, str(error_of("sync", ValueError, target, **options)))


def test_a_token_read_from_a_file_may_end_with_a_newline():
    assert resolve("/echo", server="http://127.0.0.1/", token="abc\n").token == "abc"


# -- finding the server ------------------------------------------------------------------------


def test_no_server_at_all_says_what_was_looked_for_where_and_what_to_do(runtime):
    for kind in ("sync", "async"):
        error = error_of(kind, ServerNotFound, "/echo")
        assert isinstance(error, LookupError)
        for part in ("JUPYTERHUB_SERVICE_URL", f"jpserver-*.json in {runtime} (none)", "server="):
            assert part in str(error)


def test_files_of_servers_that_ended_and_files_that_are_none_are_skipped(runtime, idle):
    leave(runtime, ended_pid(), token="hidden")
    assert running_servers() == []
    assert "only 1 of servers that have ended" in str(error_of("sync", ServerNotFound, "/echo"))
    (runtime / "jpserver-1.json").write_text("{")
    (runtime / "jpserver-2.json").write_text("[]")
    (runtime / "jpserver-3.json").write_text('{"pid": "x"}')
    (runtime / "nbserver-4.json").write_text("{}")
    leave(runtime, 0)
    leave(runtime, -1)
    leave(runtime, 2**80)
    leave(runtime, idle, base_url="/base/", port=1, hostname="127.0.0.1")
    server = find_server()
    assert (server.url, server.token) == ("http://127.0.0.1:1/base/", f"token-of-{idle}")


def test_a_server_on_all_addresses_is_reached_on_loopback_and_known_by_its_own_url(runtime, idle):
    for hostname, host in (("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")):
        leave(runtime, idle, hostname=hostname, url="http://lab.example.org:8888/", secure=False)
        assert find_server().websocket_url == f"ws://{host}:8888/"
        endpoint = resolve("ws://lab.example.org:8888/echo")
        assert (endpoint.url, endpoint.token) == (f"ws://{host}:8888/echo", f"token-of-{idle}")


def test_several_servers_and_no_relation_are_listed_without_their_tokens(runtime, idle):
    leave(runtime, idle, token="hidden", port=1)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as second:
        leave(runtime, second.pid, token="hidden", port=2, root_dir="/srv/other")
        error = error_of("sync", ServerNotFound, "/echo")
        assert resolve("/echo", server="http://localhost:2/").token == "hidden"
        second.communicate(b"\n", timeout=20)
    assert "2 Jupyter servers run here" in str(error)
    assert "http://localhost:1/  (folder /home/ada/bots)" in str(error)
    assert "http://localhost:2/  (folder /srv/other)" in str(error)
    assert "server='http://localhost:" in str(error)


def test_this_process_is_before_the_starter_of_the_kernel_and_that_before_an_ancestor(
    runtime, idle, monkeypatch
):
    leave(runtime, 1)
    leave(runtime, os.getppid())
    assert find_server().pid == os.getppid()
    leave(runtime, idle)
    assert find_server().pid == os.getppid()
    monkeypatch.setenv("JPY_PARENT_PID", str(idle))
    assert find_server().pid == idle
    monkeypatch.setenv("JPY_PARENT_PID", str(ended_pid()))
    assert find_server().pid == os.getppid()
    leave(runtime, os.getpid())
    assert find_server().pid == os.getpid()


def test_a_kernel_that_somebody_else_has_started_is_not_under_the_only_server(
    runtime, idle, monkeypatch
):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        leave(runtime, other.pid, port=1)
        assert find_server().pid == other.pid
        monkeypatch.setenv("JPY_PARENT_PID", str(idle))
        for kind in ("sync", "async"):
            said = str(error_of(kind, ServerNotFound, "/echo"))
            for part in (f"process {idle}", "jupyter execute", "server='http://localhost:1/'"):
                assert part in said
        assert find_server("http://localhost:1/").pid == other.pid
        monkeypatch.setenv("JPY_PARENT_PID", str(ended_pid()))
        assert find_server().pid == other.pid
        other.communicate(b"\n", timeout=20)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:41234/user/ada/", "http://127.0.0.1:41234/user/ada/"),
        ("http://0.0.0.0:8888/user/ada", "http://127.0.0.1:8888/user/ada/"),
        ("http://:8888/user/ada/", "http://127.0.0.1:8888/user/ada/"),
        ("http://[::]:8888", "http://[::1]:8888/prefix/"),
        ("https://10.0.0.7/user/ada/", "https://10.0.0.7:443/user/ada/"),
    ],
)
def test_jupyterhub_says_where_its_server_listens_and_beats_the_runtime_files(
    runtime, idle, monkeypatch, url, found
):
    leave(runtime, idle)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", url)
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/prefix/")
    assert hub_server() is None
    assert find_server().pid == idle
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "hub-token")
    server = find_server()
    assert (server.url, server.token) == (found, "hub-token")
    assert find_server("http://example.org/").url == "http://example.org/"


def test_the_variables_of_jupyterhub_lead_to_a_real_server(served, monkeypatch):
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", f"http://0.0.0.0:{served.port}/base/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", TOKEN)
    for kind in ("sync", "async"):
        opens(kind, "/echo")


@both
def test_jupyter_token_is_never_sent_by_itself_but_named_where_a_server_gives_none(
    runtime, idle, monkeypatch, kind
):
    seen = []

    def refuse(connection, request):
        seen.append(request.headers.get("Authorization"))
        return connection.respond(403, "403: Forbidden\n")

    monkeypatch.setenv("JUPYTER_TOKEN", "hidden")
    with answering(headers_of, refuse) as server:
        port = server.socket.getsockname()[1]
        leave(runtime, idle, token="", hostname="127.0.0.1", port=port)
        error = error_of(kind, HandshakeRefused, "/echo")
    assert seen == [None]
    assert f"as the runtime file jpserver-{idle}.json gives none" in str(error)
    assert "pass token=os.environ['JUPYTER_TOKEN']" in str(error)


@both
def test_a_server_on_a_unix_socket_is_found_and_reached(runtime, idle, tmp_path, kind):
    path = str(tmp_path / "jupyter.sock")
    url = f"http+unix://{path.replace('/', '%2F')}/base/"
    with answering(headers_of, path=path):
        leave(runtime, idle, sock=path, url=url, base_url="/base/", port=0)
        assert find_server().socket_path == path
        opens(kind, "/echo")
        for server in (None, url):
            assert seen(server=server) == ["/base/echo", f"token token-of-{idle}"]
        assert seen(server=url, token="own") == ["/base/echo", "token own"]
    error = error_of(kind, ConnectError, "/echo")
    assert "cannot reach ws://localhost/base/echo" in str(error)


def test_callbacks_and_children_of_a_server_find_it_by_themselves(served):
    url = served.ws("echo")
    with connect("/finder", server=served.url, token=TOKEN, timeout=60) as bot:
        bot.send("find")
        assert bot.recv_json() == ["from the loop", url]
        assert bot.recv_json() == ["from a thread", url]
        assert bot.recv() == f"from a child {url}"
        assert "would wait for itself" in bot.recv()


def test_a_kernel_finds_the_server_that_started_it_among_several(served, idle):
    folder = served.folder / ".jupyter-state" / "runtime"
    leave(folder, idle)
    status, _, body = served.fetch("api/kernels", method="POST", data=b"{}")
    assert status == 201, body
    kernel = json.loads(body)["id"]
    client = BlockingKernelClient(connection_file=str(folder / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()

    def ready() -> bool:
        try:
            client.wait_for_ready(timeout=60)
        except RuntimeError:
            return False  # one that is slow to start is taken for dead: its heart does not beat yet
        return True

    try:
        wait_for(ready, 90, "the kernel's first answer", every=0.2)
        cell = (
            "from jupyter_wshandler.client import connect\n"
            "with connect('/echo') as bot:\n"
            "    bot.send('from a cell')\n"
            "    first = bot.recv(), bot.url\n"
            "bot = await connect('/echo')\n"
            "await bot.send('awaited')\n"
            "second = await bot.recv()\n"
            "await bot.close()\n"
        )
        reply = client.execute(
            cell, user_expressions={"got": "[*first, second]"}, reply=True, timeout=60
        )
        answer = reply["content"]["user_expressions"]["got"]
        assert answer["data"]["text/plain"] == repr(["from a cell", served.ws("echo"), "awaited"])
    finally:
        client.stop_channels()
        assert served.fetch(f"api/kernels/{kernel}", method="DELETE")[0] == 204
        (folder / f"jpserver-{idle}.json").unlink()


def test_importing_the_client_loads_neither_a_server_nor_the_websockets_library():
    code = "import json, sys, jupyter_wshandler.client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert "jupyter_wshandler.client" in loaded
    heavy = {"jupyter_server", "jupyter_core", "websockets", "tornado", "msgspec", "IPython"}
    assert not loaded & heavy
