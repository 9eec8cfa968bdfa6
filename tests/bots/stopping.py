"""A bot whose plain clients can say "/stop", and that notes how it was stopped."""

import asyncio
import time
from pathlib import Path

noted = Path("noted")


def note(word):
    with noted.open("a") as file:
        file.write(word + "\n")


async def later(handler, message):
    note(message)
    if message == "hi":
        yield "hello"
        return
    try:
        while True:
            yield "more "
            await asyncio.sleep(0.02)
    except (GeneratorExit, asyncio.CancelledError):  # at its yield, or where it awaits
        note("closed")
        raise


def thread(handler, message):
    note(message)
    if message == "hi":
        yield "hello"
        return
    try:
        while True:
            yield "more "
            time.sleep(0.02)
    except GeneratorExit:
        note("closed")
        raise


async def slow(handler, message):
    note(message)
    if message == "hi":
        return "hello"
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("closed")
        raise
