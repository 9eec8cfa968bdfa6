"""Whether this server is the directory, or asks one, and what it needs for that."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from traitlets import Bool, HasTraits, TraitError, Unicode, default, validate

from ..access.guests import Guests
from ..access.identity import hub_auth_of
from ..hubservice import service_name
from .client import DirectoryClient
from .hub import Hub
from .named import NamedGuests
from .service import Directory
from .stores import open_listings

VARIABLE = "WSHANDLER_DIRECTORY_URL"
"""The environment variable with which the administrator tells users' servers of the directory."""

NOT_ALONE = (
    "This service is no directory: it is not bots only, so that whoever may use it could read the "
    "tokens that users' servers prove themselves with; start it with --WSHandlerApp.bots_only=True"
)


class DirectoryTraits(HasTraits):
    """What an administrator may say about the directory."""

    log: Any

    directory_url = Unicode(
        help="""Under JupyterHub: where the service with the directory is, as this server reaches
        it, such as http://proxy-public/services/bots/. It gets this server's Hub token, as proof.
        The default is $WSHANDLER_DIRECTORY_URL.""",
    ).tag(config=True)

    directory = Bool(
        True,
        help="""Whether a service of JupyterHub with bots only is the directory, too: where users'
        servers tell what is shared by name, and people find it.""",
    ).tag(config=True)

    @default("directory_url")
    def _default_directory_url(self) -> str:
        try:
            return checked_url(os.environ.get(VARIABLE, ""))
        except ValueError as error:
            self.log.error("Nothing can be shared by name: $%s: %s", VARIABLE, error)
            return ""

    @validate("directory_url")
    def _check_directory_url(self, proposal: Any) -> str:
        try:
            return checked_url(proposal["value"])
        except ValueError as error:
            raise TraitError(f"The 'directory_url' trait: {error}") from None


def directory_of(app: Any, base_url: str) -> Directory | None:
    """Return the directory that this server is to be, or None for any other server.

    It is one as a service of the Hub with bots only: in any other, whoever may use it could read
    its memory.

    Args:
        app: The extension.
        base_url: The server's base URL.
    """
    hub_auth = hub_auth_of(app.serverapp.identity_provider)
    if hub_auth is None or not service_name() or not app.directory:
        return None
    if app.gate is None:
        app.log.warning("%s", NOT_ALONE)
        return None
    home = os.environ.get("JUPYTERHUB_PUBLIC_URL") or base_url
    store = open_listings(app.session_store, log=app.log)
    return Directory(Hub(hub_auth), store, home.rstrip("/") + "/", app.log)


def named_guests_of(app: Any, guests: Guests) -> NamedGuests | None:
    """Return what lets people in by name, or None where this server knows no directory.

    Args:
        app: The extension.
        guests: Knows who is in.
    """
    hub_auth = hub_auth_of(app.serverapp.identity_provider)
    if not app.directory_url or hub_auth is None or service_name():
        return None
    return NamedGuests(DirectoryClient(app.directory_url, hub_auth), guests, app.shares, app.log)


def checked_url(url: str) -> str:
    """Return the address of a directory as an administrator has written it.

    Args:
        url: The address.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        shown = f"{parts.scheme or 'no scheme'} and {'a' if parts.hostname else 'no'} host"
        raise ValueError(
            "expected the URL of the service with the directory, with http or https and as users' "
            f"servers reach it, such as http://proxy-public/services/bots/, found {shown}"
        )
    return url
