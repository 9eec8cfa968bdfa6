"""The bots of the server that is attacked: good ones, and bad ones of every kind."""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path

import jupyter_wshandler as wsh

HERE = Path(__file__).parent


async def echo(handler, message):
    return message


def threaded_echo(handler, message):
    return message


def quick_rule(handler):
    return True


def slow_rule(handler):
    time.sleep(1.0)
    return True


class Malloc(ctypes.Structure):
    """What glibc's mallinfo2 tells, all in bytes or numbers."""

    _fields_ = [(f"field_{number}", ctypes.c_size_t) for number in range(10)]


def malloc_bytes():
    """Return the bytes of malloc's that are in use; 0 where the C library does not tell."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        return 0
    libc.mallinfo2.restype = Malloc
    now = libc.mallinfo2()
    # `uordblks` and `hblkhd`: in use within the arenas, and mapped beside them.
    return now.field_7 + now.field_4


def others_tasks(handler):
    """Return the names of all tasks but this connection's: the first step of work may need none."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return sorted(n for n in names if n not in ("wshandler turn", f"wshandler {handler.id}"))


async def report(handler, message):
    gc.collect()
    names = others_tasks(handler)
    return {
        "blocks": sys.getallocatedblocks(),
        "malloc": malloc_bytes(),
        "names": names,
        "tasks": len(names),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "connections": len(wsh.connections()),
        "routes": sorted(c.route for c in wsh.connections()),
    }


# ---- writes --------------------------------------------------------------------------------------


def thread_writes(handler, message):
    for _ in range(int(message)):
        handler.write_message("x" * 65536)


def thread_pings(handler, message):
    for _ in range(int(message)):
        handler.ping(b"p" * 125)


def thread_sends(handler, message):
    def run():
        for _ in range(int(message)):
            wsh.send("thread-sends", "x" * 65536, to=me)

    me = handler.id
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


# ---- exceptions ----------------------------------------------------------------------------------

KINDS = {
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(),
    "cancelled": lambda: asyncio.CancelledError(),
    "generator": lambda: GeneratorExit(),
    "group": lambda: BaseExceptionGroup("two", [SystemExit(3), KeyboardInterrupt()]),
}


def fail(handler, place):
    if handler.args.get("place", [""])[0] == place:
        raise KINDS[handler.args["kind"][0]]()


async def fails_open(handler):
    fail(handler, "open")


async def fails_message(handler, message):
    fail(handler, "message")
    if handler.args.get("place", [""])[0] == "task":

        async def task():
            await asyncio.sleep(0)
            fail(handler, "task")

        handler.start_task(task())


async def fails_close(handler):
    fail(handler, "close")


async def fails_every(handler):
    fail(handler, "every")


async def fails_pong(handler, data):
    fail(handler, "pong")


async def fails_rule(handler):
    fail(handler, "rule")
    return True


def fails_rule_thread(handler):
    fail(handler, "rule")
    return True


def fails_protocol(handler, protocols):
    fail(handler, "protocol")
    return protocols[0] if protocols else None


def fails_thread(handler, message):
    fail(handler, "message")


async def fails_stream(handler, message):
    yield "one"
    fail(handler, "message")


def fails_thread_stream(handler, message):
    yield "one"
    fail(handler, "message")


async def fails_error(handler, error):
    fail(handler, "error")


async def fails_first(handler, message):
    raise ValueError("for on_error")


# ---- callbacks that take their time --------------------------------------------------------------


async def slow_second(handler, message):
    await asyncio.sleep(1.0)


async def waits(handler, message):
    await asyncio.sleep(4.0)


def sleeps(handler, message):
    time.sleep(float(message))
    return "slept"


async def swallows(handler, message):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


async def stuck_finally(handler, message):
    end = time.monotonic() + 10
    try:
        while True:
            yield "more"
            await asyncio.sleep(0.1)
    finally:
        while time.monotonic() < end:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)


def sleeps_on(handler, message):
    time.sleep(6)


async def swallows_close(handler):
    await swallows(handler, "")


# ---- errors, sessions, processes -----------------------------------------------------------------


def new_errors(handler, message):
    raise type("Error" + message, (Exception,), {})("of a class of its own")


def long_errors(handler, message):
    raise ValueError(message + "x" * 1_000_000)


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def unprintable_errors(handler, message):
    raise Unprintable()


def deep_errors(handler, message):
    def deeper(n):
        if n:
            deeper(n - 1)
        else:
            raise ValueError("deep down")

    deeper(900)


def log_lines(handler, message):
    for n in range(int(message)):
        handler.log.warning("line %d %s", n, "x" * 200)
    return "logged"


def session_writes(handler, message):
    for n in range(int(message)):
        handler.session["n"] = n
    return "written"


async def counts(handler, message):
    handler.session["count"] = handler.session.get("count", 0) + 1
    return str(handler.session["count"])


def fills_session(handler, message):
    handler.session["much"] = [{"n": n, "text": "x" * 20} for n in range(400_000)]
    return "filled"


def kill_later(pid):
    timer = threading.Timer(4.0, os.kill, (pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    threading.Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()


def forks_and_sleeps(handler, message):
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    kill_later(pid)
    return "forked"


def forks_and_returns(handler, message):
    pid = os.fork()
    if pid == 0:
        return "from the child"
    kill_later(pid)
    return "from the parent"


async def forks_on_the_loop(handler, message):
    pid = os.fork()
    if pid == 0:
        return "from the child"
    kill_later(pid)
    return "from the parent"
