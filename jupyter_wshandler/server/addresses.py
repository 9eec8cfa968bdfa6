"""Where people reach the bots of a server: said at its start, and below the cells of notebooks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from jupyter_server.utils import url_path_join

from ..config.patterns import address_of
from ..routes import Route
from . import pages
from .console import PATH


def addresses(routes: Iterable[Route], serverapp: Any) -> str:
    """Return a line for each route, with the address that one opens.

    The token is in it where Jupyter shows it as well: one that it has made up for this run.

    Args:
        routes: The routes.
        serverapp: The running server.
    """
    lines = [(route.name, _address(route, serverapp)) for route in routes]
    if not lines:
        return "There are no routes."
    width = max(len(name) for name, _ in lines)
    return "\n".join(
        ["Chat with your bots in a browser:", *(f"    {n:<{width}}  {a}" for n, a in lines)]
    )


def console_address(serverapp: Any, *, with_token: bool = False) -> str:
    """Return where people reach the console.

    Args:
        serverapp: The running server.
        with_token: Whether the token is in it that Jupyter has made up for this run.
    """
    address = origin_of(serverapp)("") + url_path_join(serverapp.base_url, PATH)
    identity = serverapp.identity_provider
    if with_token and identity.token and identity.token_generated:
        address += "?" + urlencode({"token": identity.token})
    return address


def _address(route: Route, serverapp: Any) -> str:
    if route.error or route.regex is None:
        return "is broken: see above"
    place = urlsplit(serverapp.connection_url)
    shown = urlsplit(serverapp.custom_display_url)
    scheme, host = shown.scheme or place.scheme, shown.netloc or place.netloc
    if not pages.exists(route):
        scheme = scheme.replace("http", "ws", 1)
    query = ""
    identity = serverapp.identity_provider
    if identity.token and identity.token_generated and route.config.auth.required:
        query = urlencode({"token": identity.token})
    path, rest = address_of(route.config.pattern), ""
    if path is None:
        # What an expression matches can be tried with one example, if the example is right.
        path = route.sample_path()
        if not route.regex.match(path):
            return f"is where the pattern {route.config.pattern} matches"
        rest = f"  (one that the pattern {route.config.pattern} matches)"
    path = serverapp.base_url.rstrip("/") + path
    return str(urlunsplit((scheme, host, path, query, ""))) + rest


def origin_of(serverapp: Any) -> Callable[[str], str]:
    """Return what tells the origin that people reach a server at, for a link to it.

    Args:
        serverapp: The running server.
    """

    def origin(asked: str) -> str:
        # The Hub and the server's owner know it better than a request from the same machine.
        known = os.environ.get("JUPYTERHUB_PUBLIC_URL") or serverapp.custom_display_url
        url = urlsplit(known or asked or serverapp.connection_url)
        return f"{url.scheme}://{url.netloc}"

    return origin


def address_for_cells(serverapp: Any, script: str) -> Callable[[Route], dict[str, str]]:
    """Return what tells a cell where people reach its bot.

    Args:
        serverapp: The running server.
        script: The URL of the script of the chat below a cell.
    """
    base_url = serverapp.web_app.settings["base_url"]
    # The Hub knows the address that people use, where its administrator has told it.
    url = os.environ.get("JUPYTERHUB_PUBLIC_URL") or serverapp.connection_url
    socket_url = url.replace("http", "ws", 1).rstrip("/")

    def address(route: Route) -> dict[str, str]:
        return {
            "url": socket_url + route.config.pattern,
            "path": base_url.rstrip("/") + route.sample_path(),
            "base_url": base_url,
            "script": script,
        }

    return address


def say_where(app: Any, *, announces: bool) -> None:
    """Say where people reach the bots, and where the console is, if anybody may see it.

    Args:
        app: The extension, started.
        announces: Whether it is printed for who has started it, with all bots; else a line of the
            log has the console.
    """
    publishers = app.services.publishers
    is_seen = publishers.others or publishers.named
    if announces:
        print(addresses(app.manager.served.configured, app.serverapp), flush=True)
        if is_seen:
            address = console_address(app.serverapp, with_token=True)
            print(f"See what they do, in the console:\n    {address}", flush=True)
    elif is_seen:
        app.log.info("The console is at %s", console_address(app.serverapp))
