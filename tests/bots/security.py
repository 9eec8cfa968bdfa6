"""Rules that agree, refuse and fail."""

import asyncio

from jupyter_wshandler import ConnectionRefused


async def echo(handler, message):
    return message


def yes(handler):
    return True


def no(handler):
    return False


async def later_yes(handler):
    await asyncio.sleep(0.01)
    return True


async def later_no(handler):
    await asyncio.sleep(0.01)
    return []


def fails(handler):
    raise RuntimeError("a-detail-only-the-log-knows")


def refuses(handler):
    raise ConnectionRefused("come back on Monday")


def raises(handler, message):
    raise RuntimeError("on_message fails on purpose")
