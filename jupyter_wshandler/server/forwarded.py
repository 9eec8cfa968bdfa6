"""The address of a client behind a proxy that names it with its port.

Tornado takes the client's address from ``X-Real-Ip`` or ``X-Forwarded-For`` where Jupyter's
`ServerApp.trust_xheaders` is on, and only where the field holds a bare address. Some proxies write
``192.0.2.1:51342`` or ``[2001:db8::1]:443`` (as RFC 7239 section 6 does): then all visitors would
have the proxy's address, and share one set of limits. And some call the scheme of a socket ``wss``
in ``X-Forwarded-Proto`` (JupyterHub's proxy, Traefik), of which Tornado makes plain http.
"""

from __future__ import annotations

import re

from jupyter_server.base.handlers import JupyterHandler
from tornado.netutil import is_valid_ip

_WITH_PORT = re.compile(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([0-9.]+))(?::\d{1,5})?")

OF_SOCKETS = {"ws": "http", "wss": "https"}
"""Schemes of sockets (RFC 6455 section 3), and those of HTTP that they are."""

_warned = "_wshandler_warned_of_forwarded"


def without_port(text: str) -> str:
    """Return the address in an entry such as ``192.0.2.1:51342`` or ``"[2001:db8::1]:443"``.

    Args:
        text: One entry of X-Forwarded-For.

    Returns:
        The address; the entry itself where it holds no such thing.
    """
    text = text.strip().strip('"').strip()
    found = _WITH_PORT.fullmatch(text)
    return text if found is None else found[1] or found[2]


def client_address(
    forwarded: str | None, real: str | None, trusted: frozenset[str] | set[str]
) -> str | None:
    """Return the address that a trusted proxy names, by Tornado's own rule but for the port.

    It is the last entry of X-Forwarded-For that is no trusted proxy's own; X-Real-Ip wins.

    Args:
        forwarded: X-Forwarded-For, where given.
        real: X-Real-Ip, where given.
        trusted: Addresses of more proxies that are trusted.
    """
    named = None
    for entry in reversed((forwarded or "").split(",")):
        named = without_port(entry)
        if named not in trusted:
            break
    if real is not None:
        named = without_port(real)
    return named or None


def read_forwarded(handler: JupyterHandler) -> None:
    """Set a request's `remote_ip` and `protocol` to what a trusted proxy says they are.

    Args:
        handler: The handler of the request.
    """
    app = handler.settings.get("serverapp")
    if app is None or not app.trust_xheaders:
        return
    request = handler.request
    scheme = request.headers.get("X-Scheme", request.headers.get("X-Forwarded-Proto", ""))
    # As Tornado does: the last hop's word, and no other scheme than those of HTTP.
    http = OF_SOCKETS.get(scheme.rpartition(",")[2].strip().lower())
    if http is not None:
        request.protocol = http
    _read_address(handler)


def _read_address(handler: JupyterHandler) -> None:
    request = handler.request
    forwarded, real = (request.headers.get(name) for name in ("X-Forwarded-For", "X-Real-Ip"))
    if forwarded is None and real is None:
        return
    context = getattr(request.connection, "context", None)
    address = client_address(forwarded, real, getattr(context, "trusted_downstream", None) or set())
    if address and is_valid_ip(address):
        request.remote_ip = address
    elif address and not handler.settings.get(_warned):
        handler.settings[_warned] = True
        handler.log.warning(
            "A proxy names its client with something that is no address, in X-Forwarded-For or "
            "X-Real-Ip; all visitors through it count as one, with the address %s",
            request.remote_ip,
        )
