"""A bot for clients that come back: it counts what it is given, streams, and talks in rooms."""

import asyncio
from pathlib import Path

HERE = Path(__file__).parent


def opened(handler):
    handler.state.seen = []


async def on_message(handler, message):
    if message == "seen":
        return handler.state.seen
    handler.state.seen.append(message)
    word, *rest = message.split()
    if word == "push":
        for number in range(int(rest[0]), int(rest[1])):
            await handler.write_message(str(number))
    return f"re {message}"


async def tokens(handler, message):
    try:
        for number in range(int(message)):
            yield f"{number} "
            await asyncio.sleep(0.002)
    finally:
        with (HERE / "ended").open("a") as file:
            file.write(f"{number}\n")


def say(handler, message):
    room, _, text = message.partition(" ")
    handler.broadcast(text, room=room)


def may_join(handler, room):
    return room != "secret"


def card(handler):
    return {"name": handler.args.get("name", ["nobody"])[0]}
