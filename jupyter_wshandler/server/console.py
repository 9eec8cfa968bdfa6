"""The console, at ``<base_url>/wshandler/``: what a server does, for those who may look.

The page is made of the API alone, and shows what that tells its visitor. What it is not told it
does not have: the parts of the owner are left out where the Authorizer does not let `execute`.
"""

from __future__ import annotations

import re

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.utils import url_path_join
from tornado.routing import PathMatches, Rule

from .api.base import rules
from .api.looking import LookingHandler
from .services import Services
from .shownpage import ShownPage

PATH = "wshandler/"
"""Where it is, below the base URL."""


class ConsoleHandler(ShownPage, LookingHandler):
    """The address of the page: for whom the Authorizer lets `read`, as the API below it."""

    note = "console/note.html"

    known = frozenset({"redirects"})  # the Hub's own count

    @ws_authenticated
    async def get(self) -> None:
        """Show it; it asks for all else by itself."""
        # Reading it sets the cookie that what changes something is checked with.
        _ = self.xsrf_token
        self.set_header("Cache-Control", "no-store")
        owner = "true" if await self.may_execute() else "false"
        user = self.current_user
        name = user.display_name or user.name or user.username
        self.show("console/page.html", user=str(name), owner=owner)


def console_rules(services: Services, base_url: str) -> tuple[list[Rule], list[Rule]]:
    """Return the rules of the page: those that stand before all of Jupyter's, and the others.

    Jupyter's first rule takes the slash from every path that ends with one.

    Args:
        services: What the handlers share.
        base_url: The server's base URL.
    """
    path = re.escape(url_path_join(base_url, PATH))
    first = rules(PathMatches(f"{path}$"), ConsoleHandler, services)
    return first, rules(PathMatches(f"{path.rstrip('/')}$"), ConsoleHandler, services)
