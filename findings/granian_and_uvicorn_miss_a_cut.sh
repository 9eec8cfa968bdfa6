#!/usr/bin/env bash
# granian 2.8.9, uvicorn 0.54.0: whether a client's cut is 1006 depends on what carries the socket.
#
# Guess:  an ASGI application is told 1006 in `websocket.disconnect` where the connection broke off,
#         and 1005 where the client closed without a code, as RFC 6455 (7.1.5) has the two numbers.
# Seen:   uvicorn with `--ws websockets` tells them apart. With `--ws websockets-sansio`, as with
#         granian, both are 1005: a close in good order.
# Why:    whoever counts lost connections, or keeps the place of a client that may come back and not
#         of one that has left, sees no loss at all after the one option or server has changed.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
    granian==2.8.9 uvicorn==0.54.0 websockets==17.4
cat >asgi.py <<'PY'
async def app(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    with open("told", "a") as told:
        told.write(f"{message['type']} {int(message['code'])}\n")
PY
cat >main.py <<'PY'
import asyncio
import socket
import struct
import subprocess
import sys
from pathlib import Path

BIN = "venv/bin"
COMMANDS = {
    "uvicorn, websockets": f"{BIN}/uvicorn --ws websockets --lifespan off asgi:app --port",
    "uvicorn, websockets-sansio": f"{BIN}/uvicorn --ws websockets-sansio --lifespan off asgi:app"
    " --port",
    "granian": f"{BIN}/granian --interface asginl asgi:app --port",
}
EXPECTED = {
    "uvicorn, websockets": {"no code": 1005, "4000": 4000, "cut": 1006},
    "uvicorn, websockets-sansio": {"no code": 1005, "4000": 4000, "cut": 1005},
    "granian": {"no code": 1005, "4000": 4000, "cut": 1005},
}
MASK = bytes(4)
CLOSES = {
    "no code": b"\x88\x80" + MASK,
    "4000": b"\x88\x82" + MASK + struct.pack("!H", 4000),
    "cut": None,
}
HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def leave(port, close):
    """Shake hands, and leave by this close frame or by ending the TCP connection."""
    for _ in range(150):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0.2)
    else:
        sys.exit("the server did not start")
    writer.write(HANDSHAKE.encode())
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    await asyncio.sleep(0.3)
    if close:
        writer.write(close)
        await asyncio.wait_for(reader.read(2), 10)
    writer.close()


def run(command):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([*command.split(), str(port)], **quiet)
    seen, told = {}, Path("told")
    try:
        for name, close in CLOSES.items():
            told.write_text("")
            asyncio.run(leave(port, close))
            for _ in range(100):
                if told.read_text():
                    break
                asyncio.run(asyncio.sleep(0.1))
            kind, code = told.read_text().split()
            assert kind == "websocket.disconnect"
            seen[name] = int(code)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
    return seen


seen = {name: run(command) for name, command in COMMANDS.items()}
for name, what in seen.items():
    print(f"{name}: {what}")
if seen != EXPECTED:
    sys.exit(f"the servers behave differently now; this finding said {EXPECTED}")
PY
timeout 110 venv/bin/python main.py
