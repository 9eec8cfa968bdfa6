"""What a request proves its identity with, as digests: none of them is a secret itself."""

from __future__ import annotations

import hashlib
import re

from jupyter_server.base.handlers import JupyterHandler

from ...connection.connection import Connection
from ...connection.request import Request
from .asking import IDENTITY, at_once
from .identity import is_by_token, token_of, user_key
from .tickets import ARGUMENT as TICKET

COOKIE = "cookie:"
"""Begins the digest of a login cookie."""

REQUEST = "request:"
"""Begins the digest of a whole request."""

_TICKET = re.compile(rf"(?<=[?&]){TICKET}=[^&]*&?")


def _digest(kind: str, text: str) -> str:
    return kind + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def login_cookie(handler: JupyterHandler) -> str | None:
    """Return the request's login cookie, as it came."""
    provider = handler.identity_provider
    if not hasattr(provider, "get_cookie_name"):
        return None
    return handler.get_cookie(at_once(IDENTITY, provider.get_cookie_name, handler))


def cookie_digest(cookie: str) -> str:
    """Return what stands for a login cookie."""
    return _digest(COOKIE, cookie)


def signed_by_us(handler: JupyterHandler) -> bool:
    """Return whether the request's login cookie is one that this server has given."""
    name = at_once(IDENTITY, handler.identity_provider.get_cookie_name, handler)
    return handler.get_signed_cookie(name) is not None


def proof(handler: JupyterHandler) -> str | None:
    """Return the digest of the token or login cookie that proved who asks, or None for neither.

    A token beside a good login cookie proves nothing unless the identity provider says that it
    did. What neither proved, such as a field that a proxy has put into the header, has no digest
    of its own; see `of_request`.

    Args:
        handler: A handler whose `current_user` is set: Jupyter raises where it is not.

    Raises:
        Unanswered: The identity provider cannot say.
    """
    if is_by_token(handler):
        token = token_of(handler) or handler.request.headers.get("Authorization")
        if token:
            return _digest("token:", token)
    cookie = login_cookie(handler)
    if cookie and signed_by_us(handler):
        return cookie_digest(cookie)
    return None


def of_request(request: Request) -> str:
    """Return a digest of all that an identity provider can look at in a request.

    The same request gets the same answer, but for what every handshake makes anew: its key, and
    its ticket.

    Args:
        request: The opening request.
    """
    fields = sorted(
        f"{name.lower()}:{value}"
        for name, value in request.headers.items()
        if name.lower() != "sec-websocket-key"
    )
    # The whole of it: a token in the query is what the provider goes by.
    uri = _TICKET.sub("", request._whole_uri)
    where = [uri, request.remote_ip, request.protocol, request.host]
    return _digest(REQUEST, "\n".join([*where, *fields]))


def question_about(connection: Connection) -> str:
    """Return what connections have in common that are asked about with one question.

    Whom a login cookie belongs to need not be the cookie's own word: a provider may go by what a
    proxy says, and one browser may have been two users.

    Args:
        connection: A connection whose credential is known.
    """
    digest = connection.credential or ""
    if digest.startswith(COOKIE):
        return f"{digest} {user_key(connection.current_user)}"
    return digest
