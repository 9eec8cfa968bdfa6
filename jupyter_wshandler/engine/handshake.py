"""The server's checks of an opening handshake (RFC 6455 section 4.2)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha1
from typing import NamedTuple

from ..errors import HandshakeError

__all__ = [
    "Handshake",
    "accept_key",
    "check_upgrade",
    "is_upgrade",
    "select_subprotocol",
    "upgrade_required",
]

Headers = Sequence[tuple[str, str]]

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The string that every server appends to the client's key (RFC 6455 section 1.3)."""

_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# 16 bytes make 22 characters and two of padding.
_is_key = re.compile(r"[A-Za-z0-9+/]{22}==").fullmatch
_match_version = re.compile(r"HTTP/(\d+)\.(\d+)").fullmatch


class Handshake(NamedTuple):
    """What a sound handshake asks for.

    `accept` answers the key (Sec-WebSocket-Accept); `subprotocols` are those offered, in the
    client's order; `extensions` are the values of the Sec-WebSocket-Extensions fields, as sent.
    """

    accept: str
    subprotocols: list[str]
    extensions: list[str]


def upgrade_required(asked: Sequence[str]) -> dict[str, str]:
    """Return the fields of an answer of 426 (RFC 6455 section 4.4, RFC 9110 section 15.5.22).

    Upgrade and Connection are only for a client that has sent Upgrade. Where none has come, the
    client may speak HTTP/2 to a proxy that passes our fields on to it; there they are malformed
    (RFC 9113 section 8.2.2), and the client drops the answer with its words.

    Args:
        asked: The values of the request's Upgrade fields.
    """
    fields = {"Sec-WebSocket-Version": "13"}
    if any(asked):
        fields |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    return fields


def accept_key(key: str) -> str:
    """Return the Sec-WebSocket-Accept value for a Sec-WebSocket-Key (section 4.2.2).

    Args:
        key: As sent by the client, 24 characters.
    """
    digest = sha1((key + GUID).encode(), usedforsecurity=False).digest()
    return b64encode(digest).decode()


def is_upgrade(headers: Headers) -> bool:
    """Tell whether a request asks for a WebSocket, if only in part.

    A request that a proxy has stripped of Upgrade and Connection still has its key; it should
    be told what is missing rather than be taken for a visit.

    Args:
        headers: Name and value of every field; repeated fields stand as often as they came.
    """
    for name, value in headers:
        lowered = name.lower()
        if lowered == "sec-websocket-key":
            return True
        if lowered == "upgrade" and "websocket" in _tokens([value]):
            return True
    return False


def check_upgrade(method: str, version: str, headers: Headers) -> Handshake:
    """Check an opening handshake, strictly (RFC 6455 section 4.2.1).

    Args:
        method: HTTP method.
        version: HTTP version, as in ``HTTP/1.1``.
        headers: Name and value of every field; repeated fields stand as often as they came.

    Returns:
        What the client asks for, with the answer to its key.

    Raises:
        HandshakeError: With status 400, 405 or 426 and the fields that the answer must carry.
    """
    if method != "GET":
        raise HandshakeError(405, "a WebSocket is opened with GET", {"Allow": "GET"})
    number = None if version == "HTTP/1.1" else _match_version(version)
    if version != "HTTP/1.1" and (number is None or (int(number[1]), int(number[2])) < (1, 1)):
        raise HandshakeError(400, "a WebSocket needs HTTP/1.1 or higher")
    fields: dict[str, list[str]] = {}
    for name, value in headers:
        known, value = name.lower(), value.strip(" \t")
        if known in fields:
            fields[known].append(value)
        else:
            fields[known] = [value]
    _check_request(fields)
    _check_version(fields)
    key = _single(fields, "Sec-WebSocket-Key")
    if not _is_key(key):
        raise HandshakeError(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    return Handshake(
        accept_key(key),
        _offered_subprotocols(fields.get("sec-websocket-protocol", [])),
        fields.get("sec-websocket-extensions", []),
    )


def select_subprotocol(offered: Sequence[str], supported: Sequence[str]) -> str | None:
    """Choose the first subprotocol of the client's that the server supports, or None.

    The client's order decides: RFC 6455 section 4.1 has it state its preference.

    Args:
        offered: Names from the client, the preferred one first.
        supported: Names that the server speaks, in any order; compared with case.
    """
    return next((name for name in offered if name in supported), None)


def _single(fields: dict[str, list[str]], name: str) -> str:
    values = fields.get(name.lower(), [])
    if len(values) != 1:
        found = f"{len(values)} times" if values else "not at all"
        raise HandshakeError(400, f"{name} must be given exactly once, found {found}")
    return values[0]


def _tokens(values: Sequence[str]) -> list[str]:
    return [token.strip(" \t").lower() for value in values for token in value.split(",")]


def _check_request(fields: dict[str, list[str]]) -> None:
    if not _single(fields, "Host"):
        raise HandshakeError(400, "Host must not be empty")
    lengths = fields.get("content-length", [])
    if "transfer-encoding" in fields or any(length.strip("0") for length in lengths):
        raise HandshakeError(400, "a request for a WebSocket must not have a body")
    if "websocket" not in _tokens(fields.get("upgrade", [])):
        raise HandshakeError(
            426,
            "this address is a WebSocket: Upgrade must hold 'websocket' "
            "(a proxy in between must pass Upgrade and Connection on)",
            upgrade_required(fields.get("upgrade", [])),
        )
    if "upgrade" not in _tokens(fields.get("connection", [])):
        raise HandshakeError(
            400,
            "Connection must hold 'Upgrade' (a proxy in between must pass it on)",
        )


def _check_version(fields: dict[str, list[str]]) -> None:
    versions = fields.get("sec-websocket-version", [])
    if len(versions) > 1:
        raise HandshakeError(400, "Sec-WebSocket-Version must be given exactly once")
    if versions != ["13"]:
        required = upgrade_required(fields["upgrade"])
        raise HandshakeError(426, "Sec-WebSocket-Version must be 13", required)


def _offered_subprotocols(values: Sequence[str]) -> list[str]:
    # Empty elements of a list are legal and mean nothing (RFC 9110 section 5.6.1).
    names = [name for value in values for part in value.split(",") if (name := part.strip(" \t"))]
    if values and not names:
        raise HandshakeError(400, "Sec-WebSocket-Protocol names no subprotocol")
    for name in names:
        if not _is_token(name):
            raise HandshakeError(400, "Sec-WebSocket-Protocol holds a name that is not a token")
    if len(set(names)) < len(names):
        raise HandshakeError(400, "Sec-WebSocket-Protocol names a subprotocol twice")
    return names
