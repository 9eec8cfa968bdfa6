"""Books of shares without a server: what tests of them have in common."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from jupyter_wshandler.config.model import AuthConfig, Place, RouteConfig
from jupyter_wshandler.routes import Route
from jupyter_wshandler.shares.book import ShareBook
from jupyter_wshandler.shares.share import GuestCard, Share
from jupyter_wshandler.shares.stores import Kept, MemoryShares, ShareStore

LOG = logging.getLogger("tests.shares")


def route(name: str = "bot", pattern: str = "/bot", line: int = 1, **auth: Any) -> Route:
    place = Place("wshandler.yaml", line, 1)
    return Route(RouteConfig(name=name, pattern=pattern, place=place, auth=AuthConfig(**auth)))


def card(guest: str, *, pending: bool = False, share: str = "s") -> GuestCard:
    return GuestCard(share=share, guest=guest, session="i", pending=pending)


async def opened(store: ShareStore | None = None) -> ShareBook:
    book = ShareBook(store or MemoryShares(), LOG)
    await book.start()
    return book


def kept_of(**fields: Any) -> Kept:
    told = {"id": "s", "route": "bot", "path": "/bot", "created": 0.0, "terms": "", **fields}
    return Kept(msgspec.convert(told, type=Share), "a hash")
