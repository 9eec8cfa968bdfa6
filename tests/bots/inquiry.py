"""Rules and choosers of a subprotocol that answer, hang, or swallow their cancellation."""

import asyncio
import contextlib
import threading
from pathlib import Path

BEGUN = Path("begun")


async def echo(handler, message):
    return message


def _is(handler, how):
    return handler.request.headers.get("X-Rule") == how


def rule(handler):
    with BEGUN.open("a") as file:
        file.write(handler.request.headers.get("X-Name", "") + "\n")
    if _is(handler, "hangs"):
        threading.Event().wait()
    return True


async def later(handler, *args):
    while _is(handler, "hangs"):
        await asyncio.sleep(3600)
    while _is(handler, "stubborn"):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
    return args[0][0] if args else True
