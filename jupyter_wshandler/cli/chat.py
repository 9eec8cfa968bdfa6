"""``jupyter wshandler chat``: talk to a bot in a terminal, or from a pipe."""

from __future__ import annotations

import sys

from ..client.connector import connect
from ..client.running import running_servers
from ..errors import ConnectError, HandshakeRefused, ServerNotFound
from .breaks import Breaks, Heard
from .conversation import INTERRUPTED, Conversation
from .words import complain, no_server, of_the_command_line


def chat(target: str, *, url: str = "", token: str | None = None) -> int:
    """Talk to a bot: each line is a message, what it answers is printed as it comes.

    Args:
        target: The bot's path with its query, or a whole ws, wss, http or https URL.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0 after all was said; 1 where the connection or a message was refused, an answer failed,
        or the bot closed the connection with something left to say; 2 for a target that is none;
        130 after Ctrl-C while something was answered and nobody was typing.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        breaks = Breaks()
        connector = connect(
            target, server=url or None, token=token, max_size=None, on_state=breaks.changed
        ).heard_by(Heard)
        client = connector.open()
    except KeyboardInterrupt:
        return INTERRUPTED
    except ServerNotFound:
        return complain(no_server(target, running_servers()))
    except HandshakeRefused as error:
        return complain(of_the_command_line(str(error)))
    except (ConnectError, TimeoutError) as error:
        return complain(of_the_command_line(str(error)))
    except ValueError as error:
        return complain(of_the_command_line(str(error)), 2)
    return Conversation(client, connector, breaks).hold()
