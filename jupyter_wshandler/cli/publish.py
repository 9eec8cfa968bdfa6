"""``jupyter wshandler send --backplane``: a message to a room, without asking a server."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..manager.publish import PutInRoom

FROM_ENVIRONMENT = "-"
"""Stands for the URL in $WSHANDLER_BACKPLANE."""


def add_backplane(send: ArgumentParser) -> None:
    """Add the options of a message that goes by the backplane.

    Args:
        send: The command's parser.
    """
    send.add_argument(
        "--backplane",
        metavar="URL",
        help="send by way of what joins several servers, as c.WSHandlerApp.backplane names it, and "
        "ask none of them; with --space, --room and the message. - for $WSHANDLER_BACKPLANE, which "
        "other users of this machine cannot see",
    )
    send.add_argument(
        "--backplane-prefix",
        metavar="NAME",
        help="what the names of its keys begin with, as c.WSHandlerApp.backplane_prefix says",
    )
    send.add_argument(
        "--space", metavar="NAME", help="with --backplane, the space that the room belongs to"
    )
    send.add_argument(
        "--id",
        metavar="ID",
        help="with --backplane, a name of the message: while the room keeps it, sending it again "
        "does nothing",
    )


def why_not(arguments: Namespace) -> str:
    """Return what is wrong with the words of a message by the backplane; empty for nothing."""
    if arguments.backplane is None:
        alone = ("space", "id", "backplane_prefix")
        given = [f"--{name.replace('_', '-')}" for name in alone if getattr(arguments, name)]
        return f"{given[0]} is for --backplane URL" if given else ""
    asks = ("user", "route", "url", "token", "token_file")
    given = [f"--{name.replace('_', '-')}" for name in asks if getattr(arguments, name)]
    if given:
        return f"{given[0]} is for a message that a server sends, and --backplane asks none"
    if not arguments.space or not arguments.room or len(arguments.words) != 1:
        return (
            "--backplane sends to a room: jupyter wshandler send --backplane URL --space SPACE "
            '--room ROOM "Hello world"'
        )
    return ""


def publish(arguments: Namespace) -> int:
    """Send a message to a room, and say how many servers have heard it.

    Args:
        arguments: What was typed; `why_not` has nothing against it.

    Returns:
        0 if it was sent, to however many; 1 where the backplane refuses or is away, or there is no
        such space; 2 for what cannot be meant.
    """
    from ..backplane.base import PREFIX
    from ..errors import BackplaneError
    from ..manager.publish import publish as publish_message
    from .send import bytes_of, text_of
    from .words import complain

    url = arguments.backplane
    try:
        if url == FROM_ENVIRONMENT:
            url = os.environ.get("WSHANDLER_BACKPLANE", "")
        word = arguments.words[0]
        message: str | bytes = bytes_of(word) if arguments.binary else text_of(word)
        sent = publish_message(
            url,
            arguments.space,
            arguments.room,
            message,
            id=arguments.id,
            prefix=arguments.backplane_prefix or PREFIX,
        )
    except KeyboardInterrupt:
        return 130
    except (BackplaneError, LookupError) as error:
        return complain(str(error), command="send")
    except ValueError as error:
        return complain(str(error), 2, command="send")
    _tell(arguments, sent)
    return 0


def _tell(arguments: Namespace, sent: PutInRoom) -> None:
    """Print what has become of a message."""
    from ..config.summary import printable
    from .asking import print_json

    if arguments.json:
        place = {"space": arguments.space, "room": arguments.room}
        print_json({**place, "epoch": sent.epoch, "offset": sent.offset, "nodes": sent.nodes})
    else:
        print(_said(printable(arguments.room), sent.offset, sent.nodes), flush=True)


def _said(room: str, offset: int, nodes: int | None) -> str:
    """Return what has become of a message, as a sentence."""
    number = f" as number {offset}" if offset else ""
    if nodes is None:
        return f"It had been sent to the room {room} before{number}: sent nothing."
    if not nodes:
        kept = f"; it is kept{number}" if offset else ""
        return f"Nobody is in the room {room}: sent to no server{kept}."
    return f"Sent to the room {room}{number}; {nodes} server{'s have' if nodes > 1 else ' has'} it."
