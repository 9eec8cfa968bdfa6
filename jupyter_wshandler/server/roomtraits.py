"""What an administrator may say about rooms."""

from __future__ import annotations

import os
from typing import Any

from traitlets import HasTraits, Integer, Unicode, default

from ..backplane.base import MAX_MESSAGE, PREFIX, Backplane
from ..backplane.choose import MEMORY, open_backplane
from ..rooms.keeper import ROOMS_PER_SPACE


class RoomTraits(HasTraits):
    """What an administrator may say about rooms."""

    log: Any
    """Where changes of the backplane's state go."""

    misconfigured = ""
    """Why no routes may be served, where none may."""

    rooms_per_space = Integer(
        ROOMS_PER_SPACE,
        min=1,
        help="""Rooms of one space that may have members at a time; who would open one more is
        closed with 1013. A visitor chooses the name where a route has a room for a group of its
        pattern.""",
    ).tag(config=True)

    backplane = Unicode(
        help="""What joins the rooms of several servers: "memory://" for none, or the URL of a
        Redis or Valkey server: "redis://user:password@host:6379/0", "rediss://" with TLS,
        "unix:///path/to/socket", "redis+sentinel://host:26379,host:26379/service" or
        "redis+cluster://host:6379,host:6379". Whoever can read it can read and write every room.
        The default is $WSHANDLER_BACKPLANE, or "memory://".""",
    ).tag(config=True)

    backplane_prefix = Unicode(
        PREFIX,
        help="""What the names of all keys on the backplane begin with: servers with the same URL
        and the same prefix have the same rooms.""",
    ).tag(config=True)

    backplane_max_message = Integer(
        MAX_MESSAGE,
        min=1024,
        help="Bytes of a message to a room or a user, at most, where there is a backplane.",
    ).tag(config=True)

    @default("backplane")
    def _default_backplane(self) -> str:
        return os.environ.get("WSHANDLER_BACKPLANE", "") or MEMORY

    def open_backplane(self) -> Backplane | None:
        """Return the backplane; None, and no routes are served, where the settings are wrong."""
        try:
            return open_backplane(
                self.backplane,
                prefix=self.backplane_prefix,
                max_message=self.backplane_max_message,
                log=self.log,
            )
        except ValueError as error:
            self.misconfigured = f"c.WSHandlerApp.backplane: {error}"
            return None
