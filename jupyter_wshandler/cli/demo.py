"""``jupyter wshandler demo``: two example bots on loopback, a conversation, and a page."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

START_SECONDS = 60.0

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
    token = secrets.token_urlsafe(24)
    port = port or _free_port()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="wshandler-demo-") as state:
        log = Path(state) / "server.log"
        server = _start(folder, Path(state), log, port, token)
        try:
            if not _wait(server, port, token):
                print("The server did not come up. Its log ends with:", file=sys.stderr)
                print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
                return 1
            print(f"A Jupyter server with the bots of {folder} runs on 127.0.0.1:{port}.\n")
            if not _converse(port, token):
                print("\nA bot did not answer. The server's log ends with:", file=sys.stderr)
                print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
                return 1
            if not once:
                _show(port, token, browser, server)
        except KeyboardInterrupt:
            pass
        finally:
            _stop(server)
    print("\nThe server has stopped.")
    return 0


def examples_folder() -> Path:
    """Return the folder of the example bots, in an installed package or a source tree."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "examples" / "pingbot", package.parent / "examples" / "pingbot"):
        if (folder / "wshandler.yaml").is_file():
            return folder
    raise FileNotFoundError("the example bots are not installed with this package")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(folder: Path, state: Path, log: Path, port: int, token: str) -> subprocess.Popen[bytes]:
    # The token goes by the environment: a command line can be read by every user.
    environment = {
        **os.environ,
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(state / "config"),
        "JUPYTER_DATA_DIR": str(state / "data"),
        "JUPYTER_RUNTIME_DIR": str(state / "runtime"),
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as stream:
        return subprocess.Popen(  # noqa: S603 - our own command
            [
                sys.executable,
                "-m",
                "jupyter_wshandler",
                "serve",
                str(folder / "wshandler.yaml"),
                f"--ServerApp.port={port}",
                "--ServerApp.port_retries=0",
                "--ServerApp.ip=127.0.0.1",
                "--ServerApp.open_browser=False",
                "--ServerApp.allow_root=True",
                f"--ServerApp.root_dir={state}",
            ],
            env=environment,
            # Not the folder of whoever calls: `-m` puts it before all others on Python's path,
            # and a pingbot.py of theirs (the README's, for one) would be in the way of ours.
            cwd=state,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us: we stop the server ourselves, so that it ends in order.
            start_new_session=True,
        )


def _wait(server: subprocess.Popen[bytes], port: int, token: str) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/status", headers={"Authorization": f"token {token}"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with opener.open(request, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    return False


def _converse(port: int, token: str) -> bool:
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    for path, question in SCRIPT:
        url = f"ws://127.0.0.1:{port}{path}"
        try:
            with connect(
                url, additional_headers={"Authorization": f"token {token}"}, proxy=None
            ) as client:
                print(f"  {path:<10} you > {question}", flush=True)
                client.send(question)
                print(f"  {'':<10} bot < {_answer(client.recv, path)}\n", flush=True)
        except (WebSocketException, OSError, TimeoutError) as error:
            print(f"  {'':<10} bot ! {error}", file=sys.stderr)
            return False
    return True


def _answer(receive, path: str) -> str:  # type: ignore[no-untyped-def]
    """Return one answer; a streaming bot sends it in pieces until it says that it is done."""
    import json

    first = receive(timeout=10)
    if not first.startswith("{"):
        return str(first)
    pieces = []
    message = json.loads(first)
    while not message.get("done"):
        pieces.append(message.get("token", ""))
        message = json.loads(receive(timeout=10))
    return "".join(pieces)


def _show(port: int, token: str, browser: bool, server: subprocess.Popen[bytes]) -> None:
    for path in ("/pingbot", "/storybot"):
        print(f"Chat with {path[1:]:<9} http://127.0.0.1:{port}{path}?token={token}")
    print("\nStop with Ctrl-C.", flush=True)
    if browser:
        _open_browser(f"http://127.0.0.1:{port}/pingbot?token={token}")
    while server.poll() is None:
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


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(5)
