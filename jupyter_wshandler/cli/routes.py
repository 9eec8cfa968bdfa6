"""``jupyter wshandler routes``: what a running server serves, and how many are connected."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..config.printing import printable
from .asking import Asking, print_json
from .tables import aligned

HEADINGS = ("NAME", "HERE", "STATE", "SERVED BY", "PATTERN")


def routes(*, as_json: bool = False, url: str = "", token: str | None = None) -> int:
    """List the routes of a server, with what is wrong with those that are broken.

    Args:
        as_json: Print what the server answers, for programs.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 if they are listed, 1 where there is no server or it refuses, 2 for what cannot be meant.
    """
    ask = Asking("routes", "", url, token)

    def work() -> None:
        answer = ask("GET", "routes")
        if as_json:
            print_json(answer)
            return
        found = answer["routes"]
        if not found:
            print("This server serves no routes.", file=sys.stderr)
            return
        print("\n".join(_table(found)), flush=True)
        for route in found:
            if route["error"]:
                words = "\n".join(printable(line) for line in str(route["error"]).splitlines())
                print(f"\n{printable(str(route['name']))}: {words}", file=sys.stderr)

    return ask.run(work)


def _table(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table; the pattern comes last, as it may be of any width."""
    return aligned([HEADINGS, *(_row(route) for route in found)], right=(1,))


def _row(route: Mapping[str, Any]) -> tuple[str, ...]:
    host = "a notebook" if route["host"] == "kernel" else "a module"
    cells = (route["name"], route["connections"], route["state"], host, route["pattern"])
    return tuple(printable(str(cell)) for cell in cells)
