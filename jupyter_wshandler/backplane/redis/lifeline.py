"""Keeps a link to the store alive, and knows what waits for it.

One task makes the link, watches it and makes another one when it has ended: with a pause that
grows, and that is drawn by chance, so that many nodes do not come at once. It is watched by
messages of its own: a link that brings back none of them is deaf, whatever its sockets say.

What is asked for while there is none waits: all of it for `patience`; from then on only what can be
given up by nobody else, which are the messages of logs. Nothing waits without a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from ...errors import BackplaneDown, BackplaneError
from ..measures import State
from .link import Finder, Link, reason
from .refusals import is_of_one_key
from .request import Request

PATIENCE = 3.0
"""Seconds of a break in which what is asked for waits; then this node goes on alone."""

BEAT = 1.0
"""Seconds between two messages of the link to itself."""

DEAF = 4
"""Beats of which none was heard, after which the link is given up. Beats are counted, and not
seconds: an event loop that was blocked for ten has not listened meanwhile."""

LOOK = 5.0
"""Seconds between two looks at what the store is, and where."""

CALM = 10.0
"""Seconds without a refusal after which a store counts as one that takes messages again. One that
is almost full takes one message and refuses the next."""

LONGEST_PAUSE = 2.0
"""Seconds between two attempts, at most."""

MAX_WAITING = 10_000
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""What may wait for the store: commands, and bytes in them."""

ALONE = object()
"""The answer to a message of a log that waits on while this node goes on alone."""


class Lifeline:
    """The way to the store, over as many links as it takes.

    Args:
        address: Who knows where the store is.
        patience: Seconds of a break in which what is asked for waits.
        beat: The pub/sub channel of its messages to itself.
        hear: Called with channel and data of what is published.
        restore: Makes everything again on a new link, before it counts as up.
        log: Where changes of its state go, one line for each.
    """

    def __init__(
        self,
        address: Finder,
        patience: float,
        beat: bytes,
        hear: Callable[[bytes, bytes], None],
        restore: Callable[[Lifeline, Link], Awaitable[None]],
        log: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self._address = address
        self._seconds = patience
        self._beat = beat
        self._hear = hear
        self._restore = restore
        self._log = log
        self._outbox: deque[Request] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._unheard = 0  # beats since one was heard
        self._lag = 0.0
        self._down_since: float | None = None
        self._told = ""
        self._refused_at = 0.0
        self._had_spoilt = False
        self.on_stray: Callable[[Request, ResponseError], None] | None = None
        """See `Link.on_stray`."""
        self.settled = asyncio.Event()
        """Whether it is up, or this node goes on alone: nobody has to wait."""
        self.link: Link | None = None
        """The link that takes commands; None where there is none."""
        self.is_up = False
        self.is_alone = False
        self.is_closed = False
        self.trouble = "it has not been reached yet"
        """What is wrong; empty where nothing is."""
        self.breaks = 0
        self.lost = 0
        """Messages of this node that other nodes will never get."""

    # ---- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin on the running event loop; without effect where it has begun."""
        if self._task is None and not self.is_closed:
            loop = asyncio.get_running_loop()
            self._expect(loop)
            self._task = loop.create_task(self._live(), name="wshandler backplane")

    async def close(self, leave_to: Callable[[Request], None] | None = None) -> None:
        """End the link.

        Args:
            leave_to: Takes what waits; None has it fail.
        """
        self.is_closed = True
        if self._patience is not None:
            self._patience.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        self.settled.set()
        waiting, self._outbox, self._bytes = self._outbox, deque(), 0
        for request in waiting:
            if leave_to is not None:
                leave_to(request)
            else:
                request.answer(BackplaneDown("the backplane is closed"))

    def end(self, why: str) -> None:
        """Give the link up, so that another one is made."""
        if self.link is not None:
            self.link.end(BackplaneDown(why))

    async def _live(self) -> None:
        attempt = 0
        while True:
            link = None
            try:
                link = await Link.open(self._address, self._take)
                await self._use(link)
                error: BaseException = link.ended.result()
            except (RedisError, OSError, BackplaneError, TimeoutError) as failure:
                error = failure
            except Exception as failure:
                if not self._told:  # else it is no change of its state
                    self._log.exception("The backplane has failed")
                error = failure
            finally:
                if link is not None:
                    await self._put_away(link)
            self._went_down(error)
            if link is not None and link.was_up:
                attempt = 0
            pause = min(LONGEST_PAUSE, 0.05 * 2**attempt)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            attempt += 1

    async def _use(self, link: Link) -> None:
        """Make everything again, and then wait for the link's end."""
        loop = asyncio.get_running_loop()
        self._unheard = 0
        link.on_stray = self.on_stray
        watch = loop.create_task(self._watch(link), name="wshandler backplane watch")
        look = loop.create_task(self._look(link), name="wshandler backplane look")
        try:
            await link.subscribe([self._beat], is_own=True)
            await self._restore(self, link)
            if not link.ended.done():
                self._came_up(link)
            await asyncio.wait((link.ended,))
        finally:
            watch.cancel()
            look.cancel()
            await asyncio.wait((watch, look))

    async def _watch(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if link.is_late():
                link.end(TimeoutError("no answer has come for seconds"))
            elif self._unheard >= DEAF:
                link.end(TimeoutError("its own messages do not come back to it: it is deaf"))
            self._unheard += 1
            beat = Request(["PUBLISH", self._beat, str(loop.time())])
            beat.future.add_done_callback(_ignore)
            link.send(beat)
            await asyncio.sleep(BEAT)

    async def _look(self, link: Link) -> None:
        """Look now and then whether the store still is what it was, and the one to be used.

        One that was made a replica takes what is published, and tells it to nobody else.
        """
        while True:
            await asyncio.sleep(LOOK)
            try:
                await link.look_again()
                why = await self._address.moved()
            except (RedisError, OSError, BackplaneError) as error:
                link.end(error)
                return
            if why:
                link.end(BackplaneDown(why))

    def _take(self, channel: bytes, data: bytes) -> None:
        if channel == self._beat:
            self._unheard = 0
            with contextlib.suppress(ValueError):
                self._lag = max(0.0, asyncio.get_running_loop().time() - float(data))
        else:
            self._hear(channel, data)

    async def _put_away(self, link: Link) -> None:
        self.link = None
        self.is_up = False
        await link.close()
        kept: list[Request] = []
        for request in link.leftovers():
            if request.again or not request.is_sent:
                kept.append(request)
                self._bytes += request.size
            else:
                request.answer(BackplaneDown("the backplane has hung up before it has answered"))
        self._outbox.extendleft(reversed(kept))

    # ---- states ----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """How this node stands to the others."""
        if self.is_up:
            return "refusing" if self.trouble else "up"
        return "alone" if self.is_alone else "away"

    @property
    def lag(self) -> float:
        """Seconds that the last message to itself took, or that the next one is late by now."""
        return max(self._lag, BEAT * (self._unheard - 1))

    @property
    def waiting(self) -> int:
        """Commands that wait for a link."""
        return len(self._outbox)

    @property
    def waiting_bytes(self) -> int:
        """Bytes in them."""
        return self._bytes

    def _expect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for a link from now on, and go on alone where none comes in time."""
        self._down_since = loop.time()
        self.settled.clear()
        self._patience = loop.call_later(self._seconds, self._go_on_alone)

    def _went_down(self, error: BaseException) -> None:
        why = reason(error)
        self.trouble = f"it cannot be used ({why})"
        if self._down_since is None:
            self.breaks += 1
            self._expect(asyncio.get_running_loop())
        if self._told == "":
            self._told = "down"
            self._log.warning(
                "The backplane %s cannot be used: %s. Routes stay up, and rooms reach the "
                "connections of this server only, until it is back",
                self._address.shown,
                why,
            )

    def _go_on_alone(self) -> None:
        """Let nobody wait any longer but messages of logs, which other nodes get late."""
        self.is_alone = True
        self.settled.set()
        waiting, self._outbox, self._bytes = self._outbox, deque(), 0
        for request in waiting:
            if not request.future.done():
                self._put_off(request)

    def _put_off(self, request: Request) -> None:
        """Answer what was asked for while there is no link."""
        if request.marks:
            self.keep(request.copied())
            request.answer(ALONE)
        else:
            request.answer(self.down())

    def down(self) -> BackplaneDown:
        """Return what is raised while there is no link."""
        return BackplaneDown(f"the backplane {self._address.shown} is away: {self.trouble}")

    def _came_up(self, link: Link) -> None:
        assert self._down_since is not None
        link.was_up = self.is_up = True
        seconds = asyncio.get_running_loop().time() - self._down_since
        if self._patience is not None:
            self._patience.cancel()
        self._down_since, self.is_alone, self.trouble = None, False, ""
        self.settled.set()
        if self._told != "down":
            self._log.info("The backplane is %s at %s", link.facts.name, self._address.shown)
        else:
            self._log.info(
                "The backplane %s is back after %.1f s (%s)",
                self._address.shown,
                seconds,
                link.facts.name,
            )
        for sentence in link.facts.advice() if self.breaks == 0 else ():
            self._log.warning("The backplane %s: %s", self._address.shown, sentence)
        self._told = ""

    # ---- commands ------------------------------------------------------------------------------

    def take_commands(self, link: Link) -> None:
        """Have a link take commands from now on, those first that have waited."""
        self.link = link
        waiting, self._outbox, self._bytes = self._outbox, deque(), 0
        for request in waiting:
            link.send(request)

    def post(self, request: Request) -> None:
        """Send a command now, or as soon as there is a link.

        Raises:
            BackplaneDown: This node goes on alone, or was closed.
            BackplaneError: Too much waits already.
        """
        request.roams = True
        if self.link is not None:
            self.link.send(request)
            return
        if self.is_closed or self.is_alone:
            raise self.down()
        if not self.keep(request):
            raise BackplaneError("too much waits for the backplane already; send less")

    def take_in(self, request: Request) -> None:
        """Have a command done that has waited elsewhere."""
        try:
            self.post(request)
        except BackplaneDown:
            self._put_off(request)
        except BackplaneError as error:
            request.answer(error)

    def sort_out(self, is_here: Callable[[Request], bool]) -> list[Request]:
        """Return what waits here and belongs elsewhere; it does not wait here any more."""
        waiting, self._outbox, self._bytes = self._outbox, deque(), 0
        others = []
        for request in waiting:
            if is_here(request):
                self._bytes += request.size
                self._outbox.append(request)
            else:
                others.append(request)
        return others

    def keep(self, request: Request) -> bool:
        """Keep a command for the next link; return whether there was room for it."""
        if len(self._outbox) >= MAX_WAITING or self._bytes + request.size > MAX_WAITING_BYTES:
            self.lost += 1
            return False
        self._bytes += request.size
        self._outbox.append(request)
        return True

    async def do(self, request: Request) -> Any:
        """Have a command done, and return the answer; `ALONE` to one that waits on.

        Raises:
            BackplaneDown: There is no link, or it has ended before the answer.
            BackplaneError: The store refuses it.
        """
        self.post(request)
        return await self.outcome(request)

    async def outcome(self, request: Request) -> Any:
        """Wait for the answer to a command that was posted; see `do`."""
        try:
            answer = await request.future
        except ResponseError as refusal:
            raise self._refused(refusal) from None
        now = asyncio.get_running_loop().time()
        if request.marks and self.trouble and self.is_up and now - self._refused_at >= CALM:
            self.trouble = ""
            self._log.info("The backplane %s takes messages again", self._address.shown)
        return answer

    def _refused(self, refusal: ResponseError) -> BackplaneError:
        text = reason(refusal)
        if isinstance(refusal, OutOfMemoryError) or "OOM" in text:
            text = "its memory is full"
        if is_of_one_key(refusal):
            if not self._had_spoilt:
                self._had_spoilt = True
                self._log.warning(
                    "A key of the backplane %s holds what no room has (%s); more of it is refused "
                    "to who asks for it without a word here",
                    self._address.shown,
                    text,
                )
        else:
            self._refused_at = asyncio.get_running_loop().time()
            if not self.trouble and self.is_up:
                self.trouble = f"it refuses ({text})"
                self._log.warning("The backplane %s refuses: %s", self._address.shown, text)
        return BackplaneError(f"the backplane {self._address.shown} refuses: {text}")


def _ignore(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
