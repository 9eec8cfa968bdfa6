#!/usr/bin/env bash
# mitmproxy 11.0.2: where one end of a WebSocket is cut, the other is told of a clean close with 1000.
#
# Guess:  a reverse proxy of mitmproxy's hands on what it hears: a close with its code, a close
#         without one as such, and the loss of one end's connection by dropping the other's (1006), as
#         nobody has closed anything.
# Seen:   codes, reasons and a close without a code go through as they are. After a cut the proxy
#         itself closes the other end with 1000, whichever of the two was cut.
# Why:    who watches with mitmproxy how a page or a bot bears a broken line tests something else: a
#         client that connects again after 1006 and rests after 1000 rests, and the server takes a tab
#         that was lost for one that said goodbye. Cut the client's own connection to the proxy, or end
#         the proxy.
# How:    pinned is the newest for Python 3.11; 12.3.1 with Python 3.12 gave the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check mitmproxy==11.0.2
python3 -m venv ends
ends/bin/pip install -qq --disable-pip-version-check websockets==17.4
cat >main.py <<'PY'
import asyncio
import socket
import subprocess
import sys

import websockets

EXPECTED = {
    # what happens: what the other end is told (close code, reason)
    "the server closes with 4401": (4401, "login"),
    "the server closes without a code": (1005, ""),
    "the server is cut": (1000, ""),
    "the client closes with 4000": (4000, "bye"),
    "the client is cut": (1000, ""),
}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def act(ws, kind):
    if kind.endswith("cut"):
        ws.transport.abort()
    elif kind.endswith("without a code"):
        ws.protocol.send_close()
        ws.transport.write(b"".join(ws.protocol.data_to_send()))
    else:
        await ws.close(*{"the server": (4401, "login"), "the client": (4000, "bye")}[kind[:10]])


async def close(kind, url, servers):
    async with asyncio.timeout(15), websockets.connect(url, ping_interval=None) as client:
        server = await servers.get()
        await client.send("hello")
        await server.recv()
        actor, other = (server, client) if kind.startswith("the server") else (client, server)
        await asyncio.sleep(0.3)
        await act(actor, kind)
        await other.wait_closed()
        return other.close_code, other.close_reason


async def main():
    servers = asyncio.Queue()

    async def serve(ws):
        servers.put_nowait(ws)
        await ws.wait_closed()

    listener = await websockets.serve(serve, "127.0.0.1", 0, ping_interval=None)
    target, port = listener.sockets[0].getsockname()[1], free_port()
    proxy = subprocess.Popen(
        ["venv/bin/mitmdump", "--quiet", "--set", "confdir=certificates"]
        + ["--mode", f"reverse:http://127.0.0.1:{target}"]
        + ["--listen-host", "127.0.0.1", "--listen-port", str(port)]
    )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        url = f"ws://127.0.0.1:{port}/"
        seen = {kind: await close(kind, url, servers) for kind in EXPECTED}
    finally:
        proxy.terminate()
        proxy.wait(10)
    print("the other end is told:", seen)
    if seen != EXPECTED:
        sys.exit(f"mitmproxy behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
timeout 90 ends/bin/python main.py
