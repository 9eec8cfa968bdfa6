"""What an administrator may say about rooms."""

from __future__ import annotations

from traitlets import HasTraits, Integer

from ..rooms.keeper import ROOMS_PER_SPACE


class RoomTraits(HasTraits):
    """What an administrator may say about rooms."""

    rooms_per_space = Integer(
        ROOMS_PER_SPACE,
        min=1,
        help="""Rooms of one space that may have members at a time; who would open one more is
        closed with 1013. A visitor chooses the name where a route has a room for a group of its
        pattern.""",
    ).tag(config=True)
