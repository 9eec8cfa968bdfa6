"""A client's connection over many sockets, against a server that was written from its page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.breaking import Peer

from jupyter_wshandler.engine.asking import ClientEnd, message_frame
from jupyter_wshandler.engine.clientline import Gap
from jupyter_wshandler.engine.comeback import ClientLife, Outgoing, message_of
from jupyter_wshandler.engine.joined import Joined
from jupyter_wshandler.errors import QueueFull


def life_of(**limits):
    given = {"messages": 1000, "size": 10**6, **limits}
    return ClientLife(ClientEnd(""), resume=True, **given)


def opened(life, peer):
    """Open the first socket between the two."""
    peer.first()
    welcome = life.opened(peer.out.pop(0))
    assert welcome.event == "first"


def exchange(life, peer, now=0.0):
    """Let all that is on its way arrive, until nothing is."""
    while True:
        there = [*life.waiting_frames(), *filter(None, [life.acknowledge(now)])]
        back, peer.out = peer.out, []
        if not there and not back:
            return
        for frame in there:
            peer.receive(frame)
        for frame in back:
            life.receive(frame, now)


def test_what_is_offered_is_a_new_connection_first_and_then_the_old_one():
    life, peer = life_of(), Peer("c0")
    assert life.offers == ["wsh.v1", "wsh.resume"]
    opened(life, peer)
    assert life.offers == ["wsh.v1", "wsh.resume.c0.secret-of-c0.0"]
    assert life.window == 120.0
    assert "secret" not in repr(life)
    never = ClientLife(ClientEnd(""), resume=False, messages=1, size=1)
    assert never.offers == ["wsh.v1"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("ask"), st.integers(0, 3)),
        st.tuples(st.just("push"), st.integers(1, 5)),
        st.tuples(st.just("bytes"), st.just(0)),
        st.tuples(st.just("there"), st.integers(0, 4)),
        st.tuples(st.just("back"), st.integers(0, 4)),
        st.tuples(st.just("break"), st.booleans()),
        st.tuples(st.just("come back"), st.just(0)),
        st.tuples(st.just("time"), st.just(0)),
        st.tuples(st.just("peer acks"), st.just(0)),
    ),
    max_size=80,
)


class Pair:
    """A client's end and a server's, with frames on their way that a break loses."""

    def __init__(self):
        self.life, self.peer = life_of(), Peer("c0")
        self.there, self.back = [], []
        self.now, self.count = 0.0, 0
        self.sent, self.pushed, self.asked = [], [], []
        opened(self.life, self.peer)

    def send(self, message, asked=None, frame=None):
        outgoing = Outgoing(frame or message_frame(message), asked)
        self.sent.append(message)
        if self.life.is_open and not self.life.waits:
            self.there.append(self.life.send(outgoing))
        else:
            self.life.queue(outgoing)

    def step(self, what, how):
        life, peer = self.life, self.peer
        self.count += 1
        if what == "send":
            self.send(f"message {self.count}")
        elif what == "bytes":
            self.send(b"%d" % self.count)
        elif what == "ask":
            asked, frame = life.end.ask(f"question {self.count}")
            self.asked.append((asked, f"re question {self.count}"))
            self.send(f"question {self.count}", asked, frame)
        elif what == "push":
            for number in range(how):
                self.pushed.append(f"pushed {self.count} {number}")
                peer.say({"message": self.pushed[-1]})
        elif what == "there":
            for _ in range(min(how, len(self.there))):
                peer.receive(self.there.pop(0))
        elif what == "break":
            if how:  # what was on its way arrives, and its sender does not hear of it
                for frame in self.there:
                    peer.receive(frame)
            self.there, self.back, peer.out = [], [], []
            life.lost()
        elif what == "come back" and not life.is_open:
            peer.come_back(int(life.offers[1].rpartition(".")[2]))
            assert life.opened(peer.out.pop(0)).event == "resumed"
        elif what == "time":
            self.now += 10
        elif what == "peer acks":
            peer.acknowledge()
        if life.is_open:
            self.there += life.waiting_frames()
            self.there += filter(None, [life.acknowledge(self.now)])
            self.back += peer.out
            peer.out = []
        if what == "back":
            for _ in range(min(how, len(self.back))):
                life.receive(self.back.pop(0), self.now)

    def end(self):
        self.step("come back", 0)
        for _ in range(3):
            self.step("there", len(self.there))
            self.step("back", len(self.back))


@given(STEPS)
def test_whatever_breaks_each_message_is_there_once_and_in_order_both_ways(steps):
    pair = Pair()
    for step in steps:
        pair.step(*step)
    pair.end()
    while pair.there or pair.back:
        pair.end()
    assert pair.peer.violation == ""
    assert pair.peer.taken == pair.sent
    heard = [message for message in pair.life.end.messages if str(message).startswith("pushed")]
    assert heard == pair.pushed
    assert [(asked.how, asked.result()) for asked, _ in pair.asked] == [
        ("done", answer) for _, answer in pair.asked
    ]
    assert pair.life.end.open == {}


def test_a_frame_that_was_swallowed_is_a_gap_and_comes_again():
    life, peer = life_of(), Peer("c0")
    opened(life, peer)
    peer.say({"message": "one"})
    peer.skip()
    peer.say({"message": "two"})
    with pytest.raises(Gap):
        life.receive(peer.out.pop(), 0.0)
    life.lost()
    peer.come_back(0)
    life.opened(peer.out.pop(0))
    exchange(life, peer)
    assert list(life.end.messages) == ["one", "two"]


def test_stops_that_the_server_has_not_fulfilled_are_repeated_and_no_others():
    life, peer = life_of(), Peer("c0")
    opened(life, peer)
    questions = []
    for word in ("wait", "wait"):
        asked, frame = life.end.ask(word)
        questions.append(asked)
        peer.receive(life.send(Outgoing(frame, asked)))
    peer.receive(life.stop(questions[1]))
    exchange(life, peer)
    assert life.stop(questions[0]) is not None  # and it is lost
    life.lost()
    peer.come_back(int(life.offers[1].rpartition(".")[2]))
    life.opened(peer.out.pop(0))
    exchange(life, peer)
    assert peer.stopped == [2, 1]
    assert [asked.how for asked in questions] == ["stopped", "stopped"]


def test_another_connection_gives_up_what_was_sent_and_joins_rooms_before_what_waits():
    life, peer = life_of(), Peer("c0")
    opened(life, peer)
    lost, frame = life.end.ask("lost")
    life.send(Outgoing(message_frame("sent")))
    life.send(Outgoing(message_frame(b"bytes")))
    life.send(Outgoing(frame, lost))
    room = Joined("blue", since=("e", 4))
    life.send(life.join(room))
    life.lost()
    life.queue(Outgoing(message_frame("waits")))
    kept, frame = life.end.ask("kept")
    life.queue(Outgoing(frame, kept))
    peer = Peer("c1")
    peer.first(resumed=False, reason="unknown")
    welcome = life.opened(peer.out.pop(0))
    assert (welcome.event, welcome.reason) == ("renewed", "unknown")
    assert welcome.unsure == ("sent", b"bytes", "lost")
    assert lost.how == "unknown"
    wishes = []
    peer.asked_for = wishes.append
    exchange(life, peer)
    assert wishes == [{"join": "blue", "since": {"epoch": "e", "offset": 4}}]
    assert peer.taken == ["waits", "kept"]
    assert kept.result() == "re kept"


def test_a_connection_that_cannot_be_come_back_to_is_a_new_one_and_numbers_nothing():
    life, peer = life_of(), Peer("c0", resume=False)
    opened(life, peer)
    assert life.send(Outgoing(message_frame("a"))) == '{"message": "a"}'
    assert (life.window, life.offers, life.due_at) == (0.0, ["wsh.v1", "wsh.resume"], 0.0)
    asked, frame = life.end.ask("b")
    life.send(Outgoing(frame, asked))
    # Who asks while the socket closes waits to learn what that means.
    begun, frame = life.end.ask("begun")
    life.lost()
    life.lose_answers()
    assert asked.how == "unknown"
    life.doubt(message_frame("c"))
    peer.first()
    welcome = life.opened(peer.out.pop(0))
    assert (welcome.event, welcome.reason, welcome.unsure) == ("renewed", "off", ("c",))
    assert begun.how is None
    life.send(Outgoing(frame, begun))
    life.lost()
    life.lose_answers()
    assert begun.how == "unknown"


def test_the_queue_has_a_limit_of_messages_and_of_bytes_and_takes_one_in_any_case():
    life = life_of(messages=2, size=10)
    life.queue(Outgoing("x" * 50))
    with pytest.raises(QueueFull, match="1 messages wait"):
        life.queue(Outgoing("y"))
    life = life_of(messages=2)
    life.queue(Outgoing("x"))
    life.queue(Outgoing("y"))
    with pytest.raises(QueueFull, match="2 messages wait"):
        life.queue(Outgoing("z"))


def test_a_room_is_left_once_also_where_the_queue_is_full():
    life = life_of(messages=1)
    opened(life, Peer("c0"))
    room = Joined("blue")
    life.send(life.join(room))
    room.take({"joined": "blue"})
    life.lost()
    life.queue(Outgoing("x"))
    leave = life.leave(room)
    assert leave is not None
    life.queue(leave)
    assert life.leave(room) is None


def test_an_end_leaves_what_was_not_acknowledged_and_what_was_never_sent():
    for delivered, unsure in ((False, ("sent",)), (True, ())):
        life = life_of()
        opened(life, Peer("c0"))
        life.send(Outgoing(message_frame("sent")))
        life.send(life.join(Joined("blue")))
        life.lost()
        life.queue(Outgoing(message_frame(b"waits")))
        assert life.over(delivered=delivered) == (unsure, (b"waits",))
        assert not life.is_open
        assert life.over(delivered=delivered) == ((), ())


def test_a_question_and_a_room_that_wait_can_be_taken_back():
    life = life_of()
    asked, frame = life.end.ask("a")
    life.queue(Outgoing(frame, asked))
    room = Joined("blue")
    life.queue(life.join(room))
    assert life.stop(asked) is None
    assert asked.how == "stopped"
    assert life.leave(room) is None
    assert not life.waits
    assert room.is_left


def test_the_message_of_a_frame_is_what_was_said():
    assert message_of(message_frame("a", 3)) == "a"
    assert message_of(message_frame(b"a", 3)) == b"a"
    assert message_of('{"join": "blue"}') is None
