"""A cell that serves a bot that is slow to take what waits for it."""

import asyncio
import os

import jupyter_wshandler as wsh


async def slow(handler, message):
    await asyncio.sleep(0.2)


bot = wsh.serve("/kernelslow", on_message=slow, max_message="10MiB", compression=True)
os.getpid()
