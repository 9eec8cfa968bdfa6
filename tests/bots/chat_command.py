"""Bots for `jupyter wshandler chat`: stories, errors, farewells and odd bytes."""

import asyncio
import json


def echo(handler, message):
    return "Got message: " + message


async def story(handler, message):
    for word in ("once", "upon", message):
        yield word + " "
        await asyncio.sleep(0)
    if message == "for ever":
        while True:
            yield "and on "
            await asyncio.sleep(0.02)


async def tell(handler):
    for word in ("told ", "beside"):
        await asyncio.sleep(0.3)
        handler.write_message({"token": word})
    handler.write_message({"done": True})


async def odd(handler, message):
    if message == "fail":
        raise RuntimeError("on purpose")
    if message == "bye":
        handler.write_message("farewell")
        handler.close(4001, "that was all")
    elif message == "well":
        handler.close(1000, "good night")
    elif message == "tokens":
        for word in ("a ", "b"):
            yield {"token": word}
        yield {"done": True}
    elif message == "json":
        yield {"rows": [1, 2]}
    elif message == "bytes":
        yield b"12345"
    elif message == "escape":
        yield "red \x1b[31m \u202e bell\x07"
    elif message == "args":
        yield json.dumps(handler.args)
    elif message == "two":
        handler.write_message("first")
        handler.write_message("")
        handler.write_message("line\nline")
    elif message == "beside":
        handler.start_task(tell(handler))
    elif message == "late":
        asyncio.get_running_loop().call_later(0.2, handler.write_message, "by the way")
        asyncio.get_running_loop().call_later(0.4, handler.close, 4002, "too late")
