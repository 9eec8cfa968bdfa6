"""A bot that notes when its page is opened, left, and come back to."""

import json
import os

HERE = os.path.dirname(__file__)


def note(handler, **what):
    import builtins

    with builtins.open(os.path.join(HERE, "notes.txt"), "a") as notes:
        notes.write(json.dumps({"path": handler.request.path, **what}) + "\n")


def open(handler):
    note(handler, event="open")


def on_message(handler, message):
    note(handler, event="message", message=message)
    return "Got message: " + message


def on_close(handler):
    note(handler, event="close", code=handler.close_code, reason=handler.close_reason)
