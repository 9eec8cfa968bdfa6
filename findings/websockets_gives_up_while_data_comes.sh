#!/usr/bin/env bash
# websockets 17.4, tornado 6.6.1, httpx-ws 0.9.0: a keepalive ends a connection while data comes in.
#
# Guess:  a client that pings gives a connection up where nothing comes for its timeout; on a slow
#         line, where bytes arrive all the time, it stays, as there is no doubt that the peer lives.
# Seen:   only the pong counts, and that stands in line behind what the server has sent before it:
#         one large message or a hundred small ones. All three give up in the middle, and so does
#         websocket-client 1.9.2 between small ones. aiohttp 3.14.5 and picows 2.3.1 receive all.
# Why:    with its defaults (20 s and 20 s) the client of websockets never gets what takes over 40 s
#         to arrive, 50 MB at 10 Mbit/s, and breaks off with "keepalive ping timeout", at each try.
#         It looks like a server that hangs. Give it a longer `ping_timeout`, or ask in parts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check websockets==17.4 tornado==6.6.1 \
    httpx-ws==0.9.0 aiohttp==3.14.5 picows==2.3.1 websocket-client==1.9.2
cat >main.py <<'PY'
import asyncio
import contextlib
import socket
import sys

import aiohttp
import httpx_ws
import picows
import websocket
from tornado.websocket import websocket_connect
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

SIZE = 240_000
RATE = 20_000  # bytes a second: 12 s for all
PATHS = ("/one", "/hundred")
EXPECTED = {
    "websockets": ["given up", "given up"],
    "tornado": ["given up", "given up"],
    "httpx-ws": ["given up", "given up"],
    "aiohttp": ["all", "all"],
    "picows": ["all", "all"],
    "websocket-client": ["all", "given up"],
}


async def send(ws):
    parts = 1 if ws.request.path == "/one" else 100
    for _ in range(parts):
        await ws.send(bytes(SIZE // parts))
    await ws.wait_closed()


async def carry(reader, writer, rate):
    while data := await reader.read(rate // 10 if rate else 1 << 16):
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.1 if rate else 0)
    writer.close()


async def slow_line(server):
    """Return the port of a line to the server that takes RATE bytes a second to the client."""

    async def relay(reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server)
        ways = carry(from_server, writer, RATE), carry(reader, to_server, None)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*ways, return_exceptions=True)

    line = await asyncio.start_server(relay, "127.0.0.1", 0)
    return line.sockets[0].getsockname()[1]


async def with_websockets(url, got):
    async with connect(url, proxy=None, ping_interval=2, ping_timeout=2) as ws:
        while sum(got) < SIZE:
            got.append(len(await ws.recv()))


async def with_tornado(url, got):
    ws = await websocket_connect(url, ping_interval=2, ping_timeout=2)
    while sum(got) < SIZE and (message := await ws.read_message()) is not None:
        got.append(len(message))


async def with_httpx_ws(url, got):
    pings = {"keepalive_ping_interval_seconds": 2, "keepalive_ping_timeout_seconds": 2}
    async with httpx_ws.aconnect_ws(url, **pings) as ws:
        while sum(got) < SIZE:
            got.append(len(await ws.receive_bytes()))


async def with_aiohttp(url, got):
    async with aiohttp.ClientSession() as session, session.ws_connect(url, heartbeat=2) as ws:
        while sum(got) < SIZE:
            got.append(len((await ws.receive()).data))


async def with_picows(url, got):
    class Listener(picows.WSListener):
        def on_ws_frame(self, transport, frame):
            got.append(len(frame.get_payload_as_bytes()))

    pings = {"auto_ping_idle_timeout": 2, "auto_ping_reply_timeout": 2}
    transport, _ = await picows.ws_connect(Listener, url, enable_auto_ping=True, **pings)
    ended = asyncio.ensure_future(transport.wait_disconnected())
    while sum(got) < SIZE and not ended.done():
        await asyncio.sleep(0.1)
    transport.disconnect()
    await asyncio.wait([ended])


async def with_websocket_client(url, got):
    def message(app, data):
        got.append(len(data))
        if sum(got) == SIZE:
            app.close()

    app = websocket.WebSocketApp(url, on_message=message)
    await asyncio.to_thread(app.run_forever, ping_interval=3, ping_timeout=2)


async def how_much(client, url):
    got = []
    try:
        await asyncio.wait_for(client(url, got), 40)
    except Exception as error:
        print(f"{client.__name__}: {type(error).__name__}: {error}")
    return "all" if sum(got) == SIZE else "given up"


async def main():
    clients = {
        "websockets": with_websockets,
        "tornado": with_tornado,
        "httpx-ws": with_httpx_ws,
        "aiohttp": with_aiohttp,
        "picows": with_picows,
        "websocket-client": with_websocket_client,
    }
    listener = socket.create_server(("127.0.0.1", 0))
    async with serve(send, sock=listener, ping_interval=None, compression=None):
        base = f"ws://127.0.0.1:{await slow_line(listener.getsockname()[1])}"
        asked = [how_much(client, base + path) for client in clients.values() for path in PATHS]
        ends = iter(await asyncio.gather(*asked))
        seen = {name: [next(ends), next(ends)] for name in clients}
        for name, what in seen.items():
            print(f"{name}, [one message, a hundred]: {what}")
        if seen != EXPECTED:
            sys.exit(f"the clients behave differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
timeout 110 venv/bin/python main.py
