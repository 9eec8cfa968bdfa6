"""The rooms of one server: who joins and leaves, and who is in them."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from ..backplane.base import Backplane, Entry
from ..backplane.memory import MemoryBackplane
from ..config.rooms import MAX_ROOMS, USER_ROOM
from ..connection.connection import Connection
from ..connection.phase import OPEN, PEER_CLOSED
from ..engine.jsontext import to_json
from ..errors import ConnectionClosed, ConnectionRefused, RoomRefused
from ..guard import sheltered
from ..routes import Route
from ..transports.loop import LoopIO
from ..types import CloseCode, Wish
from .base import Log
from .cards import Cards
from .leases import Leases
from .names import NOTEBOOK, channel_of, check_room, first_rooms, space_of, user_of
from .outcome import Outcome
from .parts import Asker
from .people import Difference, People
from .room import Published, Room
from .telling import Telling
from .wishes import Wishes

ROOMS_PER_SPACE = 10_000
"""Rooms of one space that may have members at a time, where nothing else is said."""

SWEEP = 5.0
"""Seconds between two looks for what is over."""


class Rooms(Telling):
    """The rooms of the connections of one manager; an observer of it, and their `RoomKeeper`.

    Args:
        log: Where errors and warnings go.
        routes: Returns the routes that are served.
        connections: Returns all open connections.
        backplane: Joins it with other servers; its own memory where None.
        limit: Rooms of one space that may have members at a time.
    """

    def __init__(
        self,
        log: Log,
        routes: Callable[[], Iterable[Route]],
        connections: Callable[[], Iterable[Connection]],
        *,
        backplane: Backplane | None = None,
        limit: int = ROOMS_PER_SPACE,
    ) -> None:
        super().__init__(log, routes, backplane or MemoryBackplane(), connections)
        self.limit = limit
        self._ask: Asker = None  # type: ignore[assignment] # set by `start`
        self._cards: Cards = None  # type: ignore[assignment] # set by `start`
        self._wishes: Wishes = None  # type: ignore[assignment] # set by `start`
        self._joined: dict[Connection, list[Room]] = {}
        self._swept = 0.0
        self._leases = Leases()
        self._for_rooms = (self._put_off, self._outcome_of, self.tell_again)  # once for all of them
        self._of_users: dict[str, int] = {}  # rooms of one user, by space

    # ---- life ----------------------------------------------------------------------------------

    def start(self, io: LoopIO, ask: Asker, failed: Callable[..., object]) -> None:
        """Begin, on the event loop.

        Args:
            io: What its connections share.
            ask: Calls a function of a route's for a connection, and returns what it says.
            failed: Writes what such a function has raised.
        """
        self.io = io
        self._ask = ask
        self._cards = Cards(self, ask, failed, self.do)
        self._wishes = Wishes(self, ask, failed, self.do)
        self.announce()
        self._then("", self.backplane.receive_for_users(self._for_user))

    async def stop(self, timeout: float) -> None:
        """Expect nobody back, and end what is under way.

        Args:
            timeout: Seconds for the `on_leave` of those who were in.
        """
        if self.io is None:
            return
        self._cards.stopping = True
        for rooms in tuple(self._spaces.values()):
            for room in tuple(rooms.values()):
                if room.people is not None:
                    room.people.end()
        if self._tasks and timeout:
            await asyncio.wait(tuple(self._tasks), timeout=timeout)
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        self._forget_lines()
        closed = self.backplane.close()
        if inspect.isawaitable(closed):
            await closed
        self._crossing.end()

    def tick(self, now: float) -> None:
        """Let time pass: what is over is let go of, and leases are renewed.

        Args:
            now: The event loop's time, in seconds.
        """
        if now - self._swept >= SWEEP:
            self._swept = now
            self._then("", self.backplane.sweep())
            self.mend()
        lease = self.backplane.lease
        for room in self._leases.due(now, lease, self._all_rooms) if lease else ():
            keys = [] if room.people is None else list(room.people.own)
            if keys:
                lost = self.backplane.renew(room.channel, keys)
                self._then(room.channel, lost, partial(self._add_again, room))

    def _all_rooms(self) -> Iterator[Room]:
        return (room for rooms in self._spaces.values() for room in rooms.values())

    def _add_again(self, room: Room, lost: Iterable[str]) -> None:
        """Put entries back that the backplane has lost, as after an outage."""
        for key in lost:
            own = None if room.people is None else room.people.own.get(key)
            if own is not None:
                self._then(room.channel, self.backplane.add(room.channel, key, own.entry))

    def space_named(self, name: str) -> str:
        """Return the space that a name means.

        Args:
            name: What a route names under `space`; or the name of a route, for that one's.

        Raises:
            LookupError: No route has it.
        """
        # A notebook that takes a name is not told what a module has meant for a route of a file.
        spaces = {route.name: space_of(route) for route in self._routes() if route.host is None}
        if name in spaces.values():
            return name
        if name in spaces:
            return spaces[name]
        known = ", ".join(sorted(set(spaces.values()))) or "none"
        raise LookupError(f"there is no space {name!r}; there are: {known}")

    def space_of(self, connection: Connection) -> str:
        """Return the space of a connection's rooms."""
        return space_of(connection.entry)

    def space_for(self, route: Route | None, named: str) -> str:
        """Return the space of a kernel's route, or the one of notebooks that has a name.

        Args:
            route: A route of the kernel's; None where a space is named.
            named: The name of a space of notebooks, or of a route of theirs, for that one's;
                empty for the route's own.

        Raises:
            LookupError: No route of a notebook has it.
        """
        if route is not None and not named:
            return space_of(route)
        spaces = {known.name: space_of(known) for known in self._routes() if known.host is not None}
        if NOTEBOOK + named in spaces.values():
            return NOTEBOOK + named
        if named in spaces:
            return spaces[named]
        raise LookupError(f"no bot of a notebook has the space {named!r}")

    def is_user(self, connection: Connection, user: str) -> bool:
        """Return whether a connection is a user's."""
        return user_of(connection.current_user) == user

    async def may_enter(self, connection: Connection) -> None:
        """Ask whether a connection may be in the rooms of its route, before it opens.

        Args:
            connection: A connection that is not open yet.

        Raises:
            ConnectionRefused: It may not; says why.
            Exception: Whatever `may_join` raises.
        """
        callback = connection.entry.callbacks.get("may_join")
        for room in first_rooms(connection):
            if callback is None:
                continue
            answer = await self._ask(connection, callback, connection, room)
            if not sheltered("may_join", bool, answer):
                raise ConnectionRefused("this room is not open to you")

    # ---- members -------------------------------------------------------------------------------

    def enter(self, connection: Connection) -> None:
        """Put a connection that opens into the rooms of its route."""
        try:
            for name in first_rooms(connection):
                self._join(connection, name)
        except RoomRefused as refusal:
            self._log.warning("Route %s: %s: %s", connection.route, connection.id, refusal)
            connection.end(CloseCode.TRY_AGAIN_LATER, "there is no room for one more room")
        except ConnectionRefused as refusal:  # asked before; but a bot may have written into it
            connection.end(CloseCode.POLICY_VIOLATION, str(refusal))

    def wished(self, connection: Connection, wish: Wish) -> None:
        """Take what the client of a connection wants of a room."""
        self._wishes.take(connection, wish)

    def join_by_wire(self, connection: Connection, wish: Wish) -> None:
        """Put a connection into a room, or leave it in, and have its client told.

        Args:
            connection: The connection.
            wish: The room, and what its client wants to know of it.

        Raises:
            ConnectionClosed: The connection is closing or closed.
            RoomRefused: It is in too many rooms, or there are too many.
        """
        self.io.begin_batch()
        self._join(connection, wish.room, wish)

    def leave_by_wire(self, connection: Connection, name: str) -> None:
        """Take a connection out of a room that it is in, and have its client told."""
        room = self._room_of(connection, name)
        if room is not None:
            room.by_wire.setdefault(connection, None)
            self._leave(connection, name)

    def join(self, connection: Connection, room: str) -> Outcome[None]:
        """Put a connection into a room; see `connection.membership.InRooms.join`."""
        name = check_room(room)
        if name.startswith(USER_ROOM) and name != USER_ROOM + user_of(connection.current_user):
            raise ValueError(
                f"expected {USER_ROOM}{{user}} of the connection's own user, found another one's; "
                "to_user() sends to somebody without joining their room"
            )
        return self.on_loop(partial(self._join, connection, name))

    def leave(self, connection: Connection, room: str) -> Outcome[None]:
        """Take a connection out of a room."""
        return self.on_loop(partial(self._leave, connection, check_room(room)))

    def _room_of(self, connection: Connection, name: str) -> Room | None:
        """Return a room that a connection is in, by its name."""
        space = space_of(connection.entry)
        for room in self._joined.get(connection, ()):
            if room.name == name and room.space == space:
                return room
        return None

    def _join(self, connection: Connection, name: str, wish: Wish | None = None) -> None:
        """Put a connection into a room; whether its client has wished for it or not.

        Raises:
            ConnectionClosed: The connection is closing or closed.
            RoomRefused: It is in too many rooms, or there are too many.
        """
        if not OPEN <= connection.phase <= PEER_CLOSED:
            raise ConnectionClosed(f"connection {connection.id} is {connection.phase.words}")
        known = self._room_of(connection, name)
        if known is not None and wish is None:
            return
        room = known or self._put_in(connection, name)
        if room.is_pending:
            self.io.deliver_pending()  # what was said before is told in another way
        settings = self.settings(room.space)
        count = settings.replay if known is None else 0
        if wish is not None:
            self.tell_joined(room, connection, wish, settings, count)
        elif settings.keep is not None and count:
            room.hold(connection)
            past = self.backplane.history(room.channel, None, count)
            replay = partial(self.replay, room, connection)
            self._then(room.channel, past, replay, lambda _: replay(None))
        if room.people is not None and known is None:
            self._cards.show(room, connection, settings)
        if wish is not None and wish.presence:
            self.watch(room, connection)

    def _put_in(self, connection: Connection, name: str) -> Room:
        """Make a connection a member of a room that it is not in."""
        joined = self._joined.get(connection, [])
        if len(joined) >= MAX_ROOMS:
            raise RoomRefused(
                f"connection {connection.id} is in {MAX_ROOMS} rooms, as many as one may; leave one"
            )
        room = self._room(space_of(connection.entry), name)
        if room.is_pending:
            self.io.deliver_pending()  # what was said before is not for who comes now
        room.add(connection)
        self._joined.setdefault(connection, joined).append(room)
        self._several += len(joined) == 2
        return room

    def _room(self, space: str, name: str) -> Room:
        """Return a room that may get members on this node.

        Raises:
            RoomRefused: The space has as many as it may have.
        """
        rooms = self._spaces.setdefault(space, {})
        room = rooms.get(name)
        if room is not None:
            return room
        is_users = name.startswith(USER_ROOM)  # there are no more of these than connections
        if not is_users and len(rooms) - self._of_users.get(space, 0) >= self.limit:
            raise RoomRefused(
                f"there are {self.limit} rooms with members in this space, as many as there may "
                "be; an administrator sets it with c.WSHandlerApp.rooms_per_space"
            )
        channel = channel_of(space, name)
        presence, people = self.settings(space).presence, None
        if presence is not None and not is_users:
            people = People(
                self.backplane,
                channel,
                presence.linger,
                partial(self._then, channel),
                partial(self._differs, space, name),
                partial(self._let_go_of, space, name),
            )
        room = Room(space, name, channel, people, *self._for_rooms)
        rooms[name] = room
        self._of_users[space] = self._of_users.get(space, 0) + is_users
        self._then(channel, self.backplane.subscribe(channel, room))
        if people is not None:
            self.read_list(room, people)
        return room

    def _leave(self, connection: Connection, name: str) -> None:
        room = self._room_of(connection, name)
        if room is None:
            return
        if room.is_pending:
            self.io.deliver_pending()  # it was said while the connection was a member
        joined = self._joined[connection]
        joined.remove(room)
        self._several -= len(joined) == 1
        if not joined:
            del self._joined[connection]
        self._take_out(room, connection, lost=False)

    def _take_out(self, room: Room, connection: Connection, *, lost: bool) -> None:
        answers = room.forget(connection)
        if answers is not None and not lost:
            answers.say({"left": room.name})
        if room.people is not None:
            self._cards.forget(room, connection)
            room.people.leave(connection.id, self.io.loop if lost else None)
        self._let_go_of(room.space, room.name)

    def _let_go_of(self, space: str, name: str) -> None:
        """Forget a room that is over; its history is the backplane's to forget."""
        rooms = self._spaces.get(space, {})
        room = rooms.get(name)
        if room is None or not room.is_over:
            return
        if room.is_pending:
            self.io.deliver_pending()  # to nobody; but who has sent it may wait for that
        del rooms[name]
        self._of_users[space] -= name.startswith(USER_ROOM)
        if not rooms:
            del self._spaces[space], self._of_users[space]
        self._then(room.channel, self.backplane.unsubscribe(room.channel))

    def rooms_of(self, connection: Connection) -> tuple[str, ...]:
        """Return the names of the rooms that a connection is in."""
        return tuple(room.name for room in tuple(self._joined.get(connection, ())))

    # ---- what becomes of connections -------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Take note of whose a connection is, where somebody has asked for such."""
        self.note_user(connection)

    def lost(self, connection: Connection) -> None:
        """Take a connection out of all its rooms: its socket is gone."""
        self._wishes.forget(connection)
        joined = self._joined.pop(connection, None)
        if joined is not None:
            self._several -= len(joined) > 1
            for room in tuple(joined):
                self._take_out(room, connection, lost=not self._cards.stopping)
        self.forget_user(connection)

    def broadcast(
        self, connection: Connection, message: Any, room: str | None, exclude: bool
    ) -> Outcome[Published]:
        """Send a message to all in a room; see `connection.membership.InRooms.broadcast`."""
        name = the_room(self.rooms_of(connection)) if room is None else check_room(room)
        space = space_of(connection.entry)
        return self.publish(space, name, message, connection.id if exclude else "")

    # ---- presence ------------------------------------------------------------------------------

    watchers: tuple[Callable[[str, str, Difference], object], ...] = ()
    """Who hears of each difference of each room: called with space, room and difference."""

    def _differs(
        self, space: str, name: str, difference: Difference, connection: Connection | None
    ) -> None:
        for watcher in self.watchers:
            watcher(space, name, difference)
        room = self._spaces.get(space, {}).get(name)
        if room is not None and room.people is not None and not room.people.is_listing:
            self.tell_change(room, difference)
        if connection is not None:
            self._cards.tell(space, name, self.settings(space), difference, connection)

    def shown(self, room: Room, connection: Connection, entry: Entry) -> None:
        """Put a connection into the list of a room's members, unless it has left meanwhile.

        Args:
            room: The room.
            connection: The connection.
            entry: Whose it is, what is shown of them, and since when it is there.
        """
        if connection in room.members and room.people is not None:
            if self.backplane.lease:  # it is shown by other servers, too
                entry = msgspec.structs.replace(entry, card=json.loads(to_json(entry.card)))
            room.people.enter(connection, entry)


def the_room(rooms: tuple[str, ...]) -> str:
    """Return the only room of a connection, but for that of its user.

    Raises:
        ValueError: It is in none, or in several.
    """
    found = [room for room in rooms if not room.startswith(USER_ROOM)]
    if len(found) != 1:
        are = ", ".join(found[:5]) or "none"
        raise ValueError(f"expected room=, as the connection is not in one room but in: {are}")
    return found[0]
