"""The opening handshake on a real server: what is answered, and the session it begins."""

from __future__ import annotations

import http.client
import json
import re

import pytest
from jupyter_server.auth.security import passwd
from support.bots import bot_text
from support.frames import text
from support.server import TOKEN, running_server, wait_for
from support.visitor import Visitor, fields, rest
from support.wire import Wire

PASSWORD = "a-password-only-tests-know"

BOTS = bot_text("handshake")

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  who: {pattern: /who, handler: WebSocketHandler, kwargs: {on_message: bots.who}}
  room: {pattern: '/room/{name}', handler: WebSocketHandler, kwargs: {on_message: bots.who}}
  groups: {pattern: '/groups/(\\w+)/(.*)', handler: WebSocketHandler,
           kwargs: {on_message: bots.who}}
  spoken: {pattern: /spoken, handler: WebSocketHandler,
           kwargs: {on_message: bots.who, subprotocols: [chat.v2, chat.v1]}}
  chosen: {pattern: /chosen, handler: WebSocketHandler,
           kwargs: {on_message: bots.who, select_subprotocol: bots.choose}}
  invents: {pattern: /invents, handler: WebSocketHandler,
            kwargs: {on_message: bots.who, select_subprotocol: bots.invent}}
  chooser-fails: {pattern: /chooser-fails, handler: WebSocketHandler,
                  kwargs: {on_message: bots.who, select_subprotocol: bots.fail}}
  packed: {pattern: /packed, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, compression: true}}
  narrow: {pattern: /narrow, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, compression: {max_window_bits: 10, min_size: 1KiB}}}
  paged: {pattern: /paged, handler: WebSocketHandler,
          kwargs: {on_message: bots.who, page: page.html}}
  no-page: {pattern: /no-page, handler: WebSocketHandler,
            kwargs: {on_message: bots.who, page: gone.html}}
  broken: {pattern: /broken, handler: WebSocketHandler, kwargs: {on_message: bots.missing}}
  misspelt: {pattern: /misspelt, handler: WebSocketHandler, kwargs: {on_mesage: bots.echo}}
  both: {pattern: /both, handler: WebSocketHandler,
         kwargs: {on_message: bots.missing, auth: {condition: bots.never}}}
"""
PAGE = "<!doctype html><title>A page</title>"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # the answer in RFC 6455 section 1.3
CREDENTIAL = ("Authorization", f"token {TOKEN}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handshake")
    (folder / "gone.html").write_text("gone in a moment")
    with running_server(
        YAML,
        folder=folder,
        modules={"bots.py": BOTS, "page.html": PAGE},
        base_url="/jupyter/",
        extra_args=[f"--PasswordIdentityProvider.hashed_password={passwd(PASSWORD)}"],
    ) as running:
        (folder / "gone.html").unlink()
        yield running


def ask(server, path="/echo", headers=(), **options):
    """Send a handshake with the token; return status, head and the body of a refusal."""
    status, head, sock = server.raw_handshake(path, [CREDENTIAL, *headers], **options)
    with sock:
        body = b"" if status == 101 or options.get("method") == "HEAD" else rest(sock, head)
    assert b"Traceback" not in body
    return status, head, body.decode()


def talk(visitor, path="/who", **options) -> dict:
    """Open a socket with what a visitor has, and return what the bot sees."""
    status, head, sock = visitor.handshake(path, **options)
    with sock:
        assert status == 101, head
        sock.sendall(text("?"))
        sock.settimeout(10)
        data = sock.recv(65536)
    return json.loads(data[data.index(b"{") :])


# ---- RFC 6455 section 4.2 -----------------------------------------------------------------


def test_a_sound_handshake_is_answered_as_in_the_rfc(server):
    status, head, _ = ask(server)
    assert status == 101
    assert fields(head, "Sec-WebSocket-Accept") == [ACCEPT]
    assert [value.lower() for value in fields(head, "Upgrade")] == ["websocket"]
    assert [value.lower() for value in fields(head, "Connection")] == ["upgrade"]
    for absent in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Content-Length"):
        assert fields(head, absent) == []
    assert fields(head, "Transfer-Encoding") == []


REQUESTS = {
    "fields in odd cases": (101, {}, {"Upgrade": "WebSocket", "Connection": "keep-alive, UPGRADE"}),
    "no key": (400, {}, {"Sec-WebSocket-Key": None}),
    "empty key": (400, {}, {"Sec-WebSocket-Key": ""}),
    "short key": (400, {}, {"Sec-WebSocket-Key": "c2hvcnQ="}),
    "long key": (400, {}, {"Sec-WebSocket-Key": "x" * 5000}),
    "key without padding": (400, {}, {"Sec-WebSocket-Key": KEY[:-2]}),
    "key that is not base64": (400, {}, {"Sec-WebSocket-Key": "*" * 22 + "=="}),
    "no version": (426, {}, {"Sec-WebSocket-Version": None}),
    "version 8": (426, {}, {"Sec-WebSocket-Version": "8"}),
    "version with words": (426, {}, {"Sec-WebSocket-Version": "13, 8"}),
    "no upgrade field": (426, {}, {"Upgrade": None}),
    "another upgrade": (426, {}, {"Upgrade": "h2c"}),
    "no connection field": (400, {}, {"Connection": None}),
    "connection kept": (400, {}, {"Connection": "keep-alive"}),
    "HTTP/1.0": (400, {"version": "HTTP/1.0"}, {}),
    "empty host": (403, {}, {"Host": ""}),  # Jupyter's own check of the host comes first
    "no host": (400, {}, {"Host": None}),
    "bad subprotocol": (400, {}, {"Sec-WebSocket-Protocol": "a b"}),
    "subprotocol twice": (400, {}, {"Sec-WebSocket-Protocol": "a, a"}),
    "empty subprotocol": (400, {}, {"Sec-WebSocket-Protocol": " ,"}),
    "body of length 0": (101, {}, {"Content-Length": "0"}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_handshake_gets_the_status_of_the_rfc(server, name):
    expected, options, replace = REQUESTS[name]
    status, head, _ = ask(server, replace=replace, **options)
    assert status == expected
    if expected == 426:
        assert fields(head, "Sec-WebSocket-Version") == ["13"]
        asked = (replace or {}).get("Upgrade", "websocket")
        assert fields(head, "Upgrade") == (["websocket"] if asked else [])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("Sec-WebSocket-Key", KEY, 400),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==", 400),
        ("Sec-WebSocket-Version", "13", 400),
        ("Sec-WebSocket-Version", "8", 400),
        ("Host", "127.0.0.1", 400),
        ("Upgrade", "websocket", 101),
        ("Connection", "keep-alive", 101),
    ],
)
def test_a_doubled_field_is_refused_where_it_may_stand_once(server, name, value, expected):
    assert ask(server, headers=[(name, value)])[0] == expected


@pytest.mark.parametrize(
    ("field", "body"),
    [(("Content-Length", "5"), b"hello"), (("Transfer-Encoding", "chunked"), b"0\r\n\r\n")],
    ids=["length", "chunked"],
)
def test_a_handshake_with_a_body_is_refused_with_400(server, field, body):
    wire = Wire(server, "/jupyter/echo", early=body, headers=dict([field]))
    try:
        assert wire.sock.recv(1000).startswith(b"HTTP/1.1 400 ")
    finally:
        wire.close()


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; unknown=1",
        "permessage-deflate; client_max_window_bits=x",
        "x-other; a=1, ;;,",
        "permessage-deflate; server_no_context_takeover=1",
        '"',
    ],
)
def test_a_bad_offer_of_an_extension_is_declined_and_never_an_error(server, offer):
    status, head, _ = ask(server, "/packed", [("Sec-WebSocket-Extensions", offer)])
    assert status in (101, 400)
    assert not any("permessage-deflate" in value for value in fields(head, "Sec-WebSocket-Ext"))
    if status == 101:
        assert fields(head, "Sec-WebSocket-Extensions") == []


def test_a_route_compresses_only_where_it_says_so_and_the_client_offers(server):
    offer = [("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")]
    assert fields(ask(server, "/echo", offer)[1], "Sec-WebSocket-Extensions") == []
    assert fields(ask(server, "/packed")[1], "Sec-WebSocket-Extensions") == []
    agreed = fields(ask(server, "/packed", offer)[1], "Sec-WebSocket-Extensions")
    assert agreed[0].startswith("permessage-deflate")


def test_a_route_says_how_it_compresses(server):
    offer = "permessage-deflate; client_max_window_bits; server_max_window_bits=12"
    agreed = fields(
        ask(server, "/narrow", [("Sec-WebSocket-Extensions", offer)])[1], "Sec-WebSocket-Extensions"
    )
    assert agreed == ["permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"]
    with server.connect_sync("/narrow", compression="deflate") as socket:
        for size in (10, 1023, 1024, 5000):
            socket.send("x" * size)
            assert socket.recv(timeout=20) == "x" * size


# ---- what else a route's address answers --------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/echo", "/paged", "/broken"])
def test_another_method_is_405_with_allow_after_login_and_403_before(server, method, path):
    status, head, _ = ask(server, path, method=method, upgrade=False)
    assert (status, fields(head, "Allow")) == (405, ["GET, HEAD"])
    status, head, sock = server.raw_handshake(path, method=method, upgrade=False)
    sock.close()
    assert (status, fields(head, "Allow")) == (403, [])


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_method_with_a_login_cookie_needs_the_xsrf_token_first(server, method):
    visitor = Visitor(server).log_in(PASSWORD)
    assert visitor.status("/echo", method=method, upgrade=False) == 403
    xsrf = ("X-XSRFToken", visitor.jar["_xsrf"].value)
    assert visitor.status("/echo", [xsrf], method=method, upgrade=False) == 405


@pytest.mark.parametrize(("version", "given"), [("HTTP/1.1", ["websocket"]), ("HTTP/1.0", [])])
def test_a_visit_that_asks_for_another_upgrade_is_told_which_one_there_is(server, version, given):
    status, head, _ = ask(server, "/echo", [("Upgrade", "h2c")], upgrade=False, version=version)
    assert status == 426
    assert fields(head, "Upgrade") == given


@pytest.mark.parametrize("method", ["TRACE", "BREW"])
def test_an_unknown_method_is_405_with_allow(server, method):
    status, head, body = ask(server, method=method)
    assert (status, fields(head, "Allow")) == (405, ["GET, HEAD"])
    assert body.startswith("405: ")


def test_a_visit_without_upgrade_is_426_after_login_and_403_before(server):
    status, head, body = ask(server, upgrade=False)
    assert status == 426
    assert fields(head, "Upgrade") == fields(head, "Connection") == []
    assert fields(head, "Sec-WebSocket-Version") == ["13"]
    assert "ws://" in body
    assert fields(head, "Content-Type") == ["text/plain; charset=utf-8"]
    status, head, sock = server.raw_handshake("/echo", upgrade=False)
    assert (status, b"ws://" in rest(sock, head)) == (403, False)


@pytest.mark.parametrize("path", ["/broken", "/misspelt"])
@pytest.mark.parametrize("upgrade", [True, False])
def test_a_broken_route_is_503_after_login_and_403_before(server, path, upgrade):
    status, _, body = ask(server, path, upgrade=upgrade)
    assert status == 503
    assert "missing" not in body
    assert "mesage" not in body
    status, _, sock = server.raw_handshake(path, upgrade=upgrade)
    sock.close()
    assert status == 403


def test_the_reason_why_a_route_is_broken_is_in_the_log(server):
    log = server.log_text()
    assert re.search(r"Route broken is broken: .*wshandler.yaml:\d+:\d+.*missing", log)
    assert re.search(r"Route misspelt is broken: .*on_mesage", log)


def test_the_rule_of_a_broken_route_is_asked_before_the_route_is_said_to_be_broken(server):
    assert ask(server, "/both")[0] == 403


def test_a_path_that_is_no_route_stays_jupyters(server):
    assert server.fetch("/nowhere")[0] == 404
    assert server.fetch("/echo/")[0] in (302, 404)
    assert ask(server, "/echo" + "x" * 3000)[0] == 404


# ---- the page -----------------------------------------------------------------------------


def test_the_page_is_served_to_a_login_at_the_address_of_the_socket(server):
    visitor = Visitor(server).log_in(PASSWORD)
    status, headers, body = visitor.fetch("/paged")
    assert (status, body.decode()) == (200, PAGE)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "sandbox" not in (headers["Content-Security-Policy"] or "")
    assert visitor.status("/paged") == 101
    assert ask(server, "/paged", upgrade=False)[0] == 200


def test_the_page_redirects_everybody_else_to_the_login_and_the_socket_never_does(server):
    status, head, sock = server.raw_handshake("/paged?x=1", upgrade=False)
    sock.close()
    location = fields(head, "Location")[0]
    assert status == 302
    assert location.startswith("/jupyter/login?next=%2Fjupyter%2Fpaged")
    status, head, sock = server.raw_handshake("/paged")
    sock.close()
    assert (status, fields(head, "Location")) == (403, [])


def test_a_page_that_cannot_be_read_is_503_and_its_path_only_in_the_log(server):
    status, _, body = ask(server, "/no-page", upgrade=False)
    assert status == 503
    assert "gone.html" not in body
    assert "gone.html" in server.log_text()


# ---- what the bot learns ------------------------------------------------------------------


def test_groups_of_the_pattern_and_the_query_reach_the_bot(server):
    visitor = Visitor(server)
    seen = talk(visitor, "/room/caf%C3%A9?a=1&a=%C3%A9&b=", token=True)
    assert seen["path_kwargs"] == {"name": "café"}
    assert seen["args"] == {"a": ["1", "é"], "b": [""]}
    by_query = talk(visitor, f"/room/blue?a=1&token={TOKEN}&c=%7e")
    assert by_query["args"] == {"a": ["1"], "c": ["~"]}
    assert talk(visitor, "/groups/one/two/three", token=True)["path_args"] == ["one", "two/three"]


@pytest.mark.parametrize(
    ("path", "offer", "expected"),
    [
        ("/who", "chat.v1", []),
        ("/spoken", None, []),
        ("/spoken", "chat.v9", []),
        ("/spoken", "chat.v9, chat.v1, chat.v2", ["chat.v1"]),
        ("/chosen", "a, b", ["b"]),
        ("/chosen", None, []),
    ],
)
def test_the_subprotocol_is_one_that_both_speak(server, path, offer, expected):
    headers = [("Sec-WebSocket-Protocol", offer)] if offer else []
    status, head, _ = ask(server, path, headers)
    assert (status, fields(head, "Sec-WebSocket-Protocol")) == (101, expected)


@pytest.mark.parametrize("path", ["/invents", "/chooser-fails"])
def test_a_select_subprotocol_that_fails_is_500_and_its_reason_only_in_the_log(server, path):
    status, _, body = ask(server, path, [("Sec-WebSocket-Protocol", "a")])
    assert status == 500
    assert "a-detail" not in body
    reason = "never-offered" if path == "/invents" else "a-detail-only-the-log-knows"
    wait_for(lambda: reason in server.log_text(), what="the reason in the log")


# ---- the session --------------------------------------------------------------------------


def session_cookie(visitor: Visitor):
    return visitor.jar[f"wshandler-session-{visitor.server.port}"]


def test_the_session_cookie_comes_with_the_101_and_stays_in_its_place(server):
    visitor = Visitor(server).log_in(PASSWORD)
    talk(visitor)
    cookie = session_cookie(visitor)
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/jupyter/"
    assert not cookie["secure"]
    assert not cookie["domain"]


def test_the_same_browser_has_the_same_session_at_each_reconnect(server):
    visitor = Visitor(server).log_in(PASSWORD)
    seen = [talk(visitor) for _ in range(3)]
    assert len({one["session"] for one in seen}) == 1
    assert len({one["user"] for one in seen}) == 1


@pytest.mark.parametrize("token", [False, True])
def test_who_comes_back_with_good_cookies_gets_no_new_ones(server, token):
    visitor = Visitor(server) if token else Visitor(server).log_in(PASSWORD)
    heads = []
    for _ in range(3):
        status, head, sock = visitor.handshake("/echo", token=token)
        sock.close()
        assert status == 101
        heads.append(fields(head, "Set-Cookie"))
    names = [[cookie.partition("=")[0] for cookie in head] for head in heads]
    login = [f"username-127-0-0-1-{server.port}"] if token else []
    assert names == [[*login, f"wshandler-session-{server.port}"], [], []]


def test_the_101_has_the_fields_of_jupyters_answers_and_none_of_a_body(server):
    _, head, _ = ask(server)
    assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n")
    assert head.endswith("\r\n\r\n")
    names = [line.partition(":")[0].lower() for line in head.split("\r\n")[1:-2]]
    assert sorted(set(names) - {"set-cookie"}) == [
        "access-control-allow-origin",
        "connection",
        "content-security-policy",
        "date",
        "sec-websocket-accept",
        "server",
        "upgrade",
        "x-content-type-options",
    ]
    assert len(names) == len(set(names)) + 1  # two cookies


def test_a_handshake_is_counted_in_jupyters_own_metrics(server):
    def count():
        _, _, text = server.fetch("/metrics", token=True)
        label = r'handler="[^"]*PrivateRouteHandler",method="GET",status_code="101"'
        found = re.search(rf"http_request_duration_seconds_count{{{label}}} (\S+)", text.decode())
        return float(found[1]) if found else 0.0

    before = count()
    ask(server)
    wait_for(lambda: count() == before + 1, what="one more request in the metrics")


def test_another_browser_has_another_session(server):
    first, second = Visitor(server).log_in(PASSWORD), Visitor(server).log_in(PASSWORD)
    assert talk(first)["session"] != talk(second)["session"]


def test_with_a_token_only_the_session_is_the_same_at_each_reconnect(server):
    visitor = Visitor(server)
    assert len({talk(visitor, token=True)["session"] for _ in range(3)}) == 1
    assert talk(Visitor(server), token=True)["session"] != talk(visitor, token=True)["session"]


def test_a_session_survives_from_the_token_to_the_login_that_came_with_it(server):
    visitor = Visitor(server)
    visitor.fetch(f"/paged?token={TOKEN}")
    after_page = talk(visitor)
    assert talk(visitor)["session"] == after_page["session"]
    assert talk(visitor, token=True)["session"] == after_page["session"]
    by_token = Visitor(server)
    first = talk(by_token, token=True)
    assert talk(by_token)["session"] == first["session"]


def test_a_script_that_keeps_only_the_session_cookie_keeps_its_session(server):
    visitor = Visitor(server)
    first = talk(visitor, token=True)
    visitor.jar = {name: m for name, m in visitor.jar.items() if name.startswith("wshandler")}
    assert len(visitor.jar) == 1
    assert talk(visitor, token=True)["session"] == first["session"]


def test_a_cookie_planted_by_another_user_does_not_fix_the_session(server):
    attacker, victim = Visitor(server).log_in(PASSWORD), Visitor(server).log_in(PASSWORD)
    planted = talk(attacker)
    name = f"wshandler-session-{server.port}"
    victim.jar[name] = attacker.jar[name]
    seen = talk(victim)
    assert seen["user"] != planted["user"]
    assert seen["session"] != planted["session"]
    assert victim.jar[name].value != attacker.jar[name].value
    assert talk(victim)["session"] == seen["session"]


@pytest.mark.parametrize("forged", ["x", "", "2|1:0|10:1|4:name|4:abcd|" + "0" * 64, '"é'])
def test_a_forged_session_cookie_is_replaced(server, forged):
    visitor = Visitor(server).log_in(PASSWORD)
    before = talk(visitor)
    genuine = session_cookie(visitor).value
    session_cookie(visitor).set(
        f"wshandler-session-{server.port}", forged.encode().decode("latin-1"), forged
    )
    after = talk(visitor)
    assert after["session"] != before["session"]
    assert session_cookie(visitor).value != genuine


def test_a_refused_handshake_begins_no_session(server):
    visitor = Visitor(server).log_in(PASSWORD)
    status, head, sock = visitor.handshake("/echo", [("Origin", "http://evil.example")])
    sock.close()
    assert (status, fields(head, "Set-Cookie")) == (403, [])


def test_after_a_refusal_the_same_http_connection_serves_on(server):
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        for path, expected in [("echo", 426), ("broken", 503), ("paged", 200), ("echo", 426)]:
            client.request("GET", f"/jupyter/{path}", headers=dict([CREDENTIAL]))
            answer = client.getresponse()
            answer.read()
            assert answer.status == expected
    finally:
        client.close()
