"""Callbacks that end the process that they run in, or try to."""

import sys
import time


async def echo(handler, message):
    return message


async def leave(handler, message):
    sys.exit(1)


async def interrupt(handler, message):
    raise KeyboardInterrupt


async def rule(handler):
    raise BaseExceptionGroup("all", [SystemExit()])


def slow_rule(handler):
    time.sleep(1)
    return True
