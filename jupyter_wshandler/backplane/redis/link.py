"""One life of the two connections to a store: one for commands, one that hears.

A link is opened, used, and ended by whatever goes wrong with either of its connections; then the
node makes another one. Nothing reconnects behind its back and nothing is sent twice by it, so that
who has asked knows what has become of each command: answered, refused, not sent, or unknown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from redis.crc import key_slot
from redis.exceptions import (
    ClusterDownError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from ...errors import BackplaneDown, BackplaneError
from .facts import Facts, read_facts
from .refusals import Strayed, known
from .request import Request
from .scripts import Script, scripts_for

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

    from .address import Address

LATE = 3
"""Looks at a link, a second apart, at which it may owe the same answer; then it is given up."""

PATIENCE = 10.0
"""Seconds for a subscription to be confirmed, and for a look at the store at the beginning."""

AT_ONCE = 2000
"""Channels that are subscribed to by one command."""


class _Batch:
    """Channels that were subscribed to at once, and have to be confirmed."""

    def __init__(self, left: int, confirmed: asyncio.Future[None]) -> None:
        self.left = left
        self.confirmed = confirmed

    def confirm(self) -> None:
        """Take note that one of them was."""
        self.left -= 1
        if not self.left and not self.confirmed.done():
            self.confirmed.set_result(None)

    def refuse(self, error: BaseException) -> None:
        """Take note that one of them was refused."""
        if not self.confirmed.done():
            self.confirmed.set_exception(error)


class Finder(Protocol):
    """Who knows where a store is."""

    @property
    def shown(self) -> str:
        """What it is called in logs and errors, without what is secret."""

    async def find(self) -> Address:
        """Return where it is now."""

    async def moved(self) -> str:
        """Say where it is instead of the place that was found last; empty where it is there."""


class Link:
    """Two connections that live and end together.

    Args:
        commands: Where commands go.
        bus: Where it hears.
        hear: Called with channel and data of what is published; must not wait.
        is_sharded: Whether they lead to a server of a cluster.
        is_found: Whether Sentinels have named the server.
    """

    def __init__(
        self,
        commands: AbstractConnection,
        bus: AbstractConnection,
        hear: Callable[[bytes, bytes], None],
        is_sharded: bool = False,
        is_found: bool = False,
    ) -> None:
        self._commands = commands
        self._bus = bus
        self._hear = hear
        self._is_sharded, self._is_found = is_sharded, is_found
        self.on_stray: Callable[[Request, ResponseError], None] | None = None
        """Called with a request that roams, where its keys are not here, or not all of them."""
        self.on_lost: Callable[[Link, bytes], None] | None = None
        """Called with a channel that this server does not tell of any more."""
        self._loop = asyncio.get_running_loop()
        self._owed: deque[Request] = deque()
        self._queue: deque[Request] = deque()
        self._wake = asyncio.Event()
        self._confirms: dict[bytes, list[_Batch]] = {}
        self._leaving: set[bytes] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._scripts: dict[str, Script] = {}
        self._looks = 0
        self.facts = Facts()
        self.was_up = False
        """Whether everything was made again on it."""
        self.ended: asyncio.Future[BaseException] = self._loop.create_future()
        """Done with the reason, once it is over."""

    @classmethod
    async def open(cls, address: Finder, hear: Callable[[bytes, bytes], None]) -> Link:
        """Connect, look at the store, and load the scripts.

        Args:
            address: Where the store is, or who knows where it is now.
            hear: Called with what is published.

        Raises:
            Exception: It cannot be; of redis-py's kinds, `OSError`, or `BackplaneError`.
        """
        place = await address.find()
        commands = await place.connect()
        try:
            bus = await place.connect()
        except BaseException:
            await commands.disconnect(nowait=True)
            raise
        link = cls(commands, bus, hear, place.is_sharded, place.is_found)
        try:
            async with asyncio.timeout(PATIENCE):
                link.start()
                await link.look()
        except BaseException:
            await link.close()
            raise
        return link

    def start(self) -> None:
        """Begin to write and to read."""
        for work, name in (
            (self._write(), "write"),
            (self._read(), "read"),
            (self._listen(), "listen"),
        ):
            task = self._loop.create_task(self._guarded(work), name=f"wshandler backplane {name}")
            self._tasks.append(task)

    async def look(self) -> None:
        """Look at what the store says of itself, and load the scripts.

        Raises:
            BackplaneError: It will not do.
            RedisError: It refuses.
        """
        self.facts = await self._facts()
        self._scripts = scripts_for(self.facts.life, self._is_sharded)
        await self._load(self._scripts)

    async def look_again(self) -> None:
        """Look whether it still is what it was at the beginning.

        Raises:
            BackplaneError: It is not; says what it is now.
        """
        facts = await self._facts()
        if facts.life != self.facts.life:
            raise BackplaneError("its replication has begun anew, and so do the epochs of rooms")

    async def _facts(self) -> Facts:
        facts = read_facts(await self.ask(Request(["INFO"])))
        facts.check(self._is_sharded, is_found=self._is_found)
        if self._is_sharded:
            told = await self.ask(Request(["CLUSTER", "INFO"]))
            if b"cluster_state:ok" not in told:
                raise BackplaneError(
                    "the cluster is down (cluster_state:fail): a part of it is served by nobody; "
                    "look at `redis-cli --cluster check`"
                )
        return facts

    async def _load(self, names: Iterable[str]) -> None:
        for name in names:
            await self.ask(Request(["SCRIPT", "LOAD", self._scripts[name].source]))

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            self.end(error)

    # ---- commands ------------------------------------------------------------------------------

    def send(self, request: Request) -> None:
        """Send a command; its future gets the answer, or stays open where the link ends before."""
        self._queue.append(request)
        self._wake.set()

    async def ask(self, request: Request) -> Any:
        """Send a command and return the answer.

        Raises:
            RedisError: The store refuses it.
            BackplaneDown: The link has ended.
        """
        self.send(request)
        await asyncio.wait((request.future, self.ended), return_when=asyncio.FIRST_COMPLETED)
        if not request.future.done():
            raise BackplaneDown(f"the backplane has hung up: {reason(self.ended.result())}")
        return request.future.result()

    async def _write(self) -> None:
        connection = self._commands
        while True:
            await self._wake.wait()
            self._wake.clear()
            sent = []
            while self._queue:
                request = self._queue.popleft()
                if not request.future.done():
                    request.mark_sent(self._looks)
                    self._owed.append(request)
                    sent.append(request.packed(self._scripts))
            # It would connect anew by itself, to a store that may be another one by now.
            if not connection.is_connected:
                raise ConnectionError("the connection was closed")
            if sent:
                packed = connection.pack_commands(sent)
                await connection.send_packed_command(packed, check_health=False)

    async def _read(self) -> None:
        connection = self._commands
        while True:
            try:
                reply = await connection.read_response(disconnect_on_error=False)
            except ResponseError as refusal:
                reply = known(refusal)
            request = self._owed.popleft()
            if isinstance(reply, NoScriptError) and request.loads < 3:
                # It was not run: the store has forgotten it (SCRIPT FLUSH, an eviction).
                request.loads += 1
                self.send(Request(["SCRIPT", "LOAD", self._scripts[request.script].source]))
                self.send(request)
                continue
            if isinstance(reply, Strayed) and request.roams and self.on_stray is not None:
                request.is_sent = False  # it was not run
                self.on_stray(request, reply)
                continue
            if isinstance(reply, ClusterDownError):
                request.is_sent = False
                self._owed.appendleft(request)
                raise reply
            request.answer(reply)
            if isinstance(reply, ReadOnlyError):
                raise reply  # it is a replica now: somebody else is to be written to

    # ---- what is heard ---------------------------------------------------------------------------

    async def subscribe(self, channels: Sequence[bytes], *, is_own: bool = False) -> None:
        """Hear of channels from now on; returns once the store has said so of each.

        Args:
            channels: Their names.
            is_own: Whether they belong to no slot of a cluster.

        Raises:
            TimeoutError: It has not, in time.
            BackplaneDown: The link has ended.
            ResponseError: A server of a cluster has none of the channels, or not all of them.
        """
        for start in range(0, len(channels), AT_ONCE):
            some = channels[start : start + AT_ONCE]
            batch = _Batch(len(some), self._loop.create_future())
            for channel in some:
                self._confirms.setdefault(channel, []).append(batch)
            await self._bus_commands(*self._subscribing(some, is_own))
            both = (batch.confirmed, self.ended)
            await asyncio.wait(both, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if not batch.confirmed.done() and not self.ended.done():
                error = TimeoutError(f"no subscription was confirmed within {PATIENCE:g} s")
                self.end(error)
                raise error
            if self.ended.done():
                raise BackplaneDown(f"the backplane has hung up: {reason(self.ended.result())}")
            batch.confirmed.result()

    def _subscribing(self, channels: Sequence[bytes], is_own: bool) -> Iterable[list[Any]]:
        if is_own or not self._is_sharded:
            return (["SUBSCRIBE", *channels],)
        by_slot: dict[int, list[Any]] = {}
        for channel in channels:  # one command is of one slot
            by_slot.setdefault(key_slot(channel), ["SSUBSCRIBE"]).append(channel)
        return by_slot.values()

    async def unsubscribe(self, channel: bytes) -> None:
        """Hear of a channel no more."""
        self._leaving.add(channel)
        await self._bus_commands(["SUNSUBSCRIBE" if self._is_sharded else "UNSUBSCRIBE", channel])

    async def _bus_commands(self, *commands: Sequence[Any]) -> None:
        if not self._bus.is_connected:
            raise BackplaneDown("the backplane has hung up")
        try:
            packed = self._bus.pack_commands(commands)
            await self._bus.send_packed_command(packed, check_health=False)
        except (RedisError, OSError) as error:
            self.end(error)
            raise BackplaneDown(f"the backplane has hung up: {reason(error)}") from None

    async def _listen(self) -> None:
        connection, hear = self._bus, self._hear
        while True:
            # A refusal is raised: a subscription without permission, say.
            try:
                told = await connection.read_response(disconnect_on_error=False)
            except ResponseError as refusal:
                error = known(refusal)
                if not isinstance(error, Strayed):
                    raise
                self._refuse(error)
                continue
            if told[0] in (b"message", b"smessage"):
                hear(told[1], told[2])
            elif told[0] in (b"subscribe", b"ssubscribe"):
                for batch in self._confirms.pop(told[1], ()):
                    batch.confirm()
            elif told[1] in self._leaving:
                self._leaving.discard(told[1])
            elif told[0] == b"sunsubscribe" and self.on_lost is not None:
                self.on_lost(self, told[1])

    def _refuse(self, error: ResponseError) -> None:
        """Have all ask again who wait for a subscription: which one was refused is not said."""
        waiting, self._confirms = self._confirms, {}
        self._leaving.clear()
        for batches in waiting.values():
            for batch in batches:
                batch.refuse(error)

    # ---- its end ---------------------------------------------------------------------------------

    def is_late(self) -> bool:
        """Return whether an answer is owed for too long; asked once a second.

        Looks are counted, and not seconds: an event loop that was blocked has not read meanwhile.
        """
        self._looks += 1
        return bool(self._owed) and self._looks - self._owed[0].at > LATE

    def end(self, error: BaseException) -> None:
        """Take note that it is over, and why."""
        if not self.ended.done():
            self.ended.set_result(error)

    async def close(self, *, is_last: bool = False) -> None:
        """Close both connections; what is owed is left to `leftovers`.

        Args:
            is_last: Whether to wait until they are closed, as the event loop ends behind it: by
                TLS the store says so, too.
        """
        self.end(BackplaneDown("it was closed"))
        # A reader must be gone before its connection is touched.
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks.clear()
        for connection in (self._commands, self._bus):
            with suppress(RedisError):  # it did not say so in time
                await connection.disconnect(nowait=not is_last)

    def leftovers(self) -> list[Request]:
        """Return the requests that have no answer, in their order; it knows none any more."""
        left = [*self._owed, *self._queue]
        self._owed.clear()
        self._queue.clear()
        return [request for request in left if not request.future.done()]


def reason(error: BaseException) -> str:
    """Return why something failed, without what an error's own text may hold of others.

    A server that does not know a command repeats what stood behind it: a password behind AUTH, a
    message behind PUBLISH.
    """
    text = str(error).split("\n")[0].partition(", with args")[0].strip(" .")
    if isinstance(error, BackplaneError):
        return text
    name = type(error).__name__
    return f"{name}: {text}" if text else name
