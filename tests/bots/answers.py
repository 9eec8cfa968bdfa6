"""Bots that answer in pieces, at length or late, and note how they were stopped."""

import asyncio
import time
from pathlib import Path

noted = Path("noted")


def note(word):
    with noted.open("a") as file:
        file.write(word + "\n")


def choose(handler, offered):
    note(f"offered {offered}")
    return offered[0] if "b" in offered else None


def greet(handler):
    yield "Hel"
    yield "lo"


def tick(handler):
    yield "tick "
    yield "tack"


def words(handler, message):
    yield "one "
    handler.write_message("beside")
    yield {"n": 2}
    yield b"\x00\x01"
    yield "three"


async def later(handler, message):
    try:
        while True:
            yield "more "
            await asyncio.sleep(0.02)
    except (GeneratorExit, asyncio.CancelledError):  # at its yield, or where it awaits
        note("closed")
        raise


def thread(handler, message):
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
    if message == "hi":
        return "hello"
    note("begun")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("CancelledError")
        raise


def plain(handler, message):
    if message == "until noted":
        note("begun")
        while not Path("go").exists():
            time.sleep(0.02)
        handler.write_message("ran on")
        return None
    if message == "fail":
        raise RuntimeError("a secret")
    if message == "protocol":
        return repr(handler.subprotocol)
    return f"{type(message).__name__} {message}"
