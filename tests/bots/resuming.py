"""A bot whose clients come and go: it writes down what becomes of them."""

import asyncio
import json
from pathlib import Path

HERE = Path(__file__).parent
GATES = {}


def note(word, handler):
    with (HERE / "journal.txt").open("a") as file:
        file.write(f"{word} {handler.id}\n")


def opened(handler):
    note("open", handler)
    handler.state.got = []


async def on_message(handler, message):
    handler.state.got.append(message if isinstance(message, str) else message.hex())
    if message == "who":
        return {"id": handler.id, "away": handler.away, "user": handler.current_user.username}
    if message == "got":
        return json.dumps(handler.state.got[:-1])
    if message == "close":
        handler.close(4321, "enough")
        return None
    if message == "hang":
        return await stuck(handler)
    if isinstance(message, str) and message.startswith("flood "):
        for number in range(int(message.split()[1])):
            handler.write_message(f"f{number}")
        return None
    if isinstance(message, str) and message.startswith("later "):
        # Goes on beside the callbacks, whether the client is there or not.
        handler.start_task(later(handler, int(message.split()[1])))
        return None
    if isinstance(message, str) and message.startswith("room "):
        handler.broadcast(message[5:], room="lobby", exclude_self=True)
        return None
    return message


async def stuck(handler):
    try:
        await asyncio.Event().wait()
    finally:
        note("finally", handler)


async def later(handler, count):
    gate = HERE / f"go-{handler.id}"
    while not gate.exists():
        await asyncio.sleep(0.01)
    for number in range(count):
        await handler.write_message(f"later {number}")
    note("said", handler)


async def on_tokens(handler, message):
    seen = False
    try:
        for number in range(int(message)):
            while (HERE / "hold").exists() and number >= 5:
                await asyncio.sleep(0.01)
                if handler.away and not seen:
                    seen = True
                    note("sees-away", handler)
            yield f"t{number} "
    finally:
        note("ended", handler)


def on_away(handler):
    note("away" if handler.away else "away-not", handler)


def on_resume(handler):
    note("resume", handler)
    return "never sent"


def closed(handler):
    note(f"close-{handler.close_code}", handler)


def lively(handler):
    return handler.args.get("condition") != ["no"]


def may_join(handler, room):
    note(f"join-{room}", handler)
    return True
