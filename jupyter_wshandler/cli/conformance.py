"""``jupyter wshandler conformance``: tries somebody's client of `wsh.v1`."""

from __future__ import annotations

import argparse
import sys

CONFORMANCE = (
    "Start a server, and a program that holds a WebSocket client of yours, once for each thing "
    "that it must get right; cut its connections, and say what it gets wrong. docs/protocol.md "
    "says what the program reads and writes. Exits with 1 where anything is wrong."
)


def add_conformance(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "client", metavar="COMMAND", nargs="*", help="the program and its arguments, behind --"
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="try this scenario, as in resume-idle or 'room-*'; may be there more than once",
    )
    parser.add_argument("--list", action="store_true", help="show the scenarios, and end")
    parser.add_argument(
        "--seed", type=int, help="make random things happen as in a run that printed this number"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=4,
        help="how many scenarios run at once; %(default)s by default",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="wait so many times as long as usual, for a slow client or machine",
    )


def conformance(arguments: argparse.Namespace) -> int:
    """Run the command, and return its exit code."""
    from ..testing.conformance.run import conformance as try_client
    from ..testing.conformance.run import names

    if arguments.list:
        for name, sentence in names():
            print(f"{name:<22} {sentence}")
        return 0
    problem = ""
    if not arguments.client:
        problem = "expected the command of a client behind --, as in: -- node client.js"
    elif arguments.jobs < 1 or not 0 < arguments.patience < float("inf"):
        problem = "expected --jobs of at least 1, and --patience above 0"
    else:
        try:
            return try_client(
                arguments.client,
                only=arguments.only,
                seed=arguments.seed,
                jobs=arguments.jobs,
                patience=arguments.patience,
            )
        except ValueError as error:
            problem = str(error)
        except RuntimeError as error:  # the server did not come up; the sentence shows its log
            print(error, file=sys.stderr)
            return 1
    print(f"jupyter wshandler conformance: {problem}", file=sys.stderr)
    return 2
