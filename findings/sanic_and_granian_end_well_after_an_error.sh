#!/usr/bin/env bash
# sanic 25.12.1, quart 0.22.0, granian 2.8.9: a handler that raises ends as one that has finished.
#
# Guess:  an exception in a WebSocket handler closes the connection with 1011 (internal error), or
#         cuts it (1006), as uvicorn does: never with a code of a good end.
# Seen:   with sanic and quart the client reads 1000 in both cases, with granian a close without a
#         code (1005). Nothing on the client's side tells an answer that broke off from a complete one.
# Why:    a streamed answer that a failure cuts short is shown as the whole, and a client that
#         connects again after anything but a clean close does not. Catch what the handler raises
#         and close with 1011 yourself.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
    sanic==25.12.1 quart==0.22.0 granian==2.8.9 uvicorn==0.54.0 websockets==17.4
cat >asgi.py <<'PY'
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "the first half"})
    if scope["path"] == "/raises":
        raise ValueError
    await send({"type": "websocket.send", "text": "the second half"})
PY
cat >with_sanic.py <<'PY'
import sys

from sanic import Sanic

app = Sanic("answers")


@app.websocket("/<path>")
async def answer(request, ws, path):
    await ws.send("the first half")
    if path == "raises":
        raise ValueError
    await ws.send("the second half")


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, motd=False)
PY
cat >with_quart.py <<'PY'
from quart import Quart, websocket

app = Quart("answers")


@app.websocket("/<path>")
async def answer(path):
    await websocket.send("the first half")
    if path == "raises":
        raise ValueError
    await websocket.send("the second half")
PY
cat >main.py <<'PY'
import asyncio
import socket
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

BIN = "venv/bin"
COMMANDS = {
    "uvicorn": f"{BIN}/uvicorn --host 127.0.0.1 --lifespan off asgi:app --port",
    "granian": f"{BIN}/granian --interface asginl --host 127.0.0.1 asgi:app --port",
    "quart": f"{BIN}/uvicorn --host 127.0.0.1 --lifespan off with_quart:app --port",
    "sanic": f"{BIN}/python with_sanic.py",
}
EXPECTED = {
    "uvicorn": {"returns": [2, 1006], "raises": [1, 1006]},
    "granian": {"returns": [2, 1005], "raises": [1, 1005]},
    "quart": {"returns": [2, 1000], "raises": [1, 1000]},
    "sanic": {"returns": [2, 1000], "raises": [1, 1000]},
}


async def ask(url):
    """Return how many messages came, and the code of the close."""
    for _ in range(150):
        try:
            ws = await connect(url, proxy=None)
            break
        except OSError:
            await asyncio.sleep(0.2)
    else:
        sys.exit("the server did not start")
    messages = 0
    try:
        while True:
            await asyncio.wait_for(ws.recv(), 10)
            messages += 1
    except ConnectionClosed:
        return [messages, int(ws.close_code)]


def run(command):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command.split(), str(port)], **quiet)
    try:
        return {
            path: asyncio.run(ask(f"ws://127.0.0.1:{port}/{path}"))
            for path in ("returns", "raises")
        }
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


seen = {name: run(command) for name, command in COMMANDS.items()}
for name, what in seen.items():
    print(f"{name}, [messages, close code]: {what}")
if seen != EXPECTED:
    sys.exit(f"the servers behave differently now; this finding said {EXPECTED}")
PY
timeout 110 venv/bin/python main.py
