"""Pages of other origins: which files and answers of ours their scripts may read (Fetch, CORS).

A page that a route's `origins` admits may open that route's socket. To do so it needs the helper,
and a ticket where the route wants one. What an entry names may also bring the user's cookies; what
only ``*`` admits is anybody, and may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.base.handlers import JupyterHandler

from ..config.origins import OriginRules

if TYPE_CHECKING:
    from ..manager.manager import WebSocketManager
    from ..routes import Route

ALLOW = "Access-Control-Allow-Origin"


def admitted(manager: WebSocketManager, origin: str) -> bool:
    """Return whether a route's `origins` admits the pages of an origin.

    Args:
        manager: Has the routes.
        origin: The value of the Origin field.
    """
    return any(OriginRules.of(entries).matches(origin) for entries in _lists(manager))


def named(manager: WebSocketManager, origin: str) -> bool:
    """Return whether a route's `origins` admits the pages of an origin other than by ``*``.

    Args:
        manager: Has the routes.
        origin: The value of the Origin field.
    """
    return any(OriginRules.of(entries).names(origin) for entries in _lists(manager))


def named_by(route: Route, origin: str) -> bool:
    """Return whether this route's `origins` admits the pages of an origin other than by ``*``.

    Args:
        route: The route.
        origin: The value of the Origin field.
    """
    return OriginRules.of(route.config.origins or ()).names(origin)


def _lists(manager: WebSocketManager) -> set[tuple[str, ...]]:
    return {route.config.origins for route in manager.table if route.config.origins}


def let_read(handler: JupyterHandler, origin: str, *, cookies: bool) -> None:
    """Let scripts of an origin read an answer.

    What Jupyter's own settings say stands, but for answers to a login: a browser shows those only
    where the origin is named, and not for ``*``.

    Args:
        handler: Answers.
        origin: The value of the Origin field.
        cookies: Whether also one to a request with the user's cookies.
    """
    if cookies:
        handler.set_header(ALLOW, origin)
        handler.set_header("Access-Control-Allow-Credentials", "true")
    elif ALLOW not in handler._headers:  # Tornado has no public way to read what is set
        handler.set_header(ALLOW, origin)
