"""The end of a server as its clients see it: they are told to come back, and those who stay closed.

A client of `wsh.v1` is told so in a frame, with a time of its own, so that a crowd does not come to
the other servers at once; it leaves by itself when it has its answers. All others are closed with
1001, at such times, too. Nobody new is let in meanwhile: whoever comes gets 503, and a load
balancer takes that client elsewhere.

A server that stops and knows of no other one tells nobody to come back: Jupyter listens no more by
then, and 1001 says what is true, that the server has stopped. An administrator who has it drained
knows where its clients are to go.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..connection.connection import Connection
from ..connection.phase import CLOSING
from ..types import CloseCode
from .resuming import Resumes

LEAVES_PER_SECOND = 250.0
"""Connections that leave in a second when the server stops, where there is time for it."""

GRACE = 2.0
"""Seconds behind its time after which a client that has been told so and stays is closed."""

LOOK = 0.05
"""Seconds between two looks at who is there."""

AT_ONCE = 500
"""Clients that are told at a look."""

LAST = 0.9
"""The part of the time to stop in which answers may end; the rest is for the goodbyes."""

REASON = "the server is stopping"


class Drain:
    """Empties a server of its connections.

    Args:
        connections: The open connections by id; the manager's own.
        resumes: Who may come back to which of them; nobody, once it has begun.
        log: Where its beginning and its end are written.
        is_alone: Whether there is no other server that a client could go to by itself.
    """

    def __init__(
        self,
        connections: Mapping[str, Connection],
        resumes: Resumes,
        log: logging.Logger | logging.LoggerAdapter[Any],
        *,
        is_alone: bool = True,
    ) -> None:
        self._connections = connections
        self._resumes = resumes
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._began = self._last = 0.0
        self._due: dict[str, float] = {}  # when each is to go, by the loop's clock
        self._told: set[str] = set()
        self._room = 0  # how many more are told at this look
        self._is_alone = is_alone
        self._tells = False  # whether clients are told to come back
        self.waits = False
        """Whether answers that clients wait for end first, as a server's do; else they are cut."""

    @property
    def is_on(self) -> bool:
        """Whether the server takes nobody new, and sends away those who are there."""
        return self._task is not None

    @property
    def left(self) -> int:
        """How many connections there still are."""
        return sum(connection.phase < CLOSING for connection in self._connections.values())

    def begin(self, seconds: float, patience: float) -> None:
        """Take nobody new, and have all go who are there; without effect where it has begun.

        Args:
            seconds: In which they go, each at its own time.
            patience: Seconds that answers under way have from then on.
        """
        if self._task is None:
            self._log.info(
                "Draining: %d connections are to go within %.1f s", len(self._connections), seconds
            )
            self._tells = True
            self._plan(seconds, seconds + patience, self._say_so)

    async def finish(self, timeout: float) -> None:
        """Have all go who are there, as the server stops; return when the last has been told to.

        Args:
            timeout: Seconds in which the server stops.
        """
        await self.end(stays=True)
        self._tells = self.waits and not self._is_alone
        seconds = min(timeout / 2, len(self._connections) / LEAVES_PER_SECOND)
        self._plan(seconds, LAST * timeout)
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def end(self, *, stays: bool = False) -> None:
        """Take new clients again; who has been told to go goes.

        Args:
            stays: Whether nobody new is let in, as something else follows.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        if not stays:
            self._resumes.stopping = False
            self._told.clear()

    def _plan(self, seconds: float, at_most: float, done: Callable[[], object] = bool) -> None:
        loop = asyncio.get_running_loop()
        self._resumes.stopping = True
        self._began = loop.time()
        self._last = self._began + at_most
        self._due.clear()
        each = seconds / max(1, len(self._connections))
        for count, name in enumerate(self._connections):
            self._due[name] = self._began + count * each
        self._task = loop.create_task(self._work(done), name="wshandler drain")

    async def _work(self, done: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._look(loop.time()):
                break
            await asyncio.sleep(LOOK)
        done()

    def _say_so(self) -> None:
        seconds = asyncio.get_running_loop().time() - self._began
        self._log.info("Drained: after %.1f s all connections have gone, or were closed", seconds)

    def _look(self, now: float) -> bool:
        """Tell those who are to be told, close those who have to go; return whether some stay."""
        stays, self._room = False, AT_ONCE
        for connection in list(self._connections.values()):
            if connection.phase >= CLOSING:
                continue
            try:
                stays = self._send_away(connection, now) or stays
            except Exception:
                # One that its own bot has written into must not keep the others from leaving.
                self._log.exception("A connection could not be sent away, and is ended")
                with contextlib.suppress(Exception):
                    connection.abort()
        return stays

    def _send_away(self, connection: Connection, now: float) -> bool:
        """Tell one client, or close its connection; return whether it stays for now."""
        # One whose handshake was under way when it began has come late.
        due = self._due.setdefault(connection.id, now)
        if self._has_to_go(connection, due, now):
            connection.end(CloseCode.GOING_AWAY, REASON)
            return False
        is_told = connection.id in self._told or not self._hears(connection)
        if not is_told and not connection.is_answering and self._room:
            self._room -= 1
            self._tell(connection, max(0.0, due - now))
        return True

    def _has_to_go(self, connection: Connection, due: float, now: float) -> bool:
        if now >= self._last:
            return True
        is_told = connection.id in self._told
        if not is_told and self._hears(connection):
            return False
        if self.waits and connection.is_answering and not connection.away:
            return False
        # Who is told leaves by itself, unless it knows nothing of that.
        return now >= (due + GRACE if is_told and self._tells else due)

    def _hears(self, connection: Connection) -> bool:
        return self._tells and connection.chat_answers is not None and not connection.away

    def _tell(self, connection: Connection, seconds: float) -> None:
        if connection.chat_answers is not None:
            self._told.add(connection.id)
            connection.chat_answers.say({"move": round(seconds, 3)})
