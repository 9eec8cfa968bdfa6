"""A bot that says which server it is on, and tells the room what it hears."""

from __future__ import annotations

import os
from typing import Any

NODE = os.environ.get("NODE", "alone")


def open(handler: Any) -> dict[str, str]:
    """Tell who comes which server has taken them."""
    return {"node": NODE}


def may_join(handler: Any, room: str) -> bool:
    """Keep the names of rooms short."""
    return len(room) <= 40


def card(handler: Any) -> dict[str, str]:
    """Return what the others see of somebody who is in."""
    return {"name": handler.current_user.display_name or handler.current_user.username}


async def on_message(handler: Any, message: str | bytes) -> dict[str, int]:
    """Tell everybody in the rooms of who says it, and answer with the message's number."""
    text = message[:2000] if isinstance(message, str) else f"{len(message)} bytes"
    offset = 0
    for room in handler.rooms:
        said = await handler.broadcast({"node": NODE, "text": text}, room=room)
        offset = said.offset
    return {"offset": offset}
