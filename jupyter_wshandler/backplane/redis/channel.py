"""What one node has heard of one channel, and what it has missed.

The store tells a node what happens, at most once. So each message and each change of presence is
held against the last one: the next number is the next one, a lower one is known, and anything else
is a gap, which is filled from what the store keeps. What comes meanwhile waits behind it.

Epochs have no order, and none comes a second time. So what had been heard of another epoch before
the store was asked, and said of which epoch it is now, is of a past one, and is let go of: it would
be a gap for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any

from ..base import Change, Entries, Position, Receiver
from .keys import Told, logged

if TYPE_CHECKING:
    from .counts import Counts
    from .link import Link

MAX_HELD = 10_000
"""Messages that wait behind a gap; past that they are let go of, and read again."""


def follows(known: Position, place: Position) -> bool:
    """Return whether nothing lies between two places of a log that was heard without a break."""
    if place.epoch == known.epoch:
        return place.offset == known.offset + 1
    return place.offset == 1


def is_known(known: Position, place: Position) -> bool:
    """Return whether a place is not after another one."""
    return place.epoch == known.epoch and place.offset <= known.offset


class Channel:
    """One channel that a node hears.

    Args:
        name: Its name.
        heard: Its name as the store publishes it.
        receiver: Who hears of it.
        is_shown: Returns whether the message with an id was delivered on this node already.
        counts: What its node counts.
    """

    __slots__ = (
        "_changes",
        "_counts",
        "_held",
        "_is_shown",
        "_may_go_on",
        "filling",
        "has_people",
        "heard",
        "is_blind",
        "known",
        "link",
        "name",
        "people",
        "receiver",
    )

    def __init__(
        self,
        name: str,
        heard: bytes,
        receiver: Receiver,
        is_shown: Callable[[bytes], bool],
        counts: Counts,
    ) -> None:
        self.name = name
        self.heard = heard
        self.receiver = receiver
        self._is_shown = is_shown
        self._counts = counts
        self.known: Position | None = None
        """The last message; None until the log was looked at."""
        self.people: Position | None = None
        """The last change of presence; None until there was one."""
        self.has_people = False
        """Whether anybody asks who is in."""
        self.link: Link | None = None
        """The link on which it is subscribed."""
        self.is_blind = False
        """Whether something may have been missed that no number tells of."""
        self.filling: Link | None = None
        """The link by which its gaps are being filled."""
        self._held: list[Told] | None = None
        self._changes: list[Change] | None = None
        self._may_go_on = False

    # ---- what comes ------------------------------------------------------------------------------

    def hear(self, told: Told) -> bool:
        """Take a message; return whether there is a gap before it, which is now to be filled."""
        place, known = told.position, self.known
        if not place.offset:
            self._deliver(told)
        elif self._held is not None and not self._goes_on_at(place):
            if len(self._held) >= MAX_HELD:
                self._held.clear()
            self._held.append(told)
        elif known is None or follows(known, place):
            self._held = None
            self._deliver(told)
            self._move_to(place)
        elif not is_known(known, place):
            self._held = [told]
            return True
        return False

    def _goes_on_at(self, place: Position) -> bool:
        """Return whether nothing was missed in a break: the first message behind it is the next.

        Then nothing has to be read, unless somebody is just reading.
        """
        known = self.known
        is_first = self._may_go_on and not self._held and self.filling is None
        if known is None or self.is_blind or not is_first:
            return False
        return place.epoch == known.epoch and place.offset == known.offset + 1

    def _move_to(self, place: Position) -> None:
        """Take note of the last message that is known; of another life of the log, where it is."""
        known, self.known = self.known, place
        if known is not None and known.epoch != place.epoch and known.epoch:
            self._counts.epochs += 1

    def _deliver(self, told: Told) -> None:
        if not self._is_shown(told.id):
            self.receiver.published(told.publication, told.position)

    def hear_change(self, change: Change) -> bool:
        """Take a change of presence; return whether there is a gap before it."""
        place, known = change.position, self.people
        if self._changes is not None:
            if len(self._changes) >= MAX_HELD:
                self._changes.clear()
            self._changes.append(change)
        elif known is None or (follows(known, place) and known.epoch in ("", place.epoch)):
            self.receiver.changed(change)
            self.people = place
        elif not is_known(known, place):
            # Of another epoch the first change, too: whoever was in before it may be in no more.
            self._changes = [change]
            return True
        return False

    # ---- gaps ------------------------------------------------------------------------------------

    def hold(self, is_over: bool = True) -> None:
        """Keep back what comes, until `fill` and `relist`: there was a break.

        Args:
            is_over: Whether nothing comes any more from where the channel was heard before.
        """
        self._may_go_on = is_over
        if self._held is None:
            self._held = []
        if (self.has_people or self.people is not None) and self._changes is None:
            self._changes = []

    @property
    def lacks_messages(self) -> bool:
        """Whether messages wait behind a gap."""
        return self._held is not None

    @property
    def lacks_people(self) -> bool:
        """Whether changes of presence wait behind a gap."""
        return self._changes is not None

    @property
    def epochs_held(self) -> set[str]:
        """The epochs of what waits behind a gap, of messages and of presence."""
        waiting: list[Told | Change] = [*(self._held or ()), *(self._changes or ())]
        return {one.position.epoch for one in waiting}

    @property
    def since(self) -> Position:
        """The last message that is known."""
        return self.known or Position()

    def fill(self, reply: list[Any]) -> tuple[int, bool]:
        """Deliver what was missed, and then what has waited behind it.

        Args:
            reply: What the script `history` has returned, asked for what came after `since`.

        Returns:
            How many messages were missed and are there, and whether that was not all.
        """
        epoch, end, began = reply[0].decode(), reply[1], reply[2]
        known, place = self.known, Position(epoch, end)
        read = _read(epoch, end, reply[3])
        self._move_to(place)
        found, is_short = 0, False
        if known is not None:
            is_short = self._is_short(known, epoch, end, began, len(read))
            behind = Position(epoch, end - len(read))
            gap = behind if is_short or self.is_blind else None
            for number, told in enumerate(read, behind.offset + 1):
                if told is None:
                    is_short, gap = True, Position(epoch, number)
                    continue
                if gap is not None:
                    self.receiver.missed(gap)
                    gap = None
                found += 1
                self._deliver(told)
            if gap is not None:
                self.receiver.missed(gap)
        elif self.is_blind:
            is_short = True
            self.receiver.missed(place)
        self.is_blind = False
        return found, is_short

    def skip(self) -> None:
        """Go on without what was missed, first of messages: nothing of it can be read."""
        held = self._held
        if held is None:
            self._changes, self.people = None, None
            return
        self._held, self.known, self.is_blind = None, None, False
        self.receiver.missed(Position())
        for told in held:
            self.hear(told)

    @staticmethod
    def _is_short(known: Position, epoch: str, end: int, began: int, count: int) -> bool:
        if epoch == known.epoch:
            return count < end - known.offset
        if not known.epoch:  # there was no log when it was looked at last
            return began > 0 or count < end
        return True

    def go_on(self, before: Set[str]) -> None:
        """Take what has waited for `fill`; there may be another gap behind it.

        Args:
            before: What `epochs_held` was when the store was asked.
        """
        held, self._held = self._held or [], None
        past = before - {self.since.epoch}
        for told in held:
            if told.position.epoch not in past:
                self.hear(told)

    def relist(self, entries: Entries, before: Set[str]) -> None:
        """Take the list of who is in anew; there may be another gap behind it.

        Args:
            entries: The list.
            before: What `epochs_held` was when the store was asked.
        """
        changes, self._changes = self._changes or [], None
        past = before - {entries.position.epoch}
        self.people = entries.position
        self.receiver.listed(entries)
        for change in changes:
            if change.position.epoch not in past:
                self.hear_change(change)


def _read(epoch: str, end: int, entries: list[bytes]) -> list[Told | None]:
    """Return the last messages of a log; None in place of each that cannot be read.

    Args:
        epoch: The life of the log.
        end: The number of the last one.
        entries: As the store has them.
    """
    found: list[Told | None] = []
    for number, data in enumerate(entries, end - len(entries) + 1):
        one = logged(number, data)
        told = None if one is None else Told(one[0].publication, Position(epoch, number), one[1])
        found.append(told)
    return found
