"""The names of keys and pub/sub channels, and the form in which things are stored and told."""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import Any, Literal, NamedTuple

import msgspec

from ..base import Change, Entries, Entry, Logged, Position, Publication

_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_encoder = msgspec.msgpack.Encoder()

_Packed = tuple[Any, str, str, int]
"""A publication as it is packed; msgspec knows no field that is a text or bytes."""

_publications = msgspec.msgpack.Decoder(_Packed)
_entries = msgspec.msgpack.Decoder(Entry)
_for_users = msgspec.msgpack.Decoder(tuple[str, _Packed])

UNREADABLE = (msgspec.MsgspecError, ValueError)
"""What is raised of what another version, or somebody else, has written."""


def check_prefix(prefix: str) -> str:
    """Return what the names of a deployment begin with.

    Raises:
        ValueError: It can be none.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"expected 1 to 64 letters, digits, dots, dashes or underscores, found {prefix!r:.80}"
        )
    return prefix


class Keys:
    """The names that a deployment uses; no two of another prefix or database share one.

    A database of a store has keys of its own, and no pub/sub channels: what is published in one is
    heard in all. So the number stands in the names, but for that of the first.

    Args:
        prefix: What they begin with.
        database: The number of the database.
    """

    def __init__(self, prefix: str, database: int = 0) -> None:
        self.prefix = check_prefix(prefix)
        self._stem = f"{prefix}:{database}" if database else prefix
        self.users = f"{self._stem}:users".encode()
        """The pub/sub channel of messages to users."""
        self.spaces = f"{self._stem}:spaces".encode()
        """The key under which nodes say what they keep in the rooms of each space."""

    def heard(self, channel: str) -> bytes:
        """Return the pub/sub channel of a channel."""
        # A brace would end the hash tag, and an empty one is none: a cluster would have the keys of
        # the channel on several servers.
        tag = channel.replace("%", "%25").replace("}", "%7D") or "%"
        return f"{self._stem}:{{{tag}}}".encode()

    def beat(self, node: str) -> bytes:
        """Return the pub/sub channel on which a node hears itself."""
        return f"{self._stem}:beat:{node}".encode()

    def log(self, channel: str) -> tuple[bytes, ...]:
        """Return the keys of a channel's log."""
        tag = self.heard(channel)
        return tag + b":logstate", tag + b":log"

    def people(self, channel: str) -> tuple[bytes, ...]:
        """Return the keys of a channel's presence."""
        tag = self.heard(channel)
        return tag + b":people", tag + b":leases", tag + b":peoplestate"


def new_epoch() -> str:
    """Return an epoch, in case that one begins."""
    return secrets.token_hex(8)


class Told(NamedTuple):
    """A message as a node hears it, or reads it."""

    publication: Publication
    position: Position
    id: bytes


def pack(value: Publication | Entry | tuple[str, Publication]) -> bytes:
    """Return the bytes that are stored or told; nothing in them runs when they are read.

    Raises:
        TypeError: It holds what has no such form.
    """
    return _encoder.encode(value)


def unpack(data: bytes) -> Publication:
    """Return a publication.

    Raises:
        ValueError: It is none.
    """
    return _publication(_publications.decode(data))


def _publication(packed: _Packed) -> Publication:
    if not isinstance(packed[0], (str, bytes)):
        raise ValueError("expected a text or bytes")
    return Publication(*packed)


def unpack_entry(data: bytes) -> Entry:
    """Return an entry of presence."""
    return _entries.decode(data)


def unpack_for_user(data: bytes) -> tuple[str, Publication]:
    """Return a user's name, and what is sent to them."""
    user, packed = _for_users.decode(data)
    return user, _publication(packed)


def message(data: bytes) -> Told:
    """Read a message of a channel: `m`, epoch, offset, id, publication."""
    epoch, offset, name, packed = data[1:].split(b" ", 3)
    return Told(unpack(packed), Position(epoch.decode(), int(offset)), name)


def plain(name: bytes, packed: bytes) -> bytes:
    """Return a message that is not kept, as it is told."""
    return b"m 0 " + name + b" " + packed


def change(data: bytes) -> Change:
    """Read a change of presence: `c`, epoch, offset, kind, length of the key, key and entry."""
    epoch, offset, kind, length, rest = data[1:].split(b" ", 4)
    size = int(length)
    word: Literal["add", "remove"] = "add" if kind == b"add" else "remove"
    place = Position(epoch.decode(), int(offset))
    return Change(place, word, rest[:size].decode(), unpack_entry(rest[size:]))


def logged(offset: int, data: bytes) -> tuple[Logged, bytes] | None:
    """Read a message of a log; return it and its id, or None where it cannot be read."""
    try:
        at, name, packed = data.split(b" ", 2)
        return Logged(offset, float(at), unpack(packed)), name
    except UNREADABLE:
        return None


def listed(reply: list[Any]) -> Entries:
    """Read what the script `entries` has returned."""
    epoch, offset, flat = reply
    return Entries(paired(flat), Position(epoch.decode(), offset) if epoch else Position())


def paired(flat: list[Any]) -> dict[str, Entry]:
    """Return the entries of a hash, which the store answers as a flat list.

    One that cannot be read is left out: the others are in nevertheless.
    """
    found: dict[str, Entry] = {}
    for key, entry in zip(flat[::2], flat[1::2], strict=True):
        with contextlib.suppress(*UNREADABLE):
            found[key.decode()] = unpack_entry(entry)
    return found
