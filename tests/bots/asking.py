"""A bot for clients that ask: it returns, yields, fails, pushes, and notes how it was stopped."""

import asyncio
import time
from pathlib import Path

noted = Path("noted")


def note(word):
    with noted.open("a") as file:
        file.write(word + "\n")


VALUES = {
    "text": "hello",
    "bytes": b"\x00\xff",
    "dict": {"rows": [1, 2.5, None], "big": 2**60},
    "number": 7,
    "nothing": None,
    "json": '{"it": "is text"}',
}


async def on_message(handler, message):
    if isinstance(message, bytes):
        return message[::-1]
    word, _, rest = message.partition(" ")
    if word in VALUES:
        return VALUES[word]
    if word == "fail":
        raise RuntimeError("a secret")
    if word == "push":
        for number in range(int(rest)):
            await handler.write_message(f"pushed {number}")
        return "done"
    if word == "wait":
        note("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            note("cancelled")
            raise
    if word == "close":
        handler.close(4000, "enough")
        return None
    return message


def many(handler, message):
    """Yield the numbers below one; or without an end."""
    if message == "endless":
        try:
            while True:
                yield "more"
                time.sleep(0.01)
        except GeneratorExit:
            note("closed")
            raise
    for number in range(int(message)):
        yield {"n": number} if number % 2 else f"{number}"


def greet(handler):
    yield "wel"
    yield "come"


def twice(handler, message: int):
    return 2 * message
