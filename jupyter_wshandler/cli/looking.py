"""The commands that look at a running server: `connections`, `tail` and `about`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeAlias

LOOKING = ("connections", "tail", "about")

New: TypeAlias = Callable[..., argparse.ArgumentParser]
Add: TypeAlias = Callable[[argparse.ArgumentParser], object]


def add_looking(new: New, *options: Add) -> None:
    """Add the commands to those of the command line.

    Args:
        new: Makes the parser of one more command.
        options: Add what each of them has besides.
    """
    for add in (_add_connections, _add_tail, _add_about):
        command = add(new)
        for option in options:
            option(command)


def _add_connections(new: New) -> argparse.ArgumentParser:
    command = new(
        "connections",
        help="list who is connected to a running server, or close a connection",
        description="List who is connected to a running server, the oldest first; or close "
        "connections.",
    )
    command.add_argument(
        "bot",
        metavar="BOT",
        nargs="?",
        default="",
        help="only those of this bot: its path, as in /pingbot, its pattern, or its name",
    )
    command.add_argument("--user", metavar="NAME", help="only those of this user")
    command.add_argument(
        "--state",
        choices=("open", "away", "closing"),
        help="only those that are open, whose client is away, or that close",
    )
    command.add_argument(
        "--limit",
        metavar="N",
        type=_count,
        default=100,
        help="how many to list at most; %(default)s by default, and 0 lists all",
    )
    command.add_argument(
        "--close", metavar="ID", nargs="+", default=[], help="close these connections instead"
    )
    command.add_argument(
        "--code",
        metavar="CODE",
        type=int,
        help="the close code: 1000 by default, after which clients stay away; after 1012 they come "
        "back",
    )
    command.add_argument("--reason", metavar="TEXT", help="what the closed client is told")
    return command


def _add_tail(new: New) -> argparse.ArgumentParser:
    command = new(
        "tail",
        help="follow what happens on a running server: who comes and goes, and what fails",
        description="Print a line for each connection that opens or closes, each error of a "
        "callback and each refusal, until Ctrl-C. It goes on where the server is started again.",
    )
    command.add_argument(
        "bot",
        metavar="BOT",
        nargs="?",
        default="",
        help="only what happens to this bot: its path, as in /pingbot, its pattern, or its name",
    )
    command.add_argument(
        "--only",
        metavar="KIND",
        action="append",
        choices=("opened", "closed", "failed", "refused"),
        default=[],
        help="only this: opened, closed, failed or refused; may be there more than once",
    )
    command.add_argument(
        "-n",
        "--last",
        metavar="N",
        type=_count,
        default=10,
        help="begin with so many of the last errors; %(default)s by default",
    )
    command.add_argument(
        "--traceback",
        action="store_true",
        help="print the traceback of each error, and the message that it came of",
    )
    return command


def _add_about(new: New) -> argparse.ArgumentParser:
    return new(
        "about",
        help="print versions, paths and settings, for a report of a fault",
        description="Print what to put into a report of a fault: versions and paths, and how the "
        "running server is set up. No token and no password is among it.",
    )


def _count(text: str) -> int:
    """Return a number from 0 on.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, found {text!r}")
    return int(text)


def look(arguments: argparse.Namespace, token: str | None) -> int:
    """Run one of the commands.

    Args:
        arguments: What was typed.
        token: What to log in with; None where it is to be found.
    """
    asked = {"as_json": arguments.json, "url": arguments.url, "token": token}
    if arguments.command == "about":
        from .about import about

        return about(**asked)
    if arguments.command == "tail":
        from .tail import tail

        return tail(
            arguments.bot,
            only=arguments.only,
            last=arguments.last,
            traceback=arguments.traceback,
            **asked,
        )
    from .connections import connections

    return connections(
        arguments.bot,
        user=arguments.user,
        state=arguments.state,
        limit=arguments.limit,
        close=arguments.close,
        code=arguments.code,
        reason=arguments.reason,
        **asked,
    )
