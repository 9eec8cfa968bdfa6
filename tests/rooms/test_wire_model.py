"""Rooms over the wire against a simple model: what each client may be told is known beforehand."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import few
from support.wireclients import Roster, WireClient, serve

from jupyter_wshandler.manager import WebSocketManager

SIZE, REPLAY = 4, 2

ROOMS = st.sampled_from(["a", "b"])
OPEN = ("a", "b")
"""The rooms that `may_join` lets in; c is another one."""

USERS = st.sampled_from(["ada", "bob", "eve"])


async def on_message(handler: Any, message: str) -> None:
    """Say something in a room."""
    room, _, text = message.partition(" ")
    handler.broadcast(text, room=room)


async def may_join(handler: Any, room: str) -> bool:
    """Take a turn to think."""
    await asyncio.sleep(0)
    return room in OPEN


class Seen:
    """What one client knows of one room, put together from its frames as the protocol says."""

    def __init__(self) -> None:
        self.epoch = ""
        self.offset = 0
        self.said: list[tuple[int, str]] = []
        self.roster = Roster()
        self.watches = False
        self.recovered: bool | None = None

    def forget_presence(self) -> None:
        """Begin without a list: it was left, or is joined on another connection."""
        self.roster = Roster()
        self.watches = False


class Person:
    """A client that comes back, and remembers what it has got in each room."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.client: WireClient | None = None
        self.rooms: set[str] = set()
        self.seen = {"a": Seen(), "b": Seen()}

    def take(self, frame: Any) -> None:
        """Take a frame of the server's, as `docs/protocol.md` says."""
        name = frame.get("room") or frame.get("joined") or frame.get("left")
        if name not in self.seen:
            return
        seen = self.seen[name]
        if "joined" in frame:
            self.rooms.add(name)
            seen.recovered = frame.get("recovered")
            seen.epoch = frame["epoch"]
        elif "left" in frame:
            self.rooms.discard(name)
            seen.forget_presence()
        elif "message" in frame:
            assert name in self.rooms, "a message of a room that it is not in"
            seen.epoch = frame.get("epoch", seen.epoch)
            seen.offset = frame["offset"]
            seen.said.append((frame["offset"], frame["message"]))
        else:
            assert name in self.rooms, "who is in a room that it is not in"
            seen.roster.take(frame)


class WireModel(RuleBasedStateMachine):
    """Clients that join, leave, break and catch up; a list of all that was said is the oracle."""

    OPTIONS: dict[str, Any] = {"history": {"size": SIZE, "replay": REPLAY}, "presence": True}

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.manager = WebSocketManager()
        functions = {"on_message": on_message, "may_join": may_join}
        self.route = serve(self.manager, functions, **self.OPTIONS)
        self.run(self.manager.start)
        self.people = [Person(user) for user in ("ada", "bob", "eve", "ada")]
        self.said: dict[str, list[str]] = {"a": [], "b": []}
        self.numbers = itertools.count(1)

    def run(self, function: Any, *args: Any) -> Any:
        async def call() -> Any:
            found = function(*args)
            if asyncio.iscoroutine(found):
                found = await found
            return found

        return self.loop.run_until_complete(call())

    def turns(self) -> None:
        async def some() -> None:
            for _ in range(12):
                await asyncio.sleep(0)

        self.loop.run_until_complete(some())

    def settle(self) -> None:
        """Let all be done, and have everybody read what has come."""
        self.turns()
        for person in self.people:
            if person.client is not None:
                for frame in person.client.news:
                    person.take(frame)

    def is_there(self, person: Person) -> bool:
        """Whether somebody has a line to the server."""
        return person.client is not None

    def pick(self, data: Any, *, online: bool) -> Person | None:
        found = [person for person in self.people if self.is_there(person) is online]
        return data.draw(st.sampled_from(found)) if found else None

    # ---- what may happen -----------------------------------------------------------------------

    @rule(data=st.data())
    def come(self, data: Any) -> None:
        person = self.pick(data, online=False)
        if person is not None:
            person.client = self.run(WireClient, self.manager, self.route, person.user)

    @rule(data=st.data())
    def break_off(self, data: Any) -> None:
        person = self.pick(data, online=True)
        if person is None or person.client is None:
            return
        self.run(person.client.transport.lost)
        self.forget(person)

    def forget(self, person: Person) -> None:
        """Take note that a connection is over."""
        self.turns()
        assert person.client is not None
        for frame in person.client.news:
            person.take(frame)
        person.client, person.rooms = None, set()
        for seen in person.seen.values():
            seen.forget_presence()

    @rule(data=st.data(), room=ROOMS, presence=st.booleans(), catch_up=st.booleans())
    def join(self, data: Any, room: str, presence: bool, catch_up: bool) -> None:
        person = self.pick(data, online=True)
        if person is None or person.client is None:
            return
        seen, was_in = person.seen[room], room in person.rooms
        frame: dict[str, Any] = {"join": room, "presence": presence}
        if catch_up:
            frame["since"] = {"epoch": seen.epoch, "offset": seen.offset}
        before, known, epoch = len(seen.said), seen.offset, seen.epoch
        self.run(person.client.say, frame)
        self.settle()
        assert room in person.rooms
        seen.watches = seen.watches or presence
        log = list(enumerate(self.said[room], 1))
        got = seen.said[before:]
        if catch_up:
            is_kept = epoch != "" and len(log) - known <= SIZE
            assert seen.recovered is (is_kept if log else epoch == "")
            missed = log[known:] if seen.recovered else log
            assert got == missed[-SIZE:]
        else:
            assert seen.recovered is None
            assert got == ([] if was_in else log[-REPLAY:])
        seen.offset = len(log)

    @rule(data=st.data())
    def join_what_is_closed(self, data: Any) -> None:
        person = self.pick(data, online=True)
        if person is not None and person.client is not None:
            self.run(person.client.say, {"join": "c"})
            self.turns()
            (refused,) = (f for f in person.client.news if "refused" in f or person.take(f))
            assert refused["refused"] == "c"

    @rule(data=st.data(), room=ROOMS)
    def leave(self, data: Any, room: str) -> None:
        person = self.pick(data, online=True)
        if person is not None and person.client is not None:
            self.run(person.client.say, {"leave": room})
            self.settle()
            assert room not in person.rooms

    @rule(data=st.data(), room=ROOMS, count=st.integers(1, 6))
    def say(self, data: Any, room: str, count: int) -> None:
        person = self.pick(data, online=True)
        if person is None or person.client is None:
            return
        before = {id(one): len(one.seen[room].said) for one in self.people}
        texts = [str(next(self.numbers)) for _ in range(count)]
        self.run(person.client.say, *({"message": f"{room} {text}"} for text in texts))
        self.settle()
        first = len(self.said[room]) + 1
        self.said[room] += texts
        for one in self.people:
            got = one.seen[room].said[before[id(one)] :]
            expected = list(enumerate(texts, first)) if room in one.rooms else []
            assert got == expected

    @precondition(lambda self: any(person.client for person in self.people))
    @rule(data=st.data(), rooms=st.tuples(ROOMS, ROOMS))
    def all_at_once(self, data: Any, rooms: tuple[str, str]) -> None:
        """Joins and leaves of two clients in one turn; only the end of it is looked at."""
        for room in rooms:
            person = self.pick(data, online=True)
            if person is None or person.client is None:
                continue
            frames = data.draw(
                st.lists(st.sampled_from([{"join": room}, {"leave": room}]), max_size=5)
            )
            self.run(person.client.say, *frames)
            if data.draw(st.booleans()):
                self.settle()
            if frames:
                self.settle()
                assert (room in person.rooms) == ("join" in frames[-1])
                person.seen[room].offset = len(self.said[room])

    # ---- what must hold ------------------------------------------------------------------------

    @invariant()
    def each_client_and_the_server_agree_on_its_rooms(self) -> None:
        self.settle()
        for person in self.people:
            if person.client is not None:
                assert set(person.client.connection.rooms) == person.rooms

    @invariant()
    def the_list_that_each_has_put_together_is_the_truth(self) -> None:
        for room in OPEN:
            truth: dict[str, int] = {}
            for person in self.people:
                if room in person.rooms:
                    truth[person.user] = truth.get(person.user, 0) + 1
            for person in self.people:
                seen = person.seen[room]
                if seen.watches and room in person.rooms and self.is_there(person):
                    assert seen.roster.is_whole
                    assert seen.roster.connections == truth

    def teardown(self) -> None:
        for person in self.people:
            if person.client is not None:
                self.run(person.client.transport.lost)
        self.turns()
        rooms: Any = self.manager.rooms
        assert rooms._spaces == {}
        assert rooms._joined == {}
        assert rooms._waiting == {}
        assert rooms._wishes._lines == {}
        try:
            self.run(self.manager.stop, 1)
        finally:
            self.loop.close()


TestWireModel = WireModel.TestCase
TestWireModel.settings = few(30, stateful_step_count=25)
