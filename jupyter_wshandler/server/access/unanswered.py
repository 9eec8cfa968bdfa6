"""Questions about logins that nobody has answered: a number, a line in the log, and an event."""

from __future__ import annotations

from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from ...callbacks.errorlog import kind_of, place_of, write_whole
from .refusals import UNANSWERED, Refusals

if TYPE_CHECKING:
    from ...manager.manager import WebSocketManager
    from .asking import Unanswered

PERIOD = 60.0
"""Seconds in which one kind of fault is written once."""

KINDS = 100
"""Kinds that are told apart; the oldest are forgotten first."""


class _Kind(NamedTuple):
    written_at: float
    since: int


class UnansweredLog:
    """The record of questions without an answer: all are counted, each kind is written at times.

    Args:
        manager: Has the metrics and the log.
        refusals: Sends events.
    """

    def __init__(self, manager: WebSocketManager, refusals: Refusals) -> None:
        self._manager = manager
        self._refusals = refusals
        self._kinds: OrderedDict[tuple[str, str, str], _Kind] = OrderedDict()

    def note(self, unanswered: Unanswered, connections: int, seconds: float) -> None:
        """Note one question.

        Args:
            unanswered: Who was asked, and what came instead of an answer.
            connections: How many connections wait for it.
            seconds: Time since somebody has answered it last.
        """
        result, error = unanswered.result, unanswered.error
        self._manager.metrics.rechecks[result] += 1
        name = type(error).__name__[:100]
        # By names: a module that is loaded again has new classes of the same name.
        times = self._news(unanswered.asked, name, place_of(error) if result == "failed" else "")
        if not times:
            return
        if result == "failed":
            self._manager.log.error(
                "Logins of open connections cannot be asked for again: %s has failed%s",
                unanswered.asked,
                _so_often(times),
                exc_info=error,
            )
        else:
            self._manager.log.warning(
                "Logins of open connections cannot be asked for again: %s has not answered: %s%s",
                unanswered.asked,
                name,
                _so_often(times),
            )
        self._refusals.emit(
            UNANSWERED,
            {
                "result": result,
                "asked": unanswered.asked,
                "error": name,
                "times": times,
                "connections": connections,
                "seconds": round(seconds, 3),
            },
        )

    def request(self, unanswered: Unanswered, named: str) -> None:
        """Note one question of a request that waits for its answer; the client gets 503.

        Args:
            unanswered: Who was asked, and what came instead of an answer.
            named: What the request is for.
        """
        asked, error = unanswered.asked, unanswered.error
        late = unanswered.late
        times = self._news(asked, kind_of(error), "503" if late else f"503 {place_of(error)}")
        if not times:
            return
        if late:
            self._manager.log.error(
                "%s: 503: %s has not answered: %s%s", named, asked, error, _so_often(times)
            )
        else:
            text = f"{named}: 503: {asked} has failed{_so_often(times)}"
            write_whole(self._manager.log, text, error)

    def _news(self, *kind: str) -> int:
        """Return how often a kind has come up since it was written last; 0: not to be written."""
        now = monotonic()
        key = (kind[0], kind[1], kind[2])
        known = self._kinds.pop(key, None)
        if known is not None and now - known.written_at < PERIOD:
            self._kinds[key] = _Kind(known.written_at, known.since + 1)
            return 0
        self._kinds[key] = _Kind(now, 0)
        while len(self._kinds) > KINDS:
            self._kinds.popitem(last=False)
        return 1 if known is None else known.since + 1


def _so_often(times: int) -> str:
    return "" if times == 1 else f" ({times} times since the last such line)"
