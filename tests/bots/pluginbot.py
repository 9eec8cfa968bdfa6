"""A bot that fails on demand, and says where it runs."""

import os


def on_message(handler, message):
    if message == "fail":
        raise ValueError("from the bot")
    if message == "where":
        return {"pid": os.getpid(), "token": os.environ.get("JUPYTER_TOKEN", "")}
    return "Got message: " + message
