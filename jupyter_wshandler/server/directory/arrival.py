"""Where a user's server lets people in who come from the directory.

A browser comes to ``<base_url>/wshandler/shared/<share>``, is given a secret in a cookie, and sent
to the directory, which knows who it is. It comes back with a code that is bound to the secret; the
server redeems it, and the browser has a guest's cookie for the one route from then on.
"""

from __future__ import annotations

import re
import secrets
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.routing import PathMatches, Rule
from tornado.web import HTTPError, stream_request_body

from ...routes import Route
from ...shares.share import UNSHARED, Share, ShareEnded, new_card
from ...shares.stores import StoreFailed
from ..access.guests import Claim
from ..access.identity import cookie_port, is_secure
from ..access.inquiry import InquiringHandler
from ..access.refused import words_of
from ..bodies import UnreadBody, rules_for
from ..forwarded import read_forwarded
from ..pages import HTML, POLICY
from ..services import Services
from .client import DirectoryError
from .codes import digest
from .messages import ARRIVAL, CODE, HOME, STATE
from .named import SILENT, NamedGuests

STATIC = Path(__file__).parents[1] / "static"

SECRET_SECONDS = 300
"""Seconds that a browser has for the way to the directory and back, a login at the Hub included."""

GONE = "this bot does not run now; ask whoever has shared it to start it"
BROWSER = "this address is not good for this browser, or not any more; open the bot from the list"


class ArrivalHandler(InquiringHandler, JupyterHandler):
    """One share, for who comes from the directory."""

    named_guests: NamedGuests
    home = ""

    def initialize(self, services: Services, named: NamedGuests) -> None:  # type: ignore[override]
        """Take what the handlers share.

        Args:
            services: What the handlers share.
            named: Knows who may come.
        """
        super().initialize(services)
        self.named_guests = named

    async def prepare(self) -> None:  # type: ignore[override]
        """Ask nobody who this is: a login here changes nothing, and the directory will know."""
        read_forwarded(self)
        self.current_user = self._jupyter_current_user = None
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        if not self.check_host():
            raise HTTPError(403, "this host is not known here")

    @allow_unauthenticated
    async def get(self, share_id: str) -> None:
        """Send the browser for a code, or let it in with one.

        Args:
            share_id: The id of the share.
        """
        if self.request.headers.get("Sec-Fetch-Dest", "document") != "document":
            # A picture or a frame of somebody's page must not tell its author who looks at it.
            raise HTTPError(403, "open this in a tab of its own")
        try:
            await self.services.manager.start()
            await self.services.shares.look()
            self.home = await self.named_guests.client.home()
            share, route = self._share(share_id)
            code = self.get_query_argument(CODE, "")
            if code:
                await self._let_in(share, route, code)
            else:
                self._send_for_code(share)
        except DirectoryError as error:
            status, words = (403, error.sentence) if error.is_refusal else (503, SILENT)
            raise HTTPError(status, words) from None
        except (StoreFailed, ShareEnded) as error:
            raise HTTPError(403 if isinstance(error, ShareEnded) else 503, str(error)) from None

    def _share(self, share_id: str) -> tuple[Share, Route]:
        """Return a share that lets people in, and its route.

        Raises:
            HTTPError: It does not.
        """
        share = self.services.shares.get(share_id)
        if share is None or share.people is None:
            self.named_guests.forget(share_id)
            raise HTTPError(403, UNSHARED)
        found = self.services.manager.table.find(share.path)
        if found is None:
            raise HTTPError(503, GONE)
        route = found[0][0]
        why = self.services.guests.why_not(share, route, share.path)
        if why:
            if self.services.shares.why_ended(share, route):
                self.named_guests.forget(share_id)
            raise HTTPError(403, why)
        return share, route

    def _send_for_code(self, share: Share) -> None:
        secret = secrets.token_urlsafe(24)
        options: dict[str, Any] = {"httponly": True, "samesite": "Lax"}
        if is_secure(self, self.services.secure_cookie):
            options["secure"] = True
        self.set_cookie(
            self._cookie, secret, path=self._path(share), max_age=SECRET_SECONDS, **options
        )
        where = f"{self.home}{HOME}/code/{quote(share.id)}"
        self.redirect(f"{where}?{urlencode({STATE: digest(secret)})}")

    async def _let_in(self, share: Share, route: Route, code: str) -> None:
        secret = self.get_cookie(self._cookie) or ""
        if not re.fullmatch(r"[A-Za-z0-9_-]{32}", secret):
            raise HTTPError(403, BROWSER)
        self.clear_cookie(self._cookie, path=self._path(share))
        person = await self.named_guests.redeem(share, code, digest(secret))
        card = new_card(share, person)
        await self.services.guests.use(Claim(share, "", card))
        self.services.guests.give_cookie(self, share, card, share.path)
        # Relative: a proxy may serve all this below a prefix that nobody here knows.
        self.redirect("../.." + quote(share.path, safe="/%!$&'()*+,;=:@~"))

    @property
    def _cookie(self) -> str:
        return f"wshandler-arrival{cookie_port(self)}"

    def _path(self, share: Share) -> str:
        return url_path_join(self.base_url, ARRIVAL, share.id)

    @property
    def content_security_policy(self) -> str:
        """What the page of an error may do."""
        return f"{super().content_security_policy}; {POLICY}"

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with a page that says what it is, in words."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        sentence = words_of(error) if isinstance(error, HTTPError) else ""
        values = {
            "note": sentence or "this did not work",
            "static": self.services.static_url.rstrip("/"),
            "home": f"{self.home}{HOME}" if self.home else "",
        }
        text = (STATIC / "directorynote.html").read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace("{{" + name + "}}", escape(value))
        self.set_header("Content-Type", HTML)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Referrer-Policy", "no-referrer")
        self.finish(text)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Write one line a refusal; Tornado's own would hold the query, and so the code."""
        if isinstance(value, HTTPError):
            why = words_of(value) or value.reason or "refused"
            self.log.info("Shared %s: %d: %s", self.request.path, value.status_code, why)
        else:
            self.log.error("Shared %s failed", self.request.path, exc_info=(typ, value, tb))

    def refuse_method(self, *_: str) -> None:
        """Refuse all other methods."""
        raise HTTPError(405)

    head = post = put = patch = delete = options = allow_unauthenticated(refuse_method)


@stream_request_body
class ArrivalHandlerWithBody(UnreadBody, ArrivalHandler):
    """The same for requests with a body: refused before it is read."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse."""
        await super().prepare()
        raise HTTPError(400 if self.request.method == "GET" else 405)


def arrival_rules(services: Services, named: NamedGuests, base_url: str) -> list[Rule]:
    """Return the rules of where people come in.

    Args:
        services: What the handlers share.
        named: Knows who may come.
        base_url: The server's base URL.
    """
    pattern = re.escape(url_path_join(base_url, ARRIVAL)) + "/([A-Za-z0-9_-]{8,64})$"
    settings = {"services": services, "named": named}
    return rules_for(PathMatches(pattern), ArrivalHandler, ArrivalHandlerWithBody, settings)
