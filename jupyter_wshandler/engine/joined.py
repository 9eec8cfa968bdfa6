"""A room that a client has joined over the wire, and who is in it; no input or output."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NAMED = ("room", "joined", "left", "refused")
"""Members of a server's frame that hold a room's name."""


def room_of(said: dict[str, Any]) -> str:
    """Return the room that a server's frame is about; empty where it is about none."""
    for key in NAMED:
        if isinstance(name := said.get(key), str):
            return name
    return ""


def leave_frame(room: str) -> str:
    """Return the wish to leave a room, as it travels."""
    return json.dumps({"leave": room}, ensure_ascii=False)


@dataclass(frozen=True)
class Member:
    """A person in a room.

    Attributes:
        id: Tells people apart; the same for all connections of one.
        card: What the room's route shows of them.
        connections: How many they have; 0 for one who has just lost the last and may come back.
        since: When they came, as the server says it; None where it does not.
    """

    id: str
    card: Any = None
    connections: int = 1
    since: Any = None


class Joined:
    """One room of a client's.

    Args:
        name: Its name.
        since: Epoch and offset after which nothing may be missed; None for the room's own replay.
        presence: Whether to be told who is there.
        changed: Is called with who has come, changed or left, and which of these; with None twice
            where the whole list is new. It must not raise.

    Attributes:
        messages: What was said in it, and nobody has taken yet.
        is_in: Whether the server has let it in.
        is_left: Whether its user has left it.
        refusal: Why it has not; None where it was not refused.
        recovered: Whether all that followed `since` came; None where that was not asked.
        epoch: Which life of the room the offset counts in; empty without a history.
        members: Who is there, by id; None until the first list is whole.
    """

    def __init__(
        self,
        name: str,
        *,
        since: tuple[str, int] | None = None,
        presence: bool = False,
        changed: Callable[[Member | None, Any], object] | None = None,
    ) -> None:
        self.name = name
        self.presence = presence
        self.changed = changed
        self.messages: deque[str] = deque()
        self.is_in = False
        self.is_left = False
        self.refusal: str | None = None
        self.recovered: bool | None = None
        self.epoch, self._offset = since or ("", 0)
        self._seen = self._offset  # the offset of the last message that was taken, in this epoch
        self.members: dict[str, Member] | None = None
        self._list: dict[str, Member] = {}
        self._count = 0  # the number of the last change of the list
        self._early: list[dict[str, Any]] = []  # changes that overtook the list
        self._whole = False

    @property
    def since(self) -> tuple[str, int] | None:
        """Epoch and offset of what is known; None where the room keeps no history."""
        return (self.epoch, max(self._offset, self._seen)) if self.epoch else None

    def join_frame(self) -> str:
        """Return the wish to join it, as it travels; begin its list of members anew."""
        self.is_in = self._whole = False
        self._list, self._early = {}, []
        said: dict[str, Any] = {"join": self.name}
        if self.since:
            said["since"] = {"epoch": self.since[0], "offset": self.since[1]}
        if self.presence:
            said["presence"] = True
        return json.dumps(said, ensure_ascii=False)

    def take(self, said: dict[str, Any]) -> None:
        """Take what the server says of this room."""
        if "joined" in said:
            self._let_in(said)
        elif "refused" in said:
            self.is_in = False
            self.refusal = _refusal(said)
        elif "left" in said:
            self.is_left, self.is_in = self.is_left or self.is_in, False
        elif isinstance(said.get("message"), str):
            self._hear(said["message"], said)
        elif isinstance(said.get("members"), list):
            self._listed(said)
        elif "member" in said:
            self._changed(said)

    def _let_in(self, said: dict[str, Any]) -> None:
        self.is_in, self.refusal = True, None
        recovered = said.get("recovered")
        self.recovered = recovered if isinstance(recovered, bool) else None
        epoch, offset = said.get("epoch"), said.get("offset")
        if not isinstance(epoch, str) or type(offset) is not int:
            self.epoch, self._offset, self._seen = "", 0, 0
            return
        if epoch != self.epoch:
            self.epoch, self._seen = epoch, 0
        # What was missed comes behind this frame: a break in between must not skip it.
        self._offset = self._seen if self.recovered else offset

    def _hear(self, text: str, said: dict[str, Any]) -> None:
        if not self.is_in and self.since:
            return  # it is among what is missed, and comes again behind the answer
        epoch, offset = said.get("epoch"), said.get("offset")
        if isinstance(epoch, str) and epoch != self.epoch:
            self.epoch, self._offset, self._seen = epoch, 0, 0
        if type(offset) is int:
            if offset <= self._seen:
                return  # it came before, on another connection
            self._seen = offset
        self.messages.append(text)

    def _listed(self, said: dict[str, Any]) -> None:
        for person in said["members"]:
            if (member := _member(person)) is not None:
                self._list[member.id] = member
        if said.get("more"):
            return
        # A list takes the place of all that was known, also where nobody has asked again.
        self.members, self._list, self._whole = self._list, {}, True
        self._count = _number(said)
        if self.changed is not None:
            self.changed(None, None)
        early, self._early = self._early, []
        for change in early:
            self._changed(change)

    def _changed(self, said: dict[str, Any]) -> None:
        if self.members is None or not self._whole:
            self._early.append(said)
            return
        member = _member(said["member"])
        if member is None or _number(said) <= self._count:
            return  # the list has it already
        self._count = _number(said)
        known = self.members.get(member.id)
        if known is not None and member.since is None:
            member = Member(member.id, member.card, member.connections, known.since)
        if said.get("change") == "left":
            self.members.pop(member.id, None)
        else:
            self.members[member.id] = member
        if self.changed is not None:
            self.changed(member, said.get("change"))


def _number(said: dict[str, Any]) -> int:
    number = said.get("presence_offset")
    return number if type(number) is int else 0


def _refusal(said: dict[str, Any]) -> str:
    if said.get("error") == "ratelimit":
        wait = said.get("retry_after")
        hint = f"; try again in {wait:g} s" if isinstance(wait, (int, float)) else ""
        return f"too much was asked for, by the route's ratelimit{hint}"
    return str(said.get("detail") or "the server does not say why")


def _member(person: Any) -> Member | None:
    if not isinstance(person, dict) or not isinstance(person.get("id"), str):
        return None
    count = person.get("connections")
    return Member(
        person["id"], person.get("card"), count if type(count) is int else 1, person.get("since")
    )
