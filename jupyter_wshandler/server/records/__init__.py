"""What is kept in memory for those who look: how long, what has failed, what happens now."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...connection.observer import Observers
from .errors import ErrorBook
from .frames import Frames
from .journal import Journal
from .ledger import Ledger
from .outcomes import Outcomes
from .traffic import Traffic


@dataclass(frozen=True, slots=True)
class Records:
    """What one server keeps for those who look at it.

    Attributes:
        ledger: Since when connections are open.
        errors: What callbacks have raised.
        journal: What happens, while somebody follows it.
        traffic: Messages, while somebody counts them.
        frames: Messages, while their owner watches them.
        outcomes: What was answered to requests with an `Idempotency-Key`.
    """

    ledger: Ledger
    errors: ErrorBook
    journal: Journal
    traffic: Traffic
    frames: Frames
    outcomes: Outcomes = field(default_factory=Outcomes)

    @classmethod
    def of(cls, observers: Observers) -> Records:
        """Begin to keep them.

        Args:
            observers: Those of the manager.
        """
        ledger, errors = Ledger(), ErrorBook()
        observers.add(ledger)
        observers.add(errors)
        return cls(
            ledger, errors, Journal(observers, ledger), Traffic(observers), Frames(observers)
        )

    def stop(self) -> None:
        """Follow and count nothing any more."""
        self.journal.stop()
        self.traffic.stop()
        self.frames.stop()
