"""A node of python-socketio with its Redis manager, as its documentation shows one.

    python socketio_redis.py PORT (aiohttp | uvicorn)

The URL of the store is in $STORE_URL.
"""

import os
import sys
from urllib.parse import parse_qs

import socketio

sio = socketio.AsyncServer(
    async_mode="asgi" if sys.argv[2] == "uvicorn" else "aiohttp",
    # both kinds run at once, on one store, and must not hear each other
    client_manager=socketio.AsyncRedisManager(os.environ["STORE_URL"], channel=sys.argv[2]),
)


@sio.event
async def connect(sid, environ):
    if parse_qs(environ["QUERY_STRING"])["role"] == ["sub"]:
        await sio.enter_room(sid, "all")


@sio.event
async def m(sid, message):
    await sio.emit("m", message, room="all")


def main() -> None:
    port = int(sys.argv[1])
    if sys.argv[2] == "uvicorn":
        import uvicorn

        app = socketio.ASGIApp(sio)
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)
        return
    from aiohttp import web

    app = web.Application()
    sio.attach(app)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


if __name__ == "__main__":
    main()
