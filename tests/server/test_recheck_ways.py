"""Every way in which an identity comes, asked for again when the answer turns to no.

A way is one line of `WAYS`, and a turn one of `TURNS`: a new one of either falls under the rest.
`hub/test_time.py` does the same under JupyterHub.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import running_server, wait_for
from support.visitor import Visitor

CONFIG = """
url:
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, auth: {groups: [staff], recheck: 300ms}}
  beside:
    pattern: /beside
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, auth: {recheck: 300ms}}
  admin:
    pattern: /admin
    handler: WebSocketHandler
    kwargs: {on_message: bot.turn}
  page:
    pattern: /page
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, page: page.html}
"""

BOT = bot_text("recheck_ways")

ENDED = (4401, "your login has ended")
FORBIDDEN = (4403, "you are no longer allowed here")

TURNS = {
    "the authorizer says no": FORBIDDEN,
    "the authorizer raises 403": FORBIDDEN,
    "the user has left the group": FORBIDDEN,
    "the provider says nobody": ENDED,
    "the provider says 401": ENDED,
}


@dataclass
class Way:
    """How a client says who it is: the fields it sends, and the query."""

    fields: Callable[[], dict[str, str]]
    query: str = ""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ways")
    with running_server(
        CONFIG,
        folder=folder,
        modules={"bot.py": BOT, "page.html": "<p>hello"},
        extra_args=[
            "--ServerApp.identity_provider_class=bot.Provider",
            "--ServerApp.authorizer_class=bot.Authorizer",
            "--Provider.token=a-token-only-tests-know",
        ],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


def cookie_of_a_token(server) -> dict[str, str]:
    """Return the login cookie that Jupyter makes of a token in a page's address."""
    visitor = Visitor(server)
    assert visitor.fetch(f"/page?token={server.token}")[0] == 200
    return visitor.cookie_header()


WAYS: dict[str, Callable[..., Way]] = {
    "a login cookie": lambda s: Way(lambda: Visitor(s).log_in(s.token).cookie_header()),
    "the cookie that a token left": lambda s: Way(lambda: cookie_of_a_token(s)),
    "a token in the query": lambda s: Way(dict, f"?token={s.token}"),
    "a token in the header": lambda s: Way(lambda: {"Authorization": f"token {s.token}"}),
    "a bearer token": lambda s: Way(lambda: {"Authorization": f"Bearer {s.token}"}),
    "a proxy's word": lambda s: Way(lambda: {"X-Forwarded-User": "ada"}),
    "a proxy's word beside its own login": lambda s: Way(
        lambda: {"X-Forwarded-User": "ada", "Authorization": "Basic cHJveHk6c2VjcmV0"}
    ),
    "a proxy's word beside a login cookie": lambda s: Way(
        lambda: {"X-Forwarded-User": "ada", **Visitor(s).log_in(s.token).cookie_header()}
    ),
}


def as_root(server):
    """Connect with a login that nothing is asked about meanwhile."""
    return server.connect_sync("/admin", token=False, headers={"X-Forwarded-User": "root"})


def end_of(socket, seconds: float = 8.0) -> tuple[int, str]:
    with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
        socket.recv(timeout=seconds)
    return closed.value.rcvd.code, closed.value.rcvd.reason


def says(socket, text: str) -> bool:
    socket.send(text)
    return socket.recv(timeout=10) == text


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_ends_with_its_code_when_the_answer_turns_to_no(server, way):
    found = WAYS[way](server)
    origin = server.url[:-1]
    with as_root(server) as admin:
        for turn, end in TURNS.items():
            fields = found.fields()
            with (
                server.connect_sync(
                    f"/chat{found.query}", token=False, headers=fields, origin=origin
                ) as chat,
                server.connect_sync(
                    f"/beside{found.query}", token=False, headers=fields, origin=origin
                ) as beside,
            ):
                assert says(chat, "hi"), turn
                assert says(admin, turn)
                assert end_of(chat) == end, turn
                # A login ends for all routes; what is not allowed is not allowed on one.
                if end == ENDED:
                    assert end_of(beside) == end, turn
                else:
                    assert says(beside, "still here"), turn
                assert says(admin, "")
    assert "Traceback" not in server.log_text()
    assert "cannot be asked for again" not in server.log_text()


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_stays_while_the_answer_is_yes(server, way):
    found = WAYS[way](server)
    with server.connect_sync(
        f"/chat{found.query}", token=False, headers=found.fields(), origin=server.url[:-1]
    ) as chat:
        before = rechecks(server, "allowed")
        wait_for(lambda: rechecks(server, "allowed") >= before + 3, what="three questions")
        assert says(chat, "still here")


def rechecks(server, result: str) -> int:
    _, _, text = server.fetch("/metrics")
    for line in text.decode().splitlines():
        if line.startswith("wshandler_rechecks_total") and f'result="{result}"' in line:
            return int(float(line.split()[-1]))
    return 0


def test_questions_without_an_answer_are_counted_and_told_to_the_administrator(tmp_path):
    events = tmp_path / "events.jsonl"
    (tmp_path / "settings.py").write_text(
        f"import logging\nc.EventLogger.handlers = [logging.FileHandler({str(events)!r})]\n"
    )
    faulty = BOT.replace(
        '        if chat and now["turn"] == "the provider says nobody":',
        '        if chat and now["turn"] == "a fault":\n            1 / 0\n'
        '        if chat and now["turn"] == "the provider says nobody":',
    )
    with running_server(
        CONFIG,
        folder=tmp_path,
        modules={"bot.py": faulty, "page.html": "<p>hello"},
        extra_args=[
            "--ServerApp.identity_provider_class=bot.Provider",
            "--Provider.token=a-token-only-tests-know",
            f"--config={tmp_path / 'settings.py'}",
        ],
        env={"PYTHONPATH": str(tmp_path)},
    ) as server:
        with as_root(server) as admin, server.connect_sync("/chat") as chat:
            assert says(chat, "hi")
            assert says(admin, "a fault")
            wait_for(lambda: rechecks(server, "failed") >= 2, what="two questions that fail")
            assert says(chat, "who cannot be asked has not said no")
            # Ten periods without an answer.
            code, reason = end_of(chat, 15)
            assert (code, reason[:42]) == (4401, "nobody could be asked about your login for")
        text = server.log_text()
        assert text.count("ZeroDivisionError: division by zero") == 1
        assert text.count("the identity provider has failed") == 1
    told = [json.loads(line) for line in events.read_text().splitlines()]
    told = [e for e in told if e["__schema__"] == "urn:jupyter-wshandler:unanswered"]
    assert len(told) == 1
    assert (told[0]["result"], told[0]["error"]) == ("failed", "ZeroDivisionError")
