#!/usr/bin/env bash
# socketify 0.0.31 (uWebSockets): a client that closes with 1012 to 1014 or 3000 is told as 1006.
#
# Guess:  the `close` callback is given the code that the client sent, and the client is answered
#         with it; 1012, 1013 and 1014 are registered, and 3000 to 3999 are there for libraries.
# Seen:   for these the callback is given 1006, a broken connection, and no reason, and the client's
#         close is answered without a code (1005). 1001, 1011 and 4401 arrive as they are. The
#         server itself can send all of them.
# Why:    a page whose library closes with a code of the 3000s, and a relay that passes on the 1012
#         of the server behind it, count as lost connections in the statistics of the bot.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check socketify==0.0.31 tornado==6.6.1
cat >server.py <<'PY'
import sys

from socketify import App


def close(ws, code, reason):
    with open("told", "a") as told:
        told.write(f"{code} {(reason or b'').decode()}\n")


app = App()
app.ws("/*", {"close": close})
app.listen({"host": "127.0.0.1", "port": int(sys.argv[1])}, lambda config: None)
app.run()
PY
cat >main.py <<'PY'
import asyncio
import socket
import subprocess
import sys
from pathlib import Path

from tornado.websocket import websocket_connect

EXPECTED = {
    code: {"told": f"{code} bye", "answered": code} for code in (1000, 1001, 1011, 4401)
} | {code: {"told": "1006", "answered": None} for code in (1012, 1013, 1014, 3000, 3999)}


async def connected(url):
    for _ in range(100):
        try:
            return await websocket_connect(url)
        except OSError:
            await asyncio.sleep(0.2)
    sys.exit("the server did not start")


async def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([sys.executable, "server.py", str(port)], **quiet)
    seen, told = {}, Path("told")
    try:
        for code in EXPECTED:
            ws = await connected(f"ws://127.0.0.1:{port}/")
            told.write_text("")
            ws.close(code, "bye")
            await asyncio.wait_for(ws.read_message(), 5)
            for _ in range(50):
                if told.read_text():
                    break
                await asyncio.sleep(0.1)
            seen[code] = {"told": told.read_text().split("\n")[0].strip()}
            seen[code]["answered"] = ws.close_code
    finally:
        server.kill()
        server.wait(10)
    for code, what in seen.items():
        print(f"{code}: {what}")
    if seen != EXPECTED:
        sys.exit(f"socketify behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
timeout 60 venv/bin/python main.py
