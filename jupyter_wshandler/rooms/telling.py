"""What clients of `wsh.v1` are told of the rooms that they have joined."""

from __future__ import annotations

import sys
from functools import partial

from ..backplane.base import Entries, Logged, Past, Position
from ..config.model import QueueConfig
from ..connection.connection import Connection
from ..engine.roomframes import Envelopes, SaidInRoom
from ..types import Wish
from .base import Settings
from .people import Difference, People
from .room import Room
from .speaking import Speaking
from .watch import Watch, change_of, pages_of, say

OVERHEAD = 64
"""Bytes of a room's message that are not the message itself, and not the room's name."""


class Telling(Speaking):
    """What tells clients that they are in a room, what they have missed there, and who is in."""

    # ---- that it is in -------------------------------------------------------------------------

    def tell_joined(
        self, room: Room, connection: Connection, wish: Wish, settings: Settings, replay: int
    ) -> None:
        """Tell a client that it is in a room, and then what it is to know of it.

        Args:
            room: The room; it is a member.
            connection: The client's.
            wish: What it has asked for.
            settings: What holds for the room's space.
            replay: Messages that it is sent where it says of none that it knows it.
        """
        room.by_wire.setdefault(connection, None)
        if settings.keep is None:
            tell = partial(self._tell_in, room, connection, wish, None, 0)
            self._then(room.channel, None, lambda _: tell())
            return
        room.hold(connection)
        since = None if wish.since is None else Position(*wish.since)
        limit = 0 if since is not None else max(1, replay)
        past = self.backplane.history(room.channel, since, limit)
        self._then(
            room.channel,
            past,
            lambda read: self._tell_in(room, connection, wish, read, replay),
            lambda _: self._tell_in(room, connection, wish, None, 0),
        )

    def _tell_in(
        self, room: Room, connection: Connection, wish: Wish, past: Past | None, replay: int
    ) -> None:
        if not room.is_for(connection):
            return  # it has left meanwhile
        frame: dict[str, object] = {"joined": room.name}
        said: list[Logged] = []
        if past is not None:
            frame["epoch"], frame["offset"] = past.position
            said = list(past.messages) if wish.since is not None or replay else []
        if wish.since is not None:
            said, is_whole = fitting(said, connection.entry.config.queue)
            frame["recovered"] = past is not None and past.complete and is_whole
        if wish.presence and room.people is None:
            frame["presence"] = False
        say(connection, frame)
        known = Position() if past is None else past.position
        if said:
            messages = [logged.publication.message for logged in said]
            places = [(known.epoch, logged.offset) for logged in said]
            connection.write_shared(SaidInRoom(room.name, messages, places, known.epoch))
        room.release(connection, known)

    def replay(self, room: Room, connection: Connection, past: Past | None) -> None:
        """Send a connection what was said last in a room that it has come into by itself.

        Args:
            room: The room.
            connection: One that `room.hold` keeps from what is said now.
            past: What was said; None where nobody can tell.
        """
        if past is not None and past.messages:
            self.io.deliver_before(connection)  # what was said before it joined, in other rooms
            said = [logged.publication.message for logged in past.messages]
            places = [(past.position.epoch, logged.offset) for logged in past.messages]
            connection.write_shared(SaidInRoom(room.name, said, places, ""))
        room.release(connection, Position() if past is None else past.position)

    def tell_again(self, room: Room, position: Position | None) -> None:
        """Tell the clients of a room that something of it was missed on the way to this server.

        Args:
            room: The room.
            position: The place behind which nothing is missing; None where it was changes of who
                is in, and the list has come anew.
        """
        if room.is_pending:
            self.io.deliver_pending()  # it came before
        if position is None:
            for watch in tuple(room.by_wire.values()):
                if watch is not None:
                    self._tell_list(room, watch)
            return
        frame: dict[str, object] = {"joined": room.name, "recovered": False}
        if self.settings(room.space).keep is not None:
            frame["epoch"], frame["offset"] = position
        for connection in tuple(room.by_wire):
            if connection not in room.waiting:  # who reads the history now is told by that
                say(connection, frame)

    # ---- who is in -----------------------------------------------------------------------------

    def watch(self, room: Room, connection: Connection) -> None:
        """Tell a client who is in a room, now and whenever that changes."""
        if room.people is not None:
            # Behind what was asked of the channel before: that it is in, and the list itself.
            self._then(room.channel, None, lambda _: self._begin_watch(room, connection))

    def _begin_watch(self, room: Room, connection: Connection) -> None:
        if connection in room.by_wire:
            watch = room.by_wire[connection]
            if watch is None:
                watch = room.by_wire[connection] = Watch(connection)
            self._tell_list(room, watch)

    def _tell_list(self, room: Room, watch: Watch) -> None:
        if room.people is None:
            return
        pages = pages_of(room.name, room.people.members(sys.maxsize, 0))
        if watch.begin(pages):
            self.do(self._go_on(room, watch), f"members of {room.name}")

    async def _go_on(self, room: Room, watch: Watch) -> None:
        if await watch.go_on() and room.by_wire.get(watch.connection) is watch:
            self._tell_list(room, watch)

    def tell_change(self, room: Room, difference: Difference) -> None:
        """Tell those who want to know of a change of who is in a room."""
        if not room.by_wire:
            return
        if room.is_pending:
            self.io.deliver_pending()  # it was said before
        change = Envelopes([change_of(room.name, difference)], len(room.by_wire))
        self.io.begin_batch()
        for watch in tuple(room.by_wire.values()):
            if watch is None:
                continue
            if watch.has_lost and not watch.is_busy:
                self._tell_list(room, watch)
            else:
                watch.tell(change)

    def read_list(self, room: Room, people: People) -> None:
        """Have the list of a room read, before which nobody is in it.

        Args:
            room: The room.
            people: Its people.
        """
        is_late, people.is_unread = people.is_unread, False

        def begin(entries: Entries) -> None:
            people.begin(entries, is_late)
            if is_late:
                self.tell_again(room, None)

        found = self.backplane.entries(room.channel)
        self._then(room.channel, found, begin, people.could_not_begin)

    def mend(self) -> None:
        """Tell what somebody waits for that does not come by itself: outcomes, and lists."""
        self.tell_overdue()
        for rooms in self._spaces.values():
            for room in rooms.values():
                if room.people is not None and room.people.is_unread:
                    self.read_list(room, room.people)
                for watch in tuple(room.by_wire.values()):
                    if watch is not None and watch.has_lost and not watch.is_busy:
                        self._tell_list(room, watch)


def fitting(said: list[Logged], queue: QueueConfig) -> tuple[list[Logged], bool]:
    """Return the newest messages that fit well into a connection's queue at once.

    Args:
        said: Messages, the oldest first.
        queue: Bounds what waits for the client.

    Returns:
        The messages, and whether that is all of them.
    """
    room = queue.bytes * 3 // 4
    found: list[Logged] = []
    for logged in reversed(said[-max(1, queue.messages * 3 // 4) :]):
        message = logged.publication.message
        size = len(message) if isinstance(message, bytes) else len(message.encode())
        room -= OVERHEAD + size
        if room < 0 and found:
            break
        found.append(logged)
    return found[::-1], len(found) == len(said)
