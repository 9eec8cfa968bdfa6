"""What becomes of shares: servers that are killed, rules that change, logins that are asked for."""

from __future__ import annotations

import html
import json
import re
import signal
import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.server import free_port, running_server, wait_for
from support.sharing import API, ask, bearer, cookie_of, opened, revoke, share, shares, token_of
from tornado.web import create_signed_value, decode_signed_value

YAML = """
url:
  who:
    pattern: /who
    handler: WebSocketHandler
    kwargs: {on_message: shared.who, auth: {recheck: 200ms, recheck_grace: 400ms}}
  limited:
    pattern: /limited
    handler: WebSocketHandler
    kwargs: {on_message: shared.who, max_connections: 1}
  free:
    pattern: /free
    handler: WebSocketHandler
    kwargs: {on_message: shared.who, ratelimit: off}
"""

CONFIG = """
import logging
c.EventLogger.handlers = [logging.FileHandler({path!r})]
c.ServerApp.identity_provider_class = "people_who_tell.Telling"
c.ServerApp.authorizer_class = "people_who_tell.Keeper"
c.ServerApp.cookie_secret = {secret!r}
"""

SECRET = b"only the tests' server has it, and they know it"

MODULES = {
    "shared.py": bot_text("shared"),
    "people_who_tell.py": bot_text("people_who_tell"),
}


@contextmanager
def serving(folder, *args, port=None, yaml=YAML):
    """Run a server whose events are in a file, and which may be run again in the same folder."""
    (folder / "config.py").write_text(CONFIG.format(path=str(folder / "events.log"), secret=SECRET))
    with running_server(
        yaml,
        folder=folder,
        modules=MODULES,
        port=port,
        extra_args=[f"--config={folder / 'config.py'}", *args],
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("life")) as running:
        yield running


def events(server) -> list[dict]:
    found = [json.loads(line) for line in (server.folder / "events.log").read_text().splitlines()]
    return [each for each in found if each["__schema__"] == "urn:jupyter-wshandler:share"]


def told_of(server, made: dict) -> list[tuple]:
    """Return what the events say of a share."""
    return [
        (each["action"], each["who"], each["reason"])
        for each in events(server)
        if each["share"] == made["id"]
    ]


def closing(ws, seconds: float = 5.0) -> tuple[int, str]:
    """Return how a socket is closed."""
    with pytest.raises(websockets.exceptions.ConnectionClosed) as caught:
        ws.recv(timeout=seconds)
    return caught.value.rcvd.code, caught.value.rcvd.reason


def says(ws) -> dict:
    ws.send("hi")
    return json.loads(ws.recv(timeout=5))


def why(server, made: dict, path: str = "/who") -> str:
    """Return why a link is refused, at the page as well as at the socket."""
    with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
        server.connect_sync(path, token=False, headers=bearer(made))
    words = caught.value.response.body.decode()
    status, _, body = opened(server, made, path)
    reason = words.partition(": ")[2].strip()
    assert status == 403
    assert reason.lower() in html.unescape(body.decode()).lower()
    return reason


def value(server, line: str) -> float | None:
    """Return the number behind a metric's name and labels, or None."""
    text = server.fetch("/metrics")[2].decode()
    found = [row for row in text.splitlines() if row.startswith(line + " ")]
    return float(found[0].split()[-1]) if found else None


def test_shares_survive_a_server_that_is_killed(tmp_path):
    port = free_port()
    with serving(tmp_path, port=port) as first:
        one = share(first, route="who", uses=3, label="Ann")
        gone = share(first, route="who")
        cookie = {"Cookie": cookie_of(first, one, "/who")}
        with first.connect_sync("/who", token=False, headers=cookie) as ws:
            before = says(ws)
        with first.connect_sync("/who", token=False, headers=bearer(one)) as ws:
            says(ws)
        only_looked = {"Cookie": cookie_of(first, one, "/who")}
        last = share(first, route="free", expires="1h")
        assert revoke(first, gone["id"]) == 204
        first.stop(signal.SIGKILL)
    with serving(tmp_path, port=port) as second:
        known = {each["id"]: each for each in shares(second)}
        assert known.keys() == {one["id"], last["id"]}
        assert known[one["id"]]["used"] == 2
        assert known[last["id"]]["expires"] == last["expires"]
        with second.connect_sync("/who", token=False, headers=cookie) as ws:
            after = says(ws)
        assert (after["username"], after["name"]) == (before["username"], "Ann")
        with second.connect_sync("/who", token=False, headers=bearer(one)) as ws:
            says(ws)
        assert why(second, one) == "this link has been used by as many as it may"
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            second.connect_sync("/who", token=False, headers=only_looked)
        assert b"used by as many as it may" in caught.value.response.body
        with second.connect_sync("/who", token=False, headers=cookie) as ws:
            assert says(ws)["username"] == before["username"]
        assert why(second, gone) == "this link has been revoked"
        for token in (token_of(one), token_of(gone), token_of(last)):
            assert token.encode() not in database(second)


def database(server) -> bytes:
    """Return all that the files of the session store hold."""
    files = (server.folder / ".jupyter-state" / "data").glob("wshandler-sessions.db*")
    found = b"".join(path.read_bytes() for path in files)
    assert b"wshandler_shares" in found
    return found


def test_shares_end_when_guests_are_switched_off_and_are_there_again_after(tmp_path):
    with serving(tmp_path) as first:
        made = share(first, route="who")
    with serving(tmp_path, "--WSHandlerApp.guests=off") as off:
        assert why(off, made) == "this server lets no guests in"
        status, _, body = ask(off, "POST", API, {"route": "who"})
        assert status == 403
        assert "--WSHandlerApp.guests=links" in json.loads(body)["message"]
    with serving(tmp_path) as again:
        with again.connect_sync("/who", token=False, headers=bearer(made)) as ws:
            assert says(ws)["kind"] == "guest"


def test_a_share_of_another_servers_folder_opens_nothing(tmp_path):
    state = {"JUPYTER_DATA_DIR": str(tmp_path / "data")}
    both = [tmp_path / "one", tmp_path / "two"]
    with running_server(YAML, folder=both[0], modules=MODULES, env=state) as one:
        made = share(one, route="who")
        with running_server(YAML, folder=both[1], modules=MODULES, env=state) as two:
            assert shares(two) == []
            assert opened(two, made, "/who")[0] == 403


def test_a_share_ends_when_the_rules_of_its_route_change_and_not_before(tmp_path):
    with serving(tmp_path) as server:
        made, free = share(server, route="who"), share(server, route="free")
        ws = server.connect_sync("/who", token=False, headers=bearer(made))
        other = server.connect_sync("/free", token=False, headers=bearer(free))
        with ws, other:
            file = server.folder / "wshandler.yaml"
            file.write_text(YAML.replace("ratelimit: off", "ratelimit: off, idle_timeout: 1h"))
            wait_for(lambda: "Reloaded" in server.log_text(), what="the reload")
            assert says(ws)["kind"] == "guest"
            file.write_text(YAML.replace("recheck: 200ms", "recheck: 300ms"))
            words = "the rules of this bot have changed since the link was made; ask for a new one"
            assert closing(ws, 20) == (4403, words)
            assert says(other)["kind"] == "guest"
            assert why(server, made) == words
            file.write_text(YAML)
            wait_for(lambda: server.log_text().count("Reloaded") == 3, what="the reload")
            assert why(server, made) == words
        assert ("revoked", None, "changed") in told_of(server, made)
    with serving(tmp_path) as again:
        assert why(again, made) == words


def test_a_link_opens_no_other_bot_that_has_come_to_its_address_and_says_so(tmp_path):
    with serving(tmp_path) as server:
        made = share(server, route="free")
        cookie = {"Cookie": cookie_of(server, made, "/free")}
        file, reloads = server.folder / "wshandler.yaml", 0
        for text, is_open in ((YAML.replace("  free:", "  other:"), False), (YAML, True)):
            file.write_text(text)
            reloads += 1
            wait_for(lambda: server.log_text().count("Reloaded") == reloads, what="the reload")  # noqa: B023
            if is_open:
                with server.connect_sync("/free", token=False, headers=cookie) as ws:
                    assert says(ws)["share"] == made["id"]
                continue
            words = "the rules of this bot have changed since the link was made; ask for a new one"
            assert why(server, made, "/free") == words
            status, _, body = server.fetch(
                "/free", token=False, headers={**cookie, "Accept": "text/html"}
            )
            assert (status, words in html.unescape(body.decode()).lower()) == (403, True)


def test_nobody_is_asked_about_a_guest(server):
    made = share(server, route="who")
    asked = server.folder / "asked.log"
    asked.write_text("")
    with (
        server.connect_sync("/who", token=False, headers=bearer(made)) as by_header,
        server.connect_sync(f"/who?share_token={token_of(made)}", token=False) as by_query,
        server.connect_sync("/who") as owner,
    ):
        says(by_header)
        # The owner's login is asked for, again and again; longer than the grace of all of them.
        wait_for(lambda: asked.read_text().count("/who") >= 4, what="questions")
        time.sleep(0.5)
        assert [says(ws)["kind"] for ws in (by_header, by_query, owner)] == [
            "guest",
            "guest",
            "user",
        ]
    assert token_of(made) not in asked.read_text()
    assert "authorize guest/" not in asked.read_text()


def test_a_guest_with_a_cookie_is_not_closed_by_a_question_about_logins(server):
    cookie = {"Cookie": cookie_of(server, share(server, route="who"), "/who")}
    with server.connect_sync("/who", token=False, headers=cookie) as ws:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.5:  # several periods, and more than the grace
            assert says(ws)["kind"] == "guest"
            time.sleep(0.1)


def test_a_guest_is_known_for_as_long_as_the_link_is_good_or_a_browser_keeps_a_cookie(server):
    def days(head) -> float:
        until = re.search(r"expires=([^;]+)", head["Set-Cookie"])[1]
        return (parsedate_to_datetime(until).timestamp() - time.time()) / 86400

    made, short = share(server, route="who", uses=1), share(server, route="who", expires="3d")
    assert 2.9 < days(opened(server, short, "/who")[1]) < 3.1
    assert 399.9 < days(opened(server, made, "/who")[1]) < 400.1
    name, _, value = cookie_of(server, made, "/who").partition("=")
    card = decode_signed_value(SECRET, name, value)
    assert card is not None
    guests = []
    for age in (0, 200, 399):
        at = time.time() - age * 86400
        old = create_signed_value(SECRET, name, card, clock=lambda: at).decode()  # noqa: B023
        with server.connect_sync("/who", token=False, headers={"Cookie": f"{name}={old}"}) as ws:
            guests.append(says(ws)["username"])
    assert len(set(guests)) == 1
    assert next(each["used"] for each in shares(server) if each["id"] == made["id"]) == 1


def test_limits_hold_for_each_guest(server):
    made = share(server, route="limited")
    one, other = (cookie_of(server, made, "/limited") for _ in range(2))
    with server.connect_sync("/limited", token=False, headers={"Cookie": one}):
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            server.connect_sync("/limited", token=False, headers={"Cookie": one})
        assert caught.value.response.status_code == 429
        with server.connect_sync("/limited", token=False, headers={"Cookie": other}) as ws:
            assert says(ws)["kind"] == "guest"


def test_a_guest_may_send_as_much_as_a_stranger_at_a_public_route_and_its_route_may_say_else(
    server,
):
    flood = 1000
    for path, fields, is_closed in (
        ("/who", bearer(share(server, route="who")), True),
        ("/who", server.headers(), False),
        ("/free", bearer(share(server, route="free")), False),
    ):
        with server.connect_sync(path, token=False, headers=fields) as ws:
            for _ in range(flood):
                try:
                    ws.send("hi")
                except websockets.exceptions.ConnectionClosed:
                    break
            answers = 0
            with_end = None
            while with_end is None and answers < flood:
                try:
                    ws.recv(timeout=20)
                    answers += 1
                except websockets.exceptions.ConnectionClosed as error:
                    with_end = error.rcvd.code
        assert (with_end == 1008) is is_closed, (path, with_end, answers)


def test_events_and_metrics_tell_what_becomes_of_a_share(server):
    made = share(server, route="limited", label="Ann", uses=1)
    uses = value(server, 'wshandler_share_uses_total{route="limited"}') or 0
    with server.connect_sync("/limited", token=False, headers=bearer(made)) as ws:
        name = says(ws)["username"]
        assert value(server, 'wshandler_guests{route="limited"}') == 1
        assert value(server, 'wshandler_shares{route="limited"}') >= 1
        why(server, made, "/limited")
        assert revoke(server, made["id"]) == 204
        assert closing(ws)[0] == 4403
    wait_for(lambda: len(told_of(server, made)) == 5, what="the events")
    shared, used, refused, again, revoked = told_of(server, made)
    assert (shared[0], shared[2]) == ("shared", None)
    assert shared[1]
    assert used == ("used", name, None)
    assert (refused[0], refused[2]) == (again[0], again[2]) == ("refused", "used_up")
    assert (revoked[0], revoked[2]) == ("revoked", "revoked")
    assert revoked[1]  # a token is another user each time
    wait_for(lambda: value(server, 'wshandler_guests{route="limited"}') == 0, what="nobody there")
    assert value(server, 'wshandler_share_uses_total{route="limited"}') == uses + 1
    line = 'wshandler_guests_refused_total{reason="used_up",route="limited"}'
    assert value(server, line) == 2
    assert token_of(made) not in (server.folder / "events.log").read_text()
    assert token_of(made) not in server.fetch("/metrics")[2].decode()
