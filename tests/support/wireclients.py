"""Clients of `wsh.v1` and plain ones in memory: connections of a manager, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.messages import Close, MessageProtocol
from jupyter_wshandler.functions.namespace import route_at_hand
from jupyter_wshandler.manager import WebSocketManager
from jupyter_wshandler.routes import Route
from jupyter_wshandler.transports.messages import MessageTransport


def serve(manager: WebSocketManager, functions: Mapping[str, Any], **options: Any) -> Route:
    """Return a route of a manager that it serves at /m."""
    route = route_at_hand("/m", functions, {"ping_interval": False, **options})
    manager.served.put(route)
    return route


class WireClient:
    """One client, and all that it has been sent.

    Args:
        manager: Serves the route.
        route: The route.
        user: Its user's name; empty for nobody.
        plain: Whether it does not speak `wsh.v1`.
        window: Frames that it takes before it has read any; 0 for all.
    """

    def __init__(
        self,
        manager: WebSocketManager,
        route: Route,
        user: str = "ada",
        *,
        plain: bool = False,
        window: int = 0,
    ) -> None:
        self.frames: list[Any] = []
        person = SimpleNamespace(username=user) if user else None
        self.connection = manager.connection(route, Opening(Request(), current_user=person))
        manager.admit(self.connection, user)
        self.transport = MessageTransport(
            asyncio.get_running_loop(),
            self._deliver,
            lambda: None,
            messages=window,
            size=1 << 30,
        )
        codec: Any = MessageProtocol()
        if not plain:
            codec = self.connection.envelop(codec)
        manager.open(self.connection, codec, self.transport, ())
        self.read = 0 if plain else 1  # the first frame says that `wsh.v1` holds

    def _deliver(self, frame: Any) -> None:
        is_object = isinstance(frame, str) and frame.startswith("{")
        self.frames.append(json.loads(frame) if is_object else frame)

    def say(self, *frames: Any) -> None:
        """Send frames, in one piece."""
        self.transport.feed([f if isinstance(f, str) else json.dumps(f) for f in frames])

    @property
    def news(self) -> list[Any]:
        """The frames that came since this was looked at last."""
        found, self.read = self.frames[self.read :], len(self.frames)
        return found

    async def hears(self, count: int = 1) -> list[Any]:
        """Wait for so many frames, and return them."""
        from support.memory import until

        await until(lambda: len(self.frames) >= self.read + count, f"{count} frames")
        found = self.frames[self.read : self.read + count]
        self.read += count
        return found

    async def asks(self, frame: Any) -> Any:
        """Send one frame, and return the next one that comes."""
        self.say(frame)
        return (await self.hears())[0]

    @property
    def closed(self) -> tuple[int, str] | None:
        """How the server has closed."""
        found = [frame for frame in self.frames if isinstance(frame, Close)]
        return (found[0].code, found[0].reason) if found else None


class Roster:
    """A list of members, put together from what one client is told."""

    def __init__(self) -> None:
        self.people: dict[str, Any] = {}
        self.is_whole = False
        self.offset = -1
        self._is_new = True

    def take(self, frame: Any) -> None:
        """Take a frame; those that say nothing of members are nothing here."""
        if "members" in frame:
            if self._is_new:
                self.people = {}
            self.people.update((member["id"], member) for member in frame["members"])
            self._is_new = self.is_whole = not frame.get("more")
            self.offset = frame["presence_offset"]
        elif "member" in frame:
            assert self.is_whole, "a change between two pages"
            assert frame["presence_offset"] > self.offset, "a change that is in the list already"
            self.offset = frame["presence_offset"]
            member = frame["member"]
            is_known = member["id"] in self.people
            if frame["change"] == "left":
                del self.people[member["id"]]
            else:
                assert is_known == (frame["change"] == "changed")
                self.people[member["id"]] = member

    @property
    def connections(self) -> dict[str, int]:
        """The open connections of each."""
        return {name: member["connections"] for name, member in self.people.items()}
