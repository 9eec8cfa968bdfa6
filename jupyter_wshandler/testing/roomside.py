"""The rooms that a chat has joined, as its client is told of them."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import RoomRefused
from ..rooms.people import Member
from ..types import Wish


class TextIn(str):
    """Text that was said in a room."""

    place: dict[str, Any]


class BytesIn(bytes):
    """Bytes that were said in a room."""

    place: dict[str, Any]


class Told(str):
    """What is told of a room that is no message; it has a text's place in a queue."""

    said: dict[str, Any]


def said_in(message: str | bytes, place: dict[str, Any]) -> TextIn | BytesIn:
    """Return a message that knows where it was said.

    Args:
        message: The message.
        place: The room, and its place in the room's history, as `wsh.v1` says it.
    """
    made: TextIn | BytesIn = TextIn(message) if isinstance(message, str) else BytesIn(message)
    made.place = place
    return made


class JoinedRoom:
    """A room that a chat has joined by itself; what `chat.join` returns.

    Attributes:
        name: Its name.
        epoch: The life of its history; empty without one.
        offset: The number of the last message that this client has got there; 0 for none.
        recovered: Whether all that was missed has been sent; None where nobody has asked.
        is_in: Whether the client is in.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = ""
        self.offset = 0
        self.recovered: bool | None = None
        self.is_in = False
        self._people: dict[str, Member] | None = None
        self._pages: dict[str, Member] = {}

    def __repr__(self) -> str:
        return f"<JoinedRoom {self.name!r}{'' if self.is_in else ', left'}>"

    @property
    def since(self) -> tuple[str, int]:
        """What to join it with again, so that what was missed is sent."""
        return self.epoch, self.offset

    @property
    def members(self) -> list[Member]:
        """Who is in, in the order in which they have come, as this client was told.

        Raises:
            LookupError: It has not asked to be told; `chat.join(..., presence=True)` does.
        """
        if self._people is None:
            raise LookupError(
                f"this client was not told who is in {self.name!r}; "
                "join it with presence=True, and the route needs presence: true"
            )
        return sorted(self._people.values(), key=lambda member: (member.since, member.id))

    @property
    def knows_members(self) -> bool:
        """Whether it was told who is in."""
        return self._people is not None

    def told(self, said: dict[str, Any]) -> None:
        """Take what the bot's side tells of the room."""
        if "joined" in said:
            self.is_in = True
            self.recovered = said.get("recovered")
            if self.recovered is not True:
                self.offset = said.get("offset", 0)
            self.epoch = said.get("epoch", "")
        elif "left" in said:
            self.is_in, self._people = False, None
        elif "members" in said:
            self._pages.update((member["id"], _member(member)) for member in said["members"])
            if not said.get("more"):
                self._people, self._pages = self._pages, {}
        elif self._people is not None:
            member = _member(said["member"])
            if said["change"] == "left":
                self._people.pop(member.id, None)
            else:
                self._people[member.id] = member

    def heard(self, place: dict[str, Any]) -> None:
        """Take note of where a message stands in the room's history."""
        self.epoch = place.get("epoch", self.epoch)
        self.offset = place.get("offset", self.offset)


class RoomSide:
    """All rooms that one chat has joined by itself."""

    def __init__(self) -> None:
        self.joined: dict[str, JoinedRoom] = {}
        self.answers: dict[str, list[dict[str, Any]]] = {}

    def wish(self, name: str, since: tuple[str, int] | None, presence: bool) -> Wish:
        """Return what is fed to the bot so that this client joins a room."""
        self.answers.pop(name, None)
        return Wish(name, True, since, presence, len(name))

    def room(self, name: str) -> JoinedRoom:
        """Return a room that the client has joined.

        Raises:
            LookupError: It has not.
        """
        found = self.joined.get(name)
        if found is None:
            raise LookupError(f"this client has not joined {name!r}; chat.join({name!r}) does")
        return found

    def takes(self, frame: object) -> bool:
        """Take one frame of the bot's; return whether it is told, and no message."""
        if isinstance(frame, (TextIn, BytesIn)):
            room = self.joined.get(frame.place["room"])
            if room is not None:
                room.heard(frame.place)
        if not isinstance(frame, Told):
            return False
        said = frame.said
        names = (said.get(word) for word in ("joined", "left", "refused", "room"))
        name = next(name for name in names if isinstance(name, str))
        if "joined" in said:
            self.joined.setdefault(name, JoinedRoom(name))
        if name in self.joined:
            self.joined[name].told(said)
        if "joined" in said or "left" in said or "refused" in said:
            self.answers.setdefault(name, []).append(said)
        return True

    def is_answered(self, name: str, *, presence: bool) -> bool:
        """Return whether a join has its answer, and the list that was asked for."""
        answers = self.answers.get(name)
        if not answers:
            return False
        has_list = answers[0].get("presence", True) and "joined" in answers[0]
        return not (presence and has_list) or self.joined[name].knows_members

    def answer(self, name: str) -> JoinedRoom:
        """Return the room that a join has led into.

        Raises:
            RoomRefused: It was refused; says why.
        """
        said = self.answers[name][0]
        if "joined" in said:
            return self.joined[name]
        if said.get("error") == "ratelimit":
            wait = said["retry_after"]
            raise RoomRefused(f"{name}: over the route's ratelimit; try again in {wait:g} s")
        raise RoomRefused(f"{name}: {said.get('detail', 'it was left meanwhile')}")


def _member(said: dict[str, Any]) -> Member:
    card = said["card"]
    if isinstance(card, msgspec.Raw):
        card = msgspec.json.decode(card)
    return Member(said["id"], card, said["connections"], said["since"])
