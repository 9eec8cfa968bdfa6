"""Connections that outlive a break, on a real server: taken up again, refused, and ended."""

from __future__ import annotations

import json
import random
import re
import time

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.resuming import HEAD, Resumer
from support.server import running_server, wait_for
from support.sharing import bearer, share, shares
from support.visitor import Visitor
from support.wire import open_sockets

YAML = """
url:
  bot: &bot
    pattern: /bot
    handler: WebSocketHandler
    kwargs: &kwargs
      open: resuming.opened
      on_message: resuming.on_message
      on_away: resuming.on_away
      on_resume: resuming.on_resume
      on_close: resuming.closed
      on_error: {close: false}
      resume: {window: 60s}
      queue: {messages: 5000, bytes: 8MiB}
  other: {<<: *bot, pattern: "/other/{room}", kwargs: {<<: *kwargs, rooms: [lobby, "{room}"]}}
  short: {<<: *bot, pattern: /short, kwargs: {<<: *kwargs, resume: {window: 300ms}}}
  pinged:
    <<: *bot
    pattern: /pinged
    kwargs: {<<: *kwargs, ping_interval: 200ms, ping_timeout: 200ms, idle_timeout: 30s}
  few:
    <<: *bot
    pattern: /few
    kwargs:
      <<: *kwargs
      resume: {window: 60s, keep: {messages: 8, bytes: 1MiB}}
      max_connections: 1
      rooms: [lobby]
      may_join: resuming.may_join
  packed: {<<: *bot, pattern: /packed, kwargs: {<<: *kwargs, compression: true}}
  asked:
    <<: *bot
    pattern: /asked
    kwargs: {<<: *kwargs, auth: {condition: resuming.lively}}
  public: {<<: *bot, pattern: /public, kwargs: {<<: *kwargs, auth: false}}
  tokens:
    <<: *bot
    pattern: /tokens
    kwargs: {<<: *kwargs, on_message: resuming.on_tokens}
  drops:
    <<: *bot
    pattern: /drops
    kwargs:
      <<: *kwargs
      queue: {slow: drop_oldest}
      resume: {keep: {messages: 8}}
  plain: {<<: *bot, pattern: /plain, kwargs: {on_message: resuming.on_message}}
  limited:
    <<: *bot
    pattern: /limited
    kwargs: {<<: *kwargs, ratelimit: {messages: 1000/s}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(
        YAML,
        folder=tmp_path_factory.mktemp("resume"),
        modules={"resuming.py": bot_text("resuming")},
        extra_args=["--WSHandlerApp.allow_public_routes=True"],
    ) as running:
        yield running


def told(server, name: str) -> list[str]:
    """Return what the bot has written down of one connection."""
    path = server.folder / "journal.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [word for word, _, who in (line.partition(" ") for line in lines) if who == name]


def until(server, name: str, *words: str) -> None:
    wait_for(lambda: told(server, name)[-len(words) :] == [*words], what=f"{words} of {name}")


def go(server, client: Resumer) -> None:
    (server.folder / f"go-{client.id}").touch()


def test_what_both_ends_said_during_a_break_comes_once_and_in_order(server):
    with Resumer(server, "/bot") as client:
        assert client.first["resume"] == {"secret": client.secret, "window": 60}
        assert client.first["received"] == 0
        client.send("one")
        assert client.message() == "one"
        client.send("later 3", ask=1)
        client.cut()
        until(server, client.id, "open", "away")
        go(server, client)
        until(server, client.id, "away", "said")
        client.sent = 1  # nobody knows what became of the second one
        first = client.connect()
        assert first == {
            "wsh": "v1",
            "id": client.id,
            "resume": {"secret": client.secret, "window": 60},
            "resumed": True,
            "received": 2,
        }
        assert client.recv() == {"end": 1, "how": "done"}
        assert [client.message() for _ in range(3)] == ["later 0", "later 1", "later 2"]
        client.send("later 3")  # the repetition of the second one, which is dropped
        client.send("who")
        assert json.loads(client.message())["away"] is False
    until(server, client.id, "resume", "close-1000")


def test_a_repetition_is_given_to_nobody_and_acknowledged_at_once(server):
    with Resumer(server, "/bot") as client:
        client.send("one")
        assert client.message() == "one"
        client.send_frame(message="one", n=1)
        assert client.frame() == {"ack": 1}
        client.send("got")
        assert json.loads(client.message()) == ["one"]


def test_64_frames_are_acknowledged_and_fewer_after_five_seconds(server):
    with Resumer(server, "/bot") as client:
        for number in range(64):
            client.send(str(number))
        frames = [client.frame() for _ in range(65)]
        assert [frame["ack"] for frame in frames if "ack" in frame] == [64]
        client.send("one more")
        client.frame()
        begun = time.monotonic()
        assert client.frame(20) == {"ack": 65}
        assert time.monotonic() - begun > 3


def test_binary_frames_have_their_number_behind_that_of_the_question(server):
    with Resumer(server, "/packed", compression="deflate") as client:
        client.send(b"\x00\xff", ask=5)
        assert client.recv() == (5, b"\x00\xff")
        assert client.recv() == {"end": 5, "how": "done"}
        client.send("x" * 100_000)
        client.cut()
        client.connect(compression=None)
        client.sent = client.first["received"]
        while client.sent < 2:
            client.send("x" * 100_000)
        assert client.message() == "x" * 100_000


def test_an_answer_that_streams_goes_on_through_a_break_and_is_shown_once(server):
    hold = server.folder / "hold"
    hold.touch()
    with Resumer(server, "/tokens") as client:
        client.send("300", ask=1)
        got = [client.recv()["piece"] for _ in range(3)]
        client.cut()
        until(server, client.id, "open", "sees-away")  # `on_away` waits for its turn
        hold.unlink()
        until(server, client.id, "sees-away", "ended", "away")
        client.connect()
        got += [client.recv()["piece"] for _ in range(297)]
        assert got == [f"t{number} " for number in range(300)]
        assert client.recv() == {"end": 1, "how": "done", "streamed": True}


def test_a_stop_after_the_break_ends_the_answer(server):
    hold = server.folder / "hold"
    hold.touch()
    try:
        with Resumer(server, "/tokens") as client:
            client.send("300", ask=1)
            assert client.recv() == {"piece": "t0 ", "of": 1}
            client.cut()
            until(server, client.id, "open", "sees-away")
            client.connect()
            assert [client.recv()["piece"] for _ in range(4)][-1] == "t4 "
            client.send_frame(stop=1)
            client.send_frame(stop=1)  # as a client does that does not know what has arrived
            assert client.recv() == {"end": 1, "how": "stopped", "streamed": True}
            until(server, client.id, "ended", "away-not", "resume")
    finally:
        hold.unlink()


@pytest.mark.parametrize("code", [1001, 4900])
def test_a_page_that_goes_away_may_come_back(server, code):
    with Resumer(server, "/bot") as client:
        client.send("one")
        assert client.message() == "one"
        client.socket.close(code, "wsh.v1: comes back")
        assert client.socket.close_code == code
        until(server, client.id, "open", "away")
        assert client.connect()["resumed"] is True
        client.send("two")
        assert client.message() == "two"
        until(server, client.id, "away", "resume")


def test_every_other_close_ends_the_connection(server):
    with Resumer(server, "/bot") as client:
        first = client.id
        client.socket.close(4899)
        until(server, first, "open", "close-4899")
        refused = client.connect()
        assert (refused["resumed"], refused["reason"]) == (False, "ended")
        assert client.id != first


def test_what_the_bot_has_closed_has_ended(server):
    with Resumer(server, "/bot") as client:
        client.send("close")
        assert client.closed() == (4321, "enough")
        assert client.connect()["reason"] == "ended"
        client.send("got")  # numbers begin anew
        assert json.loads(client.message()) == []


def test_after_the_window_the_connection_is_lost_as_any_other(server):
    with Resumer(server, "/short") as client:
        client.cut()
        until(server, client.id, "open", "away", "close-1006")
        old = client.id
        assert client.connect()["reason"] == "unknown"
        assert client.id != old
        assert client.first["received"] == 0


def test_a_client_that_comes_back_before_the_break_is_seen_takes_over(server):
    with Resumer(server, "/bot") as client:
        old = client.socket
        client.send("one")
        assert client.message() == "one"
        assert client.connect()["resumed"] is True
        client.send("two")
        assert client.message() == "two"
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            old.recv(timeout=10)
        assert old.close_code == 1006
        client.send("three")
        assert client.message() == "three"


def test_a_client_that_answers_no_pings_is_away(server):
    status, head, sock = server.raw_handshake(
        "/pinged",
        [("Sec-WebSocket-Protocol", "wsh.v1, wsh.resume"), *server.headers().items()],
    )
    assert status == 101
    assert b"wsh.v1" in head.encode()
    first = sock.recv(4096)
    said = json.loads(first[first.index(b"{") : first.rindex(b"}") + 1])
    until(server, said["id"], "open", "away")
    sock.close()
    with Resumer(server, "/pinged") as client:
        client.socket.close()
        client.id, client.secret, client.got = said["id"], said["resume"]["secret"], 0
        assert client.connect()["resumed"] is True


def test_a_wrong_secret_is_as_unknown_as_a_wrong_id(server):
    with Resumer(server, "/bot") as owner, Resumer(server, "/bot") as thief:
        owner.cut()
        for name, secret in ((owner.id, thief.secret), ("0" * 16, owner.secret)):
            refused = thief.connect(offer=f"wsh.resume.{name}.{secret}.0")
            assert refused["reason"] == "unknown"
        for odd in ("wsh.resume.", "wsh.resume.a.b.c", f"wsh.resume.{owner.id}.{owner.secret}.-1"):
            assert thief.connect(offer=odd)["reason"] == "unknown"
        assert owner.connect()["resumed"] is True


def test_another_address_is_another_connection(server):
    with Resumer(server, "/other/red") as client:
        client.cut()
        client.path = "/other/blue"
        assert client.connect()["reason"] == "unknown"


def test_somebody_else_cannot_take_a_connection_up(server):
    anne = Visitor(server).log_in(server.token)
    with Resumer(server, "/public", token=False, headers=anne.cookie_header()) as client:
        client.cut()
        old = client.id, client.secret
        refused = client.connect(headers={})
        assert refused["reason"] == "user"
        client.id, client.secret = old
        assert client.connect()["resumed"] is True


def test_a_guest_takes_up_the_connection_of_no_other_guest(server):
    shared = share(server, route="bot")
    other = share(server, route="bot")
    with Resumer(server, "/bot", token=False, headers=bearer(shared)) as client:
        client.cut()
        old = client.id, client.secret
        assert client.connect(headers=bearer(other))["reason"] == "user"
        client.id, client.secret = old
        assert client.connect()["resumed"] is True
        assert [found["used"] for found in shares(server) if found["id"] == shared["id"]] == [1]


def test_who_may_not_use_the_route_any_more_does_not_come_back(server):
    with Resumer(server, "/asked") as client:
        client.cut()
        for path, options in (("/asked?condition=no", {}), ("/asked", {"token": "wrong"})):
            client.path = path
            with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
                client.connect(**options)
            assert refused.value.response.status_code == 403
        client.path = "/asked"
        assert client.connect()["resumed"] is True


def test_a_page_of_another_site_takes_up_no_connection(server):
    cookies = Visitor(server).log_in(server.token).cookie_header()
    with Resumer(server, "/bot", token=False, headers=cookies) as client:
        client.cut()
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            client.connect(origin="http://evil.example")
        assert refused.value.response.status_code == 403
        assert client.connect()["resumed"] is True


def test_a_logout_ends_who_is_away(server):
    anne = Visitor(server).log_in(server.token)
    with Resumer(server, "/bot", token=False, headers=anne.cookie_header()) as client:
        client.cut()
        until(server, client.id, "open", "away")
        anne.fetch("/logout")
        until(server, client.id, "away", "close-4401")
        with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
            client.connect()
        assert refused.value.response.status_code == 403


def test_who_is_away_has_no_descriptor(server):
    before = open_sockets(server.pid)
    clients = [Resumer(server, "/bot") for _ in range(10)]
    assert open_sockets(server.pid) >= before + 10
    for client in clients:
        client.cut()
    for client in clients:
        until(server, client.id, "open", "away")
    wait_for(lambda: open_sockets(server.pid) <= before, what="the descriptors are closed")
    for client in clients:
        assert client.connect()["resumed"] is True
        client.socket.close()


def test_the_place_of_who_is_away_is_kept_but_given_up_for_the_same_user(server):
    with Resumer(server, "/few") as client:
        client.cut()
        until(server, client.id, "open", "away")
        assert client.connect()["resumed"] is True
        client.cut()
        old = client.id
        until(server, old, "resume", "away")
        with Resumer(server, "/few") as fresh:
            until(server, old, "away", "close-1006")
            with pytest.raises(websockets.exceptions.InvalidStatus) as full:
                Resumer(server, "/few")
            assert full.value.response.status_code == 429
            assert fresh.id != old


def test_who_needs_what_is_not_kept_gets_a_new_connection_at_once(server):
    with Resumer(server, "/few") as client:
        client.send("flood 8")
        for number in range(8):
            assert client.message() == f"f{number}"
        client.ack()
        client.send("who")
        client.message()
        old, client.got = client.id, 2
        client.cut()
        assert client.connect()["reason"] == "lost"
        until(server, old, "away", "close-1006")


def test_an_awaited_write_waits_for_room_during_a_break_and_goes_on_after_it(server):
    with Resumer(server, "/few") as client:
        client.send("later 30")
        client.send("who")
        client.message()
        client.cut()
        until(server, client.id, "open", "away")
        go(server, client)
        time.sleep(0.3)  # the bot would have said it all by now
        assert told(server, client.id) == ["join-lobby", "open", "away"]
        client.connect()
        for number in range(30):
            assert client.message() == f"later {number}"
            if number % 4 == 3:
                client.ack()
        # `on_resume` and the task, whichever is first
        wait_for(lambda: {"resume", "said"} <= {*told(server, client.id)})


def test_dropped_messages_leave_their_numbers(server):
    with Resumer(server, "/drops") as client:
        client.send("who")
        client.message()
        client.send("later 2")
        client.cut()
        until(server, client.id, "open", "away")
        client.connect()
        client.sent = client.first["received"]
        client.send("flood 12")
        frames = [client.recv() for _ in range(12)]
        assert frames[-1] == {"message": "f11"}
        assert all(frame in ({}, {"message": f"f{n}"}) for n, frame in enumerate(frames))


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"message": "x"}, "wsh.v1: a frame has its number as n"),
        ({"message": "x", "n": 3}, "wsh.v1: message 3 came, and 1 is the next"),
        ({"message": "x", "n": 0}, "wsh.v1: frames are numbered from 1"),
        ({"message": "x", "n": 2**32}, "wsh.v1: frames are numbered from 1"),
        ({"stop": 1, "n": 1}, "wsh.v1: a stop has no number of its own"),
        ({"ack": 1}, "wsh.v1: message 1 is acknowledged, and 0 is the last one"),
        ({"ack": 0, "n": 1}, "wsh.v1: an acknowledgement is a frame of its own"),
        ({"n": 1}, "wsh.v1: a frame is a message, a stop, a join or a leave"),
    ],
)
def test_a_frame_that_is_none_of_these_ends_the_connection(server, frame, reason):
    with Resumer(server, "/bot") as client:
        client.send_frame(**frame)
        assert client.closed() == (1002, reason)
        assert client.connect()["reason"] == "ended"


def test_a_short_binary_frame_ends_the_connection(server):
    with Resumer(server, "/bot") as client:
        client.socket.send(b"\x00" * (HEAD.size - 1))
        assert client.closed() == (1002, "wsh.v1: a binary frame begins with 8 bytes")


@pytest.mark.parametrize("frame", ['{"message":"x","n":1}', '{"ack":0}'])
def test_without_the_offer_frames_have_no_numbers(server, frame):
    with server.connect_sync("/bot", subprotocols=["wsh.v1"]) as socket:
        assert json.loads(socket.recv()).keys() == {"wsh", "id"}
        socket.send('{"message": "one"}')
        assert json.loads(socket.recv()) == {"message": "one"}
        socket.send(frame)
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            socket.recv()
        assert socket.close_code == 1002


def test_a_route_without_resume_numbers_nothing(server):
    for offer in ("wsh.resume", "wsh.resume.0000000000000000.aaaaaaaaaaaaaaaaaaaaaaaa.7"):
        with server.connect_sync("/plain", subprotocols=["wsh.v1", offer]) as socket:
            assert socket.subprotocol == "wsh.v1"
            assert json.loads(socket.recv()).keys() == {"wsh", "id"}


def test_what_is_said_in_a_room_is_kept_for_a_member_who_is_away(server):
    with Resumer(server, "/other/red") as away, Resumer(server, "/other/blue") as there:
        away.cut()
        until(server, away.id, "open", "away")
        for number in range(3):
            there.send(f"room hello {number}")
        away.connect()
        assert [away.message() for _ in range(3)] == ["hello 0", "hello 1", "hello 2"]


def test_nobody_is_told_the_secret_and_the_log_says_who_came_back(server):
    with Resumer(server, "/bot") as client:
        client.cut()
        client.connect()
        wait_for(lambda: f"the client of {client.id} has come back" in server.log_text())
        secrets = [client.secret]
        client.connect(offer=f"wsh.resume.{'f' * 16}.{'s' * 32}.0")
        wait_for(lambda: "could not take up its connection (unknown)" in server.log_text())
        secrets += ["s" * 32, client.secret]
        assert not [secret for secret in secrets if secret in server.log_text()]


def test_metrics_tell_who_is_away_and_what_became_of_who_came_back(server):
    with Resumer(server, "/short") as client:
        client.cut()
        wait_for(
            lambda: (
                'wshandler_connections_away{route="short"} 1.0'
                in server.fetch("/metrics")[2].decode()
            )
        )
        until(server, client.id, "away", "close-1006")
        client.connect()
        text = server.fetch("/metrics")[2].decode()
        assert 'wshandler_connections_away{route="short"} 0.0' in text
        found = re.search(r'wshandler_resumes_total{result="unknown",route="short"} (\S+)', text)
        assert found
        assert float(found[1]) >= 1
        assert 'wshandler_resumes_total{result="resumed",route="bot"}' in text


def test_many_breaks_at_any_point_lose_and_double_nothing(server):
    chance = random.Random(7)
    answers: list[str] = []
    with Resumer(server, "/limited") as client:
        for number in range(1, 201):
            client.send(f"m{number}")
            if chance.random() < 0.1:
                client.cut()
                received = client.connect()["received"]
                client.sent = received
                while client.sent < number:
                    client.send(f"m{client.sent + 1}")
            elif chance.random() < 0.5:
                answers.append(client.message())
            if chance.random() < 0.2:
                client.ack()
        while len(answers) < 200:
            answers.append(client.message())
    assert answers == [f"m{number}" for number in range(1, 201)]
