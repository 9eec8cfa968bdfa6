"""What kernels may share, as the server's own book of shares has it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import ShareRefused
from ...kernels.events import ShareState
from ...kernels.shares import Ended
from ...routes import Route
from ...shares.share import Share
from ..access.sharing import NotShared, ShareRequest, share_route, unshare
from ..services import Services


@dataclass(frozen=True)
class _Kernel:
    """A kernel where the records want a user."""

    username: str


class KernelSharing:
    """Shares routes for kernels; each is told of those routes only that it serves.

    Args:
        services: What the handlers share.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._listeners: list[Ended] = []
        services.shares.watch(self._ended)

    async def share(self, route: Route, wish: Mapping[str, Any], by: str) -> ShareState:
        """Share a route; see `kernels.shares.Sharing`."""
        try:
            request = msgspec.convert({**wish, "route": route.name}, ShareRequest)
        except ValueError as error:
            raise ShareRefused(str(error)) from None
        try:
            made = await share_route(self._services, route, request, _Kernel(by))
        except NotShared as refusal:
            raise ShareRefused(refusal.words) from None
        return msgspec.convert(made, ShareState)  # takes what it knows

    async def revoke(self, share_id: str, route: str, by: str) -> bool:
        """End a share; see `kernels.shares.Sharing`."""
        share = self._services.shares.get(share_id)
        if share is None or share.route != route or (by and share.by != by):
            return False
        try:
            return await unshare(self._services, share_id, _Kernel(by))
        except NotShared as refusal:
            raise ShareRefused(refusal.words) from None

    def shares(self, routes: Container[str]) -> Mapping[str, list[ShareState]]:
        """Return the open shares of some routes; see `kernels.shares.Sharing`."""
        found: dict[str, list[ShareState]] = {}
        for share in self._services.shares.shares():
            if share.route in routes:
                found.setdefault(share.route, []).append(_state(share))
        return found

    def listen(self, listener: Ended) -> None:
        """Call a function with each share that ends; see `kernels.shares.Sharing`."""
        self._listeners.append(listener)

    def forget(self, listener: Ended) -> None:
        """Call it no longer."""
        self._listeners = [one for one in self._listeners if one != listener]

    def _ended(self, share: Share, words: str) -> None:
        for listener in tuple(self._listeners):
            listener(share.route, share.id, words)


def _state(share: Share) -> ShareState:
    """Return what a kernel may know of a share at any time; no token."""
    people = share.people
    return ShareState(
        id=share.id,
        label=share.label,
        path=share.path,
        created=share.created,
        expires=share.expires,
        uses=share.uses,
        used=share.used,
        page=share.page,
        users=[] if people is None else list(people.users),
        groups=[] if people is None else list(people.groups),
    )
