"""What people see of the directory, at ``<base_url>/wshandler/directory``.

The page lists the bots of this service that who is logged in may use, what is shared with them, and
what they share. `open` leads to the bot:
to the server that it runs in, which sends the browser back for a code, and lets it in with that.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.utils import url_path_join
from tornado.routing import PathMatches, Rule
from tornado.web import HTTPError

from ...routes import Route
from .. import pages
from ..access.authorize import resource_of
from ..access.identity import is_allowed
from ..api import base as api
from ..api.base import ApiHandler
from ..services import Services
from ..shownpage import ShownPage
from .base import DirectoryHandler
from .forservers import (
    AboutHandler,
    AllSharesHandler,
    CheckHandler,
    RedeemHandler,
    ShareHandler,
)
from .messages import CODE, HOME, SERVERS, STATE
from .service import Directory

_STATE = re.compile(r"[0-9a-f]{64}")


class PersonHandler(DirectoryHandler):
    """One address of the directory for people: users of the Hub who are logged in."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may: a service of the Hub is no person."""
        self.set_header("Cache-Control", "no-store")
        await super().prepare()
        if not self._finished and getattr(self.current_user, "kind", None) != "user":
            raise HTTPError(403, "this is for people who are logged in at the Hub")

    @property
    def recheck_period(self) -> float:
        """How old the Hub's answer about who asks may be, in seconds."""
        return super().recheck_period or 60.0

    @property
    def person(self) -> str:
        """The Hub's name of who asks."""
        return str(self.current_user.username)


class OverviewHandler(PersonHandler):
    """What is shared, as JSON."""

    @ws_authenticated
    async def get(self) -> None:
        """Answer with the bots that are here for who asks, those shared with them, and by them."""
        with self.in_words():
            found = await self.directory.overview(self.person, self.current_user.groups)
        with self.answering():
            found["here"] = [
                {
                    "route": route.name,
                    "state": "broken" if route.error else "running",
                    "open": self.base_url.rstrip("/") + path,
                }
                for route, path in pages.openable(self.services.manager.served.configured)
                if await self.may_open(route)
            ]
        self.finish(json.dumps(found))

    async def may_open(self, route: Route) -> bool:
        """Return whether who asks may use a route, as far as is known without its `condition`.

        Args:
            route: One of this service's own.

        Raises:
            Unanswered: The Authorizer has failed, or does not answer.
            ClientGone: Nobody waits for the answer.
        """
        # Of one whose configuration cannot be read, nobody knows whom it is for.
        if route.config_error or not is_allowed(self.current_user, route.config.auth):
            return False
        try:
            return await self.may(resource_of(route))
        except HTTPError:  # its way to say no
            return False


class StopHandler(PersonHandler):
    """One bot that is shared."""

    @ws_authenticated
    async def delete(self, share: str) -> None:
        """Stop sharing it; 404 where it is not who asks that shares it.

        Args:
            share: The id of the share.
        """
        person = self.person
        with self.in_words():
            found = await self.directory.withdraw(share, lambda it: it.owner == person)
        if not found:
            raise HTTPError(404, "you share nothing with this id")
        self.set_status(204)
        self.finish()


class PageHandler(ShownPage, PersonHandler):
    """An address that a browser goes to: leads to the login, and answers with pages."""

    note = "directorynote.html"

    def values(self) -> dict[str, str]:
        """Return what stands in each page."""
        return {"home": url_path_join(self.base_url, HOME)}

    def refuse_frames(self) -> None:
        """Refuse what does not come from a person who goes to an address.

        A picture or a frame of somebody's page must not tell its author who looks at it.
        """
        headers = self.request.headers
        if headers.get("Sec-Fetch-Dest", "document") != "document":
            raise HTTPError(403, "open this in a tab of its own")
        self.set_header("Referrer-Policy", "no-referrer")


class HomeHandler(PageHandler):
    """The page that lists what is shared."""

    @ws_authenticated
    async def get(self) -> None:
        """Show it; it fetches the list by itself."""
        # Reading it sets the cookie that "stop sharing" is checked with.
        _ = self.xsrf_token
        self.show("directory.html", user=self.person)


class OpenHandler(PageHandler):
    """Where "open" leads: on to the server that the bot runs in."""

    @ws_authenticated
    async def get(self, share: str) -> None:
        """Go there.

        Args:
            share: The id of the share.
        """
        self.refuse_frames()
        with self.in_words():
            where = await self.directory.open(self.person, share)
        self.redirect(where)


class CodeHandler(PageHandler):
    """Where the server sends the browser for a code."""

    @ws_authenticated
    async def get(self, share: str) -> None:
        """Go back there, with a code.

        Args:
            share: The id of the share.
        """
        self.refuse_frames()
        state = self.get_query_argument(STATE, "")
        if not _STATE.fullmatch(state):
            raise HTTPError(400, "this address is not complete; open the bot from the list")
        with self.in_words():
            where, code = await self.directory.code(self.person, share, state)
        self.redirect(f"{where}?{urlencode({CODE: code})}")


def rules(services: Services, directory: Directory, base_url: str) -> list[Rule]:
    """Return the rules of the directory.

    Args:
        services: What the handlers share.
        directory: The directory.
        base_url: The server's base URL.
    """
    share = "([A-Za-z0-9_-]{8,64})"
    addresses: list[tuple[str, type[ApiHandler]]] = [
        (HOME, HomeHandler),
        (f"{HOME}/open/{share}", OpenHandler),
        (f"{HOME}/code/{share}", CodeHandler),
        ("wshandler/api/directory", OverviewHandler),
        (f"wshandler/api/directory/{share}", StopHandler),
        (f"{SERVERS}/about", AboutHandler),
        (f"{SERVERS}/shares", AllSharesHandler),
        (f"{SERVERS}/shares/{share}", ShareHandler),
        (f"{SERVERS}/redeem", RedeemHandler),
        (f"{SERVERS}/check", CheckHandler),
    ]
    found = []
    for path, handler in addresses:
        pattern = re.escape(base_url.rstrip("/") + "/") + path + "$"
        found += api.rules(PathMatches(pattern), handler, services, directory=directory)
    return found
