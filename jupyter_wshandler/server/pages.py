"""What a browser gets that opens a route's address."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from tornado.httputil import HTTPServerRequest

from ..config.patterns import address_of
from ..routes import Route
from .folder import PageFile, opened

CHAT = Path(__file__).parent / "static" / "chat.html"
"""The page of a bot that has none of its own."""

REFUSAL = CHAT.with_name("refused.html")
"""What a person sees whom a share lets in no more."""

HTML = "text/html; charset=utf-8"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
)
"""What the built-in chat may do; a socket of the page's own host is among 'self'."""


def exists(route: Route) -> bool:
    """Return whether a route has a page: the built-in chat, unless it names another or none."""
    return route.config.page is not False


def openable(routes: Iterable[Route]) -> Iterator[tuple[Route, str]]:
    """Yield the routes that have a page at one address, each with its path below the base URL.

    Args:
        routes: The routes; a pattern with parts has no address before somebody chooses them.
    """
    for route in routes:
        path = address_of(route.config.pattern) if route.regex is not None else None
        if path and "{" not in path and exists(route):
            yield route, path


def is_visit(request: HTTPServerRequest) -> bool:
    """Return whether a request has ``Upgrade: websocket`` from a proxy, and asks for no socket.

    Some proxies set that field for every request. A client that wants a socket has a key; one that
    forgets it is told so, unless it is a browser that goes to an address.

    Args:
        request: A request that has the field.
    """
    headers = request.headers
    if "Sec-WebSocket-Key" in headers:
        return False
    return "Sec-WebSocket-Version" not in headers or accepts_html(headers.get_list("Accept"))


def wanted(route: Route, request: HTTPServerRequest) -> bool:
    """Return whether a request that is no upgrade is to be answered with the route's page.

    A page of the route's own is served to everybody who may see it, the built-in chat only to who
    asks for HTML as a browser does that goes to an address. All else is told that this is a
    WebSocket: scripts, and a socket whose upgrade got lost at a proxy.

    Args:
        route: The route.
        request: The request.
    """
    if request.method not in ("GET", "HEAD") or not exists(route):
        return False
    if isinstance(route.config.page, str) or route.page is not None:
        return True
    headers = request.headers
    return "Sec-WebSocket-Key" not in headers and accepts_html(headers.get_list("Accept"))


def accepts_html(accept: list[str]) -> bool:
    """Return whether HTML is asked for by name (RFC 9110 section 12.5.1); ``*/*`` is no name.

    Args:
        accept: The values of the Accept fields.
    """
    for entry in ",".join(accept).split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        if kind in ("text/html", "application/xhtml+xml"):
            weights = [part[2:].strip() for part in parameters if part.startswith("q=")]
            return not weights or weights[0].strip("0.") != ""
    return False


def file_of(route: Route) -> PageFile | None:
    """Open the file that is a route's page, to be closed by the caller; None where it is no file.

    Args:
        route: A route whose page is a file.

    Raises:
        OSError: It cannot be opened.
    """
    path = Path(str(route.config.page))
    kind = mimetypes.guess_type(path.name)[0] or "text/html"
    return opened(path, f"{kind}; charset=utf-8" if "text" in kind else kind)


def render(route: Route, static_url: str, path: str, console: str = "") -> tuple[bytes | str, str]:
    """Return a page that is no file, and its Content-Security-Policy or "".

    Args:
        route: A route that has such a page: its kernel's, or the built-in chat.
        static_url: The URL of the extension's files for browsers.
        path: The URL path that the page is asked for at.
        console: Where the console is, as the page writes it, for who may see it.
    """
    if route.page is not None:
        return route.page, ""
    return _chat(route, seen_from(path, static_url), console), POLICY


def render_refusal(sentence: str, static_url: str, path: str) -> str:
    """Return the page that a person gets whom a share lets in no more.

    Args:
        sentence: Why.
        static_url: The URL of the extension's files for browsers.
        path: The URL path that the page is asked for at.
    """
    text = REFUSAL.read_text(encoding="utf-8")
    words = f"{sentence[:1].upper()}{sentence[1:]}."
    for name, value in (("words", words), ("static", seen_from(path, static_url).rstrip("/"))):
        text = text.replace("{{" + name + "}}", escape(value))
    return text


def seen_from(path: str, url: str) -> str:
    """Return a URL path of this server's as a page at another one has to write it.

    A proxy may strip a prefix from the paths, or put another in its place: what is relative stays
    right in the browser (RFC 3986 section 5.2.4 takes one segment away for each `..`).

    Args:
        path: The URL path of the page.
        url: The URL path, or the URL of another server, which is returned as it is.
    """
    if not url.startswith("/") or url.startswith("//"):
        return url
    ours, pages = url.split("/")[1:], path.split("/")[1:]
    common = 0
    while common < min(len(ours), len(pages)) - 1 and ours[common] == pages[common]:
        common += 1
    up = "../" * (len(pages) - 1 - common)
    return (up or "./") + "/".join(ours[common:])


def _chat(route: Route, static_url: str, console: str) -> str:
    """Return a page to chat with the bot."""
    page = CHAT.read_text(encoding="utf-8")
    values = {"title": route.config.name, "static": static_url.rstrip("/"), "console": console}
    for name, value in values.items():
        page = page.replace("{{" + name + "}}", escape(value))
    return page
