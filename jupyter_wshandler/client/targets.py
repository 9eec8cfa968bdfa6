"""What to connect to: a path or a URL becomes the address of a socket, and the token for it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from ..errors import ServerNotFound
from .addresses import SECURE, Server, split_url, take_share_token, take_token
from .servers import find_server, owner_of

hindrances: list[Callable[[str], str | None]] = []
"""Each gets a path, with its slash, that is looked for without naming a server, and says why no
server has it, or None. A kernel says so of its own bots that no server knows yet."""


@dataclass(frozen=True)
class Endpoint:
    """All that a handshake needs to know of where it goes.

    Attributes:
        url: The socket's URL with its query, which never holds a token.
        token: What to log in with; empty for nothing.
        login: One sentence on which token is sent, or why none is; holds no token.
        server: Which server it is; None for one that is not known here.
        is_link: Whether it is the link of a share, whose token lets a guest in.
    """

    url: str
    token: str = field(repr=False)
    login: str
    server: Server | None
    is_link: bool = False

    @property
    def shown(self) -> str:
        """The URL without its query, for error messages."""
        return self.url.partition("?")[0]

    @property
    def authorization(self) -> str:
        """The field that goes with the handshake (RFC 6750 section 2.1 for a link); empty: none."""
        return f"{'Bearer' if self.is_link else 'token'} {self.token}" if self.token else ""


def resolve(
    target: str,
    args: Mapping[str, Any] | None = None,
    server: str | None = None,
    token: str | None = None,
) -> Endpoint:
    """Find out where a target is and which token may be sent there.

    Args:
        target: A path below the server's base URL, a whole ws, wss, http or https URL, or the link
            of a share.
        args: Query arguments; a list gives several values of one name.
        server: Base URL of the server; found by `find_server` where None. A whole URL as
            target needs none.
        token: The token to send, "" for none. Where None, a link is sent its own; a whole URL the
            token of the server found here that it belongs to, and any other address none.

    Raises:
        ServerNotFound: A path was given, and the server cannot be found.
        ValueError: The target or `server` is no address, or the token no token.
    """
    place, path, query = _split_target(target.strip())
    query = "&".join(filter(None, (query, urlencode(args or {}, doseq=True))))
    query, asked = take_token(query)
    query, share = take_share_token(query)
    # A link says how its holder is to come in: as a guest, also where they have a login.
    is_link = bool(share) and token is None
    token = _checked(share or asked or None if token is None else token)
    path = quote(path, safe="/%:@!$&'()*+,;=~")
    found: Server | None
    if place is None:
        for why_not in hindrances if server is None else ():
            reason = why_not("/" + unquote(path).lstrip("/"))
            if reason:
                raise ServerNotFound(reason)
        found = find_server(server)
        url = found.websocket_url + path.lstrip("/")
    else:
        url = place.scheme.lower().replace("http", "ws") + "://" + place.netloc + (path or "/")
        found = owner_of(url)
        if found:
            # The token goes to the address where its server listens, not to a namesake of it.
            own = urlsplit(found.websocket_url)
            url = f"{own.scheme}://{own.netloc}{path}"
    if token is None:
        token = _checked(found.token if found else "") or ""
        login = _found_login(found)
    elif is_link:
        login = "the link's own token was sent"
    else:
        login = "the token that was passed was sent" if token else "no token was sent, as asked for"
    return Endpoint(f"{url}?{query}" if query else url, token, login, found, is_link)


def _split_target(target: str) -> tuple[SplitResult | None, str, str]:
    place: SplitResult | None = None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", target):
        place = split_url(target)
        if place.scheme not in SECURE:
            raise ValueError(
                f"expected a path, or a ws, wss, http or https URL, found {place.scheme}://"
            )
        path, query, fragment = place.path, place.query, place.fragment
    else:
        rest, _, fragment = target.partition("#")
        path, _, query = rest.partition("?")
    if fragment:
        raise ValueError("the URL of a WebSocket has no '#'; write %23 where it belongs to a name")
    # A proxy may resolve them: what looks like a path of one user's would reach another's.
    if {".", ".."} & set(re.split(r"[/\\]", unquote(path))):
        raise ValueError(f"expected a path without '.' and '..', found {path!r}")
    return place, path, query


def _checked(token: str | None) -> str | None:
    """Return a token without the newline of the file that it was read from."""
    token = token.strip() if token else token
    if token and not (token.isascii() and token.isprintable()):
        raise ValueError("a token consists of printable ASCII characters; this one does not")
    return token


def _found_login(server: Server | None) -> str:
    if server is None:
        return "no token was sent, as the URL belongs to no server that was found here"
    if server.token:
        return f"the token from {server.source} was sent"
    login = f"no token was sent, as {server.source} gives none"
    if os.environ.get("JUPYTER_TOKEN"):
        # A server that takes it says so in its runtime file: this may be meant for another.
        login += "; if JUPYTER_TOKEN is for this server, pass token=os.environ['JUPYTER_TOKEN']"
    return login
