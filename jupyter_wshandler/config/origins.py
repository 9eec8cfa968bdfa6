"""Which web pages may connect: the entries of ``origins`` and how an Origin meets them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OTHER_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,39}")
"""What pages of extensions and apps have: vscode-webview, chrome-extension, capacitor."""
_NO_PAGES = frozenset(
    {"about", "blob", "data", "file", "filesystem", "ftp", "javascript", "ws", "wss"}
)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^\[\]:/@?#\\%\s]{1,1000})(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# IDNA 2003, the one in the standard library, maps these to other names than browsers do.
_AMBIGUOUS = frozenset("\u00df\u03c2\u200c\u200d")


@dataclass(frozen=True, slots=True)
class OriginRule:
    """One entry: what is None is not compared.

    Args:
        scheme: ``http`` or ``https``, or the scheme of an app's pages; None for the first two.
        host: The normalised host; None for any.
        port: The port; 0 where a scheme has none.
        subdomains: Whether the subdomains of `host` are meant, and not `host` itself.
    """

    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    subdomains: bool = False

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Say whether a normalised origin meets this entry."""
        if self == ANY:
            return True
        if self.scheme != scheme and (self.scheme is not None or scheme not in _DEFAULT_PORTS):
            return False
        if self.port not in (None, port):
            return False
        if self.host is None:
            return True
        if self.subdomains:
            return host.endswith("." + self.host)
        return host == self.host


ANY = OriginRule()
"""The rule that every page meets."""


class OriginRules:
    """What decides about the Origin field of a request (RFC 6454 section 7).

    Args:
        entries: The entries of ``origins``, as `parse_entry` takes them.

    Raises:
        ValueError: If an entry is not valid.
    """

    __slots__ = ("_any", "_rules")

    def __init__(self, entries: Iterable[str]) -> None:
        self._rules = tuple(parse_entry(entry) for entry in entries)
        self._any = ANY in self._rules

    @staticmethod
    @lru_cache(maxsize=256)
    def of(entries: tuple[str, ...]) -> OriginRules:
        """Return the rules for these entries, made once and kept."""
        return OriginRules(entries)

    def matches(self, origin: str) -> bool:
        """Say whether a page of this origin may connect.

        Args:
            origin: The value of the Origin field, as it came.

        Returns:
            True if it is a well-formed origin that meets an entry, of http or https unless the
            entry names another scheme. ``*`` admits every page, also one of an app, and one in a
            sandboxed frame, whose origin is ``null``.
        """
        if self._any and origin == "null":
            return True
        parsed = parse_origin(origin)
        return parsed is not None and any(rule.matches(*parsed) for rule in self._rules)

    def names(self, origin: str) -> bool:
        """Say whether an entry other than ``*`` admits a page of this origin.

        Args:
            origin: The value of the Origin field, as it came.
        """
        parsed = parse_origin(origin)
        return parsed is not None and any(
            rule.matches(*parsed) for rule in self._rules if rule != ANY
        )


def parse_origin(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, normalised host and port of an Origin, or None if it is not well-formed."""
    scheme, separator, authority = origin.partition("://")
    scheme = scheme.lower()
    if not separator or not _OTHER_SCHEME.fullmatch(scheme) or scheme in _NO_PAGES:
        return None
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return None
    host = normalise_host(match[1])
    port = int(match[2]) if match[2] else _DEFAULT_PORTS.get(scheme, 0)
    if host is None or not (0 < port < 65536 or not match[2]):
        return None
    return scheme, host, port


def parse_entry(entry: str) -> OriginRule:
    """Read one entry of ``origins``.

    Args:
        entry: ``example.org``, ``*.example.org``, ``https://example.org:8443``, ``[::1]``,
            ``vscode-webview://*`` or ``*``.

    Raises:
        ValueError: With a sentence that says what is wrong and what to write.
    """
    if entry == "*":
        return OriginRule()
    if not entry.strip():
        raise ValueError(
            "expected a host such as example.org, found an empty text; "
            "write '*' to admit every page, or remove origins to admit this server's own"
        )
    shown = repr(entry if len(entry) <= 60 else entry[:57] + "...")
    if entry.lower() == "null":
        raise ValueError("null names no page: sandboxed frames and local files share it; remove it")
    scheme, rest = _split_scheme(entry, shown)
    if scheme is not None and rest == "*":
        return OriginRule(scheme)
    subdomains = rest.startswith("*.")
    name, port = _split_port(rest.removeprefix("*."), shown)
    host = normalise_host(name)
    if host is None:
        raise ValueError(_host_message(name, shown))
    if subdomains and (host.startswith("[") or host.rpartition(".")[2].isdigit()):
        raise ValueError(f"an address has no subdomains, found {shown}; write the address itself")
    return OriginRule(scheme, host, port, subdomains)


def normalise_host(host: str) -> str | None:
    """Return a host in lower case, as ASCII and without a final dot, or None if it is none."""
    if host.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]" if host.endswith("]") else None
        except ValueError:
            return None
    if not host.isascii():
        if _AMBIGUOUS.intersection(host):
            return None
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    host = host.lower().removesuffix(".")
    if not 0 < len(host) <= 253:
        return None
    return host if all(_LABEL.fullmatch(label) for label in host.split(".")) else None


def _split_scheme(entry: str, shown: str) -> tuple[str | None, str]:
    scheme, separator, rest = entry.partition("://")
    if not separator:
        return None, entry
    scheme = scheme.lower()
    if scheme in _SCHEMES:
        return _SCHEMES[scheme], rest
    if not _OTHER_SCHEME.fullmatch(scheme) or scheme in _NO_PAGES:
        raise ValueError(
            f"expected http, https or the scheme of an app such as vscode-webview, found {shown}"
        )
    return scheme, rest


def _split_port(rest: str, shown: str) -> tuple[str, int | None]:
    try:
        return f"[{ipaddress.IPv6Address(rest)}]", None
    except ValueError:
        match = _AUTHORITY.fullmatch(rest)
    if match is None:
        raise ValueError(_host_message(rest, shown))
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"expected a port from 1 to 65535, found {shown}")
    return match[1], port


def _host_message(host: str, shown: str) -> str:
    hint = ""
    if "/" in host or "?" in host or "#" in host:
        hint = "; an origin has no path, remove it and the slash before it"
    elif "@" in host:
        hint = "; an origin has no user name"
    elif "," in host or " " in host:
        hint = "; write several hosts as a list"
    elif "*" in host:
        hint = "; * stands alone, or in front of a host as *.example.org"
    elif _AMBIGUOUS.intersection(host):
        hint = "; write its ASCII form (xn--...), the one that browsers send"
    return f"expected a host such as example.org or https://example.org:8443, found {shown}{hint}"
