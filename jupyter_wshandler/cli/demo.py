"""``jupyter wshandler demo``: two example bots on loopback, a conversation, and a page."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
import webbrowser
from pathlib import Path

from ..client.client import Client
from ..errors import WSHandlerError
from ..testing.server import RunningServer, start_server

LOG_END = 3000
"""Characters of the server's log that are shown where a bot does not answer."""

SCRIPT = [
    ("/pingbot", "Hello world"),
    ("/pingbot", "How are you?"),
    ("/storybot", "ping"),
]
"""What the demo says, and to which route."""


def demo(*, once: bool = False, port: int = 0, browser: bool = True) -> int:
    """Serve the example bots, hold a conversation with them, and show the chat page.

    Args:
        once: End after the conversation instead of waiting for Ctrl-C.
        port: Port to listen on; 0 takes a free one.
        browser: Open a browser, if there is one.

    Returns:
        0, or 1 if the server did not come up or a bot did not answer.
    """
    folder = examples_folder()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    # Ctrl-C ends the demo at any point; the server stops with its block.
    with contextlib.suppress(KeyboardInterrupt):
        try:
            with start_server(folder / "wshandler.yaml", port=port) as server:
                print(f"A Jupyter server with the bots of {folder} runs at {server.url}.\n")
                if not _converse(server):
                    print("\nA bot did not answer. The server's log ends with:", file=sys.stderr)
                    print(server.log[-LOG_END:], file=sys.stderr)
                    return 1
                if not once:
                    _show(server, browser)
        except RuntimeError as error:  # it did not come up; the sentence shows its log
            print(error, file=sys.stderr)
            return 1
    print("\nThe server has stopped.")
    return 0


def examples_folder() -> Path:
    """Return the folder of the example bots, in an installed package or a source tree."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "examples" / "pingbot", package.parent / "examples" / "pingbot"):
        if (folder / "wshandler.yaml").is_file():
            return folder
    raise FileNotFoundError("the example bots are not installed with this package")


def _converse(server: RunningServer) -> bool:
    """Say what the script says and print the answers; return whether there was one each time."""
    for path, question in SCRIPT:
        try:
            with server.connect(path) as client:
                print(f"  {path:<10} you > {question}", flush=True)
                client.send(question)
                print(f"  {'':<10} bot < {_answer(client)}\n", flush=True)
        except (WSHandlerError, OSError) as error:
            print(f"  {'':<10} bot ! {error}", file=sys.stderr)
            return False
    return True


def _answer(client: Client) -> str:
    """Return one answer; a streaming bot sends it in pieces until it says that it is done."""
    first = str(client.recv())
    if not first.startswith("{"):
        return first
    pieces = []
    message = json.loads(first)
    while not message.get("done"):
        pieces.append(message.get("token", ""))
        message = client.recv_json()
    return "".join(pieces)


def _show(server: RunningServer, browser: bool) -> None:
    """Print the addresses of the pages, open one, and wait until the server ends."""
    for name in ("pingbot", "storybot"):
        print(f"Chat with {name:<9} {server.url}{name}?token={server.token}")
    print(f"The console         {server.url}wshandler/?token={server.token}")
    print("\nStop with Ctrl-C.", flush=True)
    if browser:
        _open_browser(f"{server.url}pingbot?token={server.token}")
    while server.process.poll() is None:
        time.sleep(0.2)
    print("The server ended by itself.", file=sys.stderr)


def _interrupt(signum: int, frame: object) -> None:
    # A second one must not cut off the stop that the first has begun.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _open_browser(url: str) -> None:
    # Where there is no browser, the URL has been printed.
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(url, new=2)
