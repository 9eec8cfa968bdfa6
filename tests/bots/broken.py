import asyncio
import json
from pathlib import Path

heard = []
NOTED = Path(__file__).with_name("noted")


def note(word):
    with NOTED.open("a") as file:
        file.write(f"{word}\n")


def open(handler):
    note("open")


def on_resume(handler):
    note("resume")


def on_close(handler):
    note("close")


async def on_message(handler, message):
    heard.append(message)
    if message == "report":
        return json.dumps(heard)
    return f"got {message}"


async def on_tell(handler, message):
    try:
        for number in range(300):
            yield f"w{number} "
            await asyncio.sleep(0.01 if "slowly" not in message else 0.1)
    finally:
        note("finally")
