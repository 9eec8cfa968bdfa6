"""Rooms of a server that this process only talks to: from a script, or a notebook's cell."""

from __future__ import annotations

import asyncio
import base64
import sys
from threading import get_ident
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from ..backplane.base import Position
from ..client.outbox import Call, Delivery, send_letter
from ..engine.payload import to_message
from ..rooms.face import MEMBERS, History, Said
from ..rooms.names import check_room
from ..rooms.people import Member, Members
from ..rooms.room import Published
from ..types import Sendable

T = TypeVar("T")


class OutsideRoom:
    """A room of a server's, asked for over REST; what `wsh.room` returns outside of its process.

    Args:
        space: The name of a space, or of a route: then it is that one's.
        name: The room's name.
        server: Base URL of the server; found as `client.connect` does where None.
        token: What to log in with there, "" for nothing; found likewise.
        bots: The thread of this process's bots, where nobody may wait; 0 where there are none.
    """

    __slots__ = ("_bots", "_server", "_space", "_token", "name")

    def __init__(
        self, space: str, name: str, server: str | None, token: str | None, bots: int = 0
    ) -> None:
        self.name = check_room(name)
        self._space = space
        self._server = server
        self._token = token
        self._bots = bots

    def send(self, message: Sendable) -> Delivery[Published]:
        """Send a message to all in the room; it is on its way when this returns.

        Args:
            message: What ``handler.write_message`` takes.

        Returns:
            What may be awaited, or asked for its `result` in a thread: a `Published`. It raises
            what a server can say; where nobody awaits it, that is written to the standard error.

        Raises:
            TypeError: The message is None, or holds what has no JSON form.
            LookupError: The name of the space is empty.
            ValueError: The server's URL is none.
        """
        call = Call(f"{self._words}.send(...)", f"Delivery to the room {self.name!r}")
        return self._ask(call, "POST", "", _published, to_message(message))

    def members(self, limit: int = MEMBERS, start: int = 0) -> Any:
        """Return who is in the room, in the order in which they have come; needs `presence`.

        Args:
            limit: People to return, at most; 1,000 at a time.
            start: How many come before them.

        Returns:
            A list of `Member`, with `offset` and `total`: in a thread or a cell at once; on an
            event loop it is to be awaited.

        Raises:
            LookupError: There is no such space, or no server.
            RequestRefused: The server refuses it; the routes of the space may have no `presence`.
            ConnectError: It cannot be reached.
        """
        query = {"only": "members", "limit": limit, "start": start}
        return self._now_or_later(self._question("members", query, _members))

    def history(self, limit: int = 0, since: Position | None = None) -> Any:
        """Return what was said last in the room, the oldest first; needs `history`.

        Args:
            limit: Messages to return, at most, the newest ones; 0 is no limit.
            since: ``(epoch, offset)`` of the last message that is known.

        Returns:
            A list of `Said`, with `epoch`, `offset` and `complete`: in a thread or a cell at
            once; on an event loop it is to be awaited.

        Raises:
            LookupError: There is no such space, or no server.
            RequestRefused: The server refuses it; the routes of the space may have no `history`.
            ConnectError: It cannot be reached.
        """
        query: dict[str, Any] = {"only": "history", "limit": limit}
        if since is not None:
            query |= {"epoch": since[0], "offset": since[1]}
        return self._now_or_later(self._question("history", query, _history))

    def clear(self) -> Delivery[None]:
        """Forget what was said in the room.

        Returns:
            What may be awaited, or asked for its `result` in a thread.
        """
        call = Call(
            f"{self._words}.clear()", f"Clearing of the room {self.name!r}", "what becomes of it"
        )
        return self._ask(call, "DELETE", "", lambda said, url: None)

    def _question(self, what: str, query: dict[str, Any], read: Any) -> Delivery[Any]:
        call = Call(f"{self._words}.{what}()", f"Question of the room {self.name!r}", "what it is")
        return self._ask(call, "GET", f"?{urlencode(query)}", read)

    def _ask(
        self, call: Call, method: str, query: str, read: Any, message: str | bytes | None = None
    ) -> Delivery[Any]:
        if not self._space:
            raise LookupError("there is no space ''")
        # Whatever the name of the space is, the server says that there is none.
        space = quote(self._space.encode(errors="replace"), safe="")
        path = f"spaces/{space}/rooms/{quote(self.name, safe='')}{query}"
        server, token = self._server, self._token
        return send_letter(Delivery(call), method, path, read, message, server=server, token=token)

    def _now_or_later(self, delivery: Delivery[T]) -> T | Delivery[T]:
        return delivery if get_ident() == self._bots or _is_on_a_loop() else delivery.result()

    @property
    def _words(self) -> str:
        return f"wsh.room({self.name!r}, space={self._space!r})"

    def __repr__(self) -> str:
        return f"<Room {self.name!r} of {self._space!r}>"


def _is_on_a_loop() -> bool:
    """Return whether who calls may not wait: an `async def`, but for a cell, which may."""
    if "ipykernel" in sys.modules:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _published(said: Any, url: str) -> Published:
    return Published(int(said["offset"]), int(said["delivered"]))


def _members(said: Any, url: str) -> Members:
    found = said["members"]
    people = [Member(m["id"], m["card"], m["connections"], m["since"]) for m in found["members"]]
    return Members(people, Position(found["epoch"], found["offset"]), found["total"])


def _history(said: Any, url: str) -> History:
    found = said["history"]
    messages = [
        Said(
            one["offset"],
            one["message"] if "message" in one else base64.b64decode(one["binary"]),
            one["at"],
        )
        for one in found["messages"]
    ]
    return History(messages, Position(found["epoch"], found["offset"]), found["complete"])
