"""A cell that serves a bot whose timers fail."""

import asyncio

from tornado.ioloop import IOLoop

import jupyter_wshandler as wsh


def fail():
    raise ValueError("of a timer")


async def on_message(handler, message):
    IOLoop.current().call_later(0.01, fail)
    asyncio.get_running_loop().call_later(0.01, fail)
    return message


bot = wsh.serve("/timers", on_message=on_message)
