"""The rooms of a connection: it joins them, leaves them, and speaks to all who are in one."""

from __future__ import annotations

from typing import Any

from ..engine.shared import Frames, SharedMessages, is_lasting
from ..transports.direct import DirectTransport
from ..types import Sendable
from .face import Handler


class InRooms(Handler):
    """A connection that may be in rooms; which ones its host knows, so that it costs nothing."""

    __slots__ = ()

    def way_of_many(self) -> tuple[str, DirectTransport] | None:
        """Return how `transports.many` reaches it; None where only `write_shared` does.

        Returns:
            The form of what it reads (`types.Codec`), and what carries that.
        """
        form, transport = self._protocol.form, self._transport
        # Not one of a kind of it: what TLS has begun to send must be offered again as it was.
        if type(transport) is DirectTransport and is_lasting(form):
            return form, transport
        return None

    def frames_for_many(self, shared: SharedMessages) -> Frames | None:
        """Return what all read who have its form; None where each message has an audience.

        Args:
            shared: The messages.
        """
        return None if self._host.observers.message_out else shared.frames(self._protocol)

    def was_sent_to(self, waits: bool = False) -> None:
        """Take note of what `transports.many` has sent to it.

        Args:
            waits: Whether the rest of that is queued now.
        """
        self._active = True
        if waits:
            self._queued()

    def join(self, room: str) -> Any:
        """Join a room of this route's space; safe from any thread, and again without effect.

        Nobody asks `may_join` here: the bot decides. Where the route has ``history: {replay:}``,
        what was said last is sent first.

        Args:
            room: 1 to 200 printable characters. Rooms that begin with ``user:`` are those of
                one user: no other can join.

        Returns:
            What may be awaited: then it is in.

        Raises:
            ValueError: It is no name of a room, or another user's.
            ConnectionClosed: The connection is closing or closed.
            RoomRefused: This connection is in 64 rooms, or the space has as many as it may have.
        """
        return self._host.rooms.join(self, room)

    def leave(self, room: str) -> Any:
        """Leave a room; safe from any thread, and without effect where it is not in it.

        Args:
            room: Its name.

        Returns:
            What may be awaited: then it is out.
        """
        return self._host.rooms.leave(self, room)

    @property
    def rooms(self) -> tuple[str, ...]:
        """The names of the rooms that it is in, in the order in which it has joined them."""
        return self._host.rooms.rooms_of(self)

    def broadcast(
        self, message: Sendable, *, room: str | None = None, exclude_self: bool = False
    ) -> Any:
        """Send a message to all in a room; safe from any thread, and it never waits for a client.

        Args:
            message: What `write_message` takes.
            room: The room's name; the only one that the connection is in, where None.
            exclude_self: Whether this connection is left out.

        Returns:
            What may be awaited: then it is a `Published`, with the offset of the message in the
            room's history (0 without one) and the number of connections it was delivered to.

        Raises:
            ValueError: No room is named, and it is in none or in several.
            TypeError: The message is None, or holds what has no JSON form.
        """
        return self._host.rooms.broadcast(self, message, room, exclude_self)
