"""What a browser gets that opens a route's address."""

from __future__ import annotations

import mimetypes
from html import escape
from pathlib import Path

from jupyter_server.utils import url_path_join

from ..routes import Route

CHAT = Path(__file__).parent / "static" / "chat.html"
"""The page of a bot in a notebook that has none of its own."""

HTML = "text/html; charset=utf-8"


def exists(route: Route) -> bool:
    """Return whether a route has a page; a bot of a notebook has one without being asked."""
    return route.config.page is not None or route.host is not None


def render(route: Route, static_url: str) -> tuple[bytes | str, str]:
    """Return a route's page and its Content-Type.

    Args:
        route: A route that has a page.
        static_url: The URL of the extension's files for browsers.

    Raises:
        OSError: The file cannot be read.
    """
    if route.config.page is None:
        return (_chat(route, static_url) if route.page is None else route.page), HTML
    path = Path(route.config.page)
    kind = mimetypes.guess_type(path.name)[0] or "text/html"
    return path.read_bytes(), f"{kind}; charset=utf-8" if "text" in kind else kind


def _chat(route: Route, static_url: str) -> str:
    """Return a page to chat with the bot."""
    page = CHAT.read_text(encoding="utf-8")
    script = url_path_join(static_url, "chat.js")
    for name, value in (("title", route.config.name), ("script", script)):
        page = page.replace("{{" + name + "}}", escape(value))
    return page
