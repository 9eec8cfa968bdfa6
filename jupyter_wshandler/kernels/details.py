"""What a kernel is told of a connection, and what it is not."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Set
from typing import Any

from ..connection.connection import Connection
from .events import Details, RequestDetails

HEADERS = frozenset(
    (
        *("host", "origin", "user-agent", "date", "dnt", "sec-gpc", "save-data"),
        *("accept", "accept-charset", "accept-encoding", "accept-language"),
        *("connection", "upgrade", "sec-websocket-version", "sec-websocket-extensions"),
        *("cache-control", "pragma", "content-type", "content-length", "content-language"),
        *("sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user"),
        *("sec-ch-ua", "sec-ch-ua-arch", "sec-ch-ua-bitness", "sec-ch-ua-full-version-list"),
        *("sec-ch-ua-mobile", "sec-ch-ua-model", "sec-ch-ua-platform"),
        *("sec-ch-ua-platform-version", "sec-ch-prefers-color-scheme"),
        *("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port"),
        *("x-forwarded-proto", "x-forwarded-scheme", "x-real-ip", "x-scheme"),
        *("traceparent", "x-request-id", "x-correlation-id"),
    )
)
"""Header fields that a kernel is told: those that say who asks for what by which way, and prove
nothing. Whatever else a client or a proxy sends stays in the server, as nobody can know what it
is: a name that a company has given to its tokens is no name that one could forbid."""

SECRET_HEADER = re.compile(
    "auth|token|secret|cookie|session|jwt|saml|assertion|csrf|xsrf|api-?key|credential|passw|"
    "referer|x-original|signature|client-cert|sec-websocket-(key|protocol)",
    re.IGNORECASE,
)
"""Names of header fields that no administrator can add to them: what a visitor, or a proxy in
front of them, proves an identity with, and what may repeat an address that holds a token."""

USER_FIELDS = (
    *("username", "name", "display_name", "initials", "avatar_url", "color"),
    *("groups", "scopes", "kind", "share"),
)


def why_not_header(name: str) -> str | None:
    """Return why kernels may not be told a header field, or None.

    Args:
        name: The field's name, as an administrator has written it.
    """
    if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):  # RFC 9110 section 5.1
        return f"expected the name of a header field, found {name[:60]!r}"
    if SECRET_HEADER.search(name):
        return f"{name[:60]} may prove an identity, and never leaves the server"
    return None


def describe(connection: Connection, headers: Set[str] = frozenset()) -> Details:
    """Return what a kernel gets to know of a connection, as JSON values.

    A visitor's credentials are not among it: they may be another user's, and the kernel's code is
    not the server's.

    Args:
        connection: One that has just opened.
        headers: Names of header fields, in lower case, that it is told beside `HEADERS`.
    """
    request = connection.request
    session = connection.attached_session
    return Details(
        route=connection.route,
        user=describe_user(connection.current_user),
        session=None if session is None else (session.id, _values(session)),
        request=RequestDetails(
            headers=[
                (name, value)
                for name, value in request.headers.items()
                if (key := name.lower()) in HEADERS
                or (key in headers and not SECRET_HEADER.search(key))
            ],
            uri=request.uri,
            remote_ip=request.remote_ip,
            protocol=request.protocol,
            host=request.host,
        ),
        path_args=list(connection.path_args),
        path_kwargs=dict(connection.path_kwargs),
        subprotocol=connection.subprotocol,
        chat=connection.chat_answers is not None,
    )


def describe_user(user: Any) -> dict[str, Any] | None:
    """Return what is known of a user, as JSON values; None for nobody."""
    if user is None:
        return None
    if dataclasses.is_dataclass(user) and not isinstance(user, type):
        names = {field.name for field in dataclasses.fields(user)} | {*USER_FIELDS}
        known = {name: getattr(user, name, None) for name in names}
    elif isinstance(user, dict):
        known = user
    else:
        known = {name: getattr(user, name, None) for name in USER_FIELDS}
    return {key: value for key, value in known.items() if key in USER_FIELDS and _is_json(value)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return value is not None


def _values(session: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in session.copy().items()
        if key != "id" and isinstance(key, str) and _is_json(value)
    }
