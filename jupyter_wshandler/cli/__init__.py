"""The command line: ``jupyter wshandler ...``; light to start, the server is imported on use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TypeAlias

from .. import __version__
from .checking import describe_check, run_check
from .conformance import CONFORMANCE, add_conformance, conformance
from .drain import add_drain, drain
from .looking import LOOKING, add_looking, look
from .publish import add_backplane, publish
from .publish import why_not as why_not_by_backplane

EPILOG = """\
examples:
  jupyter wshandler demo
  jupyter wshandler chat /pingbot
  jupyter wshandler share /pingbot --expires 2h
  jupyter wshandler send /pingbot "Back in five minutes"
  jupyter wshandler connections /pingbot
  jupyter wshandler tail --traceback
  jupyter wshandler drain
  jupyter wshandler check wshandler.yaml
  jupyter wshandler types wshandler.yaml --ts
  jupyter wshandler types --route notebook-bot
  jupyter wshandler check --backplane redis://127.0.0.1:6379/0 --session-store backplane
  jupyter wshandler serve wshandler.yaml --ServerApp.port=9999
  jupyter wshandler serve wshandler.yaml --bots-only
"""

SHARE_EPILOG = """\
examples:
  jupyter wshandler share /pingbot
  jupyter wshandler share /pingbot --label "Tuesday's class" --expires 2h --uses 30
  jupyter wshandler share --list
  jupyter wshandler share --revoke 3f9a
"""

TYPES = """\
Print what bots take and answer, as the annotations of their functions say: an AsyncAPI 3.0
document. Those of YAML files, whose callback modules are imported; without a file those of a
running server, its notebooks' bots included."""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What commands are added to."""

EXPIRES = "2h"
"""How long a link works where nothing else is said."""


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
    serve.add_argument(
        "--bots-only",
        action="store_true",
        help="serve these routes and nothing else of Jupyter's: no kernels, terminals or files",
    )
    check = commands.add_parser(
        "check",
        help="say what is wrong in a file, and import its callbacks",
        description="Print the routes of YAML files and every mistake in them; "
        "exit with 1 if there is any. The callback modules are imported.",
    )
    describe_check(check)
    _add_public(check)
    _add_demo(commands)
    _add_chat(commands)
    _add_share(commands)
    _add_send(commands)
    _describe_types(
        commands.add_parser(
            "types",
            help="describe what bots take and answer, for other programs",
            description=TYPES,
        )
    )
    _add_routes(commands)
    add_looking(commands.add_parser, _add_json, _add_server)
    add_drain(commands.add_parser, _add_json, _add_server)
    add_conformance(
        commands.add_parser(
            "conformance",
            help="try a client of your own against the protocol wsh.v1",
            description=CONFORMANCE,
        )
    )
    return main


def _add_demo(commands: Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="serve two example bots, talk to one, and show its page",
        description="Start a server on loopback with two example bots, hold a conversation "
        "with one, and serve its chat page until Ctrl-C.",
    )
    demo.add_argument("--once", action="store_true", help="end after the conversation")
    demo.add_argument("--port", type=int, default=0, help="port to use; any free one by default")
    demo.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _add_chat(commands: Commands) -> None:
    chat = commands.add_parser(
        "chat",
        help="talk to a bot in the terminal",
        description="Talk to a bot of a running server. Each line is a message, or several that "
        "end with a backslash, or what is pasted; answers are printed as they come. Ctrl-C stops "
        "an answer, Ctrl-D ends. From a pipe, each line waits for the answer to the one before, "
        "and the exit code is 0 where all went well.",
    )
    chat.add_argument(
        "bot",
        metavar="PATH",
        help="the bot's path, as in /pingbot, its URL, or a shared link (in quotes)",
    )
    _add_server(chat)


def _add_share(commands: Commands) -> None:
    share = commands.add_parser(
        "share",
        help="let others talk to one bot of a running server, by a link",
        description="Make a link to one bot of a running server. Whoever has it talks to that\n"
        "bot, without a login, and can do nothing else. Only the link goes to the standard\n"
        "output, so that it can be piped; words about it go to the standard error.",
        epilog=SHARE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    share.add_argument(
        "bot", metavar="BOT", nargs="?", help="the bot's path, as in /pingbot, or its name"
    )
    share.add_argument(
        "--path", help="the path to share, as in /room/blue, where the bot's pattern has parts"
    )
    share.add_argument("--label", default="", help="what you, and the bot, call these guests")
    share.add_argument(
        "--expires",
        metavar="TIME",
        default=EXPIRES,
        help="how long the link works: 30m, 2h, 7d, or never; %(default)s by default",
    )
    share.add_argument(
        "--uses", metavar="N", type=int, help="how many guests it lets in; any number by default"
    )
    share.add_argument(
        "--no-page", action="store_true", help="share the socket only, and not the bot's page"
    )
    for who in ("user", "group"):
        share.add_argument(
            f"--{who}",
            metavar="NAME",
            action="append",
            default=[],
            help=f"let in this {who} of the JupyterHub, and not whoever has a link, where the Hub "
            "has a directory of bots; may be there more than once",
        )
    instead = share.add_mutually_exclusive_group()
    instead.add_argument(
        "--list", action="store_true", help="show what is shared, and who is in; of BOT, or of all"
    )
    instead.add_argument(
        "--revoke",
        metavar="ID",
        nargs="+",
        help="end what is shared, and close its connections; the first letters of an ID will do",
    )
    _add_json(share)
    _add_server(share)


def _add_send(commands: Commands) -> None:
    send = commands.add_parser(
        "send",
        help="send a message to all who are connected to a bot",
        description="Send a message to everybody who is connected to a bot of a running server, "
        "without a connection of one's own.",
    )
    send.add_argument(
        "words",
        metavar="BOT MESSAGE",
        nargs="+",
        help="the bot's path, as in /pingbot, or its name; and what to send: a text (JSON is one), "
        "or - for the standard input",
    )
    send.add_argument("--route", metavar="NAME", help="the bot's name, in place of BOT")
    narrowed = send.add_mutually_exclusive_group()
    narrowed.add_argument(
        "--user", metavar="NAME", help="send to this user only; to everyone by default"
    )
    narrowed.add_argument(
        "--room",
        metavar="NAME",
        help="send to this room of the bot's space; BOT may be the space's name",
    )
    send.add_argument("--binary", action="store_true", help="send the bytes as a binary frame")
    add_backplane(send)
    _add_json(send)
    _add_server(send)


def _add_routes(commands: Commands) -> None:
    routes = commands.add_parser(
        "routes",
        help="list the bots of a running server, and how many are connected",
        description="List the bots of a running server: those of its files and of its notebooks.",
    )
    _add_json(routes)
    _add_server(routes)


def _describe_types(types: argparse.ArgumentParser) -> None:
    types.add_argument("files", metavar="FILE", nargs="*", help="a YAML file with routes")
    instead = types.add_mutually_exclusive_group()
    instead.add_argument("--ts", action="store_true", help="a declaration for TypeScript instead")
    instead.add_argument("--schema", action="store_true", help="a JSON schema instead (draft 07)")
    types.add_argument(
        "--route",
        metavar="NAME",
        action="append",
        default=[],
        help="describe this route only; may be there more than once",
    )
    _add_public(types)
    _add_server(types)


def _add_public(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--allow-public-routes",
        action="store_true",
        help="accept `auth: false`, as a server with WSHandlerApp.allow_public_routes does",
    )


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON for programs")


def _add_server(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--url", default="", help="the server, as in http://127.0.0.1:8888/; found by default"
    )
    login = command.add_mutually_exclusive_group()
    login.add_argument(
        "--token",
        help="what to log in with, if it is not found; other users of this machine can see it, "
        "unlike --token-file",
    )
    login.add_argument("--token-file", metavar="FILE", help="a file that holds the token")


def _ask_server(arguments: argparse.Namespace) -> int:
    """Run a command that logs in to a running server."""
    token = arguments.token
    if arguments.token_file is not None:
        try:
            with open(arguments.token_file, encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            print(f"--token-file {arguments.token_file}: {why}", file=sys.stderr)
            return 2
    if arguments.command == "chat":
        from .chat import chat

        return chat(arguments.bot, url=arguments.url, token=token)
    if arguments.command == "routes":
        from .routes import routes

        return routes(as_json=arguments.json, url=arguments.url, token=token)
    if arguments.command == "send":
        return _send(arguments, token)
    if arguments.command == "types":
        return _types(arguments, token)
    if arguments.command in LOOKING:
        return look(arguments, token)
    if arguments.command == "drain":
        return drain(arguments, token)
    return _share(arguments, token)


def _types(arguments: argparse.Namespace, token: str | None) -> int:
    """Run `types`."""
    from ..shapes.forms import Form
    from .types import types, types_of_server

    form: Form = "ts" if arguments.ts else "schema" if arguments.schema else "asyncapi"
    names, public = arguments.route, arguments.allow_public_routes
    if arguments.files:
        return types(arguments.files, form, names=names, allow_public_routes=public)
    if public:
        print(
            "jupyter wshandler types: --allow-public-routes is for files, and there is none; a "
            "running server has its own setting",
            file=sys.stderr,
        )
        return 2
    return types_of_server(form, names=names, url=arguments.url, token=token)


def _send(arguments: argparse.Namespace, token: str | None) -> int:
    """Run `send`."""
    why = why_not_by_backplane(arguments)
    if why:
        print(f"jupyter wshandler send: {why}", file=sys.stderr)
        return 2
    if arguments.backplane is not None:
        return publish(arguments)
    words, is_name = list(arguments.words), arguments.route is not None
    if is_name:
        words.insert(0, arguments.route)
    if len(words) != 2:
        what = "one message behind --route NAME" if is_name else "a bot and one message"
        print(
            f"jupyter wshandler send: expected {what}, found {len(arguments.words)} words; put a "
            'message in quotes: jupyter wshandler send /pingbot "Hello world"',
            file=sys.stderr,
        )
        return 2
    from .send import send

    return send(
        *words,
        is_name=is_name,
        user=arguments.user,
        room=arguments.room,
        binary=arguments.binary,
        as_json=arguments.json,
        url=arguments.url,
        token=token,
    )


def _share(arguments: argparse.Namespace, token: str | None) -> int:
    """Run `share`."""
    from .share import Wish, share

    wish = Wish(
        bot=arguments.bot or "",
        path=arguments.path or "",
        label=arguments.label,
        expires=arguments.expires,
        uses=arguments.uses,
        page=not arguments.no_page,
        users=tuple(arguments.user),
        groups=tuple(arguments.group),
    )
    return share(
        wish,
        show=arguments.list,
        revoke=arguments.revoke or (),
        as_json=arguments.json,
        url=arguments.url,
        token=token,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        argv: The arguments; the process's own where None.
    """
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # as of `| head`
        from .words import nobody_reads

        nobody_reads()
        return 1


def _run(argv: Sequence[str] | None) -> int:
    arguments, rest = parser().parse_known_args(argv)
    if arguments.command == "send" and all(word == "-" or word[:1] != "-" for word in rest):
        arguments.words += rest  # argparse takes what is behind an option for something else
        rest = []
    if rest and arguments.command != "serve":
        parser().error(f"unrecognized arguments: {' '.join(rest)}")
    if arguments.command == "check":
        return run_check(arguments)
    if arguments.command == "serve":
        from .serve import serve

        return serve(arguments.file, rest, bots_only=arguments.bots_only)
    if arguments.command == "conformance":
        return conformance(arguments)
    if arguments.command in ("chat", "share", "send", "routes", "types", "drain", *LOOKING):
        return _ask_server(arguments)
    from .demo import demo

    return demo(once=arguments.once, port=arguments.port, browser=not arguments.no_browser)


if __name__ == "__main__":
    sys.exit(main())
