"""A cell that serves a bot that notes in which order its callbacks run."""

import time

import jupyter_wshandler as wsh

log = []


def open(handler):
    time.sleep(0.2)
    log.append("open")


def on_message(handler, message):
    log.append(message)
    if message == "99":
        return "done"
    return None


def on_close(handler):
    log.append((handler.close_code, handler.close_reason))


bot = wsh.serve("/ordered", open=open, on_message=on_message, on_close=on_close)
del open
