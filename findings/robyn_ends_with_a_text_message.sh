#!/usr/bin/env bash
# robyn 0.88.0: `ws.close()` sends the text "Connection closed", and no close frame at all.
#
# Guess:  `await ws.close()` is a close frame with 1000, and a client's close is answered with one.
# Seen:   the client receives a text message "Connection closed" that nobody has sent, and then the
#         connection is cut: 1006. A client that closes is not answered either and reads 1006. A
#         handler that returns closes nothing: the client waits on.
# Why:    each regular end looks like a broken network, so a client connects again for ever, and one
#         that parses JSON fails at the last message. A client that was written against it looks for
#         a text where other servers say a code.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check robyn==0.88.0 websockets==17.4
cat >server.py <<'PY'
import sys

from robyn import Robyn

app = Robyn(__file__)


@app.websocket("/closes")
async def closes(ws):
    await ws.send_text("hello")
    await ws.close()


@app.websocket("/listens")
async def listens(ws):
    await ws.send_text("hello")
    while True:
        await ws.receive_text()


@app.websocket("/returns")
async def returns(ws):
    await ws.send_text("hello")


app.start(host="127.0.0.1", port=int(sys.argv[1]))
PY
cat >main.py <<'PY'
import asyncio
import socket
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

EXPECTED = {
    "the server closes": ["hello", "Connection closed", 1006],
    "the client closes": ["hello", 1006],
    "the handler returns": ["hello", "still open"],
}


async def talk(url, closes=False):
    """Return the messages that came, and the code that the client was left with."""
    for _ in range(150):
        try:
            ws = await connect(url, proxy=None, close_timeout=10)
            break
        except OSError:
            await asyncio.sleep(0.2)
    else:
        sys.exit("the server did not start")
    seen = []
    try:
        while True:
            seen.append(await asyncio.wait_for(ws.recv(), 5))
            if closes:
                await ws.close(1000)
    except ConnectionClosed:
        return [*seen, int(ws.close_code)]
    except TimeoutError:
        ws.transport.abort()
        return [*seen, "still open"]


with socket.create_server(("127.0.0.1", 0)) as listener:
    port = listener.getsockname()[1]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
server = subprocess.Popen([sys.executable, "server.py", str(port)], **quiet)
try:
    base = f"ws://127.0.0.1:{port}"
    seen = {
        "the server closes": asyncio.run(talk(f"{base}/closes")),
        "the client closes": asyncio.run(talk(f"{base}/listens", closes=True)),
        "the handler returns": asyncio.run(talk(f"{base}/returns")),
    }
finally:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
for name, what in seen.items():
    print(f"{name}: {what}")
if seen != EXPECTED:
    sys.exit(f"robyn behaves differently now; this finding said {EXPECTED}")
PY
timeout 110 venv/bin/python main.py
