"""A notebook's bot whose clients come and go: what becomes of them is asked for by others."""

import asyncio

import jupyter_wshandler as wsh

HEARD = {}
GO = set()


def open(handler):
    """Begin the list of what is heard of this client."""
    HEARD[handler.id] = ["open"]


async def on_message(handler, message):
    """Echo; stream so many tokens, and hold after five until somebody says go; tell what was."""
    word, _, rest = message.partition(" ")
    if word == "go":
        GO.add(rest)
        return "gone"
    if word == "heard":
        return HEARD[rest]
    if word == "tokens":
        return tokens(handler, int(rest))
    return message


async def tokens(handler, count):
    """Yield them."""
    heard = HEARD[handler.id]
    try:
        for number in range(count):
            while number == 5 and handler.id not in GO:
                await asyncio.sleep(0.01)
                if handler.away and "sees away" not in heard:
                    heard.append("sees away")
            yield f"t{number} "
    finally:
        heard.append("ended")


def on_away(handler):
    """Hear that a client is away."""
    HEARD[handler.id].append("away")


def on_resume(handler):
    """Hear that it is back."""
    HEARD[handler.id].append("resume")


def on_close(handler):
    """Hear that it is over."""
    HEARD[handler.id].append(f"close {handler.close_code}")


bot = wsh.serve(
    "/nb",
    open=open,
    on_message=on_message,
    on_away=on_away,
    on_resume=on_resume,
    on_close=on_close,
    name="nb",
    resume={"window": "90s", "keep": {"messages": 500}},
)
