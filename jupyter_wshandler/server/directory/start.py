"""Whether this server is the directory, or asks one, and what it needs for that."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from jupyter_server.utils import url_path_join
from traitlets import Bool, CaselessStrEnum, HasTraits, TraitError, Unicode, default, validate

from ..access.guests import Guests
from ..access.identity import hub_auth_of
from ..hubservice import service_name
from .client import DirectoryClient
from .hub import Hub
from .messages import HOME
from .named import NamedGuests
from .service import Directory
from .stores import open_listings

VARIABLE = "WSHANDLER_DIRECTORY_URL"
"""The environment variable with which the administrator tells users' servers of the directory."""

NOT_ALONE = (
    "This service is no directory: it is not bots only, so that whoever may use it could read the "
    "tokens that users' servers prove themselves with; start it with --WSHandlerApp.bots_only=True"
)


class SharingTraits(HasTraits):
    """What an administrator may say about guests, and about the directory."""

    log: Any
    settings: dict[str, Any]

    guests = CaselessStrEnum(
        ["links", "people", "off"],
        None,
        allow_none=True,
        help="""Whether the owner of a bot may share it with people who have no login here: "links"
        lets in whoever has a link to it, and "people" only those whom a directory knows by name
        (see `directory_url`); "off" lets in nobody. Unset, it is "links"; under JupyterHub it is
        "off", or "people" where the administrator has set WSHANDLER_DIRECTORY_URL.""",
    ).tag(config=True)

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

    def under_hub(self) -> bool:
        """Return whether this is a server of JupyterHub's."""
        return hub_auth_of(self.settings.get("identity_provider")) is not None

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


class ByName:
    """Sharing by name, as far as this server has to do with it.

    Attributes:
        directory: What this server is the directory of; None for any other server.
        guests: What lets people in by name; None where this server knows no directory.

    Args:
        app: The extension.
        base_url: The server's base URL.
        guests: Knows who is in.
    """

    def __init__(self, app: Any, base_url: str, guests: Guests) -> None:
        self._app = app
        hub_auth = hub_auth_of(app.serverapp.identity_provider)
        self.directory: Directory | None = None
        self.guests: NamedGuests | None = None
        if hub_auth is None or app.misconfigured:
            return
        if service_name():
            self.directory = _directory_of(app, base_url, hub_auth)
        elif app.directory_url:
            client = DirectoryClient(app.directory_url, hub_auth)
            self.guests = NamedGuests(client, guests, guests.book, app.log)

    def start(self) -> None:
        """Begin to ask, and say what is missing."""
        if self.guests is not None:
            self.guests.start()
        if self.directory is not None:
            self.directory.start()

    async def stop(self) -> None:
        """End all of it."""
        if self.guests is not None:
            await self.guests.stop()
        if self.directory is not None:
            await self.directory.stop()


def _directory_of(app: Any, base_url: str, hub_auth: Any) -> Directory | None:
    """Return the directory that a service of the Hub is, if it is one.

    It is one with bots only: in any other, whoever may use it could read its memory.
    """
    if not app.directory:
        return None
    if app.gate is None:
        app.log.warning("%s", NOT_ALONE)
        return None
    home = os.environ.get("JUPYTERHUB_PUBLIC_URL") or base_url
    store = open_listings(app.file_store(), log=app.log)
    directory = Directory(Hub(hub_auth), store, home.rstrip("/") + "/", app.log)
    # For the Hub's menu of services; but a service that was given bots and no scopes of a
    # directory has nothing to list that its one bot does not show better.
    app.gate.lead_to(url_path_join(base_url, HOME), lambda: not directory.lacks_scopes)
    return directory


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
