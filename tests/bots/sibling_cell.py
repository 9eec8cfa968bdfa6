"""A cell that serves a bot beside that of another kernel."""

import sys

import jupyter_wshandler as wsh


async def on_message(handler, message):
    return message


sibling = wsh.serve("/sibling", on_message=on_message, replace=True)
link = sys.modules["jupyter_wshandler.notebook.serve"]._link
