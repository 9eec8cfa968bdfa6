"""Read what a kernel says: batches of events whose every part may be wrong, large or hostile.

A kernel runs whatever code its notebook has, so what it sends is looked at before it is turned
into Python objects: a batch costs the server's loop a few milliseconds, whatever it holds.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from .events import FromKernel, SessionChange

MAX_CONTENT = 4 * 1024 * 1024
"""Bytes of a batch's JSON. What a kernel's courier puts into one is about a MiB, or the page of a
bot."""

MAX_CLAIM = MAX_CONTENT - 64 * 1024
"""Bytes of what a kernel says of one bot, as JSON."""

MAX_HEADER = 64 * 1024
"""Bytes of each of the other parts of a kernel's message that are JSON."""

MAX_OPTIONS = 64 * 1024
"""Bytes of the options of a route, as JSON."""

MAX_SHAPES = 32 * 1024
"""Bytes of what a route's functions take and answer, as JSON: larger ones are not kept."""

MAX_CHANGES = 1024 * 1024
"""Bytes in the changes of a session: about as many as a session may have to be saved."""

MAX_TAKEN = 1024 * 1024
"""Bytes of the counts of handled messages, as JSON."""

MAX_EVENTS = 512
"""Events in one batch."""

MAX_SURROGATES = 10_000
"""Escaped surrogates in a batch that are looked at where it cannot be read otherwise."""

_PAIRS = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u[dD]"
    rb"(?:[89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|([89a-fA-F][0-9a-fA-F]{2}))"
)
"""A pair of escaped surrogates, or (group 2) one that has no other half."""

_NOTHING: Final = msgspec.Raw(b"")

Read = TypeVar("Read")


class _About(msgspec.Struct, array_like=True):
    """What an event is, and what it is about: no more of it is read."""

    what: str
    name: msgspec.Raw = _NOTHING


class Asked(msgspec.Struct):
    """A claim whose large parts have not been looked at."""

    pattern: str
    options: msgspec.Raw = _NOTHING
    events: msgspec.Raw = _NOTHING
    page: str | bool | None = None
    replace: bool = False
    shapes: msgspec.Raw = _NOTHING


# A field for each event that a batch may have, where a list would do: msgspec stops reading at the
# first one too many, but would read a list of any length to its end.
_Events: Any = msgspec.defstruct(
    "_Events",
    [(f"event{number}", msgspec.Raw, _NOTHING) for number in range(MAX_EVENTS)],
    array_like=True,
    forbid_unknown_fields=True,
)


class _Batch(msgspec.Struct):
    n: int | None = None
    got: int | None = None
    taken: msgspec.Raw = _NOTHING
    events: _Events | None = None
    hello: int | None = None


class _Content(msgspec.Struct):
    comm_id: str
    data: _Batch


class Batch(msgspec.Struct, frozen=True):
    """One batch of a kernel, whose events have not been read."""

    comm_id: str
    hello: int | None
    number: int | None
    got: int | None
    taken: dict[str, int]
    events: tuple[msgspec.Raw, ...]


class NotABatch(Exception):
    """What no kernel of this version sends, and one has sent."""


_content = msgspec.json.Decoder(_Content)
_bare = msgspec.json.Decoder(_Batch)
_said: msgspec.json.Decoder[FromKernel] = msgspec.json.Decoder(FromKernel)
_about = msgspec.json.Decoder(_About)
_counts = msgspec.json.Decoder(dict[str, int])
_texts = msgspec.json.Decoder(dict[str, str])
_names = msgspec.json.Decoder(list[str])


def read_batch(content: bytes | memoryview) -> Batch:
    """Read a batch, and leave its events as they are.

    Args:
        content: The content of a comm message, as JSON.

    Raises:
        NotABatch: It is none, or more than one may be.
    """
    read = _read(content, _content)
    return _looked_at(read.data, read.comm_id)


def read_bare_batch(content: bytes) -> Batch:
    """Read a batch that has come on a pipe, with no message around it; see `read_batch`.

    Args:
        content: The batch, as JSON.

    Raises:
        NotABatch: It is none, or more than one may be.
    """
    return _looked_at(_read(content, _bare), "")


def _read(content: bytes | memoryview, decoder: msgspec.json.Decoder[Read]) -> Read:
    if len(content) > MAX_CONTENT:
        raise NotABatch(f"a batch of {len(content)} bytes, where {MAX_CONTENT} are the most")
    try:
        return _read_content(content, decoder)
    except (ValueError, RecursionError) as error:
        raise NotABatch(f"what is no batch: {one_line(str(error))}") from None


def _looked_at(batch: _Batch, comm_id: str) -> Batch:
    try:
        if len(batch.taken) > MAX_TAKEN:
            raise NotABatch(f"counts of {len(batch.taken)} bytes, where {MAX_TAKEN} are the most")
        taken = _counts.decode(batch.taken) if batch.taken else {}
    except (ValueError, RecursionError) as error:
        raise NotABatch(f"what is no batch: {one_line(str(error))}") from None
    events: tuple[msgspec.Raw, ...] = ()
    if batch.events is not None:
        events = tuple(e for e in msgspec.structs.astuple(batch.events) if e is not _NOTHING)
    if events and batch.n is None:
        raise NotABatch("a batch without a number")
    return Batch(comm_id, batch.hello, batch.n, batch.got, taken, events)


def _read_content(content: bytes | memoryview, decoder: msgspec.json.Decoder[Read]) -> Read:
    try:
        return decoder.decode(content)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # JSON can write half of a pair of surrogates, and msgspec then reads nothing of the whole.
        # With a byte that is no UTF-8 in its place, only the event that has it is unreadable.
        content = bytes(content)
        if not 0 < content.count(b"\\ud") + content.count(b"\\uD") <= MAX_SURROGATES:
            raise
        return decoder.decode(_PAIRS.sub(_mark, content))


def _mark(found: re.Match[bytes]) -> bytes:
    return found[0] if found[2] is None else found[1] + b"\xff"


def read_event(event: msgspec.Raw) -> FromKernel:
    """Read one event of a batch.

    Raises:
        ValueError: It is none.
    """
    try:
        return _said.decode(event)
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None


def about(event: msgspec.Raw) -> tuple[str, str]:
    """Return what an event that cannot be read is, and whom it is about, as far as that goes."""
    try:
        read = _about.decode(event)
    except (ValueError, RecursionError):
        return "", ""
    try:
        return read.what, msgspec.json.decode(read.name, type=str)
    except ValueError:
        return read.what, ""


def read_claim(claim: msgspec.Raw) -> dict[str, Any]:
    """Read what a kernel says of a route that it wants to serve.

    Raises:
        ValueError: It is none, or too large.
    """
    try:
        asked = msgspec.json.decode(claim, type=Asked)
        given: dict[str, Any] = {
            "pattern": asked.pattern,
            "page": asked.page,
            "replace": asked.replace,
            # Not read before somebody asks.
            "shapes": bytes(asked.shapes) if len(asked.shapes) <= MAX_SHAPES else b"",
        }
        for key, raw in (("options", asked.options), ("events", asked.events)):
            if len(raw) > MAX_OPTIONS:
                raise ValueError(
                    f"{key} of {len(raw)} bytes, where {MAX_OPTIONS} are the most; "
                    "leave out what is not needed"
                )
            if raw:
                given[key] = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(one_line(str(error))) from None
    return given


def read_changes(
    event: SessionChange[msgspec.Raw, msgspec.Raw],
) -> tuple[dict[str, str], list[str]]:
    """Read what has changed in a session: values as JSON by key, and the keys that are gone.

    Raises:
        ValueError: It is no change of a session, or too large.
    """
    # Twice the size, as each quote in the values' JSON was escaped to travel within JSON.
    if len(event.changed) > 2 * MAX_CHANGES + 65536 or len(event.removed) > MAX_CHANGES:
        raise ValueError(f"changes of a session of more than {MAX_CHANGES} bytes")
    try:
        return _texts.decode(event.changed), _names.decode(event.removed)
    except (ValueError, RecursionError) as error:
        raise ValueError(str(error)) from None


def one_line(text: str, limit: int = 300) -> str:
    """Return what a kernel has chosen as one short line that no terminal obeys.

    Args:
        text: Anything.
        limit: Characters, at most.
    """
    if len(text) > limit:
        text = text[: limit - 3] + "..."
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
