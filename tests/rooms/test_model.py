"""Rooms, their history and their presence against a simple model, at every step."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import few

from jupyter_wshandler.connection.connection import Connection
from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.messages import MessageProtocol
from jupyter_wshandler.functions.namespace import route_at_hand
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.rooms.people import Difference
from jupyter_wshandler.transports.messages import MessageTransport

SIZE, REPLAY, LINGER = 4, 2, 10.0

ROOMS = st.sampled_from(["a", "b", "c"])
USERS = st.sampled_from(["ada", "bob", "eve"])


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when it is told."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Client:
    """A connection as the model sees it: what it should have received, and what it has."""

    def __init__(self, user: str) -> None:
        self.user = user
        self.connection: Connection
        self.transport: MessageTransport
        self.expected: list[str] = []
        self.received: list[Any] = []
        self.rooms: list[str] = []


class RoomModel(RuleBasedStateMachine):
    """Random joins, leaves, losses and messages; what each may see is known beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Clock()
        self.manager = WebSocketManager()

        async def on_message(handler: Any, message: str) -> None:
            """Say nothing."""

        options = {
            "history": {"size": SIZE, "replay": REPLAY},
            "presence": {"linger": LINGER},
            "ping_interval": False,
        }
        self.route = route_at_hand("/m", {"on_message": on_message}, options)
        self.manager.served.put(self.route)
        self.loop.run_until_complete(self.manager.start())
        self.rooms = self.manager.rooms
        self.rooms.watchers = (self.note,)
        self.clients: list[Client] = []
        self.said: dict[str, list[str]] = {}
        self.numbers = itertools.count(1)
        self.away: dict[tuple[str, str], float] = {}  # room and user: until when
        self.seen: dict[str, dict[str, Any]] = {}
        self.offsets: dict[str, int] = {}

    # ---- what the server says of differences -----------------------------------------------------

    def note(self, space: str, room: str, difference: Difference) -> None:
        people = self.seen.setdefault(room, {})
        if difference.kind == "leave":
            assert difference.member.id in people
            del people[difference.member.id]
        else:
            assert (difference.kind == "join") == (difference.member.id not in people)
            people[difference.member.id] = difference.member

    def turn(self) -> None:
        async def some() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(some())

    def members_of(self, room: str) -> list[Client]:
        return [client for client in self.clients if room in client.rooms]

    def call(self, function: Any, *args: Any, **options: Any) -> Any:
        async def run() -> Any:
            return function(*args, **options)

        return self.loop.run_until_complete(run())

    # ---- what may happen -------------------------------------------------------------------------

    @precondition(lambda self: len(self.clients) < 6)
    @rule(user=USERS)
    def open(self, user: str) -> None:
        client = Client(user)
        opening = Opening(Request(), current_user=SimpleNamespace(username=user))
        client.connection = self.manager.connection(self.route, opening)
        client.transport = MessageTransport(self.loop, client.received.append, lambda: None)
        self.call(self.manager.open, client.connection, MessageProtocol(), client.transport, ())
        self.turn()
        self.clients.append(client)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=ROOMS)
    def join(self, data: Any, room: str) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.call(client.connection.join, room)
        if room not in client.rooms:
            client.rooms.append(room)
            client.expected += self.said.get(room, [])[-REPLAY:]
            self.away.pop((room, client.user), None)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=ROOMS)
    def leave(self, data: Any, room: str) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.call(client.connection.leave, room)
        if room in client.rooms:
            client.rooms.remove(room)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=ROOMS, exclude=st.booleans(), count=st.integers(1, 3))
    def say(self, data: Any, room: str, exclude: bool, count: int) -> None:
        client = data.draw(st.sampled_from(self.clients))

        def burst() -> None:
            for text in texts:
                client.connection.broadcast(text, room=room, exclude_self=exclude)

        texts = [str(next(self.numbers)) for _ in range(count)]
        self.call(burst)
        self.said.setdefault(room, []).extend(texts)
        for member in self.members_of(room):
            if not (exclude and member is client):
                member.expected += texts

    @precondition(lambda self: len(self.clients) > 1)
    @rule(data=st.data(), rooms=st.tuples(ROOMS, ROOMS))
    def say_and_change_in_one_turn(self, data: Any, rooms: tuple[str, str]) -> None:
        """Messages, an own write, a join and a leave between them, in one turn of the loop."""
        speaker, other = data.draw(st.permutations(self.clients))[:2]
        first, second = rooms
        texts = [str(next(self.numbers)) for _ in range(4)]

        def all_at_once() -> None:
            speaker.connection.broadcast(texts[0], room=first)
            other.connection.join(second)
            speaker.connection.broadcast(texts[1], room=second)
            speaker.connection.write_message(texts[2])
            other.connection.leave(first)
            speaker.connection.broadcast(texts[3], room=first)

        self.call(all_at_once)
        self._expect(first, texts[0])
        if second not in other.rooms:
            other.rooms.append(second)
            other.expected += self.said.get(second, [])[-REPLAY:]
            self.away.pop((second, other.user), None)
        self._expect(second, texts[1])
        speaker.expected.append(texts[2])
        if first in other.rooms:
            other.rooms.remove(first)
        self._expect(first, texts[3])

    def _expect(self, room: str, text: str) -> None:
        self.said.setdefault(room, []).append(text)
        for member in self.members_of(room):
            member.expected.append(text)

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.call(client.transport.lost)
        self.turn()
        self.clients.remove(client)
        for room in client.rooms:
            if not any(member.user == client.user for member in self.members_of(room)):
                self.away[room, client.user] = self.loop.now + LINGER

    @rule(seconds=st.sampled_from([1.0, 6.0, 20.0]))
    def pass_time(self, seconds: float) -> None:
        self.loop.now += seconds
        self.turn()
        over = [key for key, until in self.away.items() if until <= self.loop.now]
        for key in over:
            del self.away[key]

    @rule(room=ROOMS)
    def clear(self, room: str) -> None:
        self.call(self.rooms.clear, "m", room)
        self.said[room] = []

    @rule()
    def sweep(self) -> None:
        self.call(self.rooms.tick, self.loop.now + 1e6)

    # ---- what must hold --------------------------------------------------------------------------

    @invariant()
    def everybody_has_got_what_was_for_them_once_and_in_order(self) -> None:
        self.turn()
        for client in self.clients:
            assert client.received == client.expected
            assert list(client.connection.rooms) == client.rooms

    @invariant()
    def the_lists_and_the_differences_say_who_is_in(self) -> None:
        for room in ("a", "b", "c"):
            listed = self.call(self.rooms.members, "m", room, 100, 0)
            found = self.loop.run_until_complete(_awaited(listed))
            expected: dict[str, int] = {}
            for client in self.members_of(room):
                expected[client.user] = expected.get(client.user, 0) + 1
            for where, user in self.away:
                if where == room:
                    expected.setdefault(user, 0)
            assert {member.id: member.connections for member in found} == expected
            seen = self.seen.get(room, {})
            assert {name: member.connections for name, member in seen.items()} == expected

    @invariant()
    def the_history_is_what_was_said_last(self) -> None:
        for room in ("a", "b", "c"):
            said = self.loop.run_until_complete(
                _awaited(self.call(self.rooms.said, "m", room, 0, None))
            )
            assert [one.message for one in said] == self.said.get(room, [])[-SIZE:]
            offsets = [one.offset for one in said]
            assert offsets == list(range(said.offset - len(said) + 1, said.offset + 1))

    def teardown(self) -> None:
        for client in list(self.clients):
            self.call(client.transport.lost)
        self.turn()
        self.loop.now += 100
        self.turn()
        assert self.rooms._spaces == {}
        assert self.rooms._joined == {}
        assert self.rooms._waiting == {}
        Clock.time = asyncio.SelectorEventLoop.time  # type: ignore[method-assign] # to stop
        try:
            self.loop.run_until_complete(self.manager.stop(1))
        finally:
            Clock.time = _told_time  # type: ignore[method-assign]
            self.loop.close()


_told_time = Clock.time


async def _awaited(outcome: Any) -> Any:
    return await outcome


TestRoomModel = RoomModel.TestCase
TestRoomModel.settings = few(30, stateful_step_count=25)
