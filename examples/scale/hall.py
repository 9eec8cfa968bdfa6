"""A bot that says which server it is on, and tells the room what it hears."""

from __future__ import annotations

import os
from typing import Any

NODE = os.environ.get("NODE", "alone")
HALL = "hall"


async def open(handler: Any) -> None:
    """Tell who comes which server has taken them."""
    handler.write_message({"node": NODE})


def may_join(handler: Any, room: str) -> bool:
    """Let clients into the one room that there is."""
    return room == HALL


def card(handler: Any) -> dict[str, str]:
    """Return what the others see of somebody who is in."""
    return {"name": handler.current_user.display_name or handler.current_user.username}


async def on_message(handler: Any, message: str | bytes) -> dict[str, int]:
    """Tell everybody in the hall, on all servers, and answer with the message's number there."""
    text = message[:2000] if isinstance(message, str) else f"{len(message)} bytes"
    said = await handler.broadcast({"node": NODE, "text": text}, room=HALL)
    return {"offset": said.offset}
