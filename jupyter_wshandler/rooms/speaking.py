"""What is said in rooms and to users, and what is known of a room."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from typing import Any

from ..backplane.base import Backplane, Entries, Past, Position, Publication
from ..config.rooms import USER_ROOM
from ..connection.connection import Connection
from ..engine.payload import to_message
from ..engine.shared import SharedMessages
from ..errors import RoomRefused
from ..routes import Route
from ..types import Message
from .base import Log, RoomsBase
from .face import History, Said
from .names import channel_of, user_of
from .outcome import Outcome
from .people import Members, grouped, members_of
from .room import Published, Room


class Speaking(RoomsBase):
    """What sends messages to rooms and users, and answers what is asked of rooms.

    Args:
        log: Where errors and warnings go.
        routes: Returns the routes that are served.
        backplane: Carries the messages, and knows who is where.
        connections: Returns all open connections.
    """

    def __init__(
        self,
        log: Log,
        routes: Callable[[], Iterable[Route]],
        backplane: Backplane,
        connections: Callable[[], Iterable[Connection]],
    ) -> None:
        super().__init__(log, routes, backplane)
        self._connections = connections
        self._by_user: dict[str, dict[Connection, None]] | None = None  # once somebody asks
        self._user_by_connection: dict[Connection, str] = {}
        # Messages that were taken, and have not come back yet to be delivered: since the last look,
        # and since before that.
        self._untold: dict[int, Position] = {}
        self._overdue: dict[int, Position] = {}

    # ---- messages ------------------------------------------------------------------------------

    def publish(self, space: str, room: str, message: Any, exclude: str = "") -> Outcome[Published]:
        """Send a message to all in a room; safe from any thread.

        Args:
            space: The room's space.
            room: Its name.
            message: What `write_message` takes.
            exclude: The id of a connection that is left out.

        Raises:
            TypeError: The message is None, or holds what has no JSON form.
            TimeoutError: It was called in a thread, and too much of threads is on its way.
        """
        whole = to_message(message)
        if isinstance(whole, str) and not whole.isascii():
            whole.encode()  # what cannot be sent is told to the caller
        outcome: Outcome[Published] = Outcome(self.io)
        work = partial(self._publish, space, room, whole, exclude, outcome)
        if get_ident() == self.io.thread:
            work()
        else:
            self.cross(work, len(whole))
        return outcome

    def _publish(
        self, space: str, name: str, message: Message, exclude: str, outcome: Outcome[Published]
    ) -> None:
        self._serial += 1
        serial = self._serial
        self._waiting[serial] = outcome
        room = self._spaces.get(space, {}).get(name)
        pending = self.io.pending
        if self._several and pending and pending[-1] is not room:
            # Somebody may be in both rooms, and is to get what was said first before.
            self.io.deliver_pending()
        publication = Publication(message, exclude, self.backplane.node, serial)
        channel, keep = channel_of(space, name), self.settings(space).keep
        answer = self.backplane.publish(channel, publication, keep)
        was_published = partial(self._was_published, serial, space, name, room is not None)
        self._then(channel, answer, was_published, partial(self._was_not_published, serial))

    def _was_not_published(self, serial: int, error: BaseException) -> None:
        if serial in self._waiting:
            self._waiting.pop(serial).fail(error)

    def _was_published(
        self, serial: int, space: str, name: str, had_members: bool, position: Position
    ) -> None:
        if serial not in self._waiting:
            return
        # Where the room has members here, its delivery says what has become of the message. One
        # that has begun since it was said is heard from behind it.
        if had_members and name in self._spaces.get(space, {}):
            self._untold[serial] = position
        else:
            self._waiting.pop(serial).set(Published(position.offset, 0))

    def tell_overdue(self) -> None:
        """Say of messages that nobody here gets any more what is known of them; asked now and then.

        In a break a message without a number is lost on its way back, and one with a number may be
        read too late. Whoever has sent it must not wait for ever.
        """
        overdue, self._overdue, self._untold = self._overdue, self._untold, {}
        for serial, position in overdue.items():
            if serial in self._waiting:
                self._waiting.pop(serial).set(Published(position.offset, 0))

    def _put_off(self, room: Room) -> None:
        self.io.put_off(room)

    def _outcome_of(self, publication: Publication) -> Outcome[Published] | None:
        if publication.node != self.backplane.node:
            return None
        self._untold.pop(publication.serial, None)
        return self._waiting.pop(publication.serial, None)

    def send_to_user(self, user: str, message: Any) -> Outcome[None]:
        """Send a message to all connections of a user, of whatever route; safe from any thread.

        Args:
            user: The user's name.
            message: What `write_message` takes.
        """
        whole = to_message(message)
        if isinstance(whole, str) and not whole.isascii():
            whole.encode()
        publication = Publication(whole, "", self.backplane.node)
        work = partial(self._send_to_user, user, publication)
        return self.on_loop(work, len(whole))

    def _send_to_user(self, user: str, publication: Publication) -> None:
        self._then("", self.backplane.send_to_user(user, publication))

    def _for_user(self, user: str, publication: Publication) -> None:
        self.io.deliver_pending()
        meant = self.connections_of_user(user)
        shared = SharedMessages([publication.message], len(meant))
        for connection in meant:
            connection.write_shared(shared)

    def connections_of_user(self, user: str) -> tuple[Connection, ...]:
        """Return the open connections of a user; from the first time on an index is kept."""
        if self._by_user is None:
            self._by_user = {}
            for connection in self._connections():
                self.note_user(connection)
        return tuple(self._by_user.get(user, ()))

    def note_user(self, connection: Connection) -> None:
        """Take note of whose a connection is, where somebody has asked for such."""
        if self._by_user is not None:
            user = user_of(connection.current_user)
            self._user_by_connection[connection] = user
            self._by_user.setdefault(user, {})[connection] = None

    def forget_user(self, connection: Connection) -> None:
        """Forget whose a connection was."""
        if self._by_user is None:
            return
        user = self._user_by_connection.pop(connection, "")  # its bot may have written over it
        same = self._by_user.get(user, {})
        same.pop(connection, None)
        if not same:
            self._by_user.pop(user, None)

    # ---- what is known of a room -----------------------------------------------------------------

    def members(self, space: str, name: str, limit: int, start: int) -> Outcome[Members]:
        """Return who is in a room, a page of them.

        Args:
            space: The room's space.
            name: Its name.
            limit: People on the page, at most.
            start: How many come before it.

        Raises:
            RoomRefused: The routes of the space have no `presence`.
        """
        outcome: Outcome[Members] = Outcome(self.io)

        def look() -> None:
            if name.startswith(USER_ROOM):
                raise RoomRefused(
                    f"the room {name} is that of one user, and has no list of members; "
                    "wsh.connections() tells who is connected"
                )
            if self.settings(space).presence is None:
                raise RoomRefused(
                    "the routes of this space have no presence; write presence: true below kwargs"
                )
            room = self._spaces.get(space, {}).get(name)
            if room is not None and room.people is not None:
                outcome.set(room.people.members(limit, start))
                return
            channel = channel_of(space, name)

            def listed(entries: Entries) -> None:
                outcome.set(members_of(grouped(entries), entries.position, limit, start))

            self._then(channel, self.backplane.entries(channel), listed, outcome.fail)

        self._look_up(outcome, look)
        return outcome

    def said(self, space: str, name: str, limit: int, since: Position | None) -> Outcome[History]:
        """Return what was said last in a room.

        Args:
            space: The room's space.
            name: Its name.
            limit: Messages, at most; 0 is no limit.
            since: The last message that is known.

        Raises:
            RoomRefused: The routes of the space have no `history`.
        """
        outcome: Outcome[History] = Outcome(self.io)

        def look() -> None:
            if self.settings(space).keep is None:
                raise RoomRefused(
                    "the routes of this space have no history; write history: true below kwargs"
                )
            channel = channel_of(space, name)
            found = self.backplane.history(channel, since, limit)
            self._then(channel, found, lambda past: outcome.set(_as_history(past)), outcome.fail)

        self._look_up(outcome, look)
        return outcome

    def clear(self, space: str, name: str) -> Outcome[None]:
        """Forget what was said in a room; its numbers go on."""
        outcome: Outcome[None] = Outcome(self.io)
        channel = channel_of(space, name)

        def clear() -> None:
            self._then(channel, self.backplane.clear(channel), outcome.set, outcome.fail)

        self._look_up(outcome, clear)
        return outcome

    def _look_up(self, outcome: Outcome[Any], look: Callable[[], None]) -> None:
        if get_ident() == self.io.thread:
            look()
            return

        def late() -> None:
            try:
                look()
            except Exception as error:
                outcome.fail(error)

        self.cross(late, 0)


def _as_history(past: Past) -> History:
    said = [Said(one.offset, one.publication.message, one.at) for one in past.messages]
    return History(said, past.position, past.complete)
