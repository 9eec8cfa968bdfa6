"""The part of a handshake that is about guests: whether one comes, and as whom."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec
from jupyter_server.base.call_context import CallContext
from tornado.web import HTTPError

from ...config.paths import as_escaped, path_below
from ...shares.share import ARGUMENT, Guest, ShareEnded
from ...shares.stores import StoreFailed
from ..directory.named import NO_DIRECTORY, SILENT
from .authorize import resource_of
from .guests import ELSEWHERE, Claim
from .identity import is_allowed
from .inquiry import InquiringHandler
from .pagetickets import GuestPage
from .refused import GuestRefused, Refused
from .tickets import ARGUMENT as TICKET

if TYPE_CHECKING:
    from ...routes import Route

NO_PAGE = "this link opens a WebSocket, and no page; connect to it with a program"


class GuestHandler(InquiringHandler):
    """A handler of one route that lets guests in, too."""

    route: Route

    upgrading = False
    """Whether a socket is asked for."""

    page_wanted = False
    """Whether the route has a page, and a browser asks for it."""

    page_path: str | None = None
    """What a path names in the folder that is the route's page; None at the route's address."""

    claim: Claim | None = None
    """What lets the request in, where it is a guest's."""

    @property
    def own_path(self) -> str:
        """The route's address in this request, below base_url, in its normal spelling."""
        path = path_below(self.base_url, as_escaped(self.request.path)) or "/"
        return path if self.page_path is None else path[: -len(self.page_path) - 1]

    async def comes_as_guest(self) -> bool:
        """Return whether the request is a guest's, and then let it in as such.

        Also where it comes with the token of another address: then nobody is who asks.

        Who sends a token of a share is its guest. Who has the guest cookie may have a login, too:
        it wins where it may use the route, as nobody is to have fewer rights for having opened a
        link.

        Raises:
            Refused: It is, and the share lets nobody in any more.
            Unanswered: The identity provider or the Authorizer has failed, or does not answer.
            ClientGone: Nobody waits for the answer.
        """
        guests, path = self.services.guests, self.own_path
        page = self.guest_page()
        if page is None and not guests.shows(self, path):
            return False
        try:
            token, card = guests.shown(self, path) if page is None else (None, page.card)
            await self.services.shares.look_up(token, card)
        except StoreFailed as error:
            if page is None and not guests.shows_token(self) and await self._has_better_login():
                return False  # a login needs no share
            raise Refused(503, str(error), {"Retry-After": "5"}) from None
        if page is None:
            claim = guests.claim(self, self.route, path)
        else:
            claim = guests.claim_of_page(page, self.route, path)
        if claim is None:
            return False
        if claim.is_explicit and claim.why == ELSEWHERE:
            return self._comes_as_stranger(claim)
        if not claim.is_explicit and await self._has_better_login():
            return False
        if claim.card is not None and claim.card.person is not None and not claim.why:
            claim = await self._vouched_for(claim)
        if not claim.why and not self.upgrading and claim.share and not claim.share.page:
            claim = claim._replace(why=NO_PAGE)
        if not self.check_host():
            self.current_user = self._jupyter_current_user = None
            raise HTTPError(403)
        self.become(claim)
        return True

    def _comes_as_stranger(self, claim: Claim) -> bool:
        """Go on as with a stranger, who has brought the token of another address.

        Args:
            claim: What the request shows.

        Returns:
            Whether it is known already who asks: the token in a header is none of Jupyter's. Also
            where it is answered, as a browser is led to the address without the token first.
        """
        self.services.guests.refused(self.route, claim)
        if claim.in_query and not self.page_wanted:
            return False
        self.current_user = self._jupyter_current_user = None
        if not self.check_host():
            raise HTTPError(403)
        if claim.in_query:
            self._leave_token()
        return True

    async def _vouched_for(self, claim: Claim) -> Claim:
        """Return what a request shows of a named guest, by the directory's word of now.

        Raises:
            Refused: The directory cannot be asked.
        """
        share, card, named = claim.share, claim.card, self.services.named
        if share is None or card is None or named is None:
            return claim._replace(why=NO_DIRECTORY)
        card, why = await named.admit(share, card, self.route)
        if why == SILENT:
            raise Refused(503, why, {"Retry-After": "5"})
        return claim._replace(card=card, why=why)

    def guest_page(self) -> GuestPage | None:
        """Return the guest's page that asks: one in a sandbox, which has a ticket for its socket.

        Such a page has the Origin ``null``, as many others have, and no cookie.
        """
        if not self.upgrading or self.request.headers.get_list("Origin") != ["null"]:
            return None
        text = self.get_query_argument(TICKET, "")
        return self.services.guest_pages.take_socket(text) if text else None

    def become(self, claim: Claim) -> None:
        """Go on as the guest of a claim.

        Args:
            claim: What the request shows.

        Raises:
            Refused: The share lets nobody in any more.
        """
        guest: Any = claim.guest
        CallContext.set(CallContext.JUPYTER_HANDLER, self)
        self.current_user = self._jupyter_current_user = guest
        if claim.why or guest is None:
            self.services.guests.refused(self.route, claim)
            raise GuestRefused(claim.why)
        self.claim = claim

    async def _has_better_login(self) -> bool:
        """Return whether who asks has a login that may use the route."""
        self.silent = True  # that there is none, is no news of a guest
        try:
            await self.identify(False)
            user = self.current_user
            if user is None:
                return not self.route.config.auth.required
            allowed = await self.may(resource_of(self.route))
            return allowed and is_allowed(user, self.route.config.auth)
        except HTTPError as error:
            if error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return False
        finally:
            self.silent = False

    async def identify(self, redirect: bool) -> None:
        """Let Jupyter find out who asks; a subclass says how.

        Args:
            redirect: Whether somebody who is not logged in is sent to the login.
        """
        raise NotImplementedError

    def exchange(self, claim: Claim) -> None:
        """Answer a link that a browser has opened: a guest cookie, and the address without token.

        Nobody counts by that: chats, scanners of mail and browsers look at links by themselves,
        before a person opens them. Who opens a socket then, counts.

        Args:
            claim: What the request shows.
        """
        share, card = claim.share, claim.card
        assert share is not None
        assert card is not None
        if self.request.method == "GET":
            if not claim.is_known:
                card = msgspec.structs.replace(card, pending=True)
            self.services.guests.give_cookie(self, share, card, self.own_path)
        self._leave_token()

    def _leave_token(self) -> None:
        """Lead a browser to the same address without a token: pages tell others where they are."""
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")
        self.redirect(clean_location(as_escaped(self.request.path), self.request.query))

    async def count_guest(self) -> None:
        """Count the guest, where they do not count yet.

        Raises:
            Refused: The share lets nobody in any more.
        """
        claim = self.claim
        if claim is None:
            return
        try:
            self.claim = await self.services.guests.use(claim)
        except ShareEnded as ended:
            self.refuse_guest(ended.words)
        except StoreFailed as error:
            raise Refused(503, str(error), {"Retry-After": "5"}) from None

    def give_use_back(self) -> None:
        """Take the count of a guest back, who did not come in after all."""
        if self.claim is not None:
            self.services.guests.unuse(self.claim)

    def refuse_if_share_ended(self) -> None:
        """Refuse a guest whose share has ended during the handshake."""
        if self.claim is not None:
            why = self.services.guests.why_gone(self.claim, self.route)
            if why:
                self.refuse_guest(why)

    def refuse_guest(self, words: str) -> None:
        """Refuse a guest who was let in a moment ago.

        Args:
            words: Why.
        """
        assert self.claim is not None
        self.services.guests.refused(self.route, self.claim._replace(why=words))
        raise GuestRefused(words)

    @property
    def guest(self) -> Guest | None:
        """Who asks, where it is a guest."""
        return None if self.claim is None else self.claim.guest


def clean_location(path: str, query: str) -> str:
    """Return where a link leads to, relative to it, without its token.

    Args:
        path: The link's path, escaped.
        query: What follows the question mark.
    """
    kept = [p for p in query.split("&") if p and unquote_plus(p.partition("=")[0]) != ARGUMENT]
    # Relative: a proxy may serve all this below a prefix that nobody here knows.
    return f"./{path.rpartition('/')[2]}" + (f"?{'&'.join(kept)}" if kept else "")
