"""The arguments of ``jupyter wshandler check``, and what it is to check; light to import."""

from __future__ import annotations

import argparse
import os
import sys


def describe_check(check: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    check.set_defaults(complain=check.error)
    check.add_argument("files", metavar="FILE", nargs="*", help="a YAML file with routes")
    check.add_argument(
        "--backplane",
        metavar="URL",
        help="try out what is to join several servers, as c.WSHandlerApp.backplane names it; "
        "- for $WSHANDLER_BACKPLANE, which other users of this machine cannot see",
    )
    check.add_argument(
        "--session-store",
        metavar="URL",
        help="try out where sessions and shares are to be kept, as c.WSHandlerApp.session_store "
        "names it; - to read the URL from the standard input, where nobody else can see it",
    )
    check.add_argument(
        "--backplane-prefix",
        metavar="NAME",
        help="what the names of its keys begin with, as c.WSHandlerApp.backplane_prefix says",
    )


def run_check(arguments: argparse.Namespace) -> int:
    """Run `check`: of files, of a backplane, of a store of sessions, or of several of them."""
    store = arguments.session_store
    if not arguments.files and arguments.backplane is None and store is None:
        arguments.complain("expected a YAML file, --backplane URL or --session-store URL")
    code = 0
    url, prefix = arguments.backplane, arguments.backplane_prefix or ""
    if url == "-" or (url is None and store is not None):
        url = os.environ.get("WSHANDLER_BACKPLANE", "")
    if arguments.files:
        from .check import check

        code = check(arguments.files, allow_public_routes=arguments.allow_public_routes)
    if arguments.backplane is not None:
        from .backplane import check_backplane

        code = check_backplane(url, prefix) or code
    if store is not None:
        from .sessionstore import check_session_store

        code = check_session_store(_typed() if store == "-" else store, url, prefix) or code
    return code


def _typed() -> str:
    """Return the URL that comes by the standard input; who types it is told what is waited for."""
    if sys.stdin.isatty():
        print("the URL of the store, then Enter:", file=sys.stderr)
    return sys.stdin.readline().strip()
