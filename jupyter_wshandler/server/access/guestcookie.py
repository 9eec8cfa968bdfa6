"""The guest cookie's name, and the addresses that a browser sends it to."""

from __future__ import annotations

import hashlib
import re

from jupyter_server.base.handlers import JupyterHandler

from ...config.paths import as_escaped, path_below
from .identity import cookie_port

COOKIE_DAYS = 400
"""How long a guest is known whose share does not end before; no browser keeps a cookie for longer
(RFC 6265bis section 5.5). Who is forgotten is somebody else, and counts again."""

_UNSAFE = re.compile(r"[^!-:<-~]")
"""What no cookie's Path can hold (RFC 6265 section 4.1.1)."""


def cookie_name(handler: JupyterHandler, path: str) -> str:
    """Return the name of the guest cookie of an address: one per port, as for sessions.

    Args:
        handler: Any handler.
        path: The route's address, below base_url.
    """
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"wshandler-guest-{digest}{cookie_port(handler)}"


def cookie_path(handler: JupyterHandler, path: str) -> str:
    """Return a guest cookie's Path: the address, and what is below it (RFC 6265 section 5.1.4).

    Args:
        handler: A request for the route, or for something below it.
        path: The route's address, below base_url, in its normal spelling.
    """
    whole = _as_spelled(handler, path)
    unsafe = _UNSAFE.search(whole)
    if unsafe is not None:
        # What cannot stand in a Path ends one: the folder that it is in is the next best.
        whole = whole[: unsafe.start()].rpartition("/")[0]
    return whole or "/"


def _as_spelled(handler: JupyterHandler, path: str) -> str:
    """Return a route's whole address as the browser spells it, which compares a Path as it is.

    Args:
        handler: A request for the route, or for something below it.
        path: The address below base_url, in its normal spelling.
    """
    received = as_escaped(handler.request.path).removesuffix("/")
    if path_below(handler.base_url, received) == path:
        return received
    return handler.base_url.rstrip("/") + path
