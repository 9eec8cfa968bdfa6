"""What the server says of rooms in `wsh.v1`, encoded once for many; see `docs/protocol.md`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..types import Codec, Message
from .envelope import EnvelopeCodec
from .shared import SharedMessages


class SaidInRoom(SharedMessages):
    """Messages of one room: a client that speaks `wsh.v1` is told of which, and their numbers.

    Args:
        room: The room's name.
        messages: The messages.
        positions: The place of each in the room's history, as epoch and offset; offset 0 without.
        epoch: The epoch that the clients know; where another one begins, they are told.
        clients: How many there are, about.
    """

    __slots__ = ("_epoch", "_positions", "_room")

    def __init__(
        self,
        room: str,
        messages: Sequence[Message],
        positions: Sequence[tuple[str, int]],
        epoch: str,
        clients: int = 1,
    ) -> None:
        super().__init__(messages, clients)
        self._room = room
        self._positions = positions
        self._epoch = epoch

    def having(self, messages: Sequence[Message]) -> SaidInRoom:
        """Return the same with other messages in their places, for one client."""
        return SaidInRoom(self._room, messages, self._positions, self._epoch)

    def encoded(self, codec: Codec) -> tuple[Any, ...]:
        """Return each message as the transport of one client writes it."""
        if not isinstance(codec, EnvelopeCodec):
            return super().encoded(codec)
        known, frames = self._epoch, []
        for message, (epoch, offset) in zip(self.messages, self._positions, strict=True):
            place: dict[str, Any] = {"room": self._room}
            if offset:
                place["offset"] = offset
                if epoch != known:
                    place["epoch"] = known = epoch
            frames.append(codec.encode_said(message, place))
        return tuple(frames)


class Envelopes(SharedMessages):
    """Envelopes without a message, for many clients that all speak `wsh.v1`.

    Args:
        envelopes: What each says.
        clients: How many there are, about.
    """

    __slots__ = ("envelopes",)

    def __init__(self, envelopes: Sequence[dict[str, Any]], clients: int = 1) -> None:
        super().__init__((), clients)
        self.envelopes = envelopes

    def encoded(self, codec: Codec) -> tuple[Any, ...]:
        """Return each as the transport of one client writes it; none for a plain one."""
        if not isinstance(codec, EnvelopeCodec):
            return ()
        return tuple(codec.mark(envelope) for envelope in self.envelopes)
