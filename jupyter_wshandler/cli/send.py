"""``jupyter wshandler send``: a message to all clients of a bot of a running server."""

from __future__ import annotations

import base64
import shlex
import sys
from typing import Any
from urllib.parse import quote

from ..config.summary import printable
from .asking import Asking, print_json

STDIN = "-"


def send(
    bot: str,
    message: str,
    *,
    is_name: bool = False,
    user: str | None = None,
    room: str | None = None,
    binary: bool = False,
    as_json: bool = False,
    url: str = "",
    token: str | None = None,
) -> int:
    """Send a message to the clients of a bot, and say how many there are.

    Args:
        bot: The bot's path, with a slash at its begin, its pattern, or its name.
        message: The message; "-" for what comes in at the standard input.
        is_name: Whether `bot` is its name in any case.
        user: The name of the user whom it is for; everyone where None.
        room: The room of the bot's space that it is for; None for no room.
        binary: Send the bytes as a binary frame.
        as_json: Print what the server answers, for programs.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 if it was sent, to however many; 1 where there is no server or it refuses, 2 for what
        cannot be meant.
    """
    asked = shlex.quote(bot)
    ask = Asking("send", f"--route {asked} MESSAGE" if is_name else f"{asked} MESSAGE", url, token)

    def work() -> None:
        name = bot if is_name or not bot.startswith("/") else _name_of(ask, bot)
        address = f"routes/{quote(name, safe='/')}"
        if room is not None:
            address = f"spaces/{quote(name, safe='')}/rooms/{quote(room, safe='')}"
        answer = ask("POST", address, _body(message, binary, user))
        if as_json:
            print_json(answer)
        else:
            print(_said(answer, user) if room is None else _said_in_room(answer), flush=True)

    return ask.run(work)


def _name_of(ask: Asking, pattern: str) -> str:
    """Return the name of the route with a pattern.

    Raises:
        LookupError: There is none.
    """
    routes = ask("GET", "routes")["routes"]
    for route in routes:
        if pattern == route["pattern"]:
            return str(route["name"])
    there = ", ".join(printable(str(route["pattern"])) for route in routes) or "none"
    raise LookupError(
        f"no bot has the path {printable(pattern)}; there are: {there}. Of a pattern with parts "
        "name the pattern: a message goes to all who are connected to it"
    )


def _body(message: str, binary: bool, user: str | None) -> dict[str, Any]:
    """Return what the API is sent.

    Raises:
        ValueError: The standard input is no text.
    """
    found: dict[str, Any] = {} if user is None else {"user": user}
    if binary:
        return {**found, "binary": base64.b64encode(bytes_of(message)).decode()}
    return {**found, "message": text_of(message)}


def bytes_of(message: str) -> bytes:
    """Return what a word of the command line says, or the standard input, as bytes."""
    return sys.stdin.buffer.read() if message == STDIN else message.encode(errors="surrogateescape")


def text_of(message: str) -> str:
    """Return what a word of the command line says, or the standard input, as text.

    Raises:
        ValueError: The standard input is no text.
    """
    if message != STDIN:
        return message
    try:
        # As in a shell's $(...): the last newline ends the line, and is none of the message.
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the standard input is no text in UTF-8 (byte {error.start}); with --binary it is "
            "sent as it is"
        ) from None


def _said(answer: Any, user: str | None) -> str:
    """Return what has become of a message, as a sentence."""
    name = printable(str(answer["route"]))
    count, there = int(answer["delivered"]), int(answer["connections"])
    if not there:
        return f"Nobody is connected to {name}: sent to nobody."
    if user is not None and not count:
        return f"{printable(user)} is not connected to {name}: sent to nobody."
    if user is not None:
        return f"Sent to {_connections(count)} of {printable(user)} to {name}."
    return f"Sent to {_connections(count)} of {name}."


def _said_in_room(answer: Any) -> str:
    room, count = printable(str(answer["room"])), int(answer["delivered"])
    if not count:
        kept = "; it is kept in the room's history" if answer["offset"] else ""
        return f"Nobody is in the room {room}: sent to nobody{kept}."
    return f"Sent to {_connections(count)} in the room {room}."


def _connections(count: int) -> str:
    return f"{count} connection{'s' * (count != 1)}"
