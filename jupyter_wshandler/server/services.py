"""What the handlers of one server share: one object, made at its start and handed to each."""

from __future__ import annotations

from dataclasses import dataclass

from ..manager.manager import WebSocketManager
from ..shares.book import ShareBook
from .access.guests import Guests
from .access.pagetickets import PageTickets
from .access.publishing import Publishers
from .access.recheck import Recheck
from .access.refusals import Refusals
from .access.tickets import Tickets
from .bodies import Leftovers
from .directory.named import NamedGuests
from .records import Records


@dataclass(frozen=True, slots=True)
class Services:
    """All that a handler needs to answer, but for what its own request says.

    Attributes:
        manager: Owns the connections and the routes.
        recheck: Knows whose login has ended, and asks who that is.
        tickets: Those that are good now.
        refusals: Takes note of who is refused.
        shares: What routes' owners have given away.
        guests: Who has come by it.
        guest_pages: The sandboxed pages that they have.
        leftovers: Skips the bodies that are not read.
        secure_cookie: The administrator's word about the session cookie's Secure attribute; None
            where the browser's connection decides.
        transport: How bytes travel after the handshake: see `take_over`.
        publishers: Who may send to clients from outside.
        static_url: The URL of the extension's files for browsers.
        records: What is kept for those who look at the server.
        named: Knows who may come by name; None where no directory says it.
    """

    manager: WebSocketManager
    recheck: Recheck
    tickets: Tickets
    refusals: Refusals
    shares: ShareBook
    guests: Guests
    guest_pages: PageTickets
    leftovers: Leftovers
    secure_cookie: bool | None
    transport: str
    publishers: Publishers
    static_url: str
    records: Records
    named: NamedGuests | None = None
