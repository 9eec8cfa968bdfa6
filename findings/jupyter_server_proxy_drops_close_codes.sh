#!/usr/bin/env bash
# jupyter-server-proxy 4.6.0: every close code is 1005, and the two ends agree on two subprotocols.
#
# Guess:  a proxy for WebSockets is transparent: the browser is told the close code and the reason
#         of the server behind it and the other way round, and the subprotocol that server chose.
# Seen:   whatever code the server closes with reaches the client as a close frame without one
#         (1005, no reason), and the client's code reaches the server the same way. Of the
#         subprotocols "v1.bot" and "v2.bot" the client is told the first, while the server behind
#         has chosen the second: the two ends speak different ones over one connection.
# Why:    a page that tells a login that ran out (4401) from a restart (1001, 1012) by the code does
#         neither behind `/proxy/8899/`, and a server that logs or counts by code sees only 1005. A
#         client offering two versions of a protocol sends the one that its server did not choose.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
  jupyter-server-proxy==4.6.0 jupyter-server==2.21.1 websockets==17.4
cat >main.py <<'PY'
import asyncio
import os
import re
import socket
import subprocess
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

CODES = (1000, 1001, 1011, 1012, 4401)
EXPECTED = {
    "straight": {
        "client told": {code: (code, "why") for code in CODES},
        "server told": (4001, "bye"),
        "subprotocols": ("v2.bot", "v2.bot"),
    },
    "behind the proxy": {
        "client told": {code: (1005, "") for code in CODES},
        "server told": (1005, ""),
        "subprotocols": ("v1.bot", "v2.bot"),
    },
}
TOKEN = "only-for-this-run"
OPTIONS = {
    "proxy": None,
    "subprotocols": ["v1.bot", "v2.bot"],
    "additional_headers": {"Authorization": f"token {TOKEN}"},
}
server_told = asyncio.Queue()


async def bot(ws):
    if code := re.search(r"/close/(\d+)", ws.request.path):
        await ws.close(int(code[1]), "why")
        return
    await ws.send(ws.subprotocol or "")
    try:
        await ws.recv()
    except ConnectionClosed:
        server_told.put_nowait((int(ws.close_code), ws.close_reason))


async def ask(base):
    seen = {"client told": {}}
    for code in CODES:
        async with connect(f"{base}/close/{code}", **OPTIONS) as ws:
            await asyncio.wait_for(ws.wait_closed(), 5)
            seen["client told"][code] = (int(ws.close_code), ws.close_reason)
    async with connect(f"{base}/stay", **OPTIONS) as ws:
        seen["subprotocols"] = (ws.subprotocol, await asyncio.wait_for(ws.recv(), 5))
        await ws.close(4001, "bye")
    seen["server told"] = await asyncio.wait_for(server_told.get(), 5)
    return seen


async def main():
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        os.environ[f"JUPYTER_{name}"] = os.path.abspath(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    jupyter = subprocess.Popen(
        [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
        + ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
        + [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={os.getcwd()}"]
        + ["--ServerApp.jpserver_extensions={'jupyter_server_proxy': True}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with serve(bot, "127.0.0.1", 0, subprotocols=["v2.bot"]) as server:
            behind = server.sockets[0].getsockname()[1]
            seen = {"straight": await ask(f"ws://127.0.0.1:{behind}")}
            for _ in range(200):
                try:
                    base = f"ws://127.0.0.1:{port}/proxy/127.0.0.1:{behind}"
                    seen["behind the proxy"] = await ask(base)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.1)
            else:
                sys.exit("Jupyter Server did not start")
    finally:
        jupyter.terminate()
        jupyter.wait(20)
    for name, what in seen.items():
        print(f"{name}: {what}")
    if seen != EXPECTED:
        sys.exit(f"jupyter-server-proxy behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
timeout 90 venv/bin/python main.py
