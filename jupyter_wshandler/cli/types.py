"""``jupyter wshandler types``: what bots take and answer, for other programs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from urllib.parse import urlencode

from ..config.loader import load
from ..config.printing import printable
from ..functions.reload import RouteLoader
from ..routes import Route
from ..shapes.document import Document
from ..shapes.forms import Form, written
from .asking import Asking


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
    print(written(document, form), end="")
    return 0


def types_of_server(
    form: Form = "asyncapi",
    *,
    names: Sequence[str] = (),
    url: str = "",
    token: str | None = None,
) -> int:
    """Print what the bots of a running server take and answer, those of notebooks too.

    Args:
        form: As of `types`.
        names: The routes to describe; all that one may use where empty.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 if it is printed, 1 where there is no server or it refuses, 2 for what cannot be meant.
    """
    ask = Asking("types", "", url, token)

    def work() -> None:
        query = urlencode([("form", form), *(("route", name) for name in names)])
        print(ask.text(f"types?{query}"), end="", flush=True)

    return ask.run(work)


def _chosen(routes: Sequence[Route], names: Sequence[str]) -> tuple[list[Route], list[str]]:
    """Return the routes to describe, and what is wrong with them."""
    known = {route.name: route for route in routes}
    missing = [name for name in names if name not in known]
    problems = [
        f"there is no route {name!r}; there are {', '.join(known) or 'none'}" for name in missing
    ]
    chosen = [known[name] for name in names if name in known] if names else list(routes)
    return chosen, problems + [f"{route.name}: {route.error}" for route in chosen if route.error]
