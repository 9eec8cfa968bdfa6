#!/usr/bin/env bash
# websockets 17.4: `async for ws in connect(...)` does not pause after a server that closes at once.
#
# Guess:  the loop that connects again waits longer and longer between its attempts, whether the
#         server refuses the handshake or accepts it and then closes with 1013 "try again later".
# Seen:   the growing pause is for a handshake that fails only. A connection that was accepted sets
#         it back to nothing, however short it was: 20 connections follow each other without any
#         pause, where a server that answers 503 is asked fewer than five times in eight seconds.
# Why:    a refusal with a close code is accepted first, as browsers do not tell a page the status
#         of a handshake. A bot in this loop that is told 4401 (login) or 1013 (full) asks again as
#         fast as the network lets it, and a full server gets the most from those it sent away.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check websockets==17.4
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys
import time
from http import HTTPStatus

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

ENOUGH = 20
EXPECTED = {
    "accepts, closes with 1013": {"connections": ENOUGH, "longest pause": "under 1 s"},
    "accepts, closes with 4401": {"connections": ENOUGH, "longest pause": "under 1 s"},
    "answers 503": {"connections": "fewer than 5"},
}


async def knock(asked, url):
    """Use the loop of the documentation until the server was asked often enough."""
    async for ws in connect(url, proxy=None):
        try:
            async for _ in ws:
                pass
        except ConnectionClosed:
            pass
        if len(asked) >= ENOUGH:
            break


async def main():
    seen = {}
    for name in EXPECTED:
        asked = []
        code = int(name.split()[-1])

        def note(connection, request, asked=asked, code=code):
            asked.append(time.monotonic())
            if code == HTTPStatus.SERVICE_UNAVAILABLE:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "full\n")

        async def bot(ws, code=code):
            await ws.close(code, "full")

        async with serve(bot, "127.0.0.1", 0, process_request=note) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            try:
                await asyncio.wait_for(knock(asked, url), 8)
            except TimeoutError:
                seen[name] = {"connections": "fewer than 5" if len(asked) < 5 else len(asked)}
                continue
        pause = max(later - earlier for earlier, later in zip(asked, asked[1:]))
        pause = "under 1 s" if pause < 1 else f"{pause:.1f} s"
        seen[name] = {"connections": len(asked), "longest pause": pause}
    for name, what in seen.items():
        print(f"{name}: {what}")
    if seen != EXPECTED:
        sys.exit(f"websockets behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
