#!/usr/bin/env bash
# wsproto 1.3.2: a close with 1014 (bad gateway) is taken for a broken protocol, 1002.
#
# Guess:  1012, 1013 and 1014 are registered next to each other at IANA; a client that is told 1012
#         and 1013 is told 1014 and its reason as well.
# Seen:   1012 and 1013 arrive. 1014 is "CLOSE with unknown reserved code": the program is told 1002
#         as the code of the close, and the reason that the server gave is gone. httpx-ws 0.9.0, on
#         top of wsproto, hands that on; websockets 17.4 has 1014 and its reason.
# Why:    1014 is for a gateway that the server behind it gave no valid answer, which passes. A bot
#         that gives up after 1002, as after a bug in its own frames, stays away then, and its log
#         blames the protocol.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
  wsproto==1.3.2 httpx-ws==0.9.0 websockets==17.4
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys

from httpx_ws import WebSocketDisconnect, aconnect_ws
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve

CODES = (1012, 1013, 1014)
REFUSED = (1002, "CLOSE with unknown reserved code")
EXPECTED = {
    "websockets": [(code, "later") for code in CODES],
    "httpx-ws": [(1012, "later"), (1013, "later"), REFUSED],
}


async def bot(ws):
    await ws.recv()
    await ws.close(int(ws.request.path[1:]), "later")


async def with_websockets(url):
    async with connect(url, proxy=None) as ws:
        await ws.send("hello")
        await asyncio.wait_for(ws.wait_closed(), 5)
        return int(ws.close_code), ws.close_reason


async def with_httpx(url):
    async with aconnect_ws(url) as ws:
        try:
            await ws.send_text("hello")
            await ws.receive_text(timeout=5)
        except WebSocketDisconnect as exc:
            return int(exc.code), exc.reason


async def main():
    seen = {name: [] for name in EXPECTED}
    async with serve(bot, "127.0.0.1", 0, close_timeout=1) as server:
        for code in CODES:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/{code}"
            seen["websockets"].append(await with_websockets(url))
            seen["httpx-ws"].append(await with_httpx(url))
    for name, codes in seen.items():
        print(f"{name}: {codes}")
    if seen != EXPECTED:
        sys.exit(f"wsproto behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
