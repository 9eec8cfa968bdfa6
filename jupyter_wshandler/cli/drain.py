"""``jupyter wshandler drain``: empty a running server, so that it can be stopped."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from typing import Any

LOOK = 0.5
"""Seconds between two looks."""

DESCRIPTION = (
    "Have a running server take nobody new, and its clients go to others: those that speak wsh.v1 "
    "are told to come back, each at its own time, and leave when they have their answers; all "
    "others are closed with 1001. Returns when the last has gone; then the server can be stopped."
)


def add_drain(drain: ArgumentParser) -> None:
    """Add the options of the command.

    Args:
        drain: Its parser.
    """
    drain.add_argument(
        "--seconds",
        metavar="N",
        type=float,
        default=10.0,
        help="the time in which they go; %(default)g by default",
    )
    drain.add_argument("--no-wait", action="store_true", help="do not wait until all have gone")
    drain.add_argument(
        "--undo", action="store_true", help="take new clients again, where that has begun"
    )


def drain(arguments: Namespace, token: str | None) -> int:
    """Empty a server, and say when nobody is there any more.

    Args:
        arguments: What was typed.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 if all have gone, or were told to; 1 where there is no server or it refuses, 2 for what
        cannot be meant.
    """
    from .asking import Asking, print_json

    ask = Asking("drain", "", arguments.url, token)

    def tell(state: dict[str, Any], sentence: str) -> None:
        if arguments.json:
            print_json(state)
        else:
            print(sentence, flush=True)

    def work() -> None:
        if arguments.undo:
            tell(ask("DELETE", "drain"), "The server takes new clients again.")
            return
        state = ask("POST", "drain", {"seconds": arguments.seconds})
        count = int(state["connections"])
        if arguments.no_wait:
            tell(state, f"{_connections(count)} to go within {arguments.seconds:g} s.")
            return
        if count and not arguments.json:
            print(f"{_connections(count)} to go ...", file=sys.stderr, flush=True)
        while state["connections"]:
            time.sleep(LOOK)
            state = ask("GET", "drain")
        tell(state, "Nobody is connected any more, and nobody new is let in: stop the server now.")

    return ask.run(work)


def _connections(count: int) -> str:
    return f"{count} connection{'s have' if count != 1 else ' has'}"
