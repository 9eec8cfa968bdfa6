#!/usr/bin/env bash
# niquests 3.21.2, urllib3-future 2.25.904: `close()` sends the close code 0, a protocol error.
#
# Guess:  a WebSocket that the program ends with `extension.close()` is a normal end to the server:
#         1000, or 1005 if no code is sent.
# Seen:   the close frame has the code 0, which RFC 6455 (7.4.2) does not use. websockets 17.4 calls
#         it a protocol error: it answers 1002 "invalid status code", and its handler gets a
#         ConnectionClosedError that has received nothing. A Tornado handler reads `close_code` 0.
#         The client with asyncio does the same.
# Why:    a bot's server that counts or logs ends by code calls each orderly end of such a client an
#         error, and `close_code` 0 is neither None nor a code: `if not self.close_code` takes it
#         for a connection that was cut.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
  "niquests[ws]==3.21.2" urllib3-future==2.25.904 wsproto==1.3.2 websockets==17.4 tornado==6.6.1
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys

import niquests
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketHandler
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

EXPECTED = {
    ("websockets", "threads"): ("hello", ("ConnectionClosedError", 1002, "invalid status code")),
    ("websockets", "asyncio"): ("hello", ("ConnectionClosedError", 1002, "invalid status code")),
    ("tornado", "threads"): ("hello", 0),
    ("tornado", "asyncio"): ("hello", 0),
}
told = asyncio.Queue()


class Handler(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message)

    def on_close(self):
        told.put_nowait(self.close_code)


async def handler(ws):
    try:
        while True:
            await ws.send(await ws.recv())
    except ConnectionClosed as exc:
        sent = (int(exc.sent.code), exc.sent.reason) if exc.sent else ()
        told.put_nowait((type(exc).__name__, *sent))


def with_threads(url):
    with niquests.Session() as session:
        ws = session.get(url).extension
        ws.send_payload("hello")
        answer = ws.next_payload()
        ws.close()
    return answer


async def with_asyncio(url):
    async with niquests.AsyncSession() as session:
        ws = (await session.get(url)).extension
        await ws.send_payload("hello")
        answer = await ws.next_payload()
        await ws.close()
    return answer


async def main():
    sockets = bind_sockets(0, "127.0.0.1")
    HTTPServer(Application([("/", Handler)])).add_sockets(sockets)
    seen = {}
    async with serve(handler, "127.0.0.1", 0, close_timeout=1) as server:
        ports = {"websockets": server.sockets[0], "tornado": sockets[0]}
        for name, client in EXPECTED:
            url = f"ws://127.0.0.1:{ports[name].getsockname()[1]}/"
            if client == "threads":
                answer = await asyncio.to_thread(with_threads, url)
            else:
                answer = await with_asyncio(url)
            seen[name, client] = (answer, await asyncio.wait_for(told.get(), 5))
    for names, what in seen.items():
        print(*names, what)
    if seen != EXPECTED:
        sys.exit(f"niquests behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
