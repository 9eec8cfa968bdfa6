"""Guests: who has come to a route by a share, by what their request shows.

Nobody else is asked about a guest: not Jupyter's identity provider, which would be told a token
that is none of its own, and not the Authorizer. The owner of the route has let them in.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from jupyter_server.base.handlers import JupyterHandler

from ...callbacks.errorlog import username
from ...connection.connection import Connection
from ...connection.observer import Observer
from ...manager.manager import WebSocketManager
from ...routes import Route
from ...shares.book import ShareBook
from ...shares.share import (
    ARGUMENT,
    CHANGED,
    EXPIRED,
    REVOKED,
    UNSHARED,
    USED_UP,
    Guest,
    GuestCard,
    Share,
    ShareEnded,
    guest_of,
    new_card,
    read,
    written,
)
from ...types import CloseCode
from .guestcookie import COOKIE_DAYS, cookie_name, cookie_path
from .identity import is_secure
from .pagetickets import GuestPage
from .refusals import SHARE, Refusals

SWITCHED_OFF = "this server lets no guests in"
NO_GUESTS = "this bot takes no guests"
ELSEWHERE = "this link is for another address"
UNKNOWN = "this link is not known here; it may have been revoked, ask for a new one"
NAMED = "this bot is shared with people by their names; open it from the page that lists it"

REASONS = {
    EXPIRED: "expired",
    REVOKED: "revoked",
    UNSHARED: "revoked",
    USED_UP: "used_up",
    CHANGED: "changed",
    SWITCHED_OFF: "off",
    NO_GUESTS: "no_guests",
    ELSEWHERE: "elsewhere",
    UNKNOWN: "unknown",
    NAMED: "named",
}
"""What is said to who is refused, and its word in metrics and events."""

_BEARER = re.compile(r"(?:bearer|token)\s+([A-Za-z0-9_-]{22})\s*", re.IGNORECASE)


class Claim(NamedTuple):
    """What a request shows of a share.

    Attributes:
        share: The share; None where there is none of that token.
        why: Why it lets the request in no more, in words; empty while it does.
        card: The guest's; a new one where the request has none.
        is_known: Whether the guest has come before, with a cookie.
        is_counted: Whether the guest is among those whom the share has let in.
        is_explicit: Whether a token was sent, and not the cookie that a browser sends by itself.
        in_query: Whether the token stands in the address.
        lets_null: Whether a page without an origin may open the socket.
    """

    share: Share | None
    why: str
    card: GuestCard | None = None
    is_known: bool = False
    is_counted: bool = False
    is_explicit: bool = False
    in_query: bool = False
    lets_null: bool = False

    @property
    def guest(self) -> Guest | None:
        """Who that is."""
        if self.share is None or self.card is None:
            return None
        return guest_of(self.share, self.card)


class Guests(Observer):
    """Who has come by which share; closes their sockets when it ends.

    Args:
        manager: Owns the connections.
        book: Has the shares.
        refusals: Takes note of who is refused and put out.
        policy: "links"; "people", for guests that the directory knows alone; or "off": no
            guests at all.
        why_off: Who can switch guests on and how, where they are off.
        secure_cookie: The administrator's word about the Secure attribute of cookies.
        origin: Returns the origin that people reach this server at, such as
            ``https://example.org``; gets the one that a request tells, or "".
    """

    def __init__(
        self,
        manager: WebSocketManager,
        book: ShareBook,
        refusals: Refusals,
        *,
        policy: str,
        why_off: str,
        secure_cookie: bool | None,
        origin: Callable[[str], str],
    ) -> None:
        self.policy = policy
        self.why_off = why_off
        self.origin = origin
        self.book = book
        self._manager = manager
        self._refusals = refusals
        self._secure = secure_cookie
        self._open: dict[str, dict[str, tuple[Connection, Guest]]] = {}
        self._share_of: dict[str, str] = {}
        book.watch(self._ended)
        manager.observers.add(self)
        manager.served.watch(lambda: book.judge(manager.table))

    # ---- who a request is from ---------------------------------------------------------------

    def shows(self, handler: JupyterHandler, path: str) -> bool:
        """Return whether a request may be a guest's: then `claim` says more.

        Args:
            handler: The request's handler.
            path: The route's address in it, below base_url.
        """
        if handler.request.method not in ("GET", "HEAD"):
            return False
        cookies = handler.request.cookies
        named = bool(cookies) and cookie_name(handler, path) in cookies
        return named or self.shows_token(handler)

    def shows_token(self, handler: JupyterHandler) -> bool:
        """Return whether a request has what may be a share's token, beside or without a cookie.

        Args:
            handler: The request's handler.
        """
        # However it is written: programs on the way to a reader escape what they like.
        return ARGUMENT in handler.request.query_arguments or _bearer(handler) is not None

    def shown(self, handler: JupyterHandler, path: str) -> tuple[str | None, GuestCard | None]:
        """Return the token and the guest's card that a request shows; None for what it does not.

        Args:
            handler: The request's handler.
            path: The route's address in it, below base_url, in its normal spelling.
        """
        token = handler.get_query_argument(ARGUMENT, "") or _bearer(handler)
        text = handler.get_signed_cookie(cookie_name(handler, path), max_age_days=COOKIE_DAYS)
        return token, read(text)

    def claim(self, handler: JupyterHandler, route: Route, path: str) -> Claim | None:
        """Return what a request shows of a share, or None where it shows nothing.

        Args:
            handler: The request's handler.
            route: The route that it is for.
            path: The route's address in it, below base_url, in its normal spelling.
        """
        _, card = self.shown(handler, path)
        token = handler.get_query_argument(ARGUMENT, "")
        if token:
            claim = self._by_token(token, route, path, card)
            return claim._replace(in_query=True)
        bearer = _bearer(handler)
        if bearer is not None and self.book.find(bearer) is not None:
            return self._by_token(bearer, route, path, None)
        # Jupyter's own token may look like one of ours, and is asked of Jupyter.
        if card is None:
            return None
        share = self.book.get(card.share)
        if share is None:
            return Claim(None, UNKNOWN)
        return self._by_card(share, route, path, card)

    def claim_of_page(self, page: GuestPage, route: Route, path: str) -> Claim:
        """Return what a guest's page shows of a share, which has a ticket in place of a cookie.

        Args:
            page: The page.
            route: The route that it asks for.
            path: The route's address in the request, below base_url, in its normal spelling.
        """
        share = self.book.get(page.card.share)
        if share is None:
            return Claim(None, UNKNOWN)
        return self._by_card(share, route, path, page.card, is_explicit=True, lets_null=True)

    def _by_card(
        self, share: Share, route: Route, path: str, card: GuestCard, **shown: bool
    ) -> Claim:
        is_counted = self.book.has_counted(share, card)
        why = self.why_not(share, route, path)
        if not why and not is_counted and share.uses_left == 0:
            why = USED_UP
        return Claim(share, why, card, is_known=True, is_counted=is_counted, **shown)

    def _by_token(self, token: str, route: Route, path: str, card: GuestCard | None) -> Claim:
        share = self.book.find(token)
        if share is None:
            return Claim(None, UNKNOWN, is_explicit=True)
        why = self.why_not(share, route, path)
        if not why and share.people is not None:
            why = NAMED
        elif card is not None and card.share == share.id:
            return self._by_card(share, route, path, card, is_explicit=True)
        elif not why and share.uses_left == 0:
            why = USED_UP
        return Claim(share, why, new_card(share), is_explicit=True)

    def why_not(self, share: Share, route: Route, path: str) -> str:
        """Return why a share opens no route at a path, in words for a guest; empty if it does.

        Args:
            share: The share.
            route: The route that is asked for.
            path: Its address in the request, below base_url.
        """
        if self.policy == "off" or (self.policy == "people" and share.people is None):
            return SWITCHED_OFF
        if share.path != path:
            return ELSEWHERE
        if share.route == route.name and not route.config.auth.guests:
            return NO_GUESTS
        return self.book.why_ended(share, route) or ""

    # ---- a guest comes in --------------------------------------------------------------------

    async def use(self, claim: Claim) -> Claim:
        """Count a guest who is not counted yet.

        Args:
            claim: What the request shows.

        Returns:
            What is known of the guest then: one who comes again without a use, is counted for good.

        Raises:
            ShareEnded: The share lets nobody in any more.
            StoreFailed: It cannot be stored.
        """
        share, card = claim.share, claim.card
        if share is None or card is None:
            raise ShareEnded(UNKNOWN)
        if claim.is_counted:
            return claim
        is_new = await self.book.use(share, card)
        if not claim.is_known:
            return claim  # see `came` and `unuse`
        if is_new:
            self.came(claim)
        return claim._replace(is_counted=True)

    def came(self, claim: Claim) -> None:
        """Take note that a guest has come in.

        Args:
            claim: What the request shows.
        """
        if claim.share is not None and not claim.is_counted:
            self._manager.metrics.share_uses[claim.share.route] += 1
            self.tell("used", claim.share, claim.guest)

    def unuse(self, claim: Claim) -> None:
        """Take back what `use` has counted.

        Args:
            claim: What the request shows.
        """
        if claim.share is not None and not claim.is_counted:
            self.book.unuse(claim.share)

    def give_cookie(
        self, handler: JupyterHandler, share: Share, card: GuestCard, path: str
    ) -> None:
        """Set the cookie by which a guest is known from now on, at one address and below it.

        Args:
            handler: Answers the guest.
            share: The share.
            card: The guest's.
            path: The route's address in the request, below base_url.
        """
        days = float(COOKIE_DAYS)
        if share.expires is not None:
            days = min(days, max(0.0, share.expires - time.time()) / 86400)
        options: dict[str, Any] = {
            "path": cookie_path(handler, path),
            "httponly": True,
            "samesite": "Lax",
            "expires_days": days,
        }
        if is_secure(handler, self._secure):
            options["secure"] = True
        handler.set_signed_cookie(cookie_name(handler, path), written(card), **options)

    def why_gone(self, claim: Claim, route: Route) -> str:
        """Return why a guest who was let in a moment ago is not any more; empty if nothing is.

        Args:
            claim: What the request shows.
            route: The route.
        """
        assert claim.share is not None
        return self.why_not(claim.share, route, claim.share.path)

    # ---- observed ------------------------------------------------------------------------------

    def take(self, connection: Connection, guest: Guest) -> None:
        """Remember a guest's connection, to close it when its share ends.

        Who it is, is said by who has let it in: a bot may write into its connection.

        Args:
            connection: One that has just opened.
            guest: Whose it is.
        """
        if connection.id not in self._manager.connections:
            return  # it has ended in the same turn
        self._open.setdefault(guest.share, {})[connection.id] = (connection, guest)
        self._share_of[connection.id] = guest.share
        share = self.book.get(guest.share)
        if share is None or share.ended:
            self.put_out(connection, REVOKED if share is None else share.ended)

    def ended(self, connection: Connection) -> None:
        """Forget a connection."""
        share = self._share_of.pop(connection.id, None)
        if share is None:
            return
        connections = self._open[share]
        del connections[connection.id]
        if not connections:
            del self._open[share]

    def connections(self, share_id: str) -> list[Connection]:
        """Return the open connections of a share's guests.

        Args:
            share_id: The share's id.
        """
        return [connection for connection, _ in self.inside(share_id)]

    def inside(self, share_id: str) -> list[tuple[Connection, Guest]]:
        """Return the open connections of a share's guests, and whose each is.

        Args:
            share_id: The share's id.
        """
        return list(self._open.get(share_id, {}).values())

    def guests(self, share_id: str) -> list[Guest]:
        """Return those of a share's guests who have a connection open, each once.

        Args:
            share_id: The share's id.
        """
        return list({guest.username: guest for _, guest in self.inside(share_id)}.values())

    def count(self) -> Counter[str]:
        """Return how many guests have a connection open, by the name of the route."""
        found = {
            (connection.route, guest.username)
            for connections in self._open.values()
            for connection, guest in connections.values()
        }
        return Counter(route for route, _ in found)

    def refused(self, route: Route, claim: Claim) -> None:
        """Take note that a guest was refused.

        Args:
            route: The route.
            claim: What the request shows.
        """
        reason = REASONS.get(claim.why, "other")
        self._manager.metrics.guests_refused[route.name, reason] += 1
        if claim.share is not None:
            self.tell("refused", claim.share, claim.guest, reason)

    def _ended(self, share: Share, words: str) -> None:
        """Put out whoever has come by a share, as it ends."""
        action = "expired" if words == EXPIRED else "revoked"
        self.tell(action, share, share.ended_by or None, REASONS.get(words, "other"))
        for connection in self.connections(share.id):
            if not connection.closed:
                self.put_out(connection, words)

    def put_out(self, connection: Connection, words: str) -> None:
        """Close a guest's connection with 4403.

        Args:
            connection: The connection.
            words: Why.
        """
        name = connection.id
        _, guest = self._open.get(self._share_of.get(name, ""), {}).get(name, (None, None))
        try:
            self._refusals.closed(connection, CloseCode.FORBIDDEN, words, guest)
            connection.end(CloseCode.FORBIDDEN, words)
        except Exception:
            # Its bot has written into it. It has to end, and the others have to be closed, too.
            self._manager.give_up(name)

    def tell(self, action: str, share: Share, who: Any = None, reason: str | None = None) -> None:
        """Send an event about a share.

        Args:
            action: "shared", "revoked", "expired", "used" or "refused".
            share: The share.
            who: The user or guest who has done it, or the name; None where nobody has.
            reason: A word for why.
        """
        data = {
            "action": action,
            "route": share.route,
            "share": share.id,
            "who": who if who is None or isinstance(who, str) else username(who),
            "reason": reason,
        }
        self._refusals.emit(SHARE, data)


def _bearer(handler: JupyterHandler) -> str | None:
    found = _BEARER.fullmatch(handler.request.headers.get("Authorization", ""))
    return None if found is None else found[1]
