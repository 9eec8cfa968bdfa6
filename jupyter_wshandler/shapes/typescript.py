"""The types of routes for TypeScript, made from their JSON schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ..functions.schemas import Schema, values_of
from .closecodes import MEANINGS
from .document import Document
from .routes import Described, Kind

_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}

_HEAD = """\
// Types of {title}, made by `jupyter wshandler types --ts`: do not change them, make them again.
"""

_BYTES = "ArrayBuffer"


def typescript(document: Document) -> str:
    """Return a declaration of all types, and of what each route takes and answers.

    Args:
        document: The routes.
    """
    parts = [_HEAD.format(title=" ".join(document.title.split()))]
    for name, schema in document.definitions.all.items():
        parts.append(_declaration(_name(name), schema))
    parts.append(_routes(document))
    for what, frames in (("client", document.of_client), ("server", document.of_server)):
        union = " | ".join(map(_name, frames))
        parts.append(
            f"/** A text frame that a {what} of `wsh.v1` writes. */\n"
            f"export type Wsh{what.capitalize()}Frame = {union};\n"
        )
    codes = " | ".join(str(int(code)) for code in MEANINGS)
    parts.append(
        "/** What a connection may be closed with, but for a bot's own codes. */\n"
        f"export type CloseCode = {codes};\n"
    )
    return "\n".join(parts)


def _routes(document: Document) -> str:
    lines = ["/** What each route takes and answers. */", "export interface Routes {"]
    for route in document.routes:
        lines += [f"  {_key(route.name)}: {{", *_members(document, route), "  };"]
    return "\n".join([*lines, "}", ""])


def _members(document: Document, route: Described) -> list[str]:
    takes = [kind for one in route.exchanges for kind in one.takes]
    answers: str
    if any(one.answers is None for one in route.exchanges):
        answers = "unknown"
    else:
        found = [kind for one in route.exchanges for kind in one.answers or ()]
        answers = _union(_type_of(kind) for kind in found)
    errors = _union(_type_of(kind) for kind in document.errors_of(route))
    return [
        f"    address: {json.dumps(route.address)};",
        f"    takes: {_union(_type_of(kind) for kind in takes)};",
        f"    answers: {answers};",
        f"    errors: {errors};",
    ]


def _type_of(kind: Kind) -> str:
    if kind.form == "json":
        return type_of(kind.schema, "    ")
    return "string" if kind.form == "text" else _BYTES


def _declaration(name: str, schema: Schema) -> str:
    text = type_of(schema)
    head = _comment(schema, "")
    if text.startswith("{") and schema.get("type") == "object" and "properties" in schema:
        return f"{head}export interface {name} {text}\n"
    return f"{head}export type {name} = {text};\n"


def type_of(schema: Any, indent: str = "") -> str:
    """Return a JSON schema of draft 07 as a type of TypeScript.

    Args:
        schema: The schema.
        indent: What its lines begin with, but for the first.
    """
    if schema is True or not isinstance(schema, dict):
        return "unknown" if schema is not False else "never"
    if "$ref" in schema:
        return _name(str(schema["$ref"]).rpartition("/")[2])
    values = values_of(schema)
    if values:
        return _union(json.dumps(value, ensure_ascii=False) for value in values)
    for word, sign in (("anyOf", " | "), ("oneOf", " | "), ("allOf", " & ")):
        if word in schema:
            found = [type_of(part, indent) for part in schema[word]]
            return _joined(found, sign)
    if "not" in schema:
        return "never"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not kinds and "properties" in schema:
        kinds = ["object"]
    return _union(_of_kind(kind, schema, indent) for kind in kinds) if kinds else "unknown"


def _of_kind(kind: str, schema: Schema, indent: str) -> str:
    if kind == "array":
        return _array(schema, indent)
    if kind == "object":
        return _object(schema, indent)
    return _PLAIN.get(kind, "unknown")


def _array(schema: Schema, indent: str) -> str:
    items = schema.get("items", True)
    if not isinstance(items, list):
        inner = type_of(items, indent)
        return f"({inner})[]" if re.search(r" [|&] ", inner) else f"{inner}[]"
    least = schema.get("minItems", 0)
    parts = [
        type_of(item, indent) + ("" if number < least else "?") for number, item in enumerate(items)
    ]
    # "(A | B)?" and no "A | B?"; what may follow is unknown, as draft 07 has it.
    parts = [f"({part[:-1]})?" if part.endswith("?") and " " in part else part for part in parts]
    if schema.get("additionalItems", True) is not False and "maxItems" not in schema:
        parts.append("...unknown[]")
    return f"[{', '.join(parts)}]"


def _object(schema: Schema, indent: str) -> str:
    properties = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    if not properties:
        return (
            "Record<string, never>" if rest is False else f"Record<string, {type_of(rest, indent)}>"
        )
    inner = f"{indent}  "
    required = schema.get("required", ())
    lines = []
    for name, one in properties.items():
        mark = "" if name in required else "?"
        lines.append(f"{_comment(one, inner)}{inner}{_key(name)}{mark}: {type_of(one, inner)};")
    if isinstance(rest, dict):
        lines.append(f"{inner}[key: string]: unknown;")
    return "\n".join(["{", *lines, f"{indent}}}"])


def _comment(schema: Any, indent: str) -> str:
    words = schema.get("description", "") if isinstance(schema, dict) else ""
    text = " ".join(str(words).split()).replace("*/", "* /")
    return f"{indent}/** {text} */\n" if text else ""


def _union(types: Any) -> str:
    return _joined(list(types), " | ")


def _joined(types: Sequence[str], sign: str) -> str:
    found = list(dict.fromkeys(types))
    if sign == " & ":
        found = [f"({one})" if " | " in one else one for one in found]
    return sign.join(found) or "never"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name, re.ASCII) else json.dumps(name)


def _name(name: str) -> str:
    """Return the name of a type as TypeScript takes it."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{found}" if found[:1].isdigit() else found
