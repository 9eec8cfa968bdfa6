"""Why the directory does not do what it is asked, in words for who has asked."""

from __future__ import annotations


class NotShared(Exception):
    """What somebody asks for is not shared with them (any more), or not there.

    Args:
        sentence: Why, in words for them.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class NotStored(Exception):
    """What is shared cannot be read or stored now.

    Args:
        sentence: What that means, in words for who has asked.
    """

    def __init__(self, sentence: str = "what is shared cannot be read or stored now; try again"):
        super().__init__(sentence)
        self.sentence = sentence


class ServerStopped(NotShared):
    """The server that the bot runs in is stopped."""
