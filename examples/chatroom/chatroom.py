"""A chat with rooms: who is in, what was said, and everybody hears everybody."""

from __future__ import annotations

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


async def open(handler: Any) -> None:
    """Tell who comes who is in; what was said last has been sent before."""
    handler.write_message({"people": await people(handler.rooms[0])})


def on_message(handler: Any, message: str | bytes) -> None:
    """Tell everybody in the room, the one who says it included."""
    if isinstance(message, str) and message.strip():
        handler.broadcast({"from": card(handler)["name"], "text": message.strip()[:LONGEST]})


async def on_join(room: Any, member: Any) -> None:
    """Tell everybody that a person has come; a second tab is no second person."""
    room.send({"came": member.card["name"], "people": await people(room.name)})


async def on_leave(room: Any, member: Any) -> None:
    """Tell everybody that a person has gone; who reloads the page has not."""
    room.send({"left": member.card["name"], "people": await people(room.name)})


async def people(room: str) -> list[str]:
    """Return the names of those who are in a room, the first ones of many."""
    return [member.card["name"] for member in await wsh.room(room).members(limit=50)]
