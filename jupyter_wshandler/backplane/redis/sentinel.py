"""Where the primary of a service is, as its Sentinels say.

A node does what Redis's guidelines for clients of Sentinel say: it asks one Sentinel after another,
connects to what the first one names, and looks whether that is a primary (`Facts.check`). It asks
again for each new link, and every few seconds for one that lives, as a primary that only the
Sentinels have lost goes on to take what will be lost.
"""

from __future__ import annotations

import re
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ...errors import BackplaneError
from .address import STRANGER, Address, Host, read_several, shown_host
from .link import reason

PORT = 26379

ASK = 1.0
"""Seconds for a Sentinel to answer; then the next one is asked."""

OWN = frozenset({"sentinel_username", "sentinel_password"})
"""Options of a URL: the login of the Sentinels themselves, where they ask for one."""

WRONG = (
    "expected redis+sentinel://[user:password@]host:port,host:port/service?db=0 (for TLS "
    "rediss+sentinel://) with the name of the service as the Sentinels know it; a special "
    "character of the password is written as %XX"
)


class Sentinels:
    """The Sentinels that watch over a service.

    Args:
        url: redis+sentinel:// or rediss+sentinel://. User and password are those of the service's
            servers; the Sentinels' own are the options `sentinel_username`, `sentinel_password`.
        seconds: How long one of them is waited for, before the next one is asked.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """

    def __init__(self, url: str, seconds: float = ASK) -> None:
        self._seconds = seconds
        found = read_several(url, PORT, WRONG, OWN)
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", found.path):
            raise ValueError(WRONG)
        self._service = found.path
        self._login = found.login
        name, word = (found.options.get(f"sentinel_{key}") for key in ("username", "password"))
        self._sentinels = [
            found.login.at(host, username=name, password=word, db=None) for host in found.hosts
        ]
        self._found: Host | None = None
        self.shown = found.shown
        """The URL without what is secret in it."""

    def __repr__(self) -> str:
        return f"<Sentinels {self.shown}>"

    @property
    def database(self) -> int:
        """The number of the database."""
        return self._login.database

    async def find(self) -> Address:
        """Return the address of the primary.

        Raises:
            BackplaneError: No Sentinel names one; says what each of them said.
        """
        self._found = await self._ask()
        return self._login.at(self._found).as_found()

    async def moved(self) -> str:
        """Say which is the primary now, where it is not the one that was found last."""
        try:
            place = await self._ask()
        except BackplaneError:
            return ""  # nobody knows better
        if place == self._found:
            return ""
        return f"the primary of {self._service} is {shown_host(place)} now"

    async def _ask(self) -> Host:
        told = []
        for sentinel in tuple(self._sentinels):
            # Who does not answer is asked last the next time, also where nobody waits any longer.
            self._sentinels.remove(sentinel)
            self._sentinels.append(sentinel)
            try:
                place = await self._ask_one(sentinel)
            except (RedisError, OSError, TimeoutError, BackplaneError) as error:
                told.append(f"{sentinel.shown}: {_why(error)}")
                continue
            # Who has answered is asked first.
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            return place
        raise BackplaneError(
            f"no Sentinel names the primary of {self._service!r}: {'; '.join(told)}"
        )

    async def _ask_one(self, sentinel: Address) -> Host:
        asked = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
        (answer,) = await sentinel.ask(asked, seconds=self._seconds)
        if answer is None:
            (services,) = await sentinel.ask(("SENTINEL", "MASTERS"), seconds=self._seconds)
            names = ", ".join(sorted(map(_name, services))) or "none"
            raise BackplaneError(f"it knows no service of this name; it knows {names}")
        if not isinstance(answer, list):
            raise BackplaneError(STRANGER)
        host, port = answer
        return host.decode(), int(port)


def _name(service: list[Any]) -> str:
    """Return the name in a Sentinel's description of a service, a flat list."""
    return str(dict(zip(service[::2], service[1::2], strict=True))[b"name"].decode())


def _why(error: BaseException) -> str:
    if isinstance(error, ResponseError) and "unknown command" in str(error).lower():
        return "it is no Sentinel; name the Sentinels, or write redis:// for a server alone"
    return reason(error)
