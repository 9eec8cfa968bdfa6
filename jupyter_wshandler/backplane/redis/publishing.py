"""How a message gets to the store: the same for a node, and for a program that is none.

Who publishes from outside has the store's URL and nothing else. How much of a room is kept, and how
large a message may be, is the nodes' to say: each writes it down where the store is, for each
space that it serves, whenever it comes and whenever its routes change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from ...errors import BackplaneError
from ..base import Keep, Publication
from . import keys as forms
from .keys import Keys
from .request import Request, seen

STATE_TTL = 24 * 3600 * 1000
"""Milliseconds for which the numbers of a log are known after its messages are over."""


class SpaceFacts(NamedTuple):
    """What the nodes say of a space."""

    keep: Keep | None
    """How much is kept of each of its rooms; None for nothing."""
    max_message: int
    """Bytes of a message, at most."""

    def told(self) -> str:
        """Return them in words."""
        if self.keep is None:
            return f"no history, messages of {self.max_message} bytes at most"
        size, most, ttl = self.keep
        return (
            f"a history of {size} messages and {most} bytes for {ttl:g} s, messages of "
            f"{self.max_message} bytes at most"
        )


_Written = tuple[int, int, float, int]
"""Messages, bytes and seconds that are kept, 0 for nothing; and bytes of a message."""

_reader = msgspec.msgpack.Decoder(_Written)
_writer = msgspec.msgpack.Encoder()


def packed_within(publication: Publication, most: int) -> bytes:
    """Return the bytes of a message.

    Args:
        publication: The message.
        most: Bytes that it may have.

    Raises:
        BackplaneError: It has more.
    """
    packed = forms.pack(publication)
    if len(packed) > most:
        raise BackplaneError(
            f"expected a message of at most {most} bytes for several servers, found "
            f"{len(packed)}; an administrator sets it with c.WSHandlerApp.backplane_max_message"
        )
    return packed


def publish_request(
    keys: Keys,
    channel: str,
    name: bytes,
    packed: bytes,
    keep: Keep | None,
    *,
    verb: str = "PUBLISH",
    is_named: bool = False,
) -> Request:
    """Return the command that publishes a message.

    Args:
        keys: The deployment's names.
        channel: Where the message belongs.
        name: Its id, which the store knows it by for as long as it is kept.
        packed: What `packed_within` returned.
        keep: How much of the log is kept from now on; None numbers and keeps nothing, and the
            command is not sent a second time.
        verb: The command that publishes to a channel; a script knows its own.
        is_named: Whether its id is the caller's own, so that the store looks whether it has it.
    """
    heard = keys.heard(channel)
    if keep is None:
        return Request([verb, heard, forms.plain(name, packed)])
    ttl = max(1, int(keep.ttl * 1000))
    words: list[Any] = [*keys.log(channel), heard, forms.new_epoch(), name, packed]
    words += [keep.size, keep.bytes, ttl, ttl + STATE_TTL, b"2" if is_named else b"0"]
    return Request(words, script="publish", keys=2, again=True, marks=True)


def spaces_request(keys: Keys, spaces: Mapping[str, Keep | None], most: int) -> Request:
    """Return the command that writes down what a node says of its spaces; nobody waits for it.

    Args:
        keys: The deployment's names.
        spaces: How much is kept in the rooms of each, at least one.
        most: Bytes of a message.
    """
    words: list[Any] = ["HSET", keys.spaces]
    for space, keep in spaces.items():
        kept = (0, 0, 0.0) if keep is None else keep
        words += [space.encode(), _writer.encode((*kept, most))]
    request = Request(words, again=True)
    request.future.add_done_callback(seen)
    return request


def read_spaces(flat: list[bytes]) -> dict[str, SpaceFacts]:
    """Read what nodes have written of their spaces, as the store answers a hash.

    What cannot be read, of another version, say, is left out.
    """
    found: dict[str, SpaceFacts] = {}
    for name, data in zip(flat[::2], flat[1::2], strict=True):
        with contextlib.suppress(*forms.UNREADABLE):
            size, most_bytes, ttl, most = _reader.decode(data)
            keep = Keep(size, most_bytes, ttl) if size else None
            found[name.decode()] = SpaceFacts(keep, most)
    return found
