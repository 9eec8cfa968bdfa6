"""Two Jupyter servers with one Redis: their rooms are one, and go on when it is killed."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest
import websockets.exceptions
import websockets.sync.client
from support.nodes import health, metric, node, told_of_health
from support.resuming import Resumer
from support.server import RunningServer, free_port, wait_for
from support.sharecommand import Ended, command
from support.sharing import bearer, revoke, share, shares, token_of
from support.stores import KINDS, Store, running_store

from jupyter_wshandler import publish

BREAKS = "breaks_total"

SECRET = "a-word-that-only-the-store-knows"

BALANCER = "localhost:8443"
"""The address that clients know, whichever server answers."""


class Pair(NamedTuple):
    """Two servers and what joins them."""

    store: Store
    servers: tuple[RunningServer, RunningServer]


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Pair]:
    with ExitStack() as stack:
        store = stack.enter_context(running_store(request.param, f"requirepass {SECRET}"))
        secret = tmp_path_factory.mktemp("secret") / "cookie_secret"
        url = store.url.replace("://", f"://:{SECRET}@")
        servers = [
            stack.enter_context(
                node(
                    tmp_path_factory.mktemp(f"node{number}"),
                    url,
                    "--WSHandlerApp.session_store=backplane",
                    f"--ServerApp.cookie_secret_file={secret}",
                )
            )
            for number in range(2)
        ]
        for server in servers:
            wait_for(lambda server=server: health(server) == "ok", 30, "a backplane that is up")
        yield Pair(store, (servers[0], servers[1]))
        for server in servers:
            assert SECRET not in server.log_text()


class Client:
    """A client that a test drives by hand."""

    def __init__(self, stack: ExitStack, server: RunningServer, path: str, person: str) -> None:
        options = {"subprotocols": ["wsh.v1"], "token": False}
        opening = server.connect_sync(path, headers={"X-Person": person}, **options)
        self.socket = stack.enter_context(opening)
        self.frames: list[dict[str, Any]] = []
        # It is in when the store has said so, which is a moment after its socket is open.
        self.send(join=path.rpartition("/")[2])
        self.until(lambda frame: "joined" in frame)

    def send(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame))

    def until(self, condition: Callable[[dict[str, Any]], Any], seconds: float = 30) -> Any:
        """Read frames up to the first one that a condition holds for."""
        while True:
            frame = json.loads(self.socket.recv(timeout=seconds))
            self.frames.append(frame)
            if condition(frame):
                return frame

    def hears(self, text: str) -> Any:
        return self.until(lambda frame: frame.get("message") == text)

    def does(self, text: str) -> Any:
        """Have the bot do something, and return what it answers with."""
        self.send(message=text)
        frame = self.until(lambda frame: "message" in frame and "room" not in frame)
        return json.loads(frame["message"])

    @property
    def said(self) -> list[str]:
        return [frame["message"] for frame in self.frames if "room" in frame and "message" in frame]


def test_a_room_spans_both_servers_and_so_do_its_history_members_and_users(pair):
    with ExitStack() as stack:
        ada = Client(stack, pair.servers[0], "/talk/blue", "ada")
        bob = Client(stack, pair.servers[1], "/talk/blue", "bob")
        ada.send(message="say one")
        first = bob.hears("one")
        bob.send(message="say two")
        second = ada.hears("two")
        assert (first["offset"], second["offset"]) == (1, 2)
        bob.hears("two")
        assert ada.does("history blue") == bob.does("history blue") == [[1, "one"], [2, "two"]]
        members = [["ada", {"name": "ADA"}, 1], ["bob", {"name": "BOB"}, 1]]
        assert sorted(ada.does("members blue")) == sorted(bob.does("members blue")) == members
        ada.send(message="pm bob psst")
        bob.hears("psst")


def test_a_client_that_comes_back_to_the_other_server_gets_what_it_has_missed(pair):
    with ExitStack() as stack:
        ada = Client(stack, pair.servers[0], "/talk/green", "ada")
        bob = Client(stack, pair.servers[1], "/talk/green", "bob")
        ada.send(message="say 0")
        known = bob.hears("0")
        bob.socket.close()
        for number in range(1, 6):
            ada.send(message=f"say {number}")
            ada.hears(str(number))
        again = Client(stack, pair.servers[0], "/talk/green", "bob")
        again.send(join="green", since={"epoch": known["epoch"], "offset": known["offset"]})
        joined = again.until(lambda frame: "joined" in frame and "recovered" in frame)
        assert joined["recovered"] is True
        again.hears("5")
        assert again.said == ["1", "2", "3", "4", "5"]


def test_who_is_in_the_room_is_told_of_who_comes_and_goes_on_the_other_server(pair):
    with ExitStack() as stack:
        ada = Client(stack, pair.servers[0], "/talk/red", "ada")
        ada.send(join="red", presence=True)
        ada.until(lambda frame: "members" in frame)
        bob = Client(stack, pair.servers[1], "/talk/red", "bob")

        def is_bobs(change: str) -> Callable[[dict[str, Any]], bool]:
            return lambda frame: frame.get("change") == change and frame["member"]["id"] == "bob"

        ada.until(is_bobs("joined"))
        bob.socket.close()
        ada.until(is_bobs("left"))


def test_a_store_that_is_killed_leaves_routes_up_and_clients_are_told_when_it_is_back(pair):
    store, (one, two) = pair
    with ExitStack() as stack:
        ada = Client(stack, one, "/talk/black", "ada")
        cat = Client(stack, one, "/talk/black", "cat")
        bob = Client(stack, two, "/talk/black", "bob")
        ada.send(message="say before")
        before = bob.hears("before")
        cat.hears("before")
        breaks = metric(one, BREAKS)
        again, anew = metric(one, "resubscriptions_total"), metric(one, "epochs_changed_total")
        assert told_of_health(one)["backplane"] == {"state": "up"}
        store.kill()
        wait_for(lambda: health(one) == health(two) == "degraded", 20, "a health that says so")
        assert metric(one, "up") == 0
        wait_for(lambda: told_of_health(one)["backplane"] == {"state": "alone"}, 20, "it alone")
        away = {"state": "away"}
        wait_for(lambda: told_of_health(one)["sessions"] == away, 20, "a store that is away")
        ada.send(message="say alone")
        assert "offset" not in cat.hears("alone")
        assert metric(one, "outbox_messages") >= 1
        assert metric(one, "outbox_bytes") > 0
        assert metric(one, 'state{state="alone"}') == 1
        late = Client(stack, one, "/talk/black", "dan")  # who comes now is let in
        ada.send(message="say still alone")
        late.hears("still alone")
        store.start()
        for client in (ada, bob):
            told = client.until(lambda frame: frame.get("recovered") is False)
            assert told["epoch"] != before["epoch"]
        assert bob.hears("still alone")["offset"] == 2
        wait_for(lambda: health(one) == health(two) == "ok", 30, "a health that says so")
        bob.send(message="say together")
        for client in (ada, cat, late):
            assert client.hears("together")["offset"] == 3
        assert cat.said == ["before", "alone", "still alone", "together"]
        people = sorted(member[0] for member in bob.does("members black"))
        assert people == ["ada", "bob", "cat", "dan"]
        assert metric(one, "up") == 1
        assert metric(one, BREAKS) > breaks
        assert metric(one, "resubscriptions_total") >= again + 3
        assert metric(one, "epochs_changed_total") > anew
        # The room, those of three users, and two of the servers themselves.
        assert metric(one, "channels") == 6
        count = metric(one, "publish_seconds_count")
        assert count == metric(one, 'publish_seconds_bucket{le="+Inf"}') >= 3
        assert 0 < metric(one, "publish_seconds_sum") < 60 * count
        assert metric(one, "outbox_messages") == metric(one, "outbox_bytes") == 0
        assert metric(one, 'state{state="up"}') == 1
        assert metric(one, 'state{state="alone"}') == 0
    for server in (one, two):
        log = server.log_text()
        assert log.count("Routes stay up") == log.count("is back after") == metric(server, BREAKS)


def test_a_server_whose_backplane_was_never_there_serves_its_routes(tmp_path):
    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    with node(tmp_path, url) as server, ExitStack() as stack:
        ada = Client(stack, server, "/talk/blue", "ada")
        bob = Client(stack, server, "/talk/blue", "bob")
        ada.send(message="say hello")
        bob.hears("hello")
        assert health(server) == "degraded"
        # It is one of several, of which it does not know whether they are there.
        server.process.send_signal(signal.SIGTERM)
        assert ada.until(lambda frame: "move" in frame) == {"move": 0.0}
        ada.socket.close(4900)
        assert server.process.wait(20) == 0
        assert SECRET not in server.log_text()
        assert "Traceback" not in server.log_text()


@pytest.mark.parametrize("scheme", ["redis://:{}@127.0.0.1/0?x=1", "http://u:{}@127.0.0.1/"])
def test_a_url_that_cannot_be_used_serves_nothing_and_is_not_repeated(tmp_path, scheme):
    with node(tmp_path, scheme.format(SECRET)) as server:
        assert server.fetch("wshandler/api/health")[0] == 503
        assert "No routes are served: c.WSHandlerApp.backplane: " in server.log_text()
        assert SECRET not in server.log_text()


def test_a_message_from_outside_reaches_both_servers_and_so_does_one_of_the_command(pair, tmp_path):
    url = pair.store.url.replace("://", f"://:{SECRET}@")

    def send(*arguments: str) -> Ended:
        return command(tmp_path, "send", *arguments, WSHANDLER_BACKPLANE=url)

    with ExitStack() as stack:
        people = [
            Client(stack, server, "/talk/outside", name)
            for server, name in zip(pair.servers, ("ada", "bob"), strict=True)
        ]
        sent = publish(url, "talk", "outside", {"price": 42})
        assert (sent.offset, sent.nodes) == (1, 2)
        where = ("--backplane", "-", "--space", "talk", "--room", "outside")
        ended = send(*where, "--id", "one", "Hello")
        said = "Sent to the room outside as number 2; 2 servers have it.\n"
        assert (ended.code, ended.out, ended.said) == (0, said, "")
        ended = send(*where, "--id", "one", "--json", "Hello")
        found = json.loads(ended.out)
        assert (found["offset"], found["nodes"], found["epoch"]) == (2, None, sent.epoch)
        for client in people:
            assert client.hears('{"price":42}')["epoch"] == sent.epoch
            assert client.hears("Hello")["offset"] == 2
    plain = publish(url, "plain", "outside", "to nobody")
    assert (plain.epoch, plain.offset, plain.nodes) == ("", 0, 0)
    ended = send(*where[:2], "--space", "chess", "--room", "outside", "Hello")
    assert ended.code == 1
    assert "there are: lasting, plain, talk, who" in ended.said
    assert SECRET not in ended.said
    for wrong in (
        ("--space", "talk", "bot", "Hello"),
        (*where, "--user", "ada", "Hello"),
        where[:4],
    ):
        assert send(*wrong).code == 2


# ---- where state lives ---------------------------------------------------------------------------


@contextmanager
def by_balancer(server: RunningServer, path: str, **headers: str) -> Iterator[Any]:
    """Open a socket as a balancer hands it on: whichever server it is, its address is the same."""
    with (
        socket.create_connection(("127.0.0.1", server.port)) as way,
        websockets.sync.client.connect(
            f"ws://{BALANCER}{path}", sock=way, additional_headers=headers, compression=None
        ) as opened,
    ):
        yield opened


def says(server: RunningServer, path: str, **headers: str) -> tuple[dict[str, Any], str]:
    """Return what the bot says of who asks, and the Cookie that they have from then on."""
    with by_balancer(server, path, **headers) as opened:
        opened.send("hi")
        cookie = opened.response.headers.get("Set-Cookie", "").partition(";")[0]
        return json.loads(opened.recv(timeout=10)), cookie


def test_a_session_is_the_same_on_both_servers(pair):
    one, two = pair.servers
    first, cookie = says(one, "/who", **{"X-Person": "ada"})
    seen = []

    def found() -> bool:
        # Saved when the last socket has ended, a moment after its client knows it.
        seen.append(says(two, "/who", **{"X-Person": "ada", "Cookie": cookie})[0])
        return seen[-1]["count"] > 1

    wait_for(found, what="the session of the other server")
    assert {one["session"] for one in seen} == {first["session"]}
    # Who plants it in another one's browser gets nothing by it.
    other, _ = says(two, "/who", **{"X-Person": "bob", "Cookie": cookie})
    assert (other["count"], other["session"] != first["session"]) == (1, True)


def test_a_link_of_one_server_opens_on_the_other_one_and_is_used_up_on_both(pair):
    one, two = pair.servers
    shared = share(one, route="who", label="Class", uses=2)
    assert says(two, "/who", **bearer(shared))[0]["name"] == "Class"
    status, head, body = two.fetch(
        f"/who?share_token={token_of(shared)}",
        token=False,
        headers={"Host": BALANCER, "Accept": "text/html"},
    )
    assert status == 302, body
    card = {"Cookie": head["Set-Cookie"].partition(";")[0]}
    first = says(one, "/who", **card)[0]
    again = says(two, "/who", **card)[0]  # the same guest, who counts once
    assert first["username"] == again["username"]
    for server in pair.servers:
        assert [(each["uses"], each["used"]) for each in shares(server, "?route=who")] == [(2, 2)]
        with pytest.raises(websockets.exceptions.InvalidStatus, match="403"):
            says(server, "/who", **bearer(shared))
    assert revoke(two, shared["id"]) == 204


def test_a_revocation_on_one_server_closes_the_sockets_of_the_other_one(pair):
    one, two = pair.servers
    shared = share(one, route="who")
    with by_balancer(two, "/who", **bearer(shared)) as opened:
        opened.send("hi")
        opened.recv(timeout=10)
        began = time.monotonic()
        assert revoke(one, shared["id"]) == 204
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            opened.recv(timeout=10)
        assert (opened.close_code, time.monotonic() - began < 2) == (4403, True)
    with pytest.raises(websockets.exceptions.InvalidStatus, match="403"):
        says(two, "/who", **bearer(shared))


def test_what_is_told_of_the_settings_has_no_password(pair):
    status, _, body = pair.servers[0].fetch("wshandler/api/config")
    assert status == 200, body
    assert json.loads(body)["settings"]["session_store"] == "backplane"
    assert SECRET.encode() not in body


def test_who_comes_back_to_the_other_server_is_told_so_and_has_ended_on_the_first(pair):
    one, two = pair.servers
    options = {"token": False, "headers": {"X-Person": "ada"}}
    with Resumer(one, "/lasting", **options) as client:
        client.send("hi")
        assert client.message() == "hi"
        name = client.id
        if pair.store.kind == "redis":
            client.cut()  # else the server has not seen the break yet
        client.server = two
        began = time.monotonic()
        first = client.connect()
        assert (first["resumed"], first["reason"]) == (False, "elsewhere")
        assert time.monotonic() - began < 2
        journal = one.folder / "journal.txt"
        wait_for(lambda: f"close-1006 {name}\n" in journal.read_text(), what="its end on the first")
        assert f"the client of {name} has come back to another server" in one.log_text()
        client.send("on I go")
        assert client.message() == "on I go"
    numbers = two.fetch("metrics")[2].decode()
    assert 'wshandler_resumes_total{result="elsewhere",route="lasting"} 1.0' in numbers


def test_somebody_else_ends_no_connection_on_another_server(pair):
    one, two = pair.servers
    with Resumer(one, "/lasting", token=False, headers={"X-Person": "ada"}) as client:
        with Resumer(two, "/lasting", token=False, headers={"X-Person": "eve"}) as thief:
            thief.id, thief.secret = client.id, client.secret
            assert thief.connect()["reason"] == "user"
            thief.id, thief.secret = client.id, "x" * 32
            assert thief.connect()["reason"] == "unknown"
        client.send("still here")
        assert client.message() == "still here"


@pytest.mark.parametrize(
    "url", ["backplane", f"redis://:{SECRET}@127.0.0.1/0?x=1", f"mysql://u:{SECRET}@127.0.0.1/"]
)
def test_a_store_that_cannot_be_serves_nothing_and_is_not_repeated(tmp_path, url):
    with node(tmp_path, "", f"--WSHandlerApp.session_store={url}") as server:
        assert server.fetch("wshandler/api/health")[0] == 503
        assert "No routes are served: c.WSHandlerApp.session_store: " in server.log_text()
        assert SECRET not in server.log_text().replace(server.log_text().split("\n")[0], "")
