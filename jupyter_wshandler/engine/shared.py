"""Messages for many connections: encoded once for all clients that read the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..types import Codec, Message

MANY = 8
"""Clients from which a message is compressed once for all. For fewer, each one's own context is
worth its time: what is like the message before becomes much smaller with it."""

MAX_FORMS = 32
"""Forms of one message that are kept. A client chooses among about ten; a function of a route can
make any number."""


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


def is_lasting(form: str) -> bool:
    """Return whether a codec of a form reads frames of that form whatever was sent before.

    One that compresses in turn does not: it counts back over all that it has sent, so that it must
    know of each frame.
    """
    return is_joined(form) and " in turn " not in form


class SharedMessages:
    """Some messages for many connections, in order, with one encoding for each form of them.

    Where they go to many, they are compressed without what each client was sent before: that saves
    all but one of the compressions, and costs some bytes on the wire.

    Args:
        messages: The messages.
        clients: How many they go to, about.
    """

    __slots__ = ("by_form", "many", "messages")

    def __init__(self, messages: Sequence[Message], clients: int = 1) -> None:
        self.messages = messages
        self.many = clients >= MANY
        self.by_form: dict[str, Frames] = {}
        """What was encoded already; see `frames`."""

    def frames(self, codec: Codec) -> Frames:
        """Return the frames for one client; of clients with the same form, the same objects.

        Args:
            codec: The client's.
        """
        form = codec.form
        if not form and self.many:
            form = codec.start_afresh()
        if not form:  # what was sent before decides what bytes these become
            return Frames(self.encoded(codec), None, 0)
        found = self.by_form.get(form)
        if found is None:
            if len(self.by_form) >= MAX_FORMS:
                return Frames(self.encoded(codec), None, 0)
            each = self.encoded(codec)
            whole = None if not is_joined(form) else each[0] if len(each) == 1 else b"".join(each)
            size = 0 if whole is None else len(whole)
            found = self.by_form[form] = Frames(each, whole, size)
        return found

    def having(self, messages: Sequence[Message]) -> SharedMessages:
        """Return the same with other messages in the place of these, for one client.

        Args:
            messages: As many messages.
        """
        return SharedMessages(messages)

    def encoded(self, codec: Codec) -> tuple[Any, ...]:
        """Return each message as the transport of one client writes it.

        Args:
            codec: The client's.
        """
        return tuple(codec.encode(message) for message in self.messages)
