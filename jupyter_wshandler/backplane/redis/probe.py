"""Tries a store out: whether it can be reached, will do, and lets this user do all of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from redis.exceptions import RedisError

from ...errors import BackplaneDown, BackplaneError
from ..base import Entry, Publication
from . import keys as forms
from .address import Address
from .cluster import Cluster, key_slot
from .keys import Keys
from .link import PATIENCE, Finder, Link, reason
from .places import place_of
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
    place = place_of(url)
    keys = Keys(prefix, place.database)
    found = Found(place.shown)
    try:
        if isinstance(place, Cluster):
            await _probe_cluster(place, keys, found)
        else:
            await _probe_server(place, keys, found, lambda _: True)
    except BackplaneError as error:
        found.problem = str(error)
    return found


async def _probe_cluster(cluster: Cluster, keys: Keys, found: Found) -> None:
    shards = await cluster.shards()
    for shard in shards:
        server = cluster.at(shard.primary)
        slots = {slot for some in shard.slots for slot in some}
        try:
            await _probe_server(server, keys, found, partial(_is_in, slots))
        except BackplaneError as error:
            raise BackplaneError(f"{server.shown}: {error}") from None
    found.name = f"{found.name}, {len(shards)} {'primary' if len(shards) == 1 else 'primaries'}"


def _is_in(slots: set[int], name: bytes) -> bool:
    return key_slot(name) in slots


async def _probe_server(
    place: Finder, keys: Keys, found: Found, is_here: Callable[[bytes], bool]
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    link = await _tell(
        Link.open(place, lambda _, data: heard.put_nowait(data)),
        "connect, log in, INFO and SCRIPT LOAD",
    )
    found.name = link.facts.name
    found.advice = tuple(dict.fromkeys([*found.advice, *link.facts.advice()]))
    try:
        is_sharded = isinstance(place, Address) and place.is_sharded
        channel = f"check-{secrets.token_hex(4)}"
        while not is_here(keys.heard(channel)):
            channel = f"check-{secrets.token_hex(4)}"
        try:
            seconds = await _try(link, keys, channel, heard, is_here, "S" if is_sharded else "")
        finally:
            await _erase(link, keys, channel)
        found.seconds = max(found.seconds, seconds)
    finally:
        await link.close(is_last=True)


async def _try(
    link: Link,
    keys: Keys,
    channel: str,
    heard: asyncio.Queue[bytes],
    is_here: Callable[[bytes], bool],
    sharded: str,
) -> float:
    name = keys.heard(channel)
    names = [one for one in (name, keys.users) if is_here(one)]
    await _tell(link.subscribe(names), f"{sharded}SUBSCRIBE to {keys.prefix}:*")
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
    for one in names[1:]:
        await _ask(link, Request([f"{sharded}PUBLISH", one, b"check"]), "send to a user")
    await _tell(link.subscribe([keys.beat("check")], is_own=True), "SUBSCRIBE")
    await _ask(link, Request(["PUBLISH", keys.beat("check"), b""]), "PUBLISH")
    return seconds


async def _erase(link: Link, keys: Keys, channel: str) -> None:
    """Leave nothing behind, also where something was refused in the middle."""
    erasing = Request(["DEL", *keys.log(channel), *keys.people(channel)])
    with contextlib.suppress(BackplaneDown, RedisError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await link.ask(erasing)


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
