#!/usr/bin/env bash
# niquests 3.21.2: its close() is a protocol error, and the close of a server is never answered.
#
# Guess:  `response.extension.close()` ends a WebSocket with 1000, and a server that closes gets
#         its own code back, as RFC 6455 asks; the client can tell 4401 from a cut connection.
# Seen:   close() sends the code 0, which no endpoint may send: the server fails the connection
#         with 1002 and reports 1006 and an error. Its own close is never answered, so it reports
#         1006 there too. next_payload() returns None for 1000, for 4401 and for a cut alike.
# Why:    everybody who comes with this client is a broken connection in the server's counts, also
#         those who said goodbye, and "please log in" looks like the end of the conversation.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
    niquests==3.21.2 urllib3-future==2.25.904 wsproto==1.3.2 websockets==17.4
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import logging
import sys

import niquests
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

EXPECTED = {
    # who ends it: (what the client was given, the server's close code, code sent by the server)
    "client": (["hello"], 1006, 1002),
    "server, 1000": (["hello", None], 1006, 1000),
    "server, 4401": (["hello", None], 1006, 4401),
    "cut": (["hello", None], 1006, None),
}
ends = {}
logging.getLogger("websockets").setLevel(logging.CRITICAL)


async def talk(connection):
    path = connection.request.path
    await connection.send("hello")
    if path == "/cut":
        connection.transport.abort()
    elif path != "/client":
        await connection.close(int(path[1:]))
    try:
        await connection.recv()
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    sent = connection.protocol.close_sent
    ends[path] = int(connection.close_code), sent and int(sent.code)


def visit(url, close):
    with niquests.Session() as session:
        extension = session.get(url, timeout=5).extension
        got = [extension.next_payload()]
        if close:
            extension.close()
        else:
            got.append(extension.next_payload())
        return got


async def main():
    seen = {}
    async with serve(talk, "127.0.0.1", 0, close_timeout=3) as server:
        port = server.sockets[0].getsockname()[1]
        for name in EXPECTED:
            path = "/" + name.removeprefix("server, ")
            url = f"ws://127.0.0.1:{port}{path}"
            got = await asyncio.to_thread(visit, url, close=name == "client")
            for _ in range(50):
                if path in ends:
                    break
                await asyncio.sleep(0.1)
            seen[name] = (got, *ends[path])
    print("seen:", seen)
    if seen != EXPECTED:
        sys.exit(f"niquests behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
