"""Bots for our commands in a terminal: an echo that shows line ends, a story, a failure."""

import asyncio
from pathlib import Path


def echo(handler, message):
    return repr(message)


async def story(handler, message):
    try:
        for word in ("once", "upon", message):
            yield word + " "
        while message == "for ever":
            yield "and on "
            await asyncio.sleep(0.02)
    except BaseException as end:
        Path(__file__).with_name("ended").write_text(type(end).__name__)
        raise


def fail(handler, message):
    raise ValueError("on purpose")
