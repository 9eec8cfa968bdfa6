"""A cell that serves a bot whose answer does not end."""

import asyncio

import jupyter_wshandler as wsh

seen = []


async def on_message(handler, message):
    try:
        while True:
            yield "x"
            await asyncio.sleep(0.02)
    finally:
        seen.append("closed")


def on_close(handler):
    seen.append((handler.close_code, handler.close_reason))


bot = wsh.serve("/endless", on_message=on_message, on_close=on_close)
