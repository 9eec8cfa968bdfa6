#!/usr/bin/env bash
# websockets 17.4, aiohttp 3.14.5, picows 2.3.1, websocket-client 1.9.2: no redirect suits all four.
#
# Guess:  all of them follow redirects, so they follow what a web server sends: a `Location` with
#         http:// or https://, as the handshake is an HTTP request, or with a path only.
# Seen:   http:// is refused by all but aiohttp, and aiohttp asks without the `Authorization` header
#         that it was given, on the same host and port. ws:// is followed by all but aiohttp. A path
#         is followed, with the header, by all but websocket-client ("url is invalid").
# Why:    a proxy that redirects to https, or to an address with a trailing slash, is passed by the
#         browser's pages and by no script; with aiohttp it looks like a wrong token. Give clients
#         the final address, wss:// and the right slash, and redirect sockets by a path if at all.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check tornado==6.6.1 \
    websockets==17.4 aiohttp==3.14.5 picows==2.3.1 websocket-client==1.9.2
cat >main.py <<'PY'
import asyncio
import socket
import sys

import aiohttp
import picows
import websocket
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler
from websockets.asyncio.client import connect

HEADERS = {"Authorization": "token of-this-run"}
YES, ANONYMOUS, NO = "followed", "followed without the header", "refused"
EXPECTED = {
    "websockets": {"http": NO, "ws": YES, "path": YES},
    "aiohttp": {"http": ANONYMOUS, "ws": NO, "path": YES},
    "picows": {"http": NO, "ws": YES, "path": YES},
    "websocket-client": {"http": NO, "ws": YES, "path": NO},
}


class Redirects(RequestHandler):
    def get(self, kind):
        where = "" if kind == "path" else f"{kind}://{self.request.host}"
        self.redirect(f"{where}/new")


class Greets(WebSocketHandler):
    def open(self):
        given = self.request.headers.get("Authorization")
        self.write_message(YES if given == HEADERS["Authorization"] else ANONYMOUS)


async def with_websockets(url):
    async with connect(url, additional_headers=HEADERS, proxy=None) as ws:
        return await ws.recv()


async def with_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, headers=HEADERS) as ws:
            return await ws.receive_str()


async def with_picows(url):
    got = asyncio.get_running_loop().create_future()

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport, frame):
            got.set_result(frame.get_payload_as_utf8_text())

    transport, _ = await picows.ws_connect(Listener, url, extra_headers=HEADERS)
    try:
        return await got
    finally:
        transport.disconnect()


async def with_websocket_client(url):
    def ask():
        ws = websocket.create_connection(url, header=HEADERS, timeout=10)
        try:
            return ws.recv()
        finally:
            ws.shutdown()

    return await asyncio.to_thread(ask)


async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    app = Application([("/old/(.*)", Redirects), ("/new", Greets)])
    HTTPServer(app).add_sockets([listener])
    base = f"ws://127.0.0.1:{listener.getsockname()[1]}/old"
    seen = {}
    for name, ask in {
        "websockets": with_websockets,
        "aiohttp": with_aiohttp,
        "picows": with_picows,
        "websocket-client": with_websocket_client,
    }.items():
        seen[name] = {}
        for kind in EXPECTED[name]:
            try:
                seen[name][kind] = await asyncio.wait_for(ask(f"{base}/{kind}"), 15)
            except Exception as error:
                text = str(error).replace(base.split("/")[2], "HOST")
                print(f"{name}, {kind}: {type(error).__name__}: {text}")
                seen[name][kind] = NO
    return seen


seen = asyncio.run(main())
for name, what in seen.items():
    print(f"{name}: {what}")
if seen != EXPECTED:
    sys.exit(f"the clients behave differently now; this finding said {EXPECTED}")
PY
timeout 60 venv/bin/python main.py
