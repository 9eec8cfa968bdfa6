"""Messages for many connections: encoded once for all clients that read the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..types import Codec, Message


class Frames(NamedTuple):
    """The frames of some messages, as one or as many."""

    each: tuple[Any, ...]
    whole: Any
    """All of them in one piece; None where frames cannot be joined."""
    size: int
    """Bytes in that; 0 for None."""


def is_joined(form: str) -> bool:
    """Return whether frames of a form (`types.Codec`) may be sent in one piece."""
    return form.endswith("frame")


class SharedMessages:
    """Some messages for many connections, in order, with one encoding for each form of them.

    Args:
        messages: The messages.
    """

    __slots__ = ("by_form", "messages")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.by_form: dict[str, Frames] = {}
        """What was encoded already; see `frames`."""

    def frames(self, codec: Codec) -> Frames:
        """Return the frames for one client; of clients with the same form, the same objects.

        Args:
            codec: The client's.
        """
        form = codec.form
        if not form:  # what was sent before decides what bytes these become
            return Frames(self.encoded(codec), None, 0)
        found = self.by_form.get(form)
        if found is None:
            each = self.encoded(codec)
            whole = None if not is_joined(form) else each[0] if len(each) == 1 else b"".join(each)
            size = 0 if whole is None else len(whole)
            found = self.by_form[form] = Frames(each, whole, size)
        return found

    def encoded(self, codec: Codec) -> tuple[Any, ...]:
        """Return each message as the transport of one client writes it.

        Args:
            codec: The client's.
        """
        return tuple(codec.encode(message) for message in self.messages)
