"""What all parts of the rooms of one server stand on: the loop, the backplane, the settings."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from ..backplane.base import Answer, Backplane, Keep, answered
from ..backplane.measures import Histogram, State
from ..config.model import PresenceConfig
from ..errors import BackplaneError
from ..routes import Route
from .names import space_of
from .outcome import Outcome
from .parts import ManagersRooms
from .room import Published, Room

T = TypeVar("T")

Log = logging.Logger | logging.LoggerAdapter[Any]


class Settings(NamedTuple):
    """What the routes of a space say of its rooms."""

    keep: Keep | None
    replay: int
    presence: PresenceConfig | None
    route: Route | None
    """The one that has said what holds for presence: its functions are called."""


Asked = tuple[Any, Callable[[Any], object], Callable[[BaseException], object]]
"""An answer of the backplane's that is waited for, and who gets it, or what is raised instead."""


def _nothing(answer: object) -> None:
    """Do nothing with an answer."""


def _drop(line: deque[Asked]) -> None:
    """Do not ask what nobody waits for any more."""
    while line:
        answer, _, _ = line.popleft()
        if inspect.iscoroutine(answer):
            answer.close()


class RoomsBase(ManagersRooms):
    """The loop, the backplane and the settings of the rooms of one server.

    Args:
        log: Where errors and warnings go.
        routes: Returns the routes that are served.
        backplane: Carries the messages, and knows who is where.
    """

    def __init__(
        self, log: Log, routes: Callable[[], Iterable[Route]], backplane: Backplane
    ) -> None:
        super().__init__()
        self._log = log
        self._routes = routes
        self.backplane = backplane
        self._settings: dict[str, Settings] = {}
        self._spaces: dict[str, dict[str, Room]] = {}
        self._several = 0  # connections in more than one room
        self._serial = 0
        self._waiting: dict[int, Outcome[Published]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # What has been asked of the backplane and is not answered, by channel.
        self._lines: dict[str, deque[Asked]] = {}

    @property
    def trouble(self) -> str:
        """What is wrong with the backplane; empty where nothing is."""
        return self.backplane.trouble

    @property
    def state(self) -> State:
        """How this server stands to the others that the backplane joins."""
        return self.backplane.state

    @property
    def publish_times(self) -> Histogram | None:
        """How many seconds publishing has taken."""
        return self.backplane.publish_times

    def sizes(self) -> dict[str, int]:
        """Return how many rooms of each space have members on this server."""
        return {space: len(rooms) for space, rooms in tuple(self._spaces.items())}

    def counts(self) -> dict[str, float]:
        """Return the backplane's numbers; none where the server is alone."""
        return self.backplane.counts()

    def do(self, work: Any, name: str) -> None:
        """Run a coroutine as a task of the rooms'.

        Args:
            work: The coroutine.
            name: What the task is called.
        """
        task: asyncio.Task[None] = self.io.loop.create_task(work, name=f"wshandler rooms {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _then(
        self,
        channel: str,
        answer: Answer[T],
        function: Callable[[T], object] = _nothing,
        failed: Callable[[BaseException], object] = _nothing,
    ) -> None:
        """Call a function with an answer of the backplane's: at once, where it is there.

        What is asked of one channel is done in the order in which it was asked.

        Args:
            channel: What it was asked about.
            answer: The answer, or an awaitable of it.
            function: Gets the answer, on the event loop.
            failed: Gets what was raised instead, which is written to the log, too.
        """
        line = self._lines.get(channel)
        if line is None and not inspect.isawaitable(answer):
            function(answer)
            return
        if line is None:
            line = self._lines[channel] = deque()
            self.do(self._work_off(channel, line), "wait for the backplane")
        line.append((answer, function, failed))

    async def _work_off(self, channel: str, line: deque[Asked]) -> None:
        try:
            while line:
                answer, function, failed = line[0]
                try:
                    function(await answered(answer))
                except BackplaneError as error:
                    failed(error)  # the backplane itself says once what is wrong with it
                except Exception as error:
                    self._log.exception("The backplane has failed")
                    failed(error)
                line.popleft()
        finally:
            self._lines.pop(channel, None)
            _drop(line)

    def _forget_lines(self) -> None:
        """Wait for no answer any more: the tasks that would have are over."""
        for line in self._lines.values():
            _drop(line)
        self._lines.clear()

    def routes_changed(self) -> None:
        """Take note that other routes are served."""
        self._settings.clear()
        if self.io is not None:  # else `start` does
            self.announce()

    def announce(self) -> None:
        """Have the backplane know what is kept, for those who publish from outside."""
        # A kernel's spaces are its own.
        spaces = {space_of(route) for route in self._routes() if route.host is None}
        keeps = {space: self.settings(space).keep for space in spaces}
        self._then("", self.backplane.announce(keeps))

    def settings(self, space: str) -> Settings:
        """Return what holds for the rooms of a space: for each part, the first route's word."""
        found = self._settings.get(space)
        if found is None:
            found = self._settings[space] = self._find_settings(space)
        return found

    def _find_settings(self, space: str) -> Settings:
        routes = [route for route in self._routes() if space_of(route) == space]
        keeps = next((r.config.history for r in routes if r.config.history), None)
        shows = next((r for r in routes if r.config.presence is not None), None)
        return Settings(
            None if keeps is None else Keep(keeps.size, keeps.bytes, keeps.ttl),
            0 if keeps is None else keeps.replay,
            None if shows is None else shows.config.presence,
            shows,
        )
