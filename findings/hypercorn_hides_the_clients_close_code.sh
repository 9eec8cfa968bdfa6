#!/usr/bin/env bash
# hypercorn 0.18.0: every end that a client brings about is 1006 to the application.
#
# Guess:  `websocket.disconnect` carries the code and reason of the client's close frame, as the
#         ASGI specification says, and 1006 where the connection was cut without one.
# Seen:   1006 and no reason for a close with 1000, with 4002 "done", without a code, and for a
#         cut connection alike. The client itself is answered properly.
# Why:    a bot keeps a conversation for somebody whose network broke, and forgets it when they
#         say goodbye. Under this server it cannot tell, and counts every visit as a failure.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
    hypercorn==0.18.0 wsproto==1.3.2 websockets==17.4
cat >"$dir/main.py" <<'PY'
import asyncio
import socket
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config
from websockets.asyncio.client import connect

EXPECTED = {
    "1000": ({"code": 1006}, 1000),
    "4002 done": ({"code": 1006}, 4002),
    "no code": ({"code": 1006}, 1005),
    "cut": ({"code": 1006}, 1006),
}
told = asyncio.Queue()


async def app(scope, receive, send):
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        pass
    told.put_nowait({name: value for name, value in event.items() if name != "type"})


async def end(url, how):
    for _ in range(100):
        try:
            ws = await connect(url, proxy=None, ping_interval=None)
            break
        except OSError:
            await asyncio.sleep(0.1)
    if how == "1000":
        await ws.close()
    elif how == "4002 done":
        await ws.close(4002, "done")
    elif how == "no code":
        # the library's own close always has a code: its protocol object can do without
        ws.protocol.send_close()
        ws.send_data()
        await ws.wait_closed()
    else:
        ws.transport.abort()
        await ws.wait_closed()
    return await asyncio.wait_for(told.get(), 10), int(ws.close_code)


async def main():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    stop = asyncio.Event()
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    seen = {how: await end(f"ws://127.0.0.1:{port}/", how) for how in EXPECTED}
    stop.set()
    await asyncio.wait_for(server, 20)
    print("seen:", seen)
    if seen != EXPECTED:
        sys.exit(f"hypercorn behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
timeout 90 "$dir/venv/bin/python" "$dir/main.py"
