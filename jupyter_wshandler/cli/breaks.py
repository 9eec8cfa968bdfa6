"""What a terminal shows of a connection that is lost and comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..client.states import Change
from ..engine.asking import Asked, ClientEnd, Ending
from ..types import Message

LOST = "[the connection is lost; trying again]"
BACK = "[connected again]"
ANOTHER = "[connected again; the bot takes this for a new conversation]"
IN_DOUBT = "[whether the bot has got {} of what was said is not known]"


class Heard(ClientEnd):
    """What a server says, kept frame by frame in its order, to be printed."""

    def receive(self, frame: Message) -> None:
        """Take one frame; see `ClientEnd.receive`."""
        if isinstance(frame, bytes):
            self.messages.append(frame)
        else:
            super().receive(frame)

    def take(self, said: dict[str, Any]) -> None:
        """Take what a text frame holds."""
        if type(said.get("end")) is int and "how" in said:
            self.ended(said)
        self.sent_away(said)
        self.messages.append(said)

    def settle(self, asked: Asked, how: Ending) -> None:
        """End a question of which the server says nothing more, as if it did."""
        super().settle(asked, how)
        self.messages.append({"end": asked.number, "how": how})


class Breaks:
    """Tells the conversation of the moment what becomes of its connection, a line for each.

    Attributes:
        say: Writes a line; set by the conversation.
    """

    def __init__(self) -> None:
        self.say: Callable[[str], object] = lambda line: None

    def changed(self, change: Change) -> None:
        """Take a change of the connection."""
        if change.event == "away":
            self.say(LOST)
        elif change.event == "resumed":
            self.say(BACK)
        elif change.event == "renewed":
            self.say(ANOTHER)
            if change.unsure:
                self.say(IN_DOUBT.format(len(change.unsure)))
