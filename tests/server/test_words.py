"""What the log of a real server says where a refusal or a setting would leave one guessing."""

from __future__ import annotations

import json
import re
import socket

import pytest
from support.server import running_server, wait_for
from support.visitor import Visitor, fields, rest

BASE = "/user/jos%C3%A9/"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
LINES = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade";'
)

YAML = """
url:
  cafe:
    pattern: /café
    handler: WebSocketHandler
    kwargs: {on_message: bot.where}
  part:
    pattern: /~{name}
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, xsrf: ticket}
  own:
    pattern: /own
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, page: own.html}
  bare:
    pattern: /bare
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, page: none}
  open:
    pattern: /open
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, auth: false}
  listed:
    pattern: /listed
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, origins: [good.example, 'https://*.fine.example']}
  spoken:
    pattern: /spoken
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, subprotocols: [chat.v2]}
  chooses:
    pattern: /chooses
    handler: WebSocketHandler
    kwargs: {on_message: bot.where, select_subprotocol: bot.none}
"""

BOT = """
def where(handler, message):
    return {"path": handler.request.path, "kwargs": handler.path_kwargs}

def none(handler, protocols):
    return None
"""

CONFIG = """
c.ServerApp.websocket_ping_interval = 30000
c.ServerApp.tornado_settings = {"websocket_max_message_size": 1_000_000}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    (folder / "config.py").write_text(CONFIG)
    with running_server(
        YAML,
        folder=folder,
        modules={"bot.py": BOT, "own.html": "<p>own"},
        base_url=BASE,
        extra_args=[
            f"--config={folder / 'config.py'}",
            "--WSHandlerApp.allow_public_routes=True",
        ],
    ) as running:
        yield running


@pytest.fixture
def cookie(server):
    return Visitor(server).log_in(server.token)


def ask(server, path, extra=(), **options):
    """Send a handshake with the token; return the status, the answer and what was logged."""
    mark = len(server.log_text())
    # Jupyter lets a page of any origin in that has a token.
    sent = [] if path == "open" else list(server.headers().items())
    sent += dict(extra).items()
    status, head, sock = server.raw_handshake(path, sent, **options)
    body = rest(sock, head).decode("utf-8", "replace") if status != 101 else ""
    sock.close()
    return status, head + body, lambda: server.log_text()[mark:]


def logged(log, pattern: str) -> str:
    return wait_for(lambda: re.search(pattern, log()), what=f"{pattern!r} in the log")[0]


# ---- paths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["caf%C3%A9", "caf%c3%a9", "c%61f%c3%A9", "café"])
def test_a_route_and_its_page_are_found_however_their_path_is_escaped(server, path):
    assert ask(server, path)[0] == 101
    status, answer, _ = ask(server, path, {"Accept": BROWSER}, upgrade=False)
    assert status == 200
    assert "text/html" in answer


def test_a_part_of_a_path_and_the_base_url_may_be_escaped_in_any_way(server):
    status, head, sock = server.raw_handshake("~zo%c3%ab", list(server.headers().items()))
    sock.close()
    assert status == 101
    with socket.create_connection((server.host, server.port), timeout=10) as sock:
        head = f"GET /us%65r/jos%c3%a9/%7Ezo%C3%AB HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in server.headers().items())
        sock.sendall(f"{head}\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 426 ")  # found, and no upgrade


@pytest.mark.parametrize("asked", ["~zo%C3%AB", "%7Ezo%c3%ab", "%7ezoë"])
@pytest.mark.parametrize("opened", ["~zo%C3%AB", "%7Ezo%c3%ab", "~zoë"])
def test_a_ticket_is_good_for_its_path_in_any_spelling_and_for_no_other(
    server, cookie, asked, opened
):
    headers = {"Content-Type": "application/json", "X-XSRFToken": cookie.jar["_xsrf"].value}
    data = json.dumps({"path": BASE + asked}).encode()
    tickets = []
    for _ in range(2):
        status, _, body = cookie.fetch(
            "/wshandler/api/tickets", method="POST", headers=headers, data=data
        )
        assert status == 200
        tickets.append(json.loads(body)["ticket"])
    assert cookie.status(f"/{opened}?ws_token={tickets[0]}") == 101
    assert cookie.status(f"/~other?ws_token={tickets[1]}") == 403


# ---- a proxy that sets Upgrade for everything ---------------------------------------------------


@pytest.mark.parametrize("connection", ["upgrade", "keep-alive"])
@pytest.mark.parametrize("path", ["caf%C3%A9", "own"])
def test_a_browser_whose_proxy_sets_upgrade_for_everything_gets_the_page(server, path, connection):
    fixed = {"Upgrade": "websocket", "Connection": connection, "Accept": BROWSER}
    status, answer, _ = ask(server, path, fixed, upgrade=False)
    assert status == 200
    assert "text/html" in answer


def test_one_who_is_not_logged_in_is_sent_to_the_login_from_there(server):
    fixed = {"Upgrade": "websocket", "Connection": "upgrade", "Accept": BROWSER}
    status, head, sock = server.raw_handshake("own", list(fixed.items()), upgrade=False)
    sock.close()
    assert status == 302
    assert "/login" in head


def test_a_script_behind_that_proxy_is_told_that_this_is_a_websocket(server):
    fixed = {"Upgrade": "websocket", "Connection": "upgrade", "Accept": "*/*"}
    assert ask(server, "caf%C3%A9", fixed, upgrade=False)[0] == 426
    assert ask(server, "bare", fixed | {"Accept": BROWSER}, upgrade=False)[0] == 426
    assert ask(server, "own", fixed, upgrade=False)[0] == 200


def test_a_handshake_without_a_key_is_still_a_handshake(server):
    status, answer, _ = ask(server, "own", {"Accept": "*/*"}, replace={"Sec-WebSocket-Key": None})
    assert status == 400
    assert "Sec-WebSocket-Key must be given exactly once" in answer


# ---- a proxy that drops the upgrade -------------------------------------------------------------


@pytest.mark.parametrize(
    "dropped",
    [
        {"Upgrade": None, "Connection": "close"},
        {"Upgrade": None, "Connection": None},
        {"Upgrade": None},
        {"Connection": "keep-alive"},
        {"Upgrade": "h2c"},
    ],
    ids=str,
)
def test_a_proxy_that_drops_the_upgrade_is_named_with_the_lines_that_it_needs(server, dropped):
    status, answer, log = ask(server, "own", {"Via": "1.1 front"}, replace=dropped)
    assert status == (426 if "Upgrade" in dropped else 400)
    line = logged(log, r"Route own: 4\d\d for .*")
    assert "the proxy in front of this server (it asks from 127.0.0.1, and calls itself" in line
    assert "'1.1 front'" in line
    assert LINES in line
    assert "nginx" not in answer


def test_nginx_as_it_comes_asks_in_http_1_0_and_is_named_too(server):
    dropped = {"Upgrade": None, "Connection": "close"}
    status, _, log = ask(server, "own", replace=dropped, version="HTTP/1.0")
    assert status == 400
    line = logged(log, r"Route own: 400 for .*")
    assert "no 'Upgrade: websocket' and no 'Connection: upgrade' and HTTP/1.0" in line
    assert LINES in line


def test_with_the_name_of_the_upstream_as_host_both_mistakes_are_in_the_line(server):
    dropped = {"Upgrade": None, "Connection": "close", "Host": "127.0.0.1:9"}
    page = {"Origin": "https://www.example.org"}
    status, answer, log = ask(server, "open", page, replace=dropped, version="HTTP/1.0")
    assert status == 403
    line = logged(log, r"Route open: 403 for .*")
    assert "'https://www.example.org'" in line
    assert "'127.0.0.1:9'" in line
    assert "proxy_set_header Host $http_host;" in line
    assert LINES in line
    assert "127.0.0.1:9" not in answer


# ---- origins ------------------------------------------------------------------------------------


def test_a_refused_origin_is_in_the_log_with_the_list_and_not_in_the_answer(server):
    status, answer, log = ask(server, "listed", {"Origin": "https://evil.example"})
    assert status == 403
    line = logged(log, r"Route listed: 403 for .*")
    assert "'https://evil.example'" in line
    assert "'good.example', 'https://*.fine.example'" in line
    assert "evil" not in answer
    assert "good" not in answer


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("null", "the Origin is null, as of a sandboxed frame or a file"),
        ("https://fine.example", "the Origin is 'https://fine.example'"),
        ("http://" + "x" * 500, "xxx..."),
        ("http://a b\x1b[31m", "\\x1b[31m"),
    ],
)
def test_whatever_came_as_origin_is_shown_on_one_short_line(server, origin, words):
    status, _, log = ask(server, "listed", {"Origin": origin})
    assert status in (400, 403)
    if status == 403:
        line = logged(log, r"Route listed: 403 for .*")
        assert words in line
        assert len(line) < 400


def test_host_without_its_port_is_named_as_what_nginx_does_with_dollar_host(server):
    status, answer, log = ask(
        server, "open", {"Origin": "http://localhost:8080"}, replace={"Host": "localhost"}
    )
    assert status == 403
    line = logged(log, r"Route open: 403 for .*")
    assert "'http://localhost:8080'" in line
    assert "Host is 'localhost', without the port that Origin has" in line
    assert "`proxy_set_header Host $host`; write `proxy_set_header Host $http_host;`" in line
    assert "http_host" not in answer


@pytest.mark.parametrize(
    ("origin", "host", "words"),
    [
        ("http://[::1]:8080", "[::1]", "without the port that Origin has"),
        ("http://LOCALHOST:8080", "localhost", "without the port that Origin has"),
        ("http://localhost:8080", "localhost:8888", "which has another port"),
        ("http://other.example", "localhost", "list them in the route's `origins`"),
        ("null", "localhost", "the Origin is null"),
    ],
)
def test_other_ways_to_differ_from_host_have_their_own_words(server, origin, host, words):
    status, _, log = ask(server, "open", {"Origin": origin}, replace={"Host": host})
    assert status == 403
    assert words in logged(log, r"Route open: 403 for .*")


def test_a_browser_that_hides_its_origin_is_explained(server):
    status, _, log = ask(server, "own", {"Sec-Fetch-Site": "cross-site"})
    assert status == 403
    assert "without Origin, from another site (Sec-Fetch-Site: 'cross-site')" in logged(
        log, r"Route own: 403 for .*"
    )


def test_two_origins_are_explained(server):
    status, _, sock = server.raw_handshake(
        "own",
        [*server.headers().items(), ("Origin", "http://a.example"), ("Origin", "http://b.example")],
    )
    sock.close()
    assert status == 403
    wait_for(lambda: "Origin came 2 times, as 'http://a.example', 'http" in server.log_text())


# ---- subprotocols -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("own", "it has no subprotocols; list them in its `subprotocols`"),
        ("spoken", "its subprotocols are chat.v2"),
        ("chooses", "its select_subprotocol has chosen none"),
    ],
)
def test_subprotocols_that_nobody_speaks_leave_one_line(server, path, why):
    for _ in range(3):
        status, answer, _ = ask(server, path, {"Sec-WebSocket-Protocol": "graphql-ws, mqtt"})
        assert status == 101
        assert fields(answer, "Sec-WebSocket-Protocol") == []
    line = f"Route {path}: a client offers the subprotocols 'graphql-ws, mqtt', and none is spoken"
    wait_for(lambda: f"{line}: {why}" in server.log_text(), what=line)
    assert server.log_text().count(line) == 1


def test_one_that_is_spoken_leaves_none(server):
    status, answer, log = ask(server, "spoken", {"Sec-WebSocket-Protocol": "chat.v1, chat.v2"})
    assert status == 101
    assert fields(answer, "Sec-WebSocket-Protocol") == ["chat.v2"]
    assert "none is spoken" not in log()


# ---- Jupyter's own settings ----------------------------------------------------------------------


def test_settings_of_jupyters_own_sockets_are_said_to_have_no_effect_here(server):
    log = server.log_text()
    line = re.search(r"ServerApp\.websocket_ping_interval has no effect on the routes.*", log)
    assert line is not None
    assert "write ping_interval in a route's kwargs" in line[0]
    assert "milliseconds" in line[0]
    line = re.search(r"tornado_settings\['websocket_max_message_size'\] has no effect.*", log)
    assert line is not None
    assert "write max_message in a route's kwargs" in line[0]
    assert "websocket_ping_timeout has no effect" not in log
