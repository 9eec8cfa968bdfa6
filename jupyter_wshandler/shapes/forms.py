"""The forms in which other programs read what bots take and answer."""

from __future__ import annotations

import json
from typing import Literal, get_args

from .asyncapi import asyncapi
from .document import Document, json_schema
from .typescript import typescript

Form = Literal["asyncapi", "schema", "ts"]


def form_of(word: str) -> Form | None:
    """Return the form that a word names; None where it is none."""
    return next((form for form in get_args(Form) if form == word), None)


def written(document: Document, form: Form) -> str:
    """Return a document as text, with the end of its last line.

    Args:
        document: What the routes take and answer.
        form: An AsyncAPI document, a JSON schema, or a declaration for TypeScript.
    """
    if form == "ts":
        return typescript(document)
    found = asyncapi(document) if form == "asyncapi" else json_schema(document)
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"
