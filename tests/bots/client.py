"""Bots for the Python client, one of which is a client itself."""

import asyncio
import subprocess
import sys

from jupyter_wshandler.client import connect


async def echo(handler, message):
    return message


async def request(handler, message):
    return {
        "args": handler.args,
        "room": handler.path_kwargs["room"],
        "header": handler.request.headers.get(message, ""),
    }


async def obey(handler, message):
    """Do what a message says: three answers, nothing, or close."""
    word, *rest = message.split(" ", 2)
    if word == "many":
        for number in range(200):
            handler.write_message(str(number))
    if word == "three":
        for number in range(3):
            handler.write_message({"number": number})
    if word == "close" or word == "three":
        handler.close(int(rest[0]), rest[1] if rest[1:] else "")


def opened(handler):
    print("opened", flush=True)


def closed(handler):
    print("closed", handler.close_code, handler.close_reason, flush=True)


def nobody(handler):
    return False


async def find(handler, message):
    """Say what a client finds in this very process, in a thread of it, and in a child."""
    code = """if True:
        from jupyter_wshandler.client import connect
        with connect("/echo") as bot:
            bot.send("from a child")
            print(bot.recv(), bot.url)
    """
    async with connect("/echo") as bot:
        await bot.send("from the loop")
        yield [await bot.recv(), bot.url]

    def block():
        with connect("/echo") as bot:
            bot.send("from a thread")
            return [bot.recv(), bot.url]

    yield await asyncio.to_thread(block)
    child = [sys.executable, "-c", code]
    done = await asyncio.to_thread(subprocess.run, child, capture_output=True, text=True)
    yield (done.stdout + done.stderr).strip()
    try:
        connect("/echo").open()
    except RuntimeError as error:
        yield str(error)
