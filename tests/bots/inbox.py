"""Bots that are slow to take what waits for them."""

import asyncio
import time

import jupyter_wshandler as wsh


async def slow(handler, message):
    await asyncio.sleep(0.1)


async def busy(handler, message):
    await asyncio.sleep(3)


def slow_thread(handler, message):
    time.sleep(0.1)


async def echo(handler, message):
    return message


async def count(handler, message):
    return str(len(wsh.connections()))
