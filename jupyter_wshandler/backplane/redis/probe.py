"""Tries a store out: whether it can be reached, will do, and lets this user do all of it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.exceptions import RedisError

from ...errors import BackplaneDown, BackplaneError
from ..base import Entry, Publication
from . import keys as forms
from .address import Address
from .keys import Keys
from .link import PATIENCE, Link, reason
from .request import Request

T = TypeVar("T")


@dataclass
class Found:
    """What a store is, and what is wrong with it."""

    shown: str
    """Its URL without what is secret in it."""
    name: str = ""
    """Its kind and version, where it could be reached."""
    seconds: float = 0.0
    """From a message to hearing it."""
    advice: tuple[str, ...] = ()
    problem: str = ""
    """What is wrong, and what to do; empty where nothing is."""


async def probe(url: str, prefix: str) -> Found:
    """Do with a store, once, all that rooms do with it.

    Args:
        url: Where it is.
        prefix: What the names of the keys begin with.

    Raises:
        ValueError: The URL or the prefix can be none.
    """
    address, keys = Address(url), Keys(prefix)
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    found = Found(address.shown)
    try:
        link = await _tell(
            Link.open(address, lambda _, data: heard.put_nowait(data)),
            "connect, log in, INFO and SCRIPT LOAD",
        )
    except BackplaneError as error:
        found.problem = str(error)
        return found
    found.name, found.advice = link.facts.name, tuple(link.facts.advice())
    try:
        found.seconds = await _try(link, keys, heard)
    except BackplaneError as error:
        found.problem = str(error)
    finally:
        await link.close()
    return found


async def _try(link: Link, keys: Keys, heard: asyncio.Queue[bytes]) -> float:
    channel = f"check-{secrets.token_hex(4)}"
    name = keys.heard(channel)
    await _tell(link.subscribe([name, keys.users]), f"SUBSCRIBE to {keys.prefix}:*")
    publication = forms.pack(Publication("check"))
    words: list[Any] = [*keys.log(channel), name, forms.new_epoch(), b"check", publication]
    words += [1, 1000, 1000, 1000, b"0"]
    began = time.perf_counter()
    await _ask(link, Request(words, script="publish", keys=2), "publish to a room")
    await _hear(heard, "a message to a room")
    seconds = time.perf_counter() - began
    words = [*keys.log(channel), forms.new_epoch(), 0, "", 10, 0]
    await _ask(link, Request(words, script="history", keys=2), "read a room's history")
    await _ask(link, Request([*keys.log(channel)], script="clear", keys=2), "clear a history")
    entry = forms.pack(Entry("check"))
    for script, rest in (("add", [b"k", entry]), ("renew", [b"k"]), ("remove", [b"k"])):
        words = [*keys.people(channel), name, forms.new_epoch(), 1000, *rest]
        await _ask(link, Request(words, script=script, keys=3), "keep who is in a room")
    await _ask(link, Request(["PUBLISH", keys.users, b"check"]), "send to a user")
    return seconds


async def _ask(link: Link, request: Request, what: str) -> None:
    await _tell(link.ask(request), what)


async def _hear(heard: asyncio.Queue[bytes], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await heard.get()
    except TimeoutError:
        raise BackplaneError(
            f"{what} was published, and did not come back within {PATIENCE:g} s: is it a replica, "
            "or a proxy without pub/sub?"
        ) from None


async def _tell(work: Awaitable[T], what: str) -> T:
    """Return what some work comes to; say what it was where it fails."""
    try:
        return await work
    except BackplaneDown as error:
        raise BackplaneError(f"cannot {what}: {error}") from None
    except (RedisError, OSError, TimeoutError) as error:
        raise BackplaneError(f"cannot {what}: {reason(error)}") from None
