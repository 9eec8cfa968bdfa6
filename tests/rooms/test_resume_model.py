"""Rooms, history, presence and resume against a simple model: a break loses and doubles nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from rooms.test_wire_model import ROOMS, Person, WireModel
from support.examples import few
from support.wireclients import LastingClient

somebody_is_away = precondition(
    lambda self: any(one.client is not None and not self.is_there(one) for one in self.people)
)


class ResumeModel(WireModel):
    """The same with clients that come back to their connection.

    What was said in their rooms meanwhile, and the changes of who is there, come once and in order,
    and what they have said themselves is heard once, whatever the break has swallowed.
    """

    OPTIONS = {**WireModel.OPTIONS, "resume": True}

    def __init__(self) -> None:
        super().__init__()
        self.missed: dict[int, dict[str, list[tuple[int, str]]]] = {}
        self.waits: dict[int, list[tuple[str, str]]] = {}

    def is_there(self, person: Person) -> bool:
        """Whether somebody has a line to the server that works."""
        client = person.client
        return isinstance(client, LastingClient) and not client.is_away and not client.swallows

    def away(self, data: Any) -> Person | None:
        found = [one for one in self.people if one.client is not None and not self.is_there(one)]
        return data.draw(st.sampled_from(found)) if found else None

    def settle(self) -> None:
        """Let all be done, have everybody read what has come, and keep what others do not hear."""
        super().settle()
        for person in self.people:
            if person.client is None or self.is_there(person):
                continue
            assert person.client.news == [], "nothing can come in a break"

    # ---- what may happen -----------------------------------------------------------------------

    @initialize()
    def everybody_is_there(self) -> None:
        for person in self.people:
            person.client = self.run(LastingClient, self.manager, self.route, person.user)
            for room in ("a", "b"):
                self.run(person.client.say, {"join": room, "presence": True})
                person.seen[room].watches = True
        self.settle()

    @precondition(lambda self: any(person.client is None for person in self.people))
    @rule(data=st.data())
    def come(self, data: Any) -> None:
        person = data.draw(st.sampled_from([one for one in self.people if one.client is None]))
        person.client = self.run(LastingClient, self.manager, self.route, person.user)

    @rule(data=st.data(), swallows=st.booleans())
    def break_off(self, data: Any, swallows: bool) -> None:
        person = self.pick(data, online=True)
        if person is None or person.client is None:
            return
        self.settle()
        client = person.client
        assert isinstance(client, LastingClient)
        client.swallows = swallows
        self.missed[id(person)] = {"a": [], "b": []}
        self.waits[id(person)] = []
        if not swallows:
            self.run(client.cut)

    @somebody_is_away
    @rule(data=st.data(), room=ROOMS)
    def say_in_a_break(self, data: Any, room: str) -> None:
        person = self.away(data)
        if person is not None and person.client is not None:
            text = str(next(self.numbers))
            self.run(person.client.say, {"message": f"{room} {text}"})
            self.waits[id(person)].append((room, text))

    @somebody_is_away
    @rule(data=st.data())
    def come_back(self, data: Any) -> None:
        person = self.away(data)
        if person is None or not isinstance(person.client, LastingClient):
            return
        client, missed = person.client, self.missed.pop(id(person))
        before = {id(one): {n: len(one.seen[n].said) for n in ("a", "b")} for one in self.people}
        if not client.is_away:
            self.run(client.cut)  # only it has seen that the line is dead
        self.run(client.come_back)
        self.settle()
        said: dict[str, list[tuple[int, str]]] = {"a": [], "b": []}
        for room, text in self.waits.pop(id(person)):
            self.said[room].append(text)
            said[room].append((len(self.said[room]), text))
        for one in self.people:
            for room in ("a", "b"):
                got = one.seen[room].said[before[id(one)][room] :]
                expected = said[room] if room in one.rooms else []
                if one is person:
                    assert got == missed[room] + expected
                elif self.is_there(one):
                    assert got == expected
                elif one.client is not None:
                    assert got == []
                    self.missed[id(one)][room] += expected

    @somebody_is_away
    @rule(data=st.data())
    def expire(self, data: Any) -> None:
        person = self.away(data)
        if person is not None and isinstance(person.client, LastingClient):
            if not person.client.is_away:
                person.client.swallows = False  # now the server sees it, too
                self.run(person.client.cut)
            self.run(person.client.expire)
            self.forget(person)

    @rule(data=st.data())
    def acknowledge(self, data: Any) -> None:
        person = self.pick(data, online=True)
        if person is not None and isinstance(person.client, LastingClient):
            self.run(person.client.acknowledge)

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
            if one.client is not None and not self.is_there(one):
                self.missed[id(one)][room] += expected
                expected = []
            assert got == expected

    def teardown(self) -> None:
        for person in self.people:
            if isinstance(person.client, LastingClient):
                if not person.client.is_away:
                    person.client.swallows = False
                    self.run(person.client.cut)
                self.run(person.client.expire)
                person.client = None
        super().teardown()


TestResumeModel = ResumeModel.TestCase
TestResumeModel.settings = few(20, stateful_step_count=40)
