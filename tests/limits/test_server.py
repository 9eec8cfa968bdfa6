"""Limits on a real server: refused before the upgrade, freed after the close, rates kept."""

from __future__ import annotations

import contextlib
import json
import re
import resource
import time

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.frames import PING, close, frame, text
from support.server import running_server, wait_for
from support.visitor import fields, rest
from support.wire import Wire, open_descriptors

BOTS = bot_text("limits")

YAML = """
url:
  two: {pattern: /two, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, max_connections: 2}}
  two-closing: {pattern: /two-closing, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, on_close: bots.on_close, max_connections: 2}}
  full: {pattern: /full, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, max_connections: 1}}
  slow: {pattern: /slow, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, on_close: bots.slow_close, max_connections: 1}}
  address: {pattern: /address, handler: WebSocketHandler,
            kwargs: {on_message: bots.echo, max_connections: {address: 1, route: 5}}}
  route: {pattern: /route, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, max_connections: {route: 1}, auth: false}}
  visitors: {pattern: /visitors, handler: WebSocketHandler,
             kwargs: {on_message: bots.echo, max_connections: 1, auth: false}}
  failing: {pattern: /failing, handler: WebSocketHandler,
            kwargs: {on_message: bots.echo, max_connections: 1,
                     select_subprotocol: bots.invent}}
  denied: {pattern: /denied, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, max_connections: 1, auth: {condition: bots.deny}}}
  paged: {pattern: /paged, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, max_connections: 1, page: page.html}}
  rated: {pattern: /rated, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, on_close: bots.on_close,
                   ratelimit: {messages: 5/day}}}
  told: {pattern: /told, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, on_close: bots.on_close,
                  ratelimit: {messages: 3/min, then: error}}}
  bytes: {pattern: /bytes, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, max_message: 1KiB,
                   ratelimit: {bytes: 2KiB/day, then: error}}}
  daily: {pattern: /daily, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, on_close: bots.on_close,
                   ratelimit: {messages: 2/day, per: user, then: error}}}
  public: {pattern: /public, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, auth: false}}
  free: {pattern: /free, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
"""

PUBLIC = "--WSHandlerApp.allow_public_routes=True"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("limits")
    (folder / "page.html").write_text("<!doctype html><title>A page</title>")
    with running_server(
        YAML, folder=folder, modules={"bots.py": BOTS}, extra_args=[PUBLIC]
    ) as running:
        yield running


def status(server, path, **options) -> int:
    """Ask for a socket, leave at once, and return the status."""
    found, _, sock = server.raw_handshake(path, server.headers().items(), **options)
    sock.close()
    return found


def opens(server, path, count=1, seconds=10.0):
    """Open so many sockets, which are free again when they do."""
    with contextlib.ExitStack() as stack:

        def one():
            try:
                return stack.enter_context(server.connect_sync(path))
            except websockets.exceptions.InvalidStatus:
                return None

        for _ in range(count):
            wait_for(one, seconds, f"a free place on {path}")
        return True


# ---- max_connections ---------------------------------------------------------------------------


def assert_refused(server, path, headers=None):
    found, head, sock = server.raw_handshake(
        path, (server.headers() if headers is None else headers).items()
    )
    body = rest(sock, head).decode()
    assert found == 429
    assert 0 < int("".join(fields(head, "Retry-After"))) <= 60
    assert "".join(fields(head, "Content-Type")).startswith("text/plain")
    assert body.startswith("429: too many connections: ")
    assert "Traceback" not in head + body
    assert body.count("\n") == 1
    return body


@pytest.mark.parametrize("path", ["/two", "/two-closing"])
def test_row_ratelimit_with_and_without_on_close_open_sockets_count_and_the_third_gets_429(
    server, path
):
    with server.connect_sync(path), server.connect_sync(path) as second:
        body = assert_refused(server, path)
        assert "you have 2 open here already" in body
        second.send("still here")
        assert second.recv(timeout=5) == "still here"
        # Being refused does not count.
        for _ in range(5):
            assert_refused(server, path)
        second.close()
        assert opens(server, path)
    assert opens(server, path, 2)


def test_row_405_and_429_pages_are_one_line_without_a_traceback(server):
    with server.connect_sync("/two"), server.connect_sync("/two"):
        assert_refused(server, "/two")
        code, headers, body = server.fetch("/two", method="DELETE")
        assert code == 405
        assert headers["Content-Type"].startswith("text/plain")
        assert body.count(b"\n") == 1


def test_a_place_is_free_again_however_the_connection_ends(server):
    for end in ("close", "reset", "protocol error", "server"):
        pair = [Wire(server, "/two").open() for _ in range(2)]
        assert status(server, "/two") == 429
        for wire in pair:
            if end == "close":
                wire.send(close(1000))
                assert wire.frames()[-1].code == 1000
            elif end == "reset":
                wire.reset()
            elif end == "protocol error":
                wire.send(b"\xff\xff\xff\xff")
                assert wire.frames()[-1].code == 1002
            wire.close()
        assert opens(server, "/two", 2)


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("/failing", {"replace": {"Sec-WebSocket-Protocol": "chat"}}, 500),
        ("/two", {"replace": {"Sec-WebSocket-Version": "12"}}, 426),
        ("/two", {"replace": {"Sec-WebSocket-Key": "short"}}, 400),
        ("/denied", {}, 403),
    ],
)
def test_a_handshake_that_fails_holds_no_place(server, path, options, expected):
    assert [status(server, path, **options) for _ in range(4)] == [expected] * 4
    if expected != 403:
        assert opens(server, path)


def test_clients_that_leave_in_the_handshake_hold_no_place(server):
    for _ in range(20):
        with contextlib.suppress(OSError):
            Wire(server, "/two").reset()
    assert opens(server, "/two", 2)


def test_the_page_of_a_full_route_is_served(server):
    with server.connect_sync("/paged"):
        assert status(server, "/paged") == 429
        code, _, body = server.fetch("/paged")
        assert code == 200
        assert b"A page" in body


def test_a_place_is_free_while_on_close_still_runs(server):
    with server.connect_sync("/slow") as socket:
        socket.close()
    left = time.monotonic()
    assert opens(server, "/slow")
    assert time.monotonic() - left < 1.4


def test_limits_per_address_and_route(server):
    with server.connect_sync("/address"):
        assert "from this address" in assert_refused(server, "/address")
    with server.connect_sync("/route", token=False):
        assert "this route takes" in assert_refused(server, "/route")


def test_visitors_without_a_login_count_by_address_and_apart_from_users(server):
    with server.connect_sync("/visitors", token=False):
        assert_refused(server, "/visitors", headers={})
        elsewhere = {"token": False, "source_address": ("127.0.0.2", 0)}
        with server.connect_sync("/visitors", **elsewhere) as other:
            other.send("from another address")
            assert other.recv(timeout=5) == "from another address"
        with server.connect_sync("/visitors"):
            assert_refused(server, "/visitors")


def test_a_full_route_is_one_line_in_the_log_however_often_it_is_asked_for(server):
    with server.connect_sync("/full"):
        for _ in range(30):
            assert status(server, "/full") == 429
    lines = [line for line in server.log_text().splitlines() if "full: 429 for" in line]
    assert len(lines) == 1, lines
    assert "429 GET /full" not in server.log_text()
    assert server.token not in server.log_text()


# ---- ratelimit ---------------------------------------------------------------------------------


def logged(server, line: str) -> bool:
    return line in server.log_text().splitlines()


def test_over_the_rate_the_connection_closes_with_1008_and_others_do_not(server):
    with server.connect_sync("/rated") as other, server.connect_sync("/rated") as socket:
        for number in range(5):
            socket.send(str(number))
            assert socket.recv(timeout=5) == str(number)
        socket.send("one too many")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(timeout=5)
        assert closed.value.rcvd.code == 1008
        assert closed.value.rcvd.reason == "over the rate limit of this route"
        other.send("mine is my own")
        assert other.recv(timeout=5) == "mine is my own"
    wait_for(lambda: logged(server, "closed rated 1008 1"), what="on_close with 1008")


def test_with_then_error_the_message_is_dropped_and_answered_and_the_socket_stays(server):
    with server.connect_sync("/told") as socket:
        for number in range(6):
            socket.send(str(number))
        answers = [socket.recv(timeout=5) for _ in range(6)]
        # What passes goes through the callback, what does not is answered at once.
        assert [answer for answer in answers if len(answer) == 1] == ["0", "1", "2"]
        errors = [json.loads(answer) for answer in answers if len(answer) > 1]
        assert len(errors) == 3
        for error in errors:
            assert error.keys() == {"error", "retry_after"}
            assert error["error"] == "ratelimit"
            assert 15 < error["retry_after"] <= 20
    wait_for(lambda: logged(server, "closed told 1000 3"), what="the count of refused messages")


def test_a_flood_in_one_chunk_is_answered_whole_and_reading_goes_on(server):
    with Wire(server, "/told") as wire:
        flood = b"".join(text(f"{n:04}") for n in range(1000))
        wire.send(flood + frame(PING, b"after") + close(1000))
        frames = wire.frames()
        messages = [found.payload for found in frames if found.opcode == 1]
        assert len(messages) == 1000
        assert [m for m in messages if len(m) == 4] == [b"0000", b"0001", b"0002"]
        assert any(f.opcode == 10 and f.payload == b"after" for f in frames)
        assert frames[-1].code == 1000


def test_a_flood_that_closes_is_answered_and_its_own_close_frame_is_read(server):
    start = time.monotonic()
    with Wire(server, "/rated") as wire:
        wire.send(b"".join(text(f"{n:04}") for n in range(5000)) + close(1008))
        frames = wire.frames()
        assert [frame.code for frame in frames if frame.opcode == 8] == [1008]
    # The stream ended as the close frame was found, and not by a deadline.
    assert time.monotonic() - start < 4.0


def test_bytes_are_counted_by_their_size(server):
    with server.connect_sync("/bytes") as socket:
        for _ in range(2):
            socket.send("x" * 1000)
            assert socket.recv(timeout=5) == "x" * 1000
        socket.send("ä" * 25)  # 50 bytes, and 48 are left
        assert json.loads(socket.recv(timeout=5))["error"] == "ratelimit"
        socket.send("x" * 48)
        assert socket.recv(timeout=5) == "x" * 48


def test_row_ratelimit_2_a_day_per_user_holds_with_on_close_and_over_reconnects(server):
    passed = []
    for number in range(4):
        with server.connect_sync("/daily") as socket:
            socket.send(str(number))
            passed.append(socket.recv(timeout=5))
    assert passed[:2] == ["0", "1"]
    assert all("retry_after" in answer for answer in passed[2:])


def test_a_public_route_takes_100_messages_a_second_by_default_and_a_private_one_any(server):
    flood = b"".join(text("x") for _ in range(1000))
    with Wire(server, "/public") as wire:
        wire.send(flood + close(1008))
        frames = wire.frames()
        assert frames[-1].code == 1008
        assert sum(frame.opcode == 1 for frame in frames) <= 200
    with server.connect_sync("/public", token=False) as socket:
        for _ in range(150):
            socket.send("x")
            assert socket.recv(timeout=5) == "x"
    with Wire(server, "/free") as wire:
        wire.send(flood + close(1000))
        frames = wire.frames()
        assert sum(frame.opcode == 1 for frame in frames) == 1000
        assert frames[-1].code == 1000


# ---- descriptors -------------------------------------------------------------------------------


@pytest.mark.alone
def test_new_sockets_get_503_over_80_percent_of_the_descriptors_and_jupyter_goes_on(tmp_path):
    with running_server(
        "url: {free: {pattern: /free, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}}",
        folder=tmp_path,
        modules={"bots.py": BOTS},
    ) as server:
        limit = 2 * open_descriptors(server.pid) + 60
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        wires, refused = [], []
        try:
            while len(refused) < 25:
                found, head, sock = server.raw_handshake("/free", server.headers().items())
                if found == 101:
                    wires.append(sock)
                    assert len(wires) < limit
                else:
                    refused.append((found, head, rest(sock, head)))
            assert len(wires) > 20
            for found, head, body in refused:
                assert found == 503
                assert int("".join(fields(head, "Retry-After"))) > 0
                assert body == b"503: the server is full; try again later\n"
            assert open_descriptors(server.pid) <= 0.8 * limit + 2
            assert server.fetch("/api/status")[0] == 200
            for sock in wires[:10]:
                sock.close()
            wait_for(lambda: status(server, "/free") == 101, what="a place after some left")
            lines = re.findall(r"^.*(?:\] |: )503 .*$", server.log_text(), re.MULTILINE)
            assert len(lines) == 1, lines
            assert "descriptors are open" in lines[0]
            assert "raise the limit" in lines[0]
        finally:
            for sock in wires:
                sock.close()
