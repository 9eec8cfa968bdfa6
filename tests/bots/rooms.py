"""A bot with rooms: what is said goes to all in them, and presence tells who is in."""

from __future__ import annotations

from typing import Any

import jupyter_wshandler as wsh


async def on_message(handler: Any, message: str) -> Any:
    """Obey one word of a test: join, leave, say, whisper, rooms, members, history, pm."""
    word, _, rest = message.partition(" ")
    if word == "join":
        await handler.join(rest)
        return f"in {','.join(handler.rooms)}"
    if word == "leave":
        await handler.leave(rest)
        return f"in {','.join(handler.rooms)}"
    if word == "say":
        handler.broadcast(rest)
        return None
    if word == "count":
        published = await handler.broadcast(rest)
        return f"{published.offset} {published.delivered}"
    if word == "others":
        handler.broadcast(rest, exclude_self=True)
        return "said"
    if word == "to":
        room, _, text = rest.partition(" ")
        wsh.room(room).send(text)
        return None
    if word == "members":
        members = await wsh.room(rest).members()
        return [[member.id, member.card, member.connections] for member in members]
    if word == "history":
        said = await wsh.room(rest).history()
        return [[one.offset, one.message] for one in said]
    if word == "pm":
        user, _, text = rest.partition(" ")
        wsh.to_user(user).send(text)
        return None
    if word == "order":
        handler.write_message("1")
        handler.broadcast("2")
        handler.write_message("3")
        handler.broadcast("4")
        handler.broadcast("5")
        return "6"
    if word == "bye":
        handler.broadcast("the last word")
        handler.close(4000)
        return None
    raise ValueError(word)


def may_join(handler: Any, room: str) -> bool:
    """Let everybody into all rooms but one."""
    return room != "secret"


def card(handler: Any) -> dict[str, str]:
    """Show a name in capitals."""
    return {"name": handler.current_user.username.upper()}


def joined(room: Any, member: Any) -> None:
    """Say who has come."""
    room.send(f"+{member.id}")


async def left(room: Any, member: Any) -> None:
    """Say who has gone."""
    room.send(f"-{member.id}")
