"""A bot whose clients are cut off: notes what it has heard, and tells 300 words through breaks."""

import asyncio
import json
from pathlib import Path

heard = []
NOTED = Path(__file__).with_name("noted")


def note(handler, word):
    with NOTED.open("a") as file:
        file.write(f"{handler.id} {word}\n")


def open(handler):
    note(handler, "open")


def on_resume(handler):
    note(handler, "resume")


def on_close(handler):
    note(handler, "close")


async def on_message(handler, message):
    heard.append(message)
    if message == "report":
        return json.dumps(heard)
    return f"got {message}"


async def on_tell(handler, message):
    # Where the message asks for breaks, these tokens wait for one, for its end, and for another.
    gates = {60: True, 110: False, 160: True} if message == "through breaks" else {}
    try:
        for number in range(300):
            while handler.away is not gates.get(number, handler.away):
                await asyncio.sleep(0.01)
            yield f"w{number} "
            await asyncio.sleep(0.2 if message == "slowly" else 0.001)
    finally:
        note(handler, "finally")
