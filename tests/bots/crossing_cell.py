"""A cell that serves two bots: one that cells send by, and one that floods whoever says a word."""

import os

import jupyter_wshandler as wsh


def flood(handler, message):
    for _ in range(15_000):
        handler.write_message("x" * 65536)


bot = wsh.serve("/cell", queue={"bytes": "1MiB"}, on_message=lambda handler, message: message)
floods = wsh.serve("/floods", queue={"bytes": "1MiB"}, on_message=flood)
os.getpid()
