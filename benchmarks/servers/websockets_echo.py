"""The asyncio server of the websockets library, with its defaults."""

import asyncio
import sys

from websockets.asyncio.server import broadcast, serve

subscribers = set()


async def serve_connection(connection):
    path = connection.request.path
    if path == "/sub":
        subscribers.add(connection)
        try:
            await connection.wait_closed()
        finally:
            subscribers.discard(connection)
        return
    async for message in connection:
        if path == "/pub":
            broadcast(subscribers, message)
        else:
            await connection.send(message)
            for _ in range(2 if path == "/push" else 0):
                await asyncio.sleep(0.002)
                await connection.send(message)


async def main(port):
    async with serve(serve_connection, "127.0.0.1", port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
