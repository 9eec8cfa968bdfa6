"""What a cluster says of itself: which server is the primary of which slots.

A cluster shares 16384 slots out among its primaries, and the hash tag of a key says in which slot
it is (Redis Cluster specification, "Key distribution model"). All keys of a room have the same tag.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from ...errors import BackplaneError
from .address import STRANGER, Address, Host, read_several
from .link import reason

__all__ = ["SLOTS", "Cluster", "Shard", "key_slot"]

SLOTS = 16384

PORT = 6379

ASK = 1.0
"""Seconds for a server to say who serves what; then the next one is asked."""

WRONG = (
    "expected redis+cluster://[user:password@]host:port,host:port (rediss+cluster:// for TLS) with "
    "some servers of the cluster, and no number of a database; a special character of the password "
    "is written as %XX"
)


class Shard(NamedTuple):
    """Some slots, and who serves them."""

    id: str
    """That of the primary."""
    primary: Host
    members: frozenset[str]
    """The ids of the primary and its replicas, of which one may be the next primary."""
    slots: tuple[range, ...]


class Cluster:
    """The servers of a cluster, of which any is asked who serves what.

    Args:
        url: redis+cluster:// or rediss+cluster://, with some of them.
        seconds: How long one of them is waited for, before the next one is asked.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """

    def __init__(self, url: str, seconds: float = ASK) -> None:
        self._seconds = seconds
        found = read_several(url, PORT, WRONG)
        if found.path or found.login.database:
            raise ValueError(WRONG)
        self._login = found.login
        self._named = found.hosts
        self._known: tuple[Host, ...] = ()
        self.shown = found.shown
        """The URL without what is secret in it."""

    def __repr__(self) -> str:
        return f"<Cluster {self.shown}>"

    @property
    def database(self) -> int:
        """The number of the database: a cluster has one."""
        return 0

    def at(self, host: Host) -> Address:
        """Return the address of one of its servers."""
        return self._login.at(host, db=None).in_cluster()

    async def shards(self) -> list[Shard]:
        """Return who serves what, all slots taken together.

        Raises:
            BackplaneError: Nobody says; tells what each of them said.
        """
        # By chance, so that nobody holds on to one server that knows less than the others.
        hosts = list({*self._known, *self._named})
        random.shuffle(hosts)
        told = []
        for host in hosts:
            server = self.at(host)
            try:
                (reply,) = await server.ask(("CLUSTER", "SLOTS"), seconds=self._seconds)
                if not isinstance(reply, list):
                    raise BackplaneError(STRANGER)
                found = read_slots(reply, host[0])
                _check_all_served(found)
            except (RedisError, OSError, TimeoutError, BackplaneError) as error:
                told.append(f"{server.shown}: {_why(error)}")
                continue
            self._known = tuple(shard.primary for shard in found)
            return found
        raise BackplaneError(f"no server says who serves what: {'; '.join(told)}")


def read_slots(reply: Iterable[Any], asked: str) -> list[Shard]:
    """Read the answer to CLUSTER SLOTS.

    Args:
        reply: The answer.
        asked: The host that was asked: it names itself so where it does not know its own name.
    """
    primaries: dict[str, Host] = {}
    members: dict[str, set[str]] = {}
    slots: dict[str, list[range]] = {}
    for first, last, primary, *replicas in reply:
        key = primary[2].decode()
        name = asked if primary[0] in (None, b"", b"?") else primary[0].decode()
        primaries[key] = (name, int(primary[1]))
        members.setdefault(key, {key}).update(replica[2].decode() for replica in replicas)
        slots.setdefault(key, []).append(range(first, last + 1))
    return [
        Shard(key, place, frozenset(members[key]), tuple(slots[key]))
        for key, place in primaries.items()
    ]


def _check_all_served(shards: list[Shard]) -> None:
    served = sum(len(slots) for shard in shards for slots in shard.slots)
    if served < SLOTS:
        raise BackplaneError(
            f"the cluster is not whole: {served} of {SLOTS} slots are served; look at "
            "`redis-cli --cluster check`"
        )


def _why(error: BaseException) -> str:
    if isinstance(error, ResponseError) and "cluster support disabled" in str(error):
        return "it is a server alone, and no cluster; write redis:// in place of redis+cluster://"
    return reason(error)
