"""Bots of routes with limits."""

import asyncio


async def echo(handler, message):
    return message


def on_close(handler):
    print("closed", handler.route, handler.close_code, handler.rate_limited)


async def slow_close(handler):
    await asyncio.sleep(1.5)


def invent(handler, protocols):
    return "never-offered"


def deny(handler):
    return False
