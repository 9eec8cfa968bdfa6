"""Commands that ask a running server's REST API: which one, and what is said where it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from ..client.addresses import Server
from ..client.rest import TIMEOUT, request, text_of
from ..client.running import running_servers
from ..client.servers import find_server
from ..errors import ConnectError, RequestRefused, ServerNotFound
from .words import complain, no_server, of_the_command_line


class Asking:
    """A running server, asked by a command.

    Args:
        command: The command.
        asked: What was typed behind it, for a sentence that says how to type it again.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.
    """

    def __init__(self, command: str, asked: str, url: str, token: str | None) -> None:
        self._command = command
        self._asked = asked
        self._url = url
        self._token = token
        self._server: Server | None = None

    def __call__(
        self, method: str, path: str, body: Any = None, *, timeout: float = TIMEOUT
    ) -> Any:
        """Ask for one thing; see `client.rest.request`."""
        return request(self.server, method, path, body, token=self._token, timeout=timeout)

    def text(self, path: str) -> str:
        """Ask for something that may be no JSON; return it as it came."""
        return text_of(self.server, path, token=self._token)

    @property
    def server(self) -> Server:
        """The server, found when it is asked first."""
        if self._server is None:
            self._server = find_server(self._url or None)
        return self._server

    def look_again(self) -> None:
        """Look for the server again at the next question: it may have been started anew."""
        self._server = None

    def run(self, work: Callable[[], object]) -> int:
        """Do what the command is for, and return its exit code.

        Args:
            work: Does it, and prints what there is to print.

        Returns:
            0 if it is done, 1 where there is no server or it refuses, 2 for what cannot be meant.
        """
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            work()
            return 0
        except KeyboardInterrupt:
            return 130
        except ServerNotFound:
            words = no_server(self._asked, running_servers(), command=self._command)
            return complain(words, command=self._command)
        except RequestRefused as error:
            return self._complain(error, 2 if error.status == 400 else 1)
        except (ConnectError, LookupError) as error:
            return self._complain(error, 1)
        except ValueError as error:
            return self._complain(error, 2)

    def _complain(self, error: Exception, code: int) -> int:
        return complain(of_the_command_line(str(error)), code, command=self._command)


def print_json(value: Any) -> None:
    """Print what a server has answered, for programs."""
    print(json.dumps(value, indent=2), flush=True)
