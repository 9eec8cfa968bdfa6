"""Whoever has to be asked at a handshake fails, or says nothing: the request is answered."""

from __future__ import annotations

import json
import socket
import time

import pytest
from support.bots import bot_text
from support.server import running_server, wait_for

PATIENCE = 0.5
LIMIT = 10.0
"""Seconds that a test machine may need for what takes `PATIENCE`."""

DETAIL = "a-detail-only-the-log-knows"

BOTS = bot_text("inquiry")

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  public: {pattern: /public, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, auth: false}}
  ticket: {pattern: /ticket, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, xsrf: ticket}}
  rule: {pattern: /rule, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, auth: {condition: bots.rule}}}
  later: {pattern: /later, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, auth: {condition: bots.later}}}
  picks: {pattern: /picks, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, select_subprotocol: bots.later}}
"""

STRANGERS = bot_text("strangers")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inquiry")
    with running_server(
        YAML,
        folder=folder,
        modules={"bots.py": BOTS, "strangers.py": STRANGERS},
        env={"PYTHONPATH": str(folder)},
        extra_args=[
            "--ServerApp.identity_provider_class=strangers.Provider",
            "--ServerApp.authorizer_class=strangers.Keeper",
            f"--WSHandlerApp.answer_timeout={PATIENCE}",
            "--WSHandlerApp.allow_public_routes=True",
        ],
    ) as running:
        yield running


def knock(server, path: str, **fields: str) -> tuple[int, str]:
    """Open a handshake; return its status and what the client is told."""
    begun = time.monotonic()
    pairs = [*server.headers().items(), *((f"X-{name}", how) for name, how in fields.items())]
    if "Origin" in fields:
        pairs.append(("Origin", fields["Origin"]))
    status, head, sock = server.raw_handshake(path, pairs)
    with sock:
        if status == 101:
            return status, ""
        length = int(head.lower().partition("content-length:")[2].split()[0])
        said = b""
        while len(said) < length:
            said += sock.recv(length - len(said))
    assert time.monotonic() - begun < LIMIT
    return status, said.decode()


WHO = "503: the server cannot find out who you are; try again later\n"
MAY = "503: the server cannot find out whether you may do this; try again later\n"

FAULTS = [
    "hangs", "stubborn", "raises", "unreachable", "times-out", "exits", "group", "cancels", "odd",
    "502",
]  # fmt: skip

PROVIDERS_OWN = ["wrong", "mute", "token", "which-token"]
"""Other ways in which an identity provider fails a handshake."""


def quiet(server) -> None:
    """The server is well: nobody else has noticed anything."""
    assert knock(server, "echo")[0] == 101


@pytest.mark.parametrize("path", ["echo", "public"])
@pytest.mark.parametrize("how", [*FAULTS, *PROVIDERS_OWN])
def test_an_identity_provider_without_an_answer_is_a_503_in_time(server, path, how):
    assert knock(server, path, Identity=how) == (503, WHO)
    quiet(server)


@pytest.mark.parametrize("how", [*FAULTS, "bool"])
def test_an_authorizer_without_an_answer_is_a_503_in_time(server, how):
    assert knock(server, "echo", Keeper=how) == (503, MAY)
    quiet(server)


def test_a_provider_that_cannot_say_whether_the_origin_matters_is_a_503(server):
    status, said = knock(server, "echo", Identity="origin", Origin="http://elsewhere.example")
    assert (status, said) == (503, WHO)


@pytest.mark.parametrize("who", ["Identity", "Keeper"])
def test_who_says_no_by_raising_is_believed(server, who):
    assert knock(server, "echo", **{who: "401"})[0] == 401


@pytest.mark.parametrize("accept", ["text/html", "*/*"])
@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize("how", ["hangs", "raises"])
def test_a_plain_get_of_a_page_is_answered_in_the_same_way(server, how, token, accept):
    headers = {"X-Identity": how, "Accept": accept}
    status, _, body = server.fetch("echo", token=token, headers=headers)
    assert (status, body.decode()) == (503, WHO)


@pytest.mark.parametrize("how", ["hangs", "raises", "stubborn", "exits"])
@pytest.mark.parametrize("who", ["Identity", "Keeper"])
def test_the_tickets_api_is_answered_in_the_same_way(server, who, how):
    body = json.dumps({"path": "/ticket"}).encode()
    headers = {f"X-{who}": how, "Content-Type": "application/json"}
    status, _, said = server.fetch(
        "wshandler/api/tickets", method="POST", headers=headers, data=body
    )
    assert status == 503
    assert f"503: {json.loads(said)['message']}\n" == (WHO if who == "Identity" else MAY)


@pytest.mark.parametrize("how", ["hangs", "raises"])
def test_the_files_for_browsers_are_answered_in_the_same_way(server, how):
    status, _, body = server.fetch("static/wshandler/chat.js", headers={"X-Identity": how})
    assert (status, body) == (503, b"503: Service Unavailable\n")


@pytest.mark.parametrize(
    ("path", "how"), [("rule", "hangs"), ("later", "hangs"), ("later", "stubborn")]
)
def test_a_rule_without_an_answer_is_a_503_in_time(server, path, how):
    said = "503: this route's condition does not answer; try again later\n"
    assert knock(server, path, Rule=how) == (503, said)
    assert knock(server, path)[0] == 101


@pytest.mark.parametrize("how", ["hangs", "stubborn"])
def test_a_choice_of_the_subprotocol_without_an_answer_is_a_503_in_time(server, how):
    pairs = [*server.headers().items(), ("X-Rule", how), ("Sec-WebSocket-Protocol", "a, b")]
    begun = time.monotonic()
    status, _, sock = server.raw_handshake("picks", pairs)
    sock.close()
    assert status == 503
    assert time.monotonic() - begun < LIMIT


def test_a_fault_is_in_the_log_with_its_traceback_once_however_often_it_comes(server):
    for _ in range(5):
        knock(server, "echo", Keeper="raises")
        knock(server, "echo", Keeper="hangs")
        knock(server, "echo", Identity="raises")
    log = server.log_text()
    for who in ("the identity provider", "the Authorizer"):
        blocks = [b for b in log.split("\n[") if f"{who} has failed" in b and "RuntimeError: " in b]
        raised = [block for block in blocks if "in does" in block]
        assert len(raised) == 1, raised
        assert "Traceback (most recent call last)" in raised[0]
        assert DETAIL in raised[0]
    assert log.count(f"the Authorizer has not answered: no answer within {PATIENCE:g} s") == 1


def test_no_question_is_left_when_its_client_has_gone_and_its_rule_does_not_begin(server):
    """A thread is taken by each of the rules that hang; those that wait behind do not begin."""
    pairs = [*server.headers().items(), ("X-Rule", "hangs")]
    socks = []
    try:
        for n in range(40):
            socks.append(half_open(server, "rule", [*pairs, ("X-Name", f"crowd-{n}")]))
        wait_for(lambda: begun(server).count("crowd"), what="a rule that runs")
        for n in range(10):
            socks.append(half_open(server, "rule", [*pairs, ("X-Name", f"late-{n}")]))
    finally:
        for sock in socks:
            sock.close()
    ran = begun(server)
    assert ran.count("crowd") < 16, "not all threads may be held by rules"
    assert knock(server, "rule", Name="afterwards")[0] in (101, 503)
    wait_for(
        lambda: knock(server, "rule", Name="afterwards")[0] == 101, 60, "a thread for the rule", 0.5
    )
    assert "late" not in begun(server)


def half_open(server, path, pairs):
    """Send a handshake and do not wait for its answer."""
    sock = socket.create_connection((server.host, server.port), timeout=20)
    lines = [f"GET /{path} HTTP/1.1", f"Host: {server.host}:{server.port}", "Upgrade: websocket",
             "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
             "Sec-WebSocket-Version: 13", *(f"{n}: {v}" for n, v in pairs)]  # fmt: skip
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return sock


def begun(server) -> str:
    path = server.folder / "begun"
    return path.read_text() if path.exists() else ""
