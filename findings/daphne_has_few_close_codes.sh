#!/usr/bin/env bash
# daphne 4.2.3: an application cannot close with 1001, 1008, 1011, 1012 or 1013.
#
# Guess:  `{"type": "websocket.close", "code": 1008}` closes with 1008, as under every other ASGI
#         server tried (uvicorn, hypercorn, granian).
# Seen:   sending it raises a bare Exception in the application ("must be 1000 or from
#         [3000, 4999]": the rule for a page's JavaScript, not for servers) and the connection
#         stays open. With 4401 it closes, but the reason does not reach the client.
# Why:    1008 is what frameworks offer by name for a refused user, 1012 and 1013 for a restart and
#         for overload. An ASGI bot moved to daphne keeps the very clients that it meant to close.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
    daphne==4.2.3 autobahn==26.10.2 websockets==17.4
cat >"$dir/app.py" <<'PY'
async def app(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    code = int(scope["path"].strip("/"))
    try:
        await send({"type": "websocket.close", "code": code, "reason": "why"})
    except Exception as exc:
        await send({"type": "websocket.send", "text": f"still open: {exc}"})
    while (await receive())["type"] != "websocket.disconnect":
        pass
PY
cat >"$dir/main.py" <<'PY'
import asyncio
import socket
import subprocess
import sys

from websockets.asyncio.client import connect

REFUSED = "still open: invalid close code {} (must be 1000 or from [3000, 4999])"
EXPECTED = {code: REFUSED.format(code) for code in (1001, 1008, 1011, 1012, 1013)}
EXPECTED |= {1000: (1000, ""), 4401: (4401, "")}


async def ends(port, code):
    async with connect(f"ws://127.0.0.1:{port}/{code}", proxy=None) as ws:
        async for message in ws:
            return message
        return ws.close_code, ws.close_reason


async def ask(port, code):
    for _ in range(100):
        try:
            return await asyncio.wait_for(ends(port, code), 10)
        except ConnectionRefusedError:
            await asyncio.sleep(0.1)
        except Exception as exc:  # a code that is no error to `async for` ends above
            return exc.rcvd.code, exc.rcvd.reason
    raise TimeoutError("daphne did not start")


async def main(port):
    return {code: await ask(port, code) for code in sorted(EXPECTED)}


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = subprocess.Popen(
    [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), "app:app"],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
try:
    seen = asyncio.run(main(port))
finally:
    server.terminate()
    server.wait(20)
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"daphne behaves differently now; this finding said {EXPECTED}")
PY
cd "$dir"
timeout 90 "$dir/venv/bin/python" main.py
