"""Bots that are quick, stuck or busy when the server stops."""

import asyncio
import time

count = 0


async def on_open(handler):
    handler.write_message("ready")


async def echo(handler, message):
    handler.write_message(message)


async def on_close(handler):
    global count
    count += 1
    print("on_close", count, handler.route, handler.close_code, flush=True)


def stuck(handler, message):
    print("stuck begins", flush=True)
    time.sleep(600)


async def busy(handler, message):
    print("busy begins", flush=True)
    await asyncio.sleep(600)
