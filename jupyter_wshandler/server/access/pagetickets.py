"""What the pages of guests have in place of cookies: tickets, in the page and in its addresses.

A guest's page is sandboxed: its Origin is ``null``, and the browser sends no cookie along with what
it asks for. So each page is given two secrets. Its *ticket* stands in the page, and fetches tickets
for sockets, which open one each. Its *key* stands in the addresses of the page's files, and is good
for nothing else: addresses get about.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ...connection.observer import Observer, Observers
from ...shares.share import Guest, GuestCard

PAGE_SECONDS = 3600.0
"""How long a page's secrets are good after its guest has used one of them, or had a socket."""

SOCKET_SECONDS = 30.0
"""How long a ticket for a socket is good."""

FOR_EACH_GUEST = 20
"""Pages of one guest that are known at the same time; the oldest are forgotten first."""

FOR_EACH_SHARE = 1000
"""Guests of one share whose pages are known. Those go first who have only looked at a page so far,
and among them, or where there are none, those who came last before all others."""

FOR_EACH_PAGE = 20
"""Tickets for sockets of one page that are good at the same time."""

LENGTH = len(secrets.token_urlsafe(24))
"""Characters of each secret."""


@dataclass(slots=True, eq=False)
class GuestPage:
    """A page that a guest was given.

    Attributes:
        card: What the guest's cookie holds, a `shares.share.GuestCard`.
        guest: The guest, as callbacks get it.
        route: The name of the page's route.
        path: Where the page is below base_url, as RFC 3986 normalises it, without a final slash.
        ticket: Stands in the page.
        key: Stands in the addresses of its files.
    """

    card: GuestCard
    guest: Guest
    route: str
    path: str
    ticket: str = field(repr=False)
    key: str = field(repr=False)
    sockets: OrderedDict[str, float] = field(default_factory=OrderedDict, repr=False)


@dataclass(slots=True, eq=False)
class _Visitor:
    """A guest: the pages that are theirs, oldest first, and how many sockets they have open."""

    pages: list[GuestPage] = field(default_factory=list)
    used: float = 0.0
    sockets: int = 0
    came: bool = False

    def is_over(self, now: float) -> bool:
        return not self.sockets and now - self.used > PAGE_SECONDS


class PageTickets(Observer):
    """The pages of guests that are known now, by their secrets.

    All of it is in memory: a page of before a restart has to be loaded again, as its guest's cookie
    outlives both. Whether the share is still good is not known here, and has to be asked.

    Args:
        observers: Tell of connections.
    """

    def __init__(self, observers: Observers) -> None:
        self._shares: dict[str, OrderedDict[str, _Visitor]] = {}
        self._by_ticket: dict[str, GuestPage] = {}
        self._by_key: dict[str, GuestPage] = {}
        self._by_socket: dict[str, GuestPage] = {}
        self._sockets: dict[str, _Visitor] = {}
        self._swept = monotonic()
        observers.add(self)

    def __len__(self) -> int:
        """Return how many pages are known."""
        return len(self._by_ticket)

    def issue(self, card: GuestCard, guest: Guest, route: str, path: str) -> GuestPage:
        """Take note of a page that a guest is given, and return it with its secrets.

        Args:
            card: What the guest's cookie holds.
            guest: The guest.
            route: The name of the page's route.
            path: Where the page is below base_url, in its normal spelling.
        """
        now = monotonic()
        self._sweep(now)
        page = GuestPage(
            card,
            guest,
            route,
            path.rstrip("/"),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
        )
        visitors = self._shares.setdefault(guest.share, OrderedDict())
        visitor = visitors.setdefault(guest.username, _Visitor())
        self._use(page, now)
        visitor.pages.append(page)
        self._by_ticket[page.ticket] = self._by_key[page.key] = page
        while len(visitor.pages) > FOR_EACH_GUEST:
            self._forget(visitor.pages.pop(0))
        while len(visitors) > FOR_EACH_SHARE:
            others = (name for name in visitors if name != guest.username)
            looking = (name for name in others if not visitors[name].came)
            # Whoever has the link can look at as many pages as they like.
            self._forget_all(visitors.pop(next(looking, next(iter(visitors)))))
        return page

    def of_ticket(self, text: str) -> GuestPage | None:
        """Return the page that has a ticket, which is used so; None where no page has it.

        Args:
            text: What the client sent.
        """
        return self._used(self._by_ticket.get(text))

    def of_key(self, text: str) -> GuestPage | None:
        """Return the page that has a key in its addresses, which is used so, or None.

        Args:
            text: What the client sent.
        """
        return self._used(self._by_key.get(text))

    def issue_socket(self, page: GuestPage) -> str:
        """Return a new ticket for one socket of a page.

        Args:
            page: One that is known.
        """
        while len(page.sockets) >= FOR_EACH_PAGE:
            self._by_socket.pop(page.sockets.popitem(last=False)[0], None)
        text = secrets.token_urlsafe(24)
        page.sockets[text] = monotonic() + SOCKET_SECONDS
        self._by_socket[text] = page
        return text

    def take_socket(self, text: str) -> GuestPage | None:
        """Take a socket's ticket out of circulation; return whose it was, None if not good.

        Args:
            text: What the client sent.
        """
        page = self._by_socket.pop(text, None)
        if page is None or monotonic() >= page.sockets.pop(text):
            return None
        return self._used(page)

    # ---- what keeps a page known --------------------------------------------------------------

    def take(self, connection: Any, guest: Guest) -> None:
        """Count a socket of a guest's, until it is lost.

        Who it is, is said by who has let it in: a bot may write into its connection.

        Args:
            connection: One that has just opened.
            guest: Whose it is.
        """
        if connection.closed:
            return  # in the same turn: nobody would hear that it is lost
        visitors = self._shares.get(guest.share)
        visitor = None if visitors is None else visitors.get(guest.username)
        if visitor is not None:
            visitor.sockets += 1
            visitor.came = True
            self._sockets[connection.id] = visitor

    def lost(self, connection: Any) -> None:
        """Count it no more: the page is as good as new for as long as after any use."""
        visitor = self._sockets.pop(connection.id, None)
        if visitor is not None:
            visitor.sockets -= 1
            visitor.used = monotonic()

    def _used(self, page: GuestPage | None) -> GuestPage | None:
        if page is None:
            return None
        now = monotonic()
        if self._shares[page.guest.share][page.guest.username].is_over(now):
            self._sweep(now, at_once=True)
            return None
        self._use(page, now)
        return page

    def _use(self, page: GuestPage, now: float) -> None:
        visitors = self._shares[page.guest.share]
        visitors[page.guest.username].used = now
        visitors.move_to_end(page.guest.username)

    def _sweep(self, now: float, at_once: bool = False) -> None:
        if now - self._swept < SOCKET_SECONDS and not at_once:
            return
        self._swept = now
        for share, visitors in list(self._shares.items()):
            for name in [name for name, visitor in visitors.items() if visitor.is_over(now)]:
                self._forget_all(visitors.pop(name))
            if not visitors:
                del self._shares[share]

    def _forget_all(self, visitor: _Visitor) -> None:
        while visitor.pages:
            self._forget(visitor.pages.pop())

    def _forget(self, page: GuestPage) -> None:
        self._by_ticket.pop(page.ticket, None)
        self._by_key.pop(page.key, None)
        for text in page.sockets:
            self._by_socket.pop(text, None)
        page.sockets.clear()
