"""FastAPI on uvicorn, as ``uvicorn[standard]`` installs it: uvloop and httptools."""

import asyncio
import sys

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

app = FastAPI()
subscribers = set()


async def messages(socket):
    await socket.accept()
    try:
        while True:
            yield await socket.receive_text()
    except WebSocketDisconnect:
        return


@app.websocket("/echo")
async def echo(socket: WebSocket):
    async for message in messages(socket):
        await socket.send_text(message)


@app.websocket("/push")
async def push(socket: WebSocket):
    async for message in messages(socket):
        await socket.send_text(message)
        for _ in range(2):
            await asyncio.sleep(0.002)
            await socket.send_text(message)


@app.websocket("/sub")
async def subscribe(socket: WebSocket):
    subscribers.add(socket)
    try:
        async for _ in messages(socket):
            pass
    finally:
        subscribers.discard(socket)


@app.websocket("/pub")
async def publish(socket: WebSocket):
    async for message in messages(socket):
        for subscriber in list(subscribers):
            await subscriber.send_text(message)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
