#!/usr/bin/env bash
# jupyter-server 2.21.1: the port of a server that starts is opened, closed, and opened again.
#
# Guess:  once somebody can connect to the port, the connection is the server's, and is answered as
#         soon as the server is up.
# Seen:   to find out whether the port is free the server listens on it and closes it at once. Whoever
#         connects at that moment is accepted by the system and reset (ECONNRESET), or refused right after.
#         The second listener is the server's.
# Why:    scripts, proxies and tests wait for a server by trying its port. A machine that is busy makes the
#         moment long: wait until a request is answered, and take a reset for "not yet".
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install jupyter-server==2.21.1 tornado==6.6.1
export HOME="$dir" JUPYTER_CONFIG_DIR="$dir/config" JUPYTER_DATA_DIR="$dir/data" JUPYTER_RUNTIME_DIR="$dir/run"
cat >main.py <<'PYTHON'
import socket
import threading
from importlib.metadata import version

from jupyter_server.serverapp import ServerApp

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]

seen, clients = [], []
listen = socket.socket.listen


def told(self, *arguments):
    """Listen, and then let somebody connect who waits for the port."""
    listen(self, *arguments)
    if self.getsockname()[1] == port:
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        clients.append(client)


socket.socket.listen = told


def ask():
    """Ask on each connection that was made, in its order, and stop the server."""
    for client in clients:
        try:
            client.sendall(b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            seen.append(client.recv(100).split(b"\r\n")[0].decode() or "closed")
        except OSError as error:
            seen.append(type(error).__name__)
    app.io_loop.add_callback(app.stop)


app = ServerApp()
app.initialize(
    [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",
        "--ServerApp.log_level=ERROR",
    ]
)
threading.Timer(2.0, ask).start()
app.start()
print(f"jupyter-server {version('jupyter-server')}: {len(clients)} listeners, answers {seen}")
assert len(seen) == 2, seen
assert seen[0] in ("ConnectionResetError", "BrokenPipeError", "closed"), seen
assert seen[1] == "HTTP/1.1 200 OK", seen
PYTHON
venv/bin/python main.py
