"""The URL of a store: what it may be, how it is shown, and the connections that it makes."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from redis.asyncio import Connection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ...errors import BackplaneError

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

STRANGER = "expected Redis or Valkey, found something else"
"""What is said of a server whose answers are of another protocol."""

HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(?::([0-9]{1,5}))?")

Host = tuple[str, int]
"""Where a server listens: name or IP address, and port."""


class Address:
    """Where one server is, with all that it takes to log in to it.

    Args:
        url: redis://, rediss:// or unix://, as redis-py takes it.
        host: Where it is instead of where the URL says.
        options: What differs from the URL; None leaves an option out.

    Raises:
        ValueError: It is none; the text never holds the URL's user or password.
    """

    is_sharded = False
    """Whether it is one of a cluster."""
    is_found = False
    """Whether Sentinels have named it."""

    def __init__(self, url: str, host: Host | None = None, **options: Any) -> None:
        found = {**_options(url), **options}
        self._url = url
        self.shown = shown(url)
        """The URL without what is secret in it."""
        if host is not None:
            found["host"], found["port"] = host
            self.shown = shown_host(host)
        self._class: type[AbstractConnection] = found.pop("connection_class", Connection)
        self._kwargs = {key: value for key, value in found.items() if value is not None}

    def __repr__(self) -> str:
        return f"<Address {self.shown}>"

    @property
    def database(self) -> int:
        """The number of the database."""
        return int(self._kwargs.get("db") or 0)

    def at(self, host: Host, **options: Any) -> Address:
        """Return the address of another server.

        Args:
            host: Where it is.
            options: What differs from the URL; None leaves an option out.
        """
        return Address(self._url, host, **options)

    def in_cluster(self) -> Address:
        """Return it as that of a server in a cluster."""
        self.is_sharded = True
        return self

    def as_found(self) -> Address:
        """Return it as one that Sentinels have named."""
        self.is_found = True
        return self

    async def find(self) -> Address:
        """Return where to connect to now, which is always here."""
        return self

    async def moved(self) -> str:
        """Say where to connect to instead; empty as it never moves."""
        return ""

    async def connect(self, seconds: float = CONNECT) -> AbstractConnection:
        """Return a connection that is open and logged in, and that repeats nothing by itself.

        Args:
            seconds: How long it may take.

        Raises:
            Exception: There is none; of redis-py's kinds, `TimeoutError`, or `BackplaneError`.
        """
        connection = self._class(
            **self._kwargs,
            protocol=2,  # what replies look like depends on it
            decode_responses=False,
            # A reader waits for as long as nothing comes; who has waited too long ends the link.
            socket_timeout=None,
            socket_connect_timeout=seconds,
            health_check_interval=0,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            async with asyncio.timeout(seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if _is_strange(error):
                raise BackplaneError(STRANGER) from None
            raise
        return connection

    async def ask(self, *commands: tuple[str, ...], seconds: float) -> list[Any]:
        """Connect, ask, and hang up; return the answers.

        Args:
            commands: What is asked.
            seconds: How long all of it may take.

        Raises:
            Exception: It cannot be asked, or refuses; of the same kinds as those of `connect`.
        """
        connection = await self.connect(seconds)
        try:
            async with asyncio.timeout(seconds):
                await connection.send_packed_command(
                    connection.pack_commands(commands), check_health=False
                )
                return [await connection.read_response() for _ in commands]
        except Exception as error:
            if _is_strange(error):
                raise BackplaneError(STRANGER) from None
            raise
        finally:
            await connection.disconnect(nowait=True)


class Several(NamedTuple):
    """A URL that names several servers, taken apart."""

    login: Address
    """The first of them, with the login of all."""
    hosts: tuple[Host, ...]
    path: str
    options: dict[str, str]
    """Those that are no option of a server."""
    shown: str


def read_several(url: str, port: int, wrong: str, more: frozenset[str] = frozenset()) -> Several:
    """Take a URL with several hosts apart.

    Args:
        url: scheme://[user:password@]host[:port],host[:port]/path?options
        port: What is taken where none is named.
        wrong: What is said of one that cannot be.
        more: Names of options that are not those of a server.

    Raises:
        ValueError: It cannot be; the text never holds the URL's user or password.
    """
    scheme, _, rest = url.partition("://")
    head, mark, query = rest.partition("?")
    place, _, path = head.partition("/")
    login, at, names = place.rpartition("@")
    hosts: list[Host] = []
    for name in names.split(","):
        found = HOST.fullmatch(name)
        if found is None or not 0 < int(found[2] or port) < 65536:
            raise ValueError(wrong)
        hosts.append((found[1].strip("[]"), int(found[2] or port)))
    parts, options = [], {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key in more:
            options[key] = unquote(value)
        else:
            parts.append(part)
    kind = "rediss" if scheme.startswith("rediss") else "redis"
    first = f"{kind}://{login}{at}{shown_host(hosts[0])}"
    try:
        address = Address(first + mark + "&".join(parts))
    except ValueError as error:
        raise ValueError(wrong if str(error) == WRONG else str(error)) from None
    told = ",".join(map(shown_host, hosts))
    slash = "/" if path else ""
    return Several(address, tuple(hosts), path, options, f"{scheme}://{told}{slash}{path}")


def _is_strange(error: BaseException) -> bool:
    """Return whether redis-py has stumbled over an answer of another protocol."""
    # A certificate that is not trusted is a ValueError, too.
    return isinstance(error, (ValueError, EOFError)) and not isinstance(error, OSError)


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


def shown_host(host: Host) -> str:
    """Return where a server listens, as it stands in a URL."""
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    return f"{name}:{host[1]}"
