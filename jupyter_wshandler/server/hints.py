"""What the log says beside a refusal: which proxy, which origin, and what to write where.

It is for the log alone. The client gets one sentence that tells a stranger nothing.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from ..config.nodes import shorten
from ..config.origins import normalise_host, parse_origin

LINES = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
    'proxy_set_header Connection "upgrade";'
)
"""What nginx needs to pass an upgrade on: both fields are of one hop, and its default is 1.0."""

HOST_LINE = "proxy_set_header Host $http_host;"
"""What nginx needs to pass on the host that the browser asked for, with its port."""


def lost_upgrade(request: HTTPServerRequest) -> str:
    """Return which proxy seems to have dropped the upgrade, and what it needs; "" if none has.

    No client sends ``Sec-WebSocket-Key`` without the rest of a handshake, so that something in
    between must have taken it out (RFC 9110 section 7.6.1).

    Args:
        request: The request.
    """
    headers = request.headers
    if "Sec-WebSocket-Key" not in headers:
        return ""
    upgrade, connection = (
        [token.strip().lower() for token in ",".join(headers.get_list(name)).split(",")]
        for name in ("Upgrade", "Connection")
    )
    missing = [] if "websocket" in upgrade else ["no 'Upgrade: websocket'"]
    if "upgrade" not in connection:
        missing.append("no 'Connection: upgrade'")
    if request.version == "HTTP/1.0":
        missing.append("HTTP/1.0")
    if not missing:
        return ""
    return (
        f"a WebSocket's key came with {' and '.join(missing)}, so the proxy in front of this "
        f"server ({_proxy(request)}) does not pass the upgrade on; in nginx, add to the location "
        f"of this path: {LINES}"
    )


def refused_origin(request: HTTPServerRequest, origins: tuple[str, ...] | None, allow: str) -> str:
    """Return why an origin is not allowed: what came, what it was compared with, what to do.

    Args:
        request: The request.
        origins: The route's `origins`; None where Jupyter's own rule holds.
        allow: What Jupyter allows beside its own origin (``allow_origin``, ``allow_origin_pat``).
    """
    origin, came = _origin_of(request)
    if origins is not None:
        entries = ", ".join(map(_shown, origins[:20])) + (", ..." if len(origins) > 20 else "")
        return f"{came}; the route's origins are {entries or 'none'}"
    host = request.headers.get("Host", "")
    reason = f"{came}; the request's Host is {_shown(host)}"
    if allow:
        reason += f", and Jupyter allows {_shown(allow)}"
    elsewhere = "; to let pages of other sites connect, list them in the route's `origins`"
    if origin is None or not host:
        return reason + elsewhere
    parts, asked = urlsplit(f"//{_authority(origin)}"), urlsplit(f"//{host}")
    if not _is_same_host(parts.hostname, asked.hostname):
        behind = (
            ", or, if a proxy in front of this server asks for it under another name than the "
            f"browser did, let it pass Host on (nginx: {HOST_LINE})"
        )
        return reason + elsewhere + behind
    if ":" not in host.rpartition("]")[2] and ":" in _authority(origin).rpartition("]")[2]:
        return (
            f"{reason}, without the port that Origin has: the proxy in front of this server "
            f"drops it, as nginx does with `proxy_set_header Host $host`; write `{HOST_LINE}`"
        )
    return (
        f"{reason}, which has another port: a page of another server, to be listed in the route's "
        f"`origins`, or a proxy that does not pass Host on as it came (nginx: {HOST_LINE})"
    )


def _origin_of(request: HTTPServerRequest) -> tuple[str | None, str]:
    """Return the origin where there is one that can be compared, and how to say what came."""
    values = request.headers.get_list("Origin") or request.headers.get_list("Sec-WebSocket-Origin")
    if not values:
        site = _shown(request.headers.get("Sec-Fetch-Site", ""))
        return None, f"a browser asks without Origin, from another site (Sec-Fetch-Site: {site})"
    if len(values) > 1:
        return None, f"Origin came {len(values)} times, as {', '.join(map(_shown, values[:3]))}"
    if values[0] == "null":
        return None, "the Origin is null, as of a sandboxed frame or a file"
    if parse_origin(values[0]) is None:
        return None, f"the Origin {_shown(values[0])} is none that a browser sends"
    return values[0], f"the Origin is {_shown(values[0])}"


def _authority(origin: str) -> str:
    return origin.partition("://")[2]


def _is_same_host(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and normalise_host(one) == normalise_host(other)


def _proxy(request: HTTPServerRequest) -> str:
    context: Any = getattr(request.connection, "context", None)
    # With `trust_xheaders` the request's own address is the one that the proxy names.
    address = getattr(context, "_orig_remote_ip", None) or request.remote_ip
    via = ", ".join(request.headers.get_list("Via"))
    return f"it asks from {address}" + (f", and calls itself {_shown(via)}" if via else "")


def _shown(text: str) -> str:
    """Return a client's text as one that fits in a line of the log."""
    return shorten(text, 100)
