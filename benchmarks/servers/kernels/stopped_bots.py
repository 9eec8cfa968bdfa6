"""Bots whose answers are stopped: they note when their `finally` has run, on the system's clock."""

import asyncio
import time

ENDED = {}
PAUSE = 0.01


async def tokens(handler, message):
    if message == "ended":
        yield ENDED.pop(handler.id, None)
        return
    try:
        for number in range(int(message)):
            yield f"{number} "
            await asyncio.sleep(PAUSE)
    finally:
        ENDED[handler.id] = time.monotonic()


def tokens_def(handler, message):
    if message == "ended":
        yield ENDED.pop(handler.id, None)
        return
    try:
        for number in range(int(message)):
            yield f"{number} "
            time.sleep(PAUSE)
    finally:
        ENDED[handler.id] = time.monotonic()


async def written(handler, message):
    """Write the tokens, as a coroutine that returns nothing."""
    if message == "ended":
        return ENDED.pop(handler.id, None)
    try:
        for number in range(int(message)):
            await handler.write_message(f"{number} ")
            await asyncio.sleep(PAUSE)
    finally:
        ENDED[handler.id] = time.monotonic()
    return None
