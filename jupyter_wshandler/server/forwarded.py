"""The address of a client behind a proxy that names it with its port.

Tornado takes the client's address from ``X-Real-Ip`` or ``X-Forwarded-For`` where Jupyter's
`ServerApp.trust_xheaders` is on, and only where the field holds a bare address. Some proxies write
``192.0.2.1:51342`` or ``[2001:db8::1]:443`` (as RFC 7239 section 6 does): then all visitors would
have the proxy's address, and share one set of limits. And some call the scheme of a socket ``wss``
in ``X-Forwarded-Proto`` (JupyterHub's proxy, Traefik), of which Tornado makes plain http.

An address has many spellings, and a socket that takes both families writes ``::ffff:192.0.2.1``
for ``192.0.2.1``. Limits count by the address, so each has one spelling here, that of RFC 5952.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache

from jupyter_server.base.handlers import JupyterHandler
from tornado.netutil import is_valid_ip

_WITH_PORT = re.compile(r"(?:\[([0-9a-fA-F:.%\w]+)\]|([0-9.]+))(?::\d{1,5})?")
_NUMBERS = re.compile(r"(?:0[xX][0-9a-fA-F]+|\d+)(?:\.(?:0[xX][0-9a-fA-F]+|\d+)){0,3}")

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


@lru_cache(maxsize=4096)
def one_spelling(address: str) -> str:
    """Return an address as all spellings of it are written here.

    An IPv4 address that came as an IPv6 one (RFC 4291 section 2.5.5.2) is the IPv4 address.

    Args:
        address: An address of a client.

    Returns:
        The address as RFC 5952 section 4 writes it; the text itself where it is no address.
    """
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        # What the system, and so Tornado, takes for one as well: 127.1, or 0x7f000001.
        if _NUMBERS.fullmatch(address) is None:
            return address
        try:
            return socket.inet_ntoa(socket.inet_aton(address))
        except OSError:
            return address
    if isinstance(known, ipaddress.IPv6Address) and known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(known)


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
    passed = {one_spelling(proxy) for proxy in trusted}
    for entry in reversed((forwarded or "").split(",")):
        named = one_spelling(without_port(entry))
        if named not in passed:
            break
    if real is not None:
        named = one_spelling(without_port(real))
    return named or None


def read_forwarded(handler: JupyterHandler) -> None:
    """Set a request's `remote_ip` and `protocol` to what a trusted proxy says they are.

    The address is in its one spelling then, whoever has named it.

    Args:
        handler: The handler of the request.
    """
    _believe_proxy(handler)
    handler.request.remote_ip = one_spelling(handler.request.remote_ip or "")


def _believe_proxy(handler: JupyterHandler) -> None:
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
