"""A program with a bot that uses the event loop, and not Tornado."""

import asyncio
import sys

from jupyter_wshandler.testing import Chat


def bot(handler, message):
    asyncio.get_event_loop().call_later(0.001, handler.write_message, "later")


with Chat(bot) as chat:
    chat.send("x")
    chat.expect("later")
print("tornado.ioloop" in sys.modules)
