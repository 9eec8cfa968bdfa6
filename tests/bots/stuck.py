"""Bots that go on when their client is lost, and some that never end; two say what they heard."""

import asyncio
import contextlib
import threading
import time

done = threading.Event()
said = []


async def report(handler, message):
    return {"said": list(said)}


async def forever():
    while not done.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.05)


async def on_close(handler):
    said.append("closed " + handler.get_argument("n", ""))


def slow(handler, message):
    said.append("slow " + message)
    time.sleep(3)


async def slow_async(handler, message):
    said.append("slow " + message)
    await asyncio.sleep(3)


async def short(handler, message):
    said.append("short " + message)
    await asyncio.sleep(0.3)


def sync_finally(handler, message):
    try:
        while True:
            yield "begun"
            time.sleep(0.02)
    finally:
        done.wait(60)


def sync_ignores(handler, message):
    while not done.is_set():
        with contextlib.suppress(GeneratorExit):
            yield "begun"


async def async_finally(handler, message):
    try:
        while True:
            yield "begun"
            await asyncio.sleep(0.02)
    finally:
        await forever()


async def fails(handler, message):
    raise ValueError("no")


async def stubborn(handler, *args):
    if args:
        handler.write_message("begun")
    await forever()


async def begun(handler, message):
    return "begun"


async def leaves_a_task(handler, message):
    handler.start_task(forever(), name="the stubborn task")
    return "begun"


async def stubborn_rule(handler):
    await forever()


BOTS = {
    "sync_finally": {"on_message": sync_finally},
    "sync_ignores": {"on_message": sync_ignores, "run": "loop"},
    "async_finally": {"on_message": async_finally},
    "on_message": {"on_message": stubborn},
    "on_error": {"on_message": fails, "on_error": stubborn},
    "every": {"on_message": begun, "every": {"0.1s": stubborn}},
    "start_task": {"on_message": leaves_a_task},
}
