"""Bots whose clients break the protocol, or ask for too much."""

import asyncio
import time

ended = {}


async def echo(handler, message):
    return message


def on_close(handler):
    ended.setdefault(handler.args.get("name", [""])[0], []).append(handler.close_code)


async def slow(handler, message):
    await asyncio.sleep(0.2)
    return message


def blocking(handler, message):
    time.sleep(0.5)
    return message


async def push(handler, message):
    for _ in range(int(message)):
        handler.write_message(bytes(65536))
        await asyncio.sleep(0)


async def leave(handler, message):
    handler.close(4000, "leave")


async def report(handler, message):
    return {"ended": ended}
