#!/usr/bin/env bash
# aiosonic 1.3.3: of a message in fragments the first one is delivered, and the rest is dropped.
#
# Guess:  a message that the server sends in fragments (RFC 6455, 5.4) arrives as one, as it does
#         in each of the dozen other clients tried.
# Seen:   the first fragment arrives as if it were the message, the others never do, and the next
#         message follows. Nothing is raised or logged.
# Why:    servers that stream an answer while it is being made send it in fragments, and so do
#         proxies that cut long messages: such a bot's answers end in the middle of a sentence.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check aiosonic==1.3.3 websockets==17.4
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys

from aiosonic.web_socket_client import WebSocketClient
from websockets.asyncio.server import serve

EXPECTED = ["whole", "in ", "after"]


async def bot(ws):
    await ws.send("whole")
    await ws.send(["in ", "two"])  # one message, two fragments
    await ws.send("after")
    await ws.wait_closed()


async def main():
    async with serve(bot, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        got = []
        async with WebSocketClient() as client:
            async with await client.connect(f"ws://127.0.0.1:{port}/") as ws:
                for _ in range(3):
                    got.append(await asyncio.wait_for(ws.receive_text(), 5))
    print("seen:", got)
    if got != EXPECTED:
        sys.exit(f"aiosonic behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
