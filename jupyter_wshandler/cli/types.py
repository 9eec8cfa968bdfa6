"""``jupyter wshandler types``: what the bots of a file take and answer, for other programs."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Literal

from ..config.loader import load
from ..config.summary import printable
from ..functions.reload import RouteLoader
from ..routes import Route
from ..shapes.asyncapi import asyncapi
from ..shapes.document import Document, json_schema
from ..shapes.typescript import typescript

Form = Literal["asyncapi", "schema", "ts"]


def types(
    files: Sequence[str],
    form: Form = "asyncapi",
    *,
    names: Sequence[str] = (),
    allow_public_routes: bool = False,
) -> int:
    """Print what the functions of routes take and answer; their modules are imported.

    Args:
        files: Paths of YAML files, read as ``c.WSHandlerApp.config_file`` would.
        form: An AsyncAPI document, a JSON schema, or a declaration for TypeScript.
        names: The routes to describe; all where empty.
        allow_public_routes: Whether ``auth: false`` is permitted.

    Returns:
        The exit status: 0, or 1 where a route is broken or missing.
    """
    config = load(files=list(files), allow_public_routes=allow_public_routes)
    loader = RouteLoader()
    try:
        # What the modules print is not what somebody's program reads.
        with contextlib.redirect_stdout(sys.stderr):
            routes = loader.load(config)
            chosen, problems = _chosen(routes, names)
            problems = [*map(str, config.problems), *problems]
            if not problems:
                title = f"the bots of {', '.join(map(os.path.basename, files))}"
                document = Document(chosen, title)
    finally:
        loader.close()
    if problems:
        for problem in problems:
            words = "\n".join(printable(line) for line in problem.splitlines())
            print(f"jupyter wshandler types: {words}", file=sys.stderr)
        print("`jupyter wshandler check` says more.", file=sys.stderr)
        return 1
    if form == "ts":
        print(typescript(document), end="")
    else:
        found = asyncapi(document) if form == "asyncapi" else json_schema(document)
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def _chosen(routes: Sequence[Route], names: Sequence[str]) -> tuple[list[Route], list[str]]:
    """Return the routes to describe, and what is wrong with them."""
    known = {route.name: route for route in routes}
    missing = [name for name in names if name not in known]
    problems = [
        f"there is no route {name!r}; there are {', '.join(known) or 'none'}" for name in missing
    ]
    chosen = [known[name] for name in names if name in known] if names else list(routes)
    return chosen, problems + [f"{route.name}: {route.error}" for route in chosen if route.error]
