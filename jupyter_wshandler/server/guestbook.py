"""The shares of one server, and the guests who have come by them, made at its start."""

from __future__ import annotations

import os
from typing import Any

from ..manager.manager import WebSocketManager
from ..shares.book import ShareBook
from ..shares.choose import open_shares
from .access.guests import Guests
from .access.identity import hub_auth_of
from .access.refusals import Refusals
from .addresses import origin_of
from .directory.start import VARIABLE

GUESTS_OFF = (
    "guests are switched off on this server; who runs it can switch them on with "
    "--WSHandlerApp.guests=links"
)

GUESTS_OFF_HUB = (
    "guests are off under JupyterHub until its administrator switches them on, with "
    '"--WSHandlerApp.guests=links" in c.Spawner.args'
)


def open_guests(
    serverapp: Any,
    manager: WebSocketManager,
    refusals: Refusals,
    *,
    store: str,
    prefix: str,
    policy: str | None,
    secure_cookie: bool | None,
) -> Guests:
    """Return the guests of a server, with the book of its shares, which is read when it starts.

    Args:
        serverapp: The server.
        manager: Owns its connections.
        refusals: Takes note of who is refused.
        store: Where its sessions are kept, and its shares beside them.
        prefix: What the names of keys begin with, where that is a Redis or Valkey server.
        policy: "links", "people", "off", or None for what it is where nobody has said.
        secure_cookie: The administrator's word about the Secure attribute of cookies.
    """
    # What another server of the same user shares is none of this one's.
    place = f"{serverapp.base_url} {os.path.realpath(serverapp.root_dir)}"
    under_hub = hub_auth_of(serverapp.web_app.settings.get("identity_provider")) is not None
    return Guests(
        manager,
        ShareBook(open_shares(store, place, manager.log, prefix), manager.log),
        refusals,
        # Not the trait's own default: Jupyter asks for that before it is known who asks for logins.
        policy=policy or _unsaid(under_hub),
        why_off=GUESTS_OFF_HUB if under_hub else GUESTS_OFF,
        secure_cookie=secure_cookie,
        origin=origin_of(serverapp),
    )


def _unsaid(under_hub: bool) -> str:
    """Return who is let in where nobody has said it.

    Under JupyterHub that is the administrator's to say, and naming a directory says it.
    """
    if not under_hub:
        return "links"
    return "people" if os.environ.get(VARIABLE) else "off"
