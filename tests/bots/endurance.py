"""Bots that push to slow readers and take their time, and a report of what is held."""

import asyncio
import gc
import os
import threading
import time

from jupyter_wshandler.errors import ConnectionClosed

ended = {}
pushed = {}


async def echo(handler, message):
    return message


def echo_thread(handler, message):
    return message


def sleeps(handler, message):
    time.sleep(float(message))
    return "slept"


async def push(handler, message):
    # 64 KiB a time, and nobody waits for the queue: what does not fit is the policy's.
    me = handler.args["name"][0]
    refused = 0
    for number in range(int(message)):
        try:
            handler.write_message(number.to_bytes(4, "big") + bytes(65532))
        except ConnectionClosed:
            refused += 1
        await asyncio.sleep(0.001)
        pushed[me] = {"tried": number + 1, "refused": refused, "dropped": handler.dropped}


async def on_close(handler):
    name = handler.args.get("name", ["nobody"])[0]
    ended.setdefault(name, []).append([handler.close_code, time.monotonic()])


def others_tasks(handler):
    """Return the names of all tasks but this connection's: the first step of work may need none."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return sorted(n for n in names if n not in ("wshandler turn", f"wshandler {handler.id}"))


async def report(handler, message):
    if message == "collect":
        gc.collect()
    return {
        "ended": ended,
        "pushed": pushed,
        "tasks": len(others_tasks(handler)),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }
