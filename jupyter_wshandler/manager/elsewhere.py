"""Clients that come back to another server than the one that has their connection.

The id of a connection ends with a tag of its server, so that nothing has to be written when one
opens, and whoever is shown an id knows whom to ask. The servers know of each other by presence: one
that has died is asked for as long as its lease, and then no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from ..backplane.base import Backplane, Change, Entries, Entry, Position, Publication, answered
from ..connection.connection import Connection
from ..engine.resuming import ComeBack, Refusal
from ..errors import BackplaneError
from .resuming import Address, Resumes

NODES = "nodes"
"""The channel in which servers are present. A room's channel begins with a number."""

PATIENCE = 0.5
"""Seconds that a client waits at most to be told what has become of its connection."""

FIRST = 16
"""Characters of an id before the tag of its server."""

Log = logging.Logger | logging.LoggerAdapter[Any]


class Question(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """What has become of a connection whose client has come to another server.

    Attributes:
        number: Names the question for who asks.
        answer_to: The tag of the server that asks.
        id: The connection's id.
        digest: SHA-256 of its secret, as hexadecimal digits; the secret stays where it was shown.
        users: Names of who asks now.
        address: The address that is asked for.
    """

    number: int
    answer_to: str
    id: str
    digest: str
    users: tuple[str, ...]
    address: Address


class Answer(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """The answer: why the connection cannot be taken up where its client is now."""

    number: int
    reason: Refusal


_said: msgspec.json.Decoder[Question | Answer] = msgspec.json.Decoder(Question | Answer)


class Elsewhere:
    """What servers with one backplane ask each other about clients that come back.

    Args:
        backplane: Joins them; None where this server is alone.
        resumes: The connections of this one.
        log: Takes a line about each connection that is given up here.
    """

    def __init__(self, backplane: Backplane | None, resumes: Resumes, log: Log) -> None:
        several = backplane is not None and backplane.joins_servers
        self._backplane = backplane if several else None
        self._resumes = resumes
        self._log = log
        self._asked: dict[int, asyncio.Future[Refusal]] = {}
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._warned: set[str] = set()
        self.alike: dict[str, str] = {}
        """What has to be the same on all servers: what an administrator calls it, and a digest."""
        self.tag = ""
        """What the ids of this server's connections end with."""
        if self._backplane is not None:
            self.tag = hashlib.sha256(self._backplane.node.encode()).hexdigest()[:8]

    def new_id(self) -> str:
        """Return an id for a connection of this server."""
        return secrets.token_hex(FIRST // 2) + self.tag

    # ---- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Be known to the others from now on."""
        if self._backplane is not None:
            work = self._be_present(self._backplane)
            self._task = asyncio.get_running_loop().create_task(work, name="wshandler nodes")

    async def stop(self) -> None:
        """Be known no more."""
        tasks = [task for task in (self._task, *self._tasks) if task is not None]
        self._task = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._backplane is not None:
            with contextlib.suppress(BackplaneError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await answered(self._backplane.remove(NODES, self.tag))

    async def _be_present(self, backplane: Backplane) -> None:
        # So that it is put there again at once, where the backplane has lost it in an outage.
        for channel in (_channel(self.tag), NODES):
            with contextlib.suppress(BackplaneError):  # who is heard as soon as that can be
                await answered(backplane.subscribe(channel, self))
        is_there = False
        while True:
            with contextlib.suppress(BackplaneError):
                if is_there:
                    is_there = not await answered(backplane.renew(NODES, [self.tag]))
                if not is_there:
                    await answered(backplane.add(NODES, self.tag, Entry(self.tag, self.alike)))
                    is_there = True
                    self._compare(await answered(backplane.entries(NODES)))
            if not backplane.lease:
                return
            await asyncio.sleep(backplane.lease / 3)

    def _compare(self, nodes: Entries) -> None:
        """Say once what is not the same on another server."""
        cards = [entry.card for tag, entry in nodes.by_key.items() if tag != self.tag]
        for name, digest in self.alike.items():
            theirs = {card.get(name, digest) for card in cards if isinstance(card, dict)}
            if theirs - {digest} and name not in self._warned:
                self._warned.add(name)
                self._log.warning(
                    "%s is not the same on all servers of this deployment: what one of them has "
                    "signed, the cookies of sessions and guests, is nothing to this one; set it "
                    "to the same value everywhere",
                    name,
                )

    # ---- asked here ------------------------------------------------------------------------------

    async def find(self, said: ComeBack, like: Connection, users: Iterable[str]) -> Refusal:
        """Return why a client cannot take up its connection here, which this server does not know.

        Where another server has it, it is given up there: its `on_close` runs.

        Args:
            said: What the client says.
            like: The connection that it has instead.
            users: Names of who asks now.
        """
        tag, backplane = said.id[FIRST:], self._backplane
        if backplane is None or len(tag) != len(self.tag) or tag == self.tag:
            return "unknown"
        self._number += 1
        number = self._number
        future: asyncio.Future[Refusal] = asyncio.get_running_loop().create_future()
        digest = hashlib.sha256(said.secret.encode()).hexdigest()
        address = Address.of(like)
        question = Question(number, self.tag, said.id, digest, tuple(users), address)
        self._asked[number] = future
        try:
            async with asyncio.timeout(PATIENCE):
                if tag not in (await answered(backplane.entries(NODES))).by_key:
                    return "unknown"
                await self._tell(backplane, tag, question)
                return await future
        except (BackplaneError, TimeoutError):
            return "unknown"
        finally:
            del self._asked[number]

    async def _tell(self, backplane: Backplane, tag: str, what: Question | Answer) -> None:
        text = msgspec.json.encode(what).decode()
        await answered(backplane.publish(_channel(tag), Publication(text)))

    # ---- the receiver of the server's own channel ------------------------------------------------

    def published(self, publication: Publication, position: Position) -> None:
        """Take what another server says; what cannot be read is left out."""
        if self._backplane is None:
            return
        try:
            said = _said.decode(publication.message)
        except (msgspec.MsgspecError, ValueError):
            return
        if isinstance(said, Answer):
            future = self._asked.get(said.number)
            if future is not None and not future.done():
                future.set_result(said.reason)
            return
        reason = self._resumes.give_away(said.id, said.digest, said.users, said.address)
        if reason == "elsewhere":
            self._log.info(
                "Route %s: the client of %s has come back to another server",
                said.address.route,
                said.id,
            )
        loop = asyncio.get_running_loop()
        telling = self._answer(self._backplane, said, reason)
        task = loop.create_task(telling, name="wshandler nodes answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, backplane: Backplane, question: Question, reason: Refusal) -> None:
        with contextlib.suppress(BackplaneError):
            await self._tell(backplane, question.answer_to, Answer(question.number, reason))

    def changed(self, change: Change) -> None:
        """Do nothing: nobody is present in the channel of one server."""

    def missed(self, position: Position) -> None:
        """Do nothing: who has asked waits no more."""

    def listed(self, entries: Entries) -> None:
        """Do nothing: nobody is present in the channel of one server."""


def _channel(tag: str) -> str:
    return f"node:{tag}"
