"""Callbacks that fork: children that sleep, answer, fail, and call what is not theirs."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time

import jupyter_wshandler as wsh

FORK = multiprocessing.get_context("fork")
TRACE = __file__ + ".trace"
PARENT = os.getpid()


def note(what):
    with open(TRACE, "a") as trace:
        trace.write(f"{what} {os.getpid() == PARENT}\n")


def open_(handler):
    handler.session["opened"] = True


def on_close(handler):
    note("on_close")


def sleep_in_child():
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    return pid


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def attempt(function):
    """Return what a call in a child raises, as text."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            text = f"returned {function()!r}"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 10000).decode()
    os.close(read)
    wait(pid)
    return text


def calculate(value):
    print("calculated", flush=True)
    sys.exit(value)


def sockets(handler):
    """Return how many sockets a child has, but for those of ZeroMQ's own threads."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        mine = [handler._transport.fileno(), handler._io.loop._selector]
        os.write(write, os.readlink(f"/proc/self/fd/{mine[0]}").encode())
        os._exit(0)
    os.close(write)
    text = os.read(read, 1000).decode()
    os.close(read)
    wait(pid)
    return text


def act(handler, message):
    if message == "sleep":
        handler.write_message({"pid": sleep_in_child()})
        handler.close(4001, "the parent closes")
    elif message == "process":
        child = FORK.Process(target=calculate, args=(5,))
        child.start()
        child.join()
        return {"code": child.exitcode}
    elif message == "terminate":
        child = FORK.Process(target=time.sleep, args=(30,))
        child.start()
        child.terminate()
        child.join(10)
        return {"code": child.exitcode}
    elif message == "subprocess":
        return {
            "text": subprocess.run(
                [sys.executable, "-c", "print(6 * 7)"], capture_output=True, text=True
            ).stdout
        }
    elif message == "write":
        return {"text": attempt(lambda: handler.write_message("from the child"))}
    elif message == "ping":
        return {"text": attempt(lambda: handler.ping())}
    elif message == "push":
        return {"text": attempt(lambda: wsh.send("thread", "from the child"))}
    elif message == "loop":

        async def other():
            await asyncio.sleep(0.01)
            return 42

        return {"text": attempt(lambda: asyncio.run(other()))}
    elif message == "descriptor":
        return {"text": sockets(handler)}
    else:
        pid = os.fork()
        if pid:
            return {"code": wait(pid)}
        if message == "raise":
            raise ValueError("a fault in the child")
        if message == "exit":
            sys.exit(7)
        if message == "interrupt":
            raise KeyboardInterrupt
        return {"pid": "the child's answer"}
    return None


def on_thread(handler, message):
    return act(handler, message)


async def on_loop(handler, message):
    if message == "await":
        pid = os.fork()
        if pid == 0:
            await asyncio.sleep(0.1)
            note("after await")
            return "the child's"
        return {"code": wait(pid)}
    if message == "task":

        async def task():
            pid = os.fork()
            if pid == 0:
                sys.exit(9)
            handler.write_message({"code": wait(pid)})

        handler.start_task(task())
        return None
    return act(handler, message)


def may_open(handler):
    pid = os.fork()
    if pid:
        wait(pid)
    return True


async def may_open_on_loop(handler):
    return may_open(handler)


async def echo(handler, message):
    return message
