"""The aiohttp server, with its defaults."""

import asyncio
import ssl
import sys

from aiohttp import WSMsgType, web

subscribers = set()


async def messages(request, socket):
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            yield message.data


async def echo(request):
    socket = web.WebSocketResponse()
    async for message in messages(request, socket):
        await socket.send_str(message)
    return socket


async def push(request):
    socket = web.WebSocketResponse()
    async for message in messages(request, socket):
        await socket.send_str(message)
        for _ in range(2):
            await asyncio.sleep(0.002)
            await socket.send_str(message)
    return socket


async def subscribe(request):
    socket = web.WebSocketResponse()
    subscribers.add(socket)
    try:
        async for _ in messages(request, socket):
            pass
    finally:
        subscribers.discard(socket)
    return socket


async def publish(request):
    socket = web.WebSocketResponse()
    async for message in messages(request, socket):
        for subscriber in list(subscribers):
            await subscriber.send_str(message)
    return socket


async def main(port, certificate=None, key=None):
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    app = web.Application()
    app.router.add_get("/echo", echo)
    app.router.add_get("/push", push)
    app.router.add_get("/sub", subscribe)
    app.router.add_get("/pub", publish)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
