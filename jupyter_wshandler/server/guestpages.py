"""What the sandboxed pages of guests ask for, at ``<base_url>/wshandler/guest/``.

A page's ticket or key stands in the address, in place of the cookies that such a page cannot send:

- ``POST <ticket>/ticket`` answers with a ticket for one socket;
- ``<key>`` is a base_url of its own, with the files of the page's folder, and our helper.

No log line has either, and no address of ours leads from one to the other.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.utils import url_path_join
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, stream_request_body

from ..config.paths import as_escaped, normal_path, path_below
from . import pages, sandbox
from .access.inquiry import InquiringHandler
from .access.pagetickets import SOCKET_SECONDS, GuestPage
from .access.refused import Refused
from .bodies import UnreadBody, rules_for
from .crossorigin import ALLOW
from .handlers import RouteHandler
from .routing import Found
from .services import Services

GONE = "this address was good for a while only; load the page again"

_OURS = re.compile(r"static/wshandler/(\w+(?:\.\w+)+)")
"""What is found below each key: the helper, by the way that pages write it."""


class GuestMatcher(Matcher):
    """A matcher of what guests' pages ask for.

    Args:
        services: What the handlers share.
        base_url: The server's base URL, with a slash at both ends.
        files: Whether of files of a page that is known, or of all else.
    """

    by_path = True  # all below `sandbox.BELOW` is answered here, and nothing else

    def __init__(self, services: Services, base_url: str, *, files: bool) -> None:
        self.services = services
        self.base_url = base_url
        self.files = files

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return what the handler's `initialize` gets, or None."""
        path = path_below(self.base_url, as_escaped(request.path))
        if path is None or not path.startswith(sandbox.BELOW):
            return None
        secret, _, rest = path[len(sandbox.BELOW) :].partition("/")
        known = self.services.guest_pages
        if not self.files:
            page = known.of_ticket(secret) if rest == "ticket" else known.of_key(secret)
            return {"target_kwargs": {"services": self.services, "page": page, "rest": rest}}
        page = known.of_key(secret)
        found = None if page is None else self._found(page, f"/{rest}")
        if found is None:
            return None
        return {"target_kwargs": {"services": self.services, "found": found, "page": page}}

    def _found(self, page: GuestPage, path: str) -> Found | None:
        """Return what a path leads to that is the page's own, or a file of it."""
        if path != page.path and not path.startswith(page.path + "/"):
            return None
        found = self.services.manager.table.find(path)
        if found is None or found[0][0].name != page.route:
            return None
        (route, args, kwargs), page_path = found
        return Found(route, tuple(args), kwargs, page_path)


class ForGuests(InquiringHandler):
    """An answer to the script of a sandboxed page, which no browser shows with its own origin."""

    def set_default_headers(self) -> None:
        """Let a page without an origin read it, and nobody act as their visitor with it."""
        super().set_default_headers()
        self.set_header(ALLOW, "null")
        self.clear_header("Access-Control-Allow-Credentials")
        self.add_header("Content-Security-Policy", sandbox.POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def set_cors_headers(self) -> None:
        """Leave it at that: what Jupyter's settings allow others is nobody's business here."""

    def check_xsrf_cookie(self) -> None:
        """Ask for no cookie: none counts here."""


class GuestFileHandler(ForGuests, RouteHandler):
    """The files of a guest's page, for the page itself: asked for without its guest's cookie."""

    def initialize(self, services: Services, found: Found, page: GuestPage) -> None:  # type: ignore[override]
        """Take what the handlers share, and what the matcher has found.

        Args:
            services: What the handlers share.
            found: The route of the request's path.
            page: The page.
        """
        super().initialize(services, found)
        self._page = page
        below = page.path if found.page_path is None else f"{page.path}/{found.page_path}"
        self._own_location = sandbox.up(f"{sandbox.BELOW}{page.key}{below}") + below.lstrip("/")
        own = url_path_join(self.base_url, below)
        # From here on it is a request for the file's own address: in the log, and for callbacks.
        self.request.path = own
        self.request.uri = own + (f"?{self.request.query}" if self.request.query else "")

    def guest_page(self) -> GuestPage:
        """Return the page that asks."""
        return self._page

    @property
    def may_be_kept(self) -> bool:
        """Whether a browser may keep an answer: nothing else was ever answered at this address."""
        return True

    def sandbox(self) -> None:
        """Do nothing: all that is answered here is in the sandbox."""

    def written_into_page(self) -> bytes:
        """Return nothing: who knows an address gets no ticket with it."""
        return b""

    async def serve_page(self) -> None:
        """Answer with a file; a browser that goes to one is sent to the file's own address.

        There it has the cookie of its guest, and an address that others may know.
        """
        goes = self.request.headers.get("Sec-Fetch-Dest", "document") == "document"
        if goes and pages.accepts_html(self.accepted):
            query = f"?{self.request.query}" if self.request.query else ""
            self.redirect(self._own_location + query)
            return
        await super().serve_page()

    @allow_unauthenticated
    async def get(self) -> None:
        """Answer with the file."""
        await self._serve_file_only()

    @allow_unauthenticated
    async def head(self) -> None:
        """Answer as GET does, without the body."""
        await self._serve_file_only()

    async def _serve_file_only(self) -> None:
        if self.upgrading or not self.page_wanted:
            raise Refused(HTTPStatus.NOT_FOUND, "this is a file of a page; sockets are elsewhere")
        await self.serve()

    @allow_unauthenticated
    def post(self) -> None:
        """Refuse."""
        self.refuse_method()

    put = patch = delete = options = post


@stream_request_body
class GuestFileHandlerWithBody(UnreadBody, GuestFileHandler):
    """The same for requests with a body: refused before it is read."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, and refuse those who may, too."""
        await super().prepare()
        if not self._finished:
            self.refuse_body()


class GuestPageHandler(ForGuests):
    """What a guest's page asks for that is no file of its own."""

    def initialize(self, services: Services, page: GuestPage | None, rest: str) -> None:  # type: ignore[override]
        """Take what the handlers share, and what the matcher has found.

        Args:
            services: What the handlers share.
            page: The page, where the address has a secret of one that is known.
            rest: What follows that in the address.
        """
        super().initialize(services)
        self.page = page
        self.rest = rest
        self._asked_path = self.request.path
        self.request.path = url_path_join(self.base_url, sandbox.BELOW, "[secret]", rest)
        self.request.uri = self.request.path

    async def prepare(self) -> None:  # type: ignore[override]
        """Ask for the host alone: what the address holds is all that proves anything here."""
        self.current_user = self._jupyter_current_user = None
        if not self.check_host():
            raise HTTPError(HTTPStatus.FORBIDDEN)
        if self.page is None:
            raise Refused(HTTPStatus.NOT_FOUND, GONE)

    @allow_unauthenticated
    def post(self) -> None:
        """Answer with a ticket for one socket of the page: ``{"ticket": text, "expires_in": s}``.

        With ``?refused=1`` none is given, and ``"refused"`` has the `status`, `reason` and `cause`
        of the last handshake of the page that was refused, or null. 403 with the reason where the
        page's share lets nobody in any more, 404 where the page is not known any more.
        """
        page = self.page
        if page is None or self.rest != "ticket":
            raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)
        answer: dict[str, Any] = {"ticket": None}
        if self.request.query == "refused=1":
            answer["refused"] = self._refused(page)
        else:
            self._check(page)
            answer["ticket"] = self.services.guest_pages.issue_socket(page)
            answer["expires_in"] = SOCKET_SECONDS
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(answer))

    def _check(self, page: GuestPage) -> None:
        found = self.services.manager.table.find(page.path)
        if found is None:
            return  # it may come again, and the handshake says what is
        route = found[0][0]
        claim = self.services.guests.claim_of_page(page, route, page.path)
        if claim.why:
            self.services.guests.refused(route, claim)
            raise Refused(HTTPStatus.FORBIDDEN, claim.why)

    def _refused(self, page: GuestPage) -> dict[str, Any] | None:
        key = f"{page.guest.kind}:{page.guest.username}"
        path = normal_path(url_path_join(self.base_url, page.path))
        found = self.services.refusals.recent.get((key, "null", path))
        if found is None:
            return None
        return {"status": found.status, "reason": found.reason, "cause": found.cause}

    @allow_unauthenticated
    def get(self) -> None:
        """Lead to a file of ours, which a page has named relative to its own address."""
        found = _OURS.fullmatch(self.rest)
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such file")
        url = url_path_join(self.services.static_url, found[1])
        self.redirect(pages.seen_from(self._asked_path, url))

    head = get

    @allow_unauthenticated
    def put(self) -> None:
        """Refuse."""
        raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED)

    patch = delete = options = put

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one plain sentence."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        sentence = responses.get(status_code, "refused")
        if isinstance(error, Refused):
            sentence = error.sentence
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {sentence}\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Write one line."""
        if isinstance(value, HTTPError):
            sentence = value.sentence if isinstance(value, Refused) else value.reason or "refused"
            self.log.info("A guest's page: %d: %s", value.status_code, sentence)
        else:
            self.log.error("A guest's page: its request failed", exc_info=(typ, value, tb))


@stream_request_body
class GuestPageHandlerWithBody(UnreadBody, GuestPageHandler):
    """The same for requests with a body: refused before it is read."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, and refuse those who may, too."""
        await super().prepare()
        raise Refused(HTTPStatus.BAD_REQUEST, "a body means nothing here")


def rules(services: Services, base_url: str) -> list[Rule]:
    """Return the rules for what guests' pages ask for; they stand before all of Jupyter's.

    Args:
        services: What the handlers share.
        base_url: The server's base URL.
    """
    files = GuestMatcher(services, base_url, files=True)
    rest = GuestMatcher(services, base_url, files=False)
    return [
        *rules_for(files, GuestFileHandler, GuestFileHandlerWithBody),
        *rules_for(rest, GuestPageHandler, GuestPageHandlerWithBody),
    ]
