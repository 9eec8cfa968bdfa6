"""Clients of `wsh.v1` and plain ones in memory: connections of a manager, without sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from jupyter_wshandler.connection.opening import Opening
from jupyter_wshandler.connection.request import Request
from jupyter_wshandler.engine.clientline import ClientLine
from jupyter_wshandler.engine.messages import Close, MessageProtocol
from jupyter_wshandler.engine.resuming import come_back
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


class LastingClient(WireClient):
    """A client whose connection outlives breaks; its end is the one that the Python client has.

    Args:
        manager: Serves the route, which has `resume`.
        route: The route.
        user: Its user's name.

    Attributes:
        is_away: Whether it has no line to the server that it knows of.
        swallows: Whether all that travels is lost, as on a line that is dead and looks open.
    """

    def __init__(self, manager: WebSocketManager, route: Route, user: str) -> None:
        self.frames = []
        self.read = 0
        self.is_away = self.swallows = False
        self._manager, self._users = manager, (f"user:{user}",)
        self._end = ClientLine()
        self._begins = True
        opening = Opening(Request(), current_user=SimpleNamespace(username=user))
        self.connection = manager.connection(route, opening)
        manager.admit(self.connection, user)
        codec, line = self.connection.outlive(MessageProtocol(), self._way(), "s" * 32, self._users)
        manager.open(self.connection, codec, line, ())

    def _way(self) -> MessageTransport:
        self.transport = MessageTransport(
            asyncio.get_running_loop(), self._deliver, lambda: None, messages=0, size=1 << 30
        )
        return self.transport

    def _deliver(self, frame: Any) -> None:
        if self.swallows or self.is_away:
            return
        if self._begins:
            self.resumed = self._end.begin(frame).resumed
            self._begins = False
        elif (counted := self._end.receive(frame, 0.0)) is not None:
            self.frames.append(json.loads(counted))

    def say(self, *frames: Any) -> None:
        """Send frames; in a break they wait."""
        for frame in frames:
            self._end.say(json.dumps(frame))
        self._pump()

    def acknowledge(self) -> None:
        """Tell the server what has come, if that is due."""
        if (frame := self._end.acknowledgement(1e9)) is not None and not self.is_away:
            self._feed(frame)

    def _pump(self) -> None:
        while not self.is_away and (frame := self._end.leaving()) is not None:
            self._feed(frame)

    def _feed(self, frame: Any) -> None:
        if not self.swallows:
            self.transport.feed([frame])

    def cut(self) -> None:
        """Lose the line, and have the server see that at once, if it has not swallowed all."""
        if not self.swallows:
            self.transport.lost()
        self._end.broke()
        self.is_away = True

    def come_back(self) -> None:
        """Come back over another line."""
        said = come_back(self._end.subprotocols)
        assert said is not None
        found = self._manager.resumes.find(said, self.connection, self._users)
        assert found is self.connection, found
        assert found.line is not None
        self.is_away = self.swallows = False
        self._begins = True
        found.line.take_up(self._way(), MessageProtocol(), (), said)
        assert self.resumed
        self._pump()

    def expire(self) -> None:
        """Let the server's time for it pass."""
        assert self.connection.line is not None
        self.connection.line.expire()
