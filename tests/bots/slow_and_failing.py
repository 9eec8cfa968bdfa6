"""Bots that take their time, and bots that fail."""

import asyncio
import time


def sleeps(handler, message):
    time.sleep(float(message))
    return "slept"


async def awaits(handler, message):
    await asyncio.sleep(float(message))
    return "awaited"


async def echo(handler, message):
    return message


def fails(handler, message):
    raise RuntimeError("a-detail-only-the-log-knows: " + message)


async def fails_later(handler, message):
    await asyncio.sleep(0)
    fails(handler, message)


def open_fails(handler):
    fails(handler, "at once")


def closed(handler):
    print("closed", handler.route, handler.close_code)
