"""Bots whose threads send more than their clients read."""

import asyncio
import contextlib
import threading
import time


def flood(handler, message):
    size = 65536
    make = {
        "str": lambda: "x" * size,
        "bytes": lambda: b"x" * size,
        "dict": lambda: {"x": "x" * 200_000},
    }[message]
    for _ in range(15000 if message != "dict" else 3000):
        whole = make()  # a new one each time: what is shared would cost nothing
        handler.write_message(bytes(bytearray(whole)) if message == "bytes" else whole)


def plain(handler, message):
    thread = threading.Thread(target=quiet, args=(handler, message))
    thread.start()
    thread.join()


def quiet(handler, message):
    with contextlib.suppress(Exception):
        flood(handler, message)


def last(handler, message):
    for number in range(abs(int(message))):
        handler.write_message(str(number))
    if message.startswith("-"):
        raise ValueError("the last")
    return "the last"


def threads(handler, message):
    many = [threading.Thread(target=quiet, args=(handler, "str")) for _ in range(4)]
    for thread in many:
        thread.start()
    for thread in many:
        thread.join()


def sends(handler, message):
    import jupyter_wshandler as wsh

    me = handler.id

    def run():
        for _ in range(15000):
            wsh.send("sends", "x" * 65536, to=me)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


async def echo(handler, message):
    return message


async def block(handler, message):
    handler.write_message("blocked")
    await asyncio.sleep(0.1)
    time.sleep(1.0)
    return "free"


def count(handler, message):
    for number in range(int(message)):
        handler.write_message(str(number))
