"""What a connection is to the line that outlives its breaks; see `line`."""

from __future__ import annotations

from typing import Protocol

from ..config.model import ResumeConfig
from ..types import Receiver
from .phase import Phase


class Outliving(Receiver, Protocol):
    """What a line needs of its connection."""

    close_code: int | None
    close_reason: str | None

    @property
    def id(self) -> str:
        """Its unique name."""

    @property
    def phase(self) -> Phase:
        """How far it has come."""

    @property
    def resume_config(self) -> ResumeConfig | None:
        """What its route says of `resume` today."""

    def may_go_away(self) -> bool:
        """Return whether the connection outlives a break that happens now."""

    def goes_away(self) -> None:
        """Take note that the client is away."""

    def comes_back(self) -> None:
        """Take note that the client has come back."""

    def look_for_room(self) -> None:
        """Wake those who wait for room in the queue, if there is some."""
