"""The server's side of what a kernel shares: its own routes, and nobody else's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Coroutine, Mapping
from typing import Any, Protocol, TypeAlias

import msgspec

from ..errors import ShareRefused
from ..routes import Route
from ..shares.share import REVOKED
from .batches import MAX_OPTIONS, NotABatch, one_line
from .courier import Courier
from .events import Event, NotShared, Share, Shared, ShareEnded, Shares, ShareState, Unshare
from .outgoing import MAX_WAITING

MAX_ASKED = 64
"""Wishes of one kernel that are being answered at a time."""

MOST = 500
"""Open shares of one route that a kernel makes or is told of: each change tells all of them."""

TOO_MANY = f"it has {MOST} open shares; revoke some of bot.shares, or let them expire"

FAULT = "something in the server has failed; its log says what"
"""What a kernel is told of a fault of ours."""

UNKNOWN = "this kernel serves no route of that name; serve the bot, and share it then"

GONE = "the server knows no such share any more"


Ended: TypeAlias = Callable[[str, str, str], object]


class Sharing(Protocol):
    """Who shares routes for kernels."""

    async def share(self, route: Route, wish: Mapping[str, Any], by: str) -> ShareState:
        """Share a route.

        Args:
            route: The route.
            wish: What the share is to be, as the kernel says it.
            by: Who asks, for the records.

        Returns:
            The share, with its link.

        Raises:
            ShareRefused: It may not be; says why and what to do.
        """

    async def revoke(self, share_id: str, route: str, by: str) -> bool:
        """End a share; return whether there was one.

        Args:
            share_id: The share.
            route: The route that it must be of.
            by: Who must have made it; "" where the kernel serves that route.
        """

    def shares(self, routes: Container[str]) -> Mapping[str, list[ShareState]]:
        """Return the open shares of some routes by route, the oldest first, without links."""

    def listen(self, listener: Ended) -> None:
        """Call a function with each share that ends: its route, its id, and why."""

    def forget(self, listener: Ended) -> None:
        """Call it no longer."""


class KernelShares:
    """What the bots of one kernel are shared by, and what the kernel knows of it.

    Args:
        sharing: Who shares routes; None where nobody does.
        by: Who this kernel is, for the records.
        owned: Returns a route of this kernel by its name, and nobody else's.
        courier: The way to the kernel.
        log: Where lines go.
        loop: The event loop.
    """

    def __init__(
        self,
        sharing: Sharing | None,
        by: str,
        owned: Callable[[str], Route | None],
        courier: Courier,
        log: logging.Logger | logging.LoggerAdapter[Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._sharing = sharing
        self._by = by
        self._owned = owned
        self._courier = courier
        self._log = log
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: dict[str, list[ShareState]] = {}
        if sharing is not None:
            sharing.listen(self.ended)

    # ---- from the kernel -----------------------------------------------------------------------

    def share(self, said: Share[msgspec.Raw]) -> None:
        """Share a route of this kernel, and answer when that is done.

        Raises:
            NotABatch: The kernel takes no answers.
        """
        try:
            wish = _read_wish(said.wish)
        except ValueError as error:
            self._refuse(said, one_line(str(error)))
            return
        self._answer(said, self._share(said, wish))

    async def _share(self, said: Share[msgspec.Raw], wish: Mapping[str, Any]) -> None:
        route = self._owned(said.name)
        if self._sharing is None or route is None:
            self._refuse(said, UNKNOWN)
            return
        if len(self._told.get(said.name, ())) >= MOST:
            self._refuse(said, TOO_MANY)
            return
        state = await self._sharing.share(route, wish, self._by)
        known = msgspec.structs.replace(state, url="")
        if said.name in self._told:  # the kernel serves it still
            self._told[said.name].append(known)
        self._put(Shared(said.name, said.number, state), state)

    def unshare(self, said: Unshare) -> None:
        """End a share of a route of this kernel, or one that this kernel has made.

        Raises:
            NotABatch: The kernel takes no answers.
        """
        self._answer(said, self._unshare(said))

    async def _unshare(self, said: Unshare) -> None:
        if self._sharing is None:
            self._refuse(said, UNKNOWN)
            return
        by = "" if self._owned(said.name) is not None else self._by
        known = await self._sharing.revoke(said.share, said.name, by)
        # Whoever serves the route is told by `ended`, too; the second time changes nothing.
        self._put(ShareEnded(said.name, said.share, REVOKED if known else GONE))

    def _answer(
        self, said: Share[msgspec.Raw] | Unshare, answer: Coroutine[Any, Any, None]
    ) -> None:
        if len(self._tasks) >= MAX_ASKED or self._courier.waiting > 2 * MAX_WAITING:
            answer.close()
            if self._courier.waiting > 2 * MAX_WAITING:
                raise NotABatch("wishes to share without taking the answers to them")
            self._refuse(said, f"this kernel has asked for {MAX_ASKED} shares at once; ask again")
            return
        task = self._loop.create_task(
            self._answered(said, answer), name=f"wshandler share {one_line(said.name, 60)}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answered(
        self, said: Share[msgspec.Raw] | Unshare, answer: Coroutine[Any, Any, None]
    ) -> None:
        try:
            await answer
        except ShareRefused as refusal:
            self._refuse(said, str(refusal))
        except Exception:
            self._log.exception("A share of route %s failed", one_line(said.name, 60))
            self._refuse(said, FAULT)

    def _refuse(self, said: Share[msgspec.Raw] | Unshare, why: str) -> None:
        why = why[:4000].encode(errors="replace").decode()
        self._courier.put(NotShared(said.name, said.number, why), size=512 + len(why))

    # ---- to the kernel -------------------------------------------------------------------------

    def served(self, name: str) -> None:
        """Tell the kernel by what shares a route is open that it serves from now on."""
        if self._sharing is not None:
            self._tell(name, self._sharing.shares({name}).get(name, [])[-MOST:])

    def withdrawn(self, name: str) -> None:
        """Take note that the kernel serves a route no longer."""
        self._told.pop(name, None)

    def ended(self, name: str, share_id: str, why: str) -> None:
        """Tell the kernel that a share has ended, where the route is its own.

        Args:
            name: The share's route.
            share_id: The share.
            why: Why, for people.
        """
        told = self._told.get(name)
        if told is not None:
            self._told[name] = [state for state in told if state.id != share_id]
            self._put(ShareEnded(name, share_id, why))

    def tick(self) -> None:
        """Tell the kernel of shares that others have made of its routes, and what was used."""
        if self._sharing is None or not self._told:
            return
        if self._courier.waiting >= MAX_WAITING:
            return  # a later look tells the same
        found = self._sharing.shares(self._told)
        for name, told in tuple(self._told.items()):
            states = found.get(name, [])[-MOST:]
            if states != told:
                self._tell(name, states)

    def _tell(self, name: str, states: list[ShareState]) -> None:
        self._told[name] = list(states)
        self._put(Shares(name, list(states)), *states)

    def _put(self, event: Event, *states: ShareState) -> None:
        size = sum(512 + len(s.label) + len(s.path) + 64 * len(s.users) for s in states)
        self._courier.put(event, size=512 + size)

    def end(self) -> None:
        """Answer nothing any more; what was made stays."""
        self._told.clear()
        if self._sharing is not None:
            self._sharing.forget(self.ended)
        for task in tuple(self._tasks):
            task.cancel()


def _read_wish(wish: msgspec.Raw) -> Mapping[str, Any]:
    """Read what a share is to be.

    Raises:
        ValueError: It is no mapping, or too large.
    """
    if len(wish) > MAX_OPTIONS:
        raise ValueError(
            f"what a share is to be takes {len(wish)} bytes, where {MAX_OPTIONS} are the most; "
            "shorten its label, or name groups in place of users"
        )
    try:
        return msgspec.json.decode(wish, type=dict[str, Any])
    except RecursionError as error:
        raise ValueError(str(error)) from None
