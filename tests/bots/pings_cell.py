"""A cell that serves bots that ping without end: on the loop, in a thread, in one of their own."""

import os
import threading

import jupyter_wshandler as wsh

done, served = threading.Event(), {}


def flood(handler, pings=100_000):
    for number in range(pings):
        handler.ping(number.to_bytes(4, "big") * handler.times)
    done.set()


async def on_loop(handler, message):
    if message != "flood":
        return message
    handler.times = int(handler.path_args[0])
    flood(handler, 500_000)
    return None


def in_thread(handler, message):
    if message != "flood":
        return message
    handler.times = int(handler.path_args[0])
    flood(handler)
    return None


async def own_thread(handler, message):
    if message != "flood":
        return message
    handler.times = int(handler.path_args[0])
    threading.Thread(target=flood, args=(handler,)).start()
    return None


for name, function in (("async", on_loop), ("def", in_thread), ("thread", own_thread)):
    options = {"queue": {"bytes": "1MiB"}, "timeout": "5m"}
    served[name] = wsh.serve(f"/{name}/([0-9]+)", on_message=function, **options)
os.getpid()
