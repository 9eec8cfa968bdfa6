import asyncio
import json
from pathlib import Path

heard = []
breaks = {}
NOTED = Path(__file__).with_name("noted")


def note(handler, word):
    with NOTED.open("a") as file:
        file.write(f"{handler.id} {word}\n")


def open(handler):
    breaks[handler.id] = 0
    note(handler, "open")


def on_away(handler):
    breaks[handler.id] += 1


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
    # What follows 60 tokens and 160 is told in a break, where the message asks for breaks.
    before = breaks[handler.id]
    gates = {60: 1, 160: 2} if message == "through breaks" else {}
    try:
        for number in range(300):
            while breaks[handler.id] < before + gates.get(number, 0):
                await asyncio.sleep(0.01)
            yield f"w{number} "
            await asyncio.sleep(0.2 if message == "slowly" else 0.001)
    finally:
        note(handler, "finally")
