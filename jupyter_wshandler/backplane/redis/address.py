"""The URL of a store: what it may be, how it is shown, and the connections that it makes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis.asyncio import Connection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

CONNECT = 5.0
"""Seconds for a connection, its TLS and its login."""

OPTIONS = frozenset(
    {"db", "username", "password", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password"}
    | {"ssl_cert_reqs", "ssl_check_hostname", "ssl_ca_data", "client_name"}
)
"""What may stand behind the question mark. The rest is decided here: which protocol is spoken, how
long is waited, that nothing is sent twice."""

WRONG = (
    "expected redis://[user:password@]host[:port][/db], rediss:// (TLS) or unix:///path/to/socket; "
    "a special character of the password is written as %XX"
)


class Address:
    """Where a store is, with all that it takes to log in to it.

    Args:
        url: redis://, rediss:// or unix://, as redis-py takes it.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """

    def __init__(self, url: str) -> None:
        self._kwargs = _options(url)
        self._class: type[AbstractConnection] = self._kwargs.pop("connection_class", Connection)
        self.shown = shown(url)
        """The URL without what is secret in it."""

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"

    async def connect(self) -> AbstractConnection:
        """Return a connection that is open and logged in, and that repeats nothing by itself.

        Raises:
            Exception: There is none; of redis-py's kinds, or `TimeoutError`.
        """
        connection = self._class(
            **self._kwargs,
            protocol=2,  # what replies look like depends on it
            decode_responses=False,
            # A reader waits for as long as nothing comes; who has waited too long ends the link.
            socket_timeout=None,
            socket_connect_timeout=CONNECT,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            async with asyncio.timeout(CONNECT):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


def _options(url: str) -> dict[str, Any]:
    """Return what redis-py reads in a URL; say what is wrong with one without repeating it."""
    try:
        found: dict[str, Any] = dict(parse_url(url))
    except ValueError:
        # redis-py's own text may hold a part of the URL, and so of the password.
        raise ValueError(WRONG) from None
    unknown = sorted(found.keys() - OPTIONS - {"host", "port", "path", "connection_class"})
    if unknown:
        raise ValueError(
            f"unknown option {unknown[0]!r:.60} behind the question mark; there are: "
            f"{', '.join(sorted(OPTIONS))}"
        )
    parts = urlsplit(url)
    if parts.scheme == "unix" and not found.get("path"):
        raise ValueError("expected unix:///path/to/socket, found no path")
    # A password with a bare / ? # or @ shifts the parts, and what is shown would be some of it.
    is_odd = parts.scheme != "unix" and not re.fullmatch(r"(/\d*)?", parts.path)
    if is_odd or "@" in parts.query or parts.fragment or url.count("@") > 1:
        raise ValueError(WRONG)
    return found


def shown(url: str) -> str:
    """Return a URL without user, password and options: for logs, errors and pages."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if ":" in host:
            host = f"[{host}]"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{host}{port}{parts.path}"
