"""A description of routes for programs: AsyncAPI 3.0.0 (asyncapi.com/docs/reference)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .closecodes import MEANINGS, OWN, PASSING
from .definitions import with_references
from .document import Document, payload_of
from .routes import Described, Exchange, Kind

Part = dict[str, Any]

_TYPES = {"json": "application/json", "text": "text/plain", "binary": "application/octet-stream"}

_SCHEMES: dict[str, Part] = {
    "token": {
        "type": "httpApiKey",
        "in": "header",
        "name": "Authorization",
        "description": "`token <Jupyter's token>`; a shared link's as `Bearer <token>`.",
    },
    "tokenInQuery": {
        "type": "httpApiKey",
        "in": "query",
        "name": "token",
        "description": "For clients that cannot set a header; under JupyterHub not everywhere.",
    },
    "login": {
        "type": "httpApiKey",
        "in": "cookie",
        "name": "username-localhost-8888",
        "description": "Jupyter's login cookie; its name has the server's host and port. The page "
        "that connects has to be one that `origins` admits.",
    },
}

_ABOUT = """\
WebSockets of a Jupyter server, by jupyter_wshandler. A plain client reads and writes the messages
of a channel as they are. One that offers the subprotocol `wsh.v1` has each in an envelope, and is
told which message an answer is for and where it ends: that is the channel of the same address whose
name ends with `wsh.v1`. A bot may write at any time what no annotation says."""


def asyncapi(document: Document, version: str = "1.0.0") -> Part:
    """Return the description of routes as an AsyncAPI document, ready for JSON.

    Args:
        document: The routes.
        version: The version of what they take and answer.
    """
    channels: Part = {}
    operations: Part = {}
    for route in document.routes:
        _add_plain(document, route, channels, operations)
        _add_enveloped(document, route, channels, operations)
    found = {
        "asyncapi": "3.0.0",
        "info": {"title": document.title, "version": version, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {"jupyter": _server()},
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": document.definitions.all,
            "securitySchemes": _SCHEMES,
            "messages": {
                name: {"name": name, "contentType": _TYPES["json"], "payload": schema}
                for name, schema in {**document.of_client, **document.of_server}.items()
            }
            | {"WshBytes": _bytes()},
        },
        "x-close-codes": close_codes(),
    }
    referring: Part = with_references(found, _refer)
    return referring


def _refer(name: str) -> str:
    return name if name.startswith("#/") else f"#/components/schemas/{name}"


def close_codes() -> list[Part]:
    """Return every close code that a client may see, and whether it may try again after it."""
    codes: list[Part] = [
        {"code": int(code), "name": code.name, "meaning": words, "retry": code in PASSING}
        for code, words in MEANINGS.items()
    ]
    own = {"from": OWN[0], "to": OWN[1], "meaning": "the bot's own", "retry": False}
    return [*codes, own]


def _server() -> Part:
    return {
        "host": "{host}",
        "protocol": "wss",
        "pathname": "{base_url}",
        "description": "The Jupyter server; `ws` where it has no TLS.",
        "variables": {
            "host": {"default": "localhost:8888", "description": "Its host and port."},
            "base_url": {
                "default": "/",
                "description": "Its `base_url`, such as `/user/ada/` under JupyterHub.",
            },
        },
    }


def _bytes() -> Part:
    return {
        "name": "WshBytes",
        "contentType": _TYPES["binary"],
        "payload": {
            "type": "string",
            "description": "A binary frame: the number of the question or the answer as a signed "
            "big-endian integer of 32 bits (0 for none), on a connection that can resume the "
            "frame's own number as an unsigned one, and then the bytes of the message.",
        },
    }


# ---- plain -----------------------------------------------------------------------------------


def _add_plain(document: Document, route: Described, channels: Part, operations: Part) -> None:
    channel = _id(route.name)
    messages: Part = {}
    errors = _add(messages, document.errors_of(route))
    for exchange in route.exchanges:
        taken = _add(messages, exchange.takes)
        operation: Part = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{channel}"},
            "title": exchange.function,
            "messages": [_message(channel, name) for name in taken],
            **_security(route),
        }
        answered = [*_add(messages, _answers(exchange)), *errors]
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [_message(channel, name) for name in answered],
        }
        operations[f"{channel}.{_id(exchange.function)}"] = operation
    channels[channel] = _channel(route, messages)


def _answers(exchange: Exchange) -> Sequence[Kind]:
    if exchange.answers is not None:
        return exchange.answers
    return (Kind("text", "text"), Kind("bytes", "binary"), Kind("anything", "json"))


def _add(messages: Part, kinds: Iterable[Kind]) -> list[str]:
    """Add kinds of messages to those of a channel; return the names that they have there."""
    names = []
    for kind in kinds:
        message = {
            "name": kind.name,
            "contentType": _TYPES[kind.form],
            "payload": payload_of(kind),
        }
        name, number = _id(kind.name), 1
        while messages.get(name, message) != message:
            number += 1
            name = f"{_id(kind.name)}{number}"
        messages[name] = message
        if name not in names:
            names.append(name)
    return names


# ---- in envelopes ----------------------------------------------------------------------------


def _add_enveloped(document: Document, route: Described, channels: Part, operations: Part) -> None:
    channel = f"{_id(route.name)}.wsh.v1"
    names = [*document.of_client, *document.of_server, "WshBytes"]
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in dict.fromkeys(names)}
    header = {"Sec-WebSocket-Protocol": {"type": "string", "const": "wsh.v1"}}
    headers = {"type": "object", "properties": header, "required": [*header]}
    channels[channel] = _channel(route, messages, headers)
    for action, frames in (("receive", document.of_client), ("send", document.of_server)):
        operations[f"{channel}.{action}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [_message(channel, name) for name in [*frames, "WshBytes"]],
            **_security(route),
        }


# ---- both ------------------------------------------------------------------------------------


def _channel(route: Described, messages: Part, headers: Part | None = None) -> Part:
    binding: Part = {"method": "GET", "bindingVersion": "0.1.0"}
    if headers is not None:
        binding["headers"] = headers
    found: Part = {
        "address": route.address,
        "title": route.name,
        "servers": [{"$ref": "#/servers/jupyter"}],
        "messages": messages,
        "bindings": {"ws": binding},
    }
    groups = re.findall(r"\{(\w+)\}", route.address or "")
    if groups:
        found["parameters"] = {
            name: {"description": "One segment of the path, escaped."} for name in groups
        }
    if route.address is None:
        found["x-pattern"] = route.pattern
    return found


def _security(route: Described) -> Part:
    if not route.route.config.auth.required:
        return {}
    return {"security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SCHEMES]}


def _message(channel: str, name: str) -> Part:
    return {"$ref": f"#/channels/{channel}/messages/{name}"}


def _id(name: str) -> str:
    """Return a name as it may stand in a reference."""
    return re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)
