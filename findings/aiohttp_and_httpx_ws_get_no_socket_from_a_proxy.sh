#!/usr/bin/env bash
# aiohttp 3.14.5, niquests 3.21.2 and httpx-ws 0.9.0: through a proxy there is no ws://.
#
# Guess:  a client that is told of an HTTP proxy asks it with CONNECT for the server of a ws:// address,
#         as RFC 6455 (section 4.1, step 3) says, and does its handshake with the server through
#         that: all of websockets, websocket-client, undici, aiohttp, niquests and httpx-ws.
# Seen:   the first three do. aiohttp and niquests ask the proxy for the page "ws://..." with GET, as
#         for http://; a proxy keeps "Upgrade" and "Connection" to itself (RFC 9110, section 7.6.1),
#         and the server is asked for a page. httpx-ws asks with CONNECT and then begins TLS with
#         the server, which speaks none.
# Why:    behind a company's proxy a bot that is reached with one library is away with another, by a
#         426, a 405 or an error without a text. A proxy that lets "Upgrade" through hides it. wss://
#         is not concerned: there all of them use CONNECT.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check websockets==17.4 websocket-client==1.9.2 \
    aiohttp==3.14.5 'niquests[ws]==3.21.2' httpx-ws==0.9.0 httpx==0.28.1
npm install --silent --no-audit --no-fund --prefix "$dir" undici@7.30.2 >/dev/null
cat >undici.mjs <<'JS'
import { ProxyAgent, WebSocket } from 'undici';

const [url, proxy] = process.argv.slice(2);
const ws = new WebSocket(url, { dispatcher: new ProxyAgent(proxy) });
ws.onmessage = ({ data }) => { console.log(data); process.exit(); };
ws.onerror = () => { console.log('error'); process.exit(); };
JS
cat >main.py <<'PY'
import asyncio
import logging
import sys

import aiohttp
import httpx
import httpx_ws
import niquests
import websocket
import websockets

SOCKET = (["CONNECT"], "GET", "hello")
PAGE = (["GET"], "GET without Upgrade", "no socket")
EXPECTED = {
    # client: (how it asks the proxy, what the server hears first, what comes of it)
    "websockets": SOCKET,
    "websocket-client": SOCKET,
    "undici": SOCKET,
    "aiohttp": PAGE,
    "niquests": PAGE,
    "httpx-ws": (["CONNECT"], "TLS", "no socket"),
}
HOPS = ("connection:", "upgrade:", "proxy-connection:")
asked, heard = [], []


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def proxy(reader, writer):
    """A proxy that knows CONNECT, and passes requests on without what is for one hop only."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, version = lines[0].split(" ")
    asked.append(method)
    host, port = target.removeprefix("ws://").split("/")[0].split(":")
    up, out = await asyncio.open_connection(host, port)
    if method == "CONNECT":
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        first = await reader.read(65536)
        heard.append("TLS" if first[:1] == b"\x16" else first[:3].decode())
    else:
        rest = [line for line in lines[1:] if not line.lower().startswith(HOPS)]
        first = "\r\n".join([f"{method} / {version}", *rest]).encode()
        heard.append(f"{method} without Upgrade")
    out.write(first)
    await asyncio.gather(pipe(reader, out), pipe(up, writer))


async def with_websockets(url, through):
    async with websockets.connect(url, proxy=through) as ws:
        return await ws.recv()


def with_websocket_client(url, through):
    host, port = through.removeprefix("http://").split(":")
    ws = websocket.create_connection(
        url, timeout=5, http_proxy_host=host, http_proxy_port=int(port), proxy_type="http"
    )
    return ws.recv()


async def with_undici(url, through):
    process = await asyncio.create_subprocess_exec(
        "node", "undici.mjs", url, through, stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].decode().strip()


async def with_aiohttp(url, through):
    async with aiohttp.ClientSession() as session, session.ws_connect(url, proxy=through) as ws:
        return (await ws.receive()).data


async def with_niquests(url, through):
    async with niquests.AsyncSession() as session:
        answer = await session.get(url, proxies={"http": through, "ws": through})
        return await answer.extension.next_payload() if answer.extension else "no socket"


async def with_httpx_ws(url, through):
    async with httpx.AsyncClient(proxy=through) as client:
        async with httpx_ws.aconnect_ws(url, client) as ws:
            return await ws.receive_text()


CLIENTS = {
    "websockets": with_websockets,
    "websocket-client": with_websocket_client,
    "undici": with_undici,
    "aiohttp": with_aiohttp,
    "niquests": with_niquests,
    "httpx-ws": with_httpx_ws,
}


async def hello(ws):
    await ws.send("hello")
    await ws.wait_closed()


async def ask(connect, url, through):
    asked.clear()
    heard.clear()
    try:
        async with asyncio.timeout(10):
            if asyncio.iscoroutinefunction(connect):
                text = await connect(url, through)
            else:
                text = await asyncio.to_thread(connect, url, through)
    except Exception as error:
        print("   ", f"{type(error).__name__}: {error}"[:100])
        text = "no socket"
    return list(asked), heard[0], text


async def main():
    server = await websockets.serve(hello, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    through = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    seen = {}
    for name, connect in CLIENTS.items():
        seen[name] = await ask(connect, url, through)
        print(name, seen[name])
    if seen != EXPECTED:
        sys.exit(f"the clients behave differently now; this finding said {EXPECTED}")


logging.disable()
asyncio.run(main())
PY
timeout 90 venv/bin/python main.py
