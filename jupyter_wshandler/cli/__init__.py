"""The command line: ``jupyter wshandler ...``; light to start, the server is imported on use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from .. import __version__

EPILOG = """\
examples:
  jupyter wshandler demo
  jupyter wshandler check wshandler.yaml
  jupyter wshandler serve wshandler.yaml --ServerApp.port=9999
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    main = argparse.ArgumentParser(
        prog="jupyter wshandler",
        description="Serve Python functions as authenticated WebSockets of a Jupyter server.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main.add_argument("--version", action="version", version=__version__)
    commands = main.add_subparsers(dest="command", metavar="COMMAND", required=True)
    serve = commands.add_parser(
        "serve",
        help="start a Jupyter server that serves the routes of a file",
        description="Start a Jupyter server that serves the routes of a YAML file. "
        "Every option of `jupyter server` may follow the file.",
    )
    serve.add_argument("file", metavar="FILE", help="a YAML file with routes")
    check = commands.add_parser(
        "check",
        help="say what is wrong in a file, and import its callbacks",
        description="Print the routes of YAML files and every mistake in them; "
        "exit with 1 if there is any. The callback modules are imported.",
    )
    check.add_argument("files", metavar="FILE", nargs="+", help="a YAML file with routes")
    check.add_argument(
        "--allow-public-routes",
        action="store_true",
        help="accept `auth: false`, as a server with WSHandlerApp.allow_public_routes does",
    )
    demo = commands.add_parser(
        "demo",
        help="serve two example bots, talk to one, and show its page",
        description="Start a server on loopback with two example bots, hold a conversation "
        "with one, and serve its chat page until Ctrl-C.",
    )
    demo.add_argument("--once", action="store_true", help="end after the conversation")
    demo.add_argument("--port", type=int, default=0, help="port to use; any free one by default")
    demo.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return main


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments; the process's own where None.
    """
    arguments, rest = parser().parse_known_args(argv)
    if rest and arguments.command != "serve":
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    if arguments.command == "check":
        from .check import check

        return check(arguments.files, allow_public_routes=arguments.allow_public_routes)
    if arguments.command == "serve":
        from .serve import serve

        return serve(arguments.file, rest)
    from .demo import demo

    return demo(once=arguments.once, port=arguments.port, browser=not arguments.no_browser)


if __name__ == "__main__":
    sys.exit(main())
