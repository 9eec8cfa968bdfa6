"""One JSON schema of all that a file's routes take and answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..functions.schemas import DIALECT, Schema, schema_of
from ..routes import Route
from .definitions import Definitions
from .envelopes import OF_CLIENT, OF_SERVER, BotError, MessageError, RateError
from .routes import Described, Kind
from .told import described_anywhere

Errors = dict[str, Schema]


class Document:
    """What the routes of a configuration take and answer, with all named types.

    Args:
        routes: The routes, with their functions.
        title: What to call them.

    Attributes:
        definitions: The named types.
        routes: What each route takes and answers.
        of_client: The schemas of the frames that a client of `wsh.v1` writes, by name.
        of_server: Those of the server's.
    """

    def __init__(self, routes: Iterable[Route], title: str) -> None:
        self.title = title
        self.definitions = Definitions()
        self.routes = [described_anywhere(route, self.definitions) for route in routes]
        self.of_client = self._named(OF_CLIENT)
        self.of_server = self._named(OF_SERVER)
        self._errors = self._named((MessageError, RateError, BotError))

    def _named(self, types: Sequence[type[msgspec.Struct]]) -> dict[str, Schema]:
        return {kind.__name__: self.definitions.take(*schema_of(kind)) for kind in types}

    def errors_of(self, route: Described) -> tuple[Kind, ...]:
        """Return what a plain client of a route is told that has gone wrong.

        Args:
            route: The route.
        """
        config = route.route.config
        names = []
        if route.typed:
            names.append("MessageError")
        if config.ratelimit is not None and config.ratelimit.then == "error":
            names.append("RateError")
        if not config.on_error_close:
            names.append("BotError")
        return tuple(Kind(name, "json", self._errors[name]) for name in names)


def json_schema(document: Document) -> dict[str, Any]:
    """Return a JSON schema (draft 07) whose parts say what each route takes and answers.

    That of a route's messages is at ``#/properties/NAME/properties/takes``, that of its answers,
    where they are known, at ``#/properties/NAME/properties/answers``.

    Args:
        document: The routes.
    """
    routes: Schema = {}
    for route in document.routes:
        takes = [kind for one in route.exchanges for kind in one.takes]
        parts = {"takes": _either(takes)}
        if route.exchanges and all(one.answers is not None for one in route.exchanges):
            answers = [kind for one in route.exchanges for kind in one.answers or ()]
            parts["answers"] = _either([*answers, *document.errors_of(route)])
        routes[route.name] = {"type": "object", "properties": parts}
    return {
        "$schema": DIALECT,
        "title": document.title,
        "type": "object",
        "properties": routes,
        "definitions": document.definitions.all,
    }


def _either(kinds: Sequence[Kind]) -> Schema:
    found: list[Schema] = []
    for kind in kinds:
        schema: Schema = kind.schema if kind.form == "json" else payload_of(kind)
        if schema not in found:
            found.append(schema)
    if not found:
        return {"not": {}}
    return found[0] if len(found) == 1 else {"anyOf": found}


def payload_of(kind: Kind) -> Schema:
    """Return the schema of what travels: of JSON what it holds, of text a text.

    Args:
        kind: A kind of message.
    """
    if kind.form == "json":
        return kind.schema
    if kind.form == "text":
        return {"type": "string"}
    return {"type": "string", "description": "A binary frame, given to the bot as it is."}
