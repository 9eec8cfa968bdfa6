"""Tables, times and durations as people read them in a terminal."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

DAY = 86400

WIDE = 40
"""Characters of a cell for which all of a column makes room."""


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Return the lines of a table; the last column may be of any width.

    A cell that is far wider than others reaches into what follows, and moves its own line alone.

    Args:
        rows: The headings, and a row for each thing; as many cells in each.
        right: The columns whose cells end at the same place, as numbers do.
    """
    widths = [
        max((len(cell) for cell in column if len(cell) <= WIDE), default=0)
        for column in zip(*rows, strict=True)
    ]
    lines = []
    for *cells, last in rows:
        found = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=False))
        ]
        lines.append("  ".join([*found, last]).rstrip())
    return lines


def clock(when: float, now: float) -> str:
    """Return a time as a clock here shows it, with the date where that is not today's.

    Args:
        when: Seconds since 1970.
        now: The same of now.
    """
    then, today = time.localtime(when), time.localtime(now)
    form = "%H:%M" if then[:3] == today[:3] else "%Y-%m-%d %H:%M"
    return time.strftime(form, then)


def duration(seconds: float) -> str:
    """Return a duration as people say it, in at most two units."""
    if seconds < 99.5:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(seconds / DAY)} days"
