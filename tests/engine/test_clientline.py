"""Both ends of a connection that outlives breaks against each other, without a server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import few

from jupyter_wshandler.engine.asking import NotSpoken, message_frame
from jupyter_wshandler.engine.clientline import Begun, ClientLine, Gap
from jupyter_wshandler.engine.lasting import ACK_AFTER, ACK_EACH, Lasting
from jupyter_wshandler.engine.messages import MessageProtocol
from jupyter_wshandler.engine.numbered import UNCONNECTED, NumberedCodec
from jupyter_wshandler.engine.resuming import HEAD, ComeBack, can_resume, come_back, without_secret
from jupyter_wshandler.types import Question

MESSAGES = st.one_of(st.text(st.characters(exclude_categories=("Cs",)), max_size=9), st.binary())
SECRET = "a-secret-of-24-characters"


class Server:
    """The server's end: what a `Line` does with a codec, without its connection."""

    def __init__(self, *, messages: int = 10**6) -> None:
        self.now = 1.0
        self.violations: list[tuple[int, str]] = []
        self.lasting: Lasting[Any] = Lasting(messages=messages, size=10**9)
        self.codec = NumberedCodec(MessageProtocol())
        self.codec.lasting, self.codec.clock = self.lasting, lambda: self.now
        self.codec.was_read = lambda: None
        self.codec.limit(0)
        self.codec.stopper = self
        self.got: list[Any] = []

    def admits_stop(self) -> bool:
        return True

    def stop(self, number: int) -> None:
        raise AssertionError

    def violated(self, code: int, reason: str) -> None:
        self.violations.append((code, reason))

    def first(self, **more: Any) -> str:
        said = {"wsh": "v1", "id": "x", "resume": {"secret": SECRET, "window": 2}, **more}
        return json.dumps(said)

    def frames(self) -> list[Any]:
        """Return what leaves now."""
        found = []
        while (frame := self.codec.next_frame()) is not None:
            found.append(frame)
        number = self.lasting.due(self.now)
        return [*found, self.codec.acknowledgement(number)] if number else found

    def hear(self, *frames: Any) -> None:
        for event in self.codec.receive(list(frames), 10**6, 10**9):
            assert isinstance(event, Question)
            self.got.append(event.message)


def both() -> tuple[ClientLine, Server]:
    client, server = ClientLine(), Server()
    assert client.subprotocols == ["wsh.v1", "wsh.resume"]
    assert client.begin(server.first(received=0)) == Begun("x", resumes=True)
    return client, server


def leaving(client: ClientLine) -> list[Any]:
    found = []
    while (frame := client.leaving()) is not None:
        found.append(frame)
    return found


def unwrapped(frame: Any) -> Any:
    return frame[4:] if isinstance(frame, bytes) else json.loads(frame)["message"]


@given(st.lists(MESSAGES, max_size=8))
def test_what_either_end_says_the_other_reads(said):
    client, server = both()
    for message in said:
        client.say(message_frame(message))
        server.codec.encode(message)
    server.hear(*leaving(client))
    assert server.got == said
    got = [client.receive(frame, 1.0) for frame in server.frames()]
    assert [unwrapped(frame) for frame in got if frame is not None] == said


def test_a_kernels_frame_that_has_its_envelope_gets_its_number():
    client, server = both()
    server.codec.whole = True
    server.codec.encode('{"reply":"a","of":1}')
    server.codec.encode(b"\x00\x00\x00\x01abc")
    server.codec.whole = False
    frames = server.frames()
    assert frames == ['{"reply":"a","of":1,"n":1}', HEAD.pack(1, 2) + b"abc"]
    assert client.receive(frames[1 - 1], 0.0) == frames[0]
    assert client.receive(frames[1], 0.0) == b"\x00\x00\x00\x01abc"


def test_a_client_that_misses_a_frame_says_so_and_keeps_where_it_was():
    client, server = both()
    for text in "abc":
        server.codec.encode(text)
    one, _, three = server.frames()
    assert client.receive(one, 0.0) == one
    with pytest.raises(Gap, match="message 3 came, and 2 is the next"):
        client.receive(three, 0.0)
    client.broke()
    assert client.subprotocols[1] == f"wsh.resume.x.{SECRET}.1"


def test_a_server_end_refuses_a_gap_and_what_it_never_sent():
    for frame, reason in (
        ('{"message":"a","n":2}', "wsh.v1: message 2 came, and 1 is the next"),
        ('{"ack":1}', "wsh.v1: message 1 is acknowledged, and 0 is the last one"),
    ):
        server = Server()
        server.hear(frame)
        assert server.violations == [(1002, reason)]


def test_after_64_messages_or_5_seconds_either_end_says_what_it_has():
    client, server = both()
    for _ in range(ACK_EACH):
        client.say(message_frame("a"))
        server.codec.encode("a")
    server.hear(*leaving(client))
    *frames, ack = server.frames()
    assert json.loads(ack) == {"ack": ACK_EACH}
    for frame in frames:
        client.receive(frame, 1.0)
    assert client.acknowledgement(1.0) == json.dumps({"ack": ACK_EACH})
    assert client.receive(ack, 1.0) is None
    server.codec.encode("b")
    client.receive(*server.frames(), 2.0)
    assert client.acknowledgement(2.0) is None
    assert client.acknowledgement(2.0 + ACK_AFTER) == json.dumps({"ack": ACK_EACH + 1})


def test_on_a_new_connection_what_had_left_is_given_up_and_what_had_not_leaves():
    client, server = both()
    client.say(message_frame("left"))
    leaving(client)
    client.broke()
    client.say(message_frame("waits"))
    begun = client.begin(server.first(id="y", received=0, resumed=False, reason="unknown"))
    assert begun == Begun("y", True, False, "unknown", (message_frame("left"),))
    assert leaving(client) == ['{"message": "waits", "n": 1}']
    assert client.subprotocols[1].startswith("wsh.resume.y.")


def test_a_server_that_does_not_resume_is_told_no_numbers_to_come_back_with():
    client = ClientLine()
    assert client.begin('{"wsh": "v1", "id": "x"}') == Begun("x", resumes=False)
    client.broke()
    assert client.subprotocols == ["wsh.v1", "wsh.resume"]


@given(st.one_of(st.text(), st.binary(max_size=12)))
def test_any_frame_is_delivered_or_called_what_it_is(frame):
    client, _ = both()
    try:
        assert client.receive(frame, 0.0) in (frame, None) or isinstance(frame, bytes)
    except (Gap, NotSpoken):
        return


@given(st.one_of(st.text(), st.binary(max_size=12)))
def test_any_frame_of_a_client_is_taken_or_one_violation(frame):
    server = Server()
    server.hear(frame, "after it")
    assert len(server.violations) == 1
    assert server.violations[0][0] == 1002


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_no_offer_of_a_clients_makes_a_server_stumble(rest):
    offered = ["wsh.v1", f"wsh.resume{rest}"]
    found = come_back(offered)
    assert found is None or isinstance(found, ComeBack)
    if found is not None and found.id:
        assert f"{found.id}.{found.secret}.{found.received}" in rest
        assert found.secret not in repr(found)
        assert found.secret not in without_secret(", ".join(offered))
    assert not can_resume(["wsh.resume"])


class Breaks(RuleBasedStateMachine):
    """Both ends, what is on its way, and breaks of which any part arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.client, self.server = both()
        self.said: list[str] = []  # by the client
        self.told: list[str] = []  # by the server
        self.got: list[str] = []  # by the client
        self.up: list[Any] = []
        self.down: list[Any] = []
        self.connected = True

    @rule(count=st.integers(1, 70))
    def the_client_speaks(self, count: int) -> None:
        for _ in range(count):
            self.said.append(f"c{len(self.said)}")
            self.client.say(message_frame(self.said[-1]))

    @rule(count=st.integers(1, 70), binary=st.booleans())
    def the_server_speaks(self, count: int, binary: bool) -> None:
        for _ in range(count):
            self.told.append(f"s{len(self.told)}")
            text = self.told[-1]
            self.server.codec.encode(text.encode() if binary else text)

    @precondition(lambda self: self.connected)
    @rule(seconds=st.floats(0, 10))
    def what_waits_leaves(self, seconds: float) -> None:
        self.server.now += seconds
        self.up += leaving(self.client)
        ack = self.client.acknowledgement(self.server.now)
        self.up += [] if ack is None else [ack]
        self.down += self.server.frames()

    @precondition(lambda self: self.connected)
    @rule(up=st.integers(0, 100), down=st.integers(0, 100))
    def some_arrives(self, up: int, down: int) -> None:
        frames, self.up = self.up[:up], self.up[up:]
        self.server.hear(*frames)
        frames, self.down = self.down[:down], self.down[down:]
        for frame in frames:
            found = self.client.receive(frame, self.server.now)
            if found is not None:
                text = unwrapped(found)
                self.got.append(text.decode() if isinstance(text, bytes) else text)

    @precondition(lambda self: self.connected)
    @rule(at=st.integers(0, 99))
    def a_frame_comes_twice(self, at: int) -> None:
        for way in (self.up, self.down):
            if way:
                way.insert(at % len(way), way[at % len(way)])

    @precondition(lambda self: self.connected)
    @rule()
    def it_breaks(self) -> None:
        self.up, self.down, self.connected = [], [], False
        self.client.broke()
        self.server.lasting.pause()
        self.server.codec.inner = UNCONNECTED

    @precondition(lambda self: not self.connected)
    @rule(goes_on=st.booleans())
    def the_client_comes_back(self, goes_on: bool) -> None:
        back = come_back(self.client.subprotocols)
        assert back is not None
        assert (back.id, back.secret) == ("x", SECRET)
        assert self.server.lasting.can_resume(back.received)
        self.server.lasting.resume(back.received)
        self.server.codec.inner = MessageProtocol()
        if not goes_on:  # it breaks again before the first frame arrives
            self.server.lasting.pause()
            return
        said = self.server.first(resumed=True, received=self.server.lasting.told())
        assert self.client.begin(said).resumed
        self.connected = True

    @invariant()
    def all_came_once_and_in_order(self) -> None:
        assert self.server.violations == []
        assert self.server.got == self.said[: len(self.server.got)]
        assert self.got == self.told[: len(self.got)]

    def teardown(self) -> None:
        if not self.connected:
            self.the_client_comes_back(True)
        for _ in range(2):
            self.what_waits_leaves(2 * ACK_AFTER)
            self.some_arrives(len(self.up), len(self.down))
        assert (self.server.got, self.got) == (self.said, self.told)
        assert self.server.lasting.unacknowledged == 0
        assert not self.client.is_full


TestBreaks = Breaks.TestCase
TestBreaks.settings = few(50, stateful_step_count=30, deadline=None)
