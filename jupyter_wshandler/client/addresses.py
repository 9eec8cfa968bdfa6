"""Where a server is: the URLs under which it goes, and which URLs are its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

SECURE = {"ws": False, "http": False, "wss": True, "https": True}
UNIX = "http+unix"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"", "0.0.0.0", "*"})  # noqa: S104  # nothing is bound to it here

SHARE_TOKEN = "share_token"  # noqa: S105  # the name of a query argument
"""The argument of a link that lets a guest in."""


@dataclass(frozen=True)
class Server:
    """Where a server listens and what it takes for a login.

    Attributes:
        url: Its base URL with a final slash: http, https, or http+unix for a unix socket.
        token: What goes behind "Authorization: token"; empty where there is none.
        source: Where this was found, for error messages.
        alias: Another base URL under which it goes.
        root_dir: The folder that it serves.
        pid: Its process; 0 where that is unknown.
    """

    url: str
    token: str = field(default="", repr=False)
    source: str = "server="
    alias: str = ""
    root_dir: str = ""
    pid: int = 0

    @property
    def socket_path(self) -> str:
        """Path of the unix socket that it listens on; empty where it listens on TCP."""
        parts = urlsplit(self.url)
        return unquote(parts.netloc) if parts.scheme == UNIX else ""

    @property
    def websocket_url(self) -> str:
        """Base URL for sockets, with a final slash; a unix socket goes by the name localhost."""
        parts = urlsplit(self.url)
        if parts.scheme == UNIX:
            return f"ws://localhost{parts.path}"
        return f"{'wss' if SECURE[parts.scheme] else 'ws'}://{parts.netloc}{parts.path}"

    def owns(self, url: str) -> bool:
        """Tell whether a whole URL is this server's: same scheme, host and port, path below."""
        return any(_below(url, base) for base in (self.url, self.alias) if base)


def split_url(url: str) -> SplitResult:
    """Split a whole URL and refuse what a client must not send anywhere.

    Raises:
        ValueError: It has no host, names a user or password, or a port that cannot be.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            "a URL must not hold a user name or password; pass headers={'Authorization': ...}"
        )
    if not parts.netloc or (parts.scheme != UNIX and not parts.hostname):
        shown = url.partition("?")[0]
        raise ValueError(f"expected a URL with a host such as ws://127.0.0.1/, found {shown!r}")
    if parts.scheme != UNIX:
        _ = parts.port  # Raises where it is no port.
    return parts


def take_token(query: str) -> tuple[str, str]:
    """Return a query without its `token`, and that token: one in a URL ends up in logs."""
    rest, token = _take(query, "token")
    return rest, token or ""


def take_share_token(query: str) -> tuple[str, str]:
    """Return a query without its `share_token`, and that token; empty where it is no link.

    Raises:
        ValueError: It is a link that lacks its end.
    """
    rest, token = _take(query, SHARE_TOKEN)
    if token == "":
        raise ValueError(
            f"the link ends at {SHARE_TOKEN}=, where its token should follow: copy all of it"
        )
    return rest, token or ""


def _take(query: str, name: str) -> tuple[str, str | None]:
    """Return a query without an argument, and the last value of that; None where it has none."""
    pairs = parse_qsl(query, keep_blank_values=True)
    values = [value.strip() for given, value in pairs if given == name]
    if not values:
        return query, None
    return urlencode([pair for pair in pairs if pair[0] != name]), values[-1]


def _below(url: str, base: str) -> bool:
    asked, own = urlsplit(url), urlsplit(base)
    if own.scheme == UNIX or asked.scheme == UNIX:
        same = (asked.scheme, asked.netloc) == (own.scheme, own.netloc)
    else:
        same = _place(asked) == _place(own)
    return same and (asked.path.rstrip("/") + "/").startswith(own.path)


def _place(parts: SplitResult) -> tuple[bool, str, int]:
    secure = SECURE[parts.scheme]
    host = (parts.hostname or "").rstrip(".")
    return secure, "localhost" if host in LOOPBACK else host, parts.port or (443 if secure else 80)


def netloc_of(host: str, port: int) -> str:
    """Return the host and port of a URL for where a server listens.

    Args:
        host: A name or address; where it means all addresses, loopback is one of them.
        port: The port.
    """
    if host in WILDCARDS:
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def with_slash(url: str) -> str:
    """Return a URL or path that ends with a slash, as a base URL does."""
    return url if url.endswith("/") else url + "/"
