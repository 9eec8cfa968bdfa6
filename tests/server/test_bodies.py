"""Nothing of a body is read before it is known who sends it: a walk of all our rules."""

from __future__ import annotations

import json
import socket
import time

import pytest
from support import rules
from support.bodies import MIB, Body, attacks, chunked, send, sized
from support.frames import text
from support.latency import Pulse, _next_message, percentile
from support.nginx import make_certificate
from support.server import running_server, wait_for
from support.usage import watched
from support.visitor import Visitor
from support.wire import Wire

CONFIG = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
  paged:
    pattern: /paged
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, page: page.html}
  rooms: {pattern: "/rooms/{room}", handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
  ticketed:
    pattern: /ticketed
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, xsrf: ticket}
  open: {pattern: /open, handler: WebSocketHandler, kwargs: {on_message: bot.echo, auth: false}}
  broken: {pattern: /broken, handler: WebSocketHandler, kwargs: {on_message: bot.nothing}}
"""

MODULES = {
    "bot.py": "async def echo(handler, message):\n    return message\n",
    "page.html": "<p>hello",
}

API = "/wshandler/api/tickets"

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]

ATTACKS = attacks(9 * MIB)

HUGE = attacks(30 * MIB)

GROWTH = 8 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bodies")
    with running_server(
        CONFIG,
        folder=folder,
        modules=MODULES,
        command=rules.launcher(folder),
        extra_args=["--WSHandlerApp.allow_public_routes=True"],
    ) as running:
        # What a first request of a kind loads is not the body's.
        for path in (API, "/echo", "/paged", "/static/wshandler/x"):
            for method in METHODS:
                send(running, path, method, sized(b"[]"))
        yield running


def ours(server) -> list[str]:
    """Return a path of each rule of ours, and of each route."""
    found = [
        (rule["handler"], rule["paths"])
        for rule in rules.read(server.folder)
        if rule["module"].partition(".")[0] == "jupyter_wshandler"
        and rule["matcher"] != "Shortcut"  # it finds what others of these find, and no more
    ]
    for handler, paths in found:
        assert paths, f"no path is known for {handler}: support.rules.sample has to learn it"
    return sorted({path for _, paths in found for path in paths})


def rests(server) -> list[float]:
    """Return how long an echo takes while nothing happens."""
    with Wire(server, "/echo") as wire:
        seconds = []
        for _ in range(100):
            begun = time.perf_counter()
            wire.send(text("hi"))
            assert _next_message(wire) == b"hi"
            seconds.append(time.perf_counter() - begun)
        return seconds


class Bystander:
    """Talks to a bot while others attack."""

    def __init__(self, server) -> None:
        self.quiet = percentile(rests(server), 95)
        self.wire = Wire(server, "/echo")
        self.pulse = Pulse(self._ask, 0.005)

    def _ask(self) -> None:
        self.wire.send(text("hi"))
        assert _next_message(self.wire) == b"hi"

    def __enter__(self) -> Bystander:
        self.wire.open()
        self.pulse.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.pulse.stop()
        self.wire.close()

    @property
    def p95(self) -> float:
        return percentile(self.pulse.seconds, 95)


def test_the_walk_knows_every_rule_of_ours(server):
    assert {API, "/echo", "/paged", "/ticketed", "/open", "/broken"} <= set(ours(server))
    assert "/static/wshandler/x" in ours(server)
    assert any(path.startswith("/rooms/") for path in ours(server))


def fitting(path: str, method: str, page: bool) -> set[int]:
    """Return the statuses that a stranger may get for a request with a body."""
    if method == "BREW":
        return {405}
    if path.startswith("/static/"):
        return {400, 403, 405}
    if path.startswith("/wshandler/guest/"):
        return {404}
    if path == "/wshandler/api/health":  # open to all
        return {400, 405}
    if path == "/open":
        return {405, 426} if method == "GET" else {403, 405}
    return {302} if page and method in ("GET", "HEAD") else {403}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_stranger_is_refused_on_every_rule_of_ours_and_no_body_is_kept(server, attack):
    body = ATTACKS[attack]
    with Bystander(server) as bystander, watched(server.pid) as watch:
        for path in ours(server):
            for method in METHODS:
                answer = send(server, path, method, body)
                case = (path, method, answer)
                if answer.status == 0:
                    # Whoever breaks HTTP may lose the answer.
                    assert not body.whole, case
                    continue
                assert answer.status in fitting(path, method, path == "/paged"), case
                # Refused at once: nobody waits for a body, or its end.
                assert answer.seconds < 6, case
    assert watch.growth < GROWTH
    assert bystander.p95 < max(3 * bystander.quiet, 0.05), bystander.quiet
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("attack", ["large", "large and chunked", "nested", "compressed"])
def test_thirty_mebibytes_of_a_stranger_cost_nothing(server, attack):
    for path in (API, "/echo", "/open"):
        with Bystander(server) as bystander, watched(server.pid) as watch:
            answer = send(server, path, "POST", HUGE[attack])
        assert answer.status in (403, 405), answer
        assert watch.growth < GROWTH
        assert bystander.pulse.most < 0.5


def test_many_strangers_at_once_cost_little(server):
    from concurrent.futures import ThreadPoolExecutor

    with watched(server.pid) as watch, ThreadPoolExecutor(16) as pool:
        futures = [
            pool.submit(send, server, path, "POST", HUGE["large"])
            for path in (API, "/echo")
            for _ in range(16)
        ]
        assert {future.result(60).status for future in futures} == {403}
    assert watch.growth < 16 * 1024 * 1024


def token(server) -> list[tuple[str, str]]:
    return list(server.headers().items())


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_is_logged_in_gets_no_large_or_broken_body_in_and_is_told_why(server, attack):
    body = ATTACKS[attack]
    with watched(server.pid) as watch:
        answer = send(server, API, "POST", body, token(server))
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS"):
            other = send(server, API, method, body, token(server))
            assert other.status == 405, (method, other)
    assert watch.growth < GROWTH
    assert "Traceback" not in server.log_text()
    expected = {
        "large": 413,
        "large and chunked": 413,
        "nested": 413,
        "nested and closed": 413,
        "compressed": 415,
        "no text at all": 400,
        "expecting to be asked for": 413,
        "slow": 413,
        "announced and never sent": 413,
        "slow and chunked": 0,
        "broken chunks": 400,
        "two lengths": 400,
        "no length": 400,
        "a length and chunks": 400,
        "an endless chunk size": 400,
    }
    if not (attack == "an endless chunk size" and answer.status == 0):
        assert answer.status == expected[attack], answer
    if answer.status in (413, 415) or attack == "no text at all":
        assert json.loads(answer.text.partition("\r\n\r\n")[2])["message"]


def test_a_body_of_whoever_may_that_never_ends_is_given_up(server):
    slow = Body((("Content-Length", "100"),), [b" "] * 100, pause=0.3)
    answer = send(server, API, "POST", slow, token(server))
    assert answer.status == 0
    assert answer.seconds < 14


SMALL = {
    b"": "expected JSON",
    b"{": "expected JSON",
    b"[" * 4000: "too deep",
    b'{"path": ' * 400 + b"1" + b"}" * 400: "too deep",
    b"[" * 4000 + b"]" * 90: "too deep",
    b'{"other": ' + b"[" * 2000 + b"]" * 2000 + b"}": "too deep",
    b'{"path": "\xff"}': "expected JSON",
    b'\xff\xfe{\x00"\x00': "expected JSON",
    b'{"path": "\\ud800"}': "expected JSON",
    b'{"path": NaN}': "expected JSON",
    b'{"path": 7}': "expected JSON",
    b'{"path": "x"}': "does not begin with /",
    b'{"path": "%s %d %n"}': "does not begin with /",
    b"null": "expected JSON",
    b'["/echo"]': "expected JSON",
    b"1e999999": "expected JSON",
    b"9" * 4000: "expected JSON",
    b'"' + b"\\" * 4001 + b'"': "expected JSON",
}


@pytest.mark.parametrize("body", SMALL, ids=lambda body: repr(body[:20]))
def test_json_that_is_not_what_was_expected_is_400_with_a_sentence(server, body):
    for kind in (sized(body), chunked(body)):
        if not body and kind.fields[0][0] == "Transfer-Encoding":
            continue
        answer = send(server, API, "POST", kind, token(server))
        assert answer.status == 400, answer
        assert SMALL[body] in json.loads(answer.text.partition("\r\n\r\n")[2])["message"]
    assert "Traceback" not in server.log_text()


def test_a_small_body_is_taken_with_and_without_a_length(server):
    small = json.dumps({"path": "/echo"}).encode()
    for body in (sized(small), chunked(small)):
        answer = send(server, API, "POST", body, token(server))
        assert answer.status == 200, answer
    visitor = Visitor(server).log_in(server.token)
    fields = [*visitor.cookie_header().items()]
    assert send(server, API, "POST", sized(small), fields).status == 403, "without XSRF"
    fields.append(("X-XSRFToken", visitor.jar["_xsrf"].value))
    assert send(server, API, "POST", sized(small), fields).status == 200


def test_a_login_by_cookie_without_xsrf_is_refused_before_its_body_is_read(server):
    visitor = Visitor(server).log_in(server.token)
    with watched(server.pid) as watch:
        answer = send(server, API, "POST", HUGE["large"], list(visitor.cookie_header().items()))
    assert answer.status == 403
    assert watch.growth < GROWTH


def test_the_refusal_of_a_handshake_with_a_body_comes_before_the_body(server):
    fields = [
        *token(server),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ]
    answer = send(server, "/echo", "GET", HUGE["large"], fields)
    assert answer.status == 400
    assert "must not have a body" in answer.text
    assert send(server, "/echo", "GET", HUGE["large"], token(server)).status == 426
    assert send(server, "/paged", "GET", HUGE["large"], token(server)).status == 400
    assert send(server, "/broken", "GET", HUGE["large"], token(server)).status in (426, 503)


def test_a_connection_that_was_refused_without_a_body_goes_on(server):
    """Only an unread body costs the connection."""
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        host = f"Host: {server.host}:{server.port}"
        for line in ("GET /echo", f"POST {API}", f"OPTIONS {API}", "POST /echo"):
            sock.sendall(f"{line} HTTP/1.1\r\n{host}\r\nContent-Length: 0\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            assert head.startswith(b"HTTP/1.1 403"), head
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            while length:
                length -= len(sock.recv(length))


def test_a_client_that_reads_after_it_has_sent_everything_still_gets_its_refusal(server):
    """As `urllib` and most scripts do; a reset would have destroyed the answer."""
    for _ in range(5):
        status, _, body = server.fetch(API, method="POST", token=False, data=bytes(30 * MIB))
        assert status == 403
        assert json.loads(body)["message"]


def test_nothing_of_a_request_is_in_the_log(server):
    secret = "a-secret-in-the-query"
    send(server, f"{API}?token={secret}", "POST", sized(b"[]"))
    send(server, f"/echo?token={secret}", "POST", sized(b"[]"))
    assert secret not in server.log_text()


def test_over_tls_a_refusal_is_read_and_no_body_is_kept_either(tmp_path):
    certificate, key = make_certificate(tmp_path)
    with running_server(
        CONFIG,
        folder=tmp_path,
        modules=MODULES,
        extra_args=[f"--ServerApp.certfile={certificate}", f"--ServerApp.keyfile={key}"],
        scheme="https",
    ) as server:
        server.extra["certificate"] = certificate
        wait_for(lambda: send(server, API, "POST", sized(b"[]")).status == 403, what="the server")
        for method, path, fields, status in (
            ("POST", API, [], 403),
            ("POST", "/echo", [], 403),
            ("POST", API, token(server), 413),
            ("PUT", "/echo", token(server), 405),
        ):
            for attack in ("large", "large and chunked"):
                with watched(server.pid) as watch:
                    answer = send(server, path, method, HUGE[attack], fields)
                assert answer.status == status, (path, attack, answer)
                assert watch.growth < GROWTH
        assert "Traceback" not in server.log_text()


AUTHORIZER = """
from jupyter_server.auth import AllowAllAuthorizer

class Authorizer(AllowAllAuthorizer):
    def is_authorized(self, handler, user, action, resource):
        return (action, resource) != ("execute", "wshandler")
"""


def test_who_may_not_use_the_api_is_refused_before_a_body_is_read(tmp_path):
    with running_server(
        CONFIG,
        folder=tmp_path,
        modules=MODULES | {"rule.py": AUTHORIZER},
        extra_args=["--ServerApp.authorizer_class=rule.Authorizer"],
        env={"PYTHONPATH": str(tmp_path)},
    ) as server:
        assert send(server, API, "POST", sized(b"[]"), token(server)).status == 403
        with watched(server.pid) as watch:
            answer = send(server, API, "POST", HUGE["large and chunked"], token(server))
        assert answer.status == 403
        assert "not authorized" in answer.text
        assert watch.growth < GROWTH
