"""A chat with rooms: who is in, what was said, and a bot that all hear and anybody can stop."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import jupyter_wshandler as wsh

LONGEST = 2000  # characters of a message


def may_join(handler: Any, room: str) -> bool:
    """Keep the names of rooms short; whoever asks for another one gets a 403."""
    return len(room) <= 40


def card(handler: Any) -> dict[str, str]:
    """Return what the others see of somebody who is in."""
    user = handler.current_user
    return {"name": user.display_name or user.name or user.username}


async def people(room: str) -> list[str]:
    """Return the names of those who are in a room, the first ones of many."""
    return [member.card["name"] for member in await wsh.room(room).members(limit=50)]


async def open(handler: Any) -> None:
    """Tell who comes who is in; what was said last has been sent before."""
    handler.write_message({"you": card(handler)["name"], "people": await people(handler.rooms[0])})


async def on_join(room: Any, member: Any) -> None:
    """Tell everybody that a person has come; a second tab is no second person."""
    tell(room.name, {"came": member.card["name"], "people": await people(room.name)})


async def on_leave(room: Any, member: Any) -> None:
    """Tell everybody that a person has gone; who reloads the page has not."""
    tell(room.name, {"left": member.card["name"], "people": await people(room.name)})


def tell(room: str, message: Any) -> None:
    """Tell those who are in a room now; unlike a broadcast it is kept for nobody who comes then."""
    for connection in wsh.connections("chatroom"):
        if room in connection.rooms:
            connection.write_message(message)


async def on_message(handler: Any, message: str | bytes) -> None:
    """Tell everybody in the room, the one who says it included; ask the bot, or stop it."""
    text = message.strip()[:LONGEST] if isinstance(message, str) else ""
    room = handler.rooms[0]
    if text == "/stop":
        for task, where in answers.items():
            if where == room:
                task.cancel()
    elif text:
        handler.broadcast({"from": card(handler)["name"], "text": text, "at": time.time()})
        if text.startswith("@bot "):
            # Beside the callbacks, so that who has asked can go on talking.
            task = handler.start_task(answer_in(room, text.removeprefix("@bot ")))
            answers[task] = room
            task.add_done_callback(answers.pop)


answers: dict[asyncio.Task[None], str] = {}  # that are being given, and in which room


async def answer_in(room: str, question: str) -> None:
    """Answer in a room: as far as it has come to all who are in, and the whole for its history."""
    said, how = "", "stopped"
    answer = {"bot": secrets.token_hex(4), "at": time.time()}
    speaks = wsh.room(room)
    try:
        async for word in model(question):
            said += word
            tell(room, {**answer, "text": said})
        how = "done"
    finally:
        speaks.send({**answer, "text": said, "how": how})


async def model(question: str) -> AsyncIterator[str]:
    """Yield an answer word by word, as a language model does; put a real one here."""
    answer = (
        f"You ask: “{question}” A good question, and I am only a stand-in for a language model. "
        "What I can do is talk slowly, so that you see that everybody in this room reads each word "
        "as it comes; that you can go on talking meanwhile; that whoever comes now sees the "
        "answer, too; and that anybody may stop me, with the button or by saying /stop."
    )
    for word in answer.split(" "):
        yield word + " "
        await asyncio.sleep(0.15)
