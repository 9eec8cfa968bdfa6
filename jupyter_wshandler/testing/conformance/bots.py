"""The bots that a client is tried with: they write down what they are given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ...types import Message

TAKEN: dict[str, list[tuple[str, str]]] = {}
"""What was given to the bots: for each trial the ids of connections, and what came by them."""


def note(handler: Any, message: Message) -> None:
    """Write down a message; bytes as hexadecimal digits behind a word."""
    text = f"hex {message.hex()}" if isinstance(message, bytes) else message
    trial = handler.args.get("trial", [""])[0]
    TAKEN.setdefault(trial, []).append((handler.id, text))


def greet(handler: Any) -> None:
    """Say something at once, where the address asks for it."""
    if "greet" in handler.args:
        handler.write_message("welcome")


async def talk(handler: Any, message: Message) -> Any:
    """Answer as the message says; with itself by default."""
    note(handler, message)
    if message == "wait":
        await asyncio.Event().wait()
    if message == "fail":
        raise RuntimeError("this bot was asked to fail")
    if message == "leave when I am away":
        handler.state.leaves = True
    if message == "close":
        handler.close(4321, "enough")
        return None
    if message == "nothing":
        return None
    if message == "news":
        await handler.write_message("something new")
        return None
    if isinstance(message, str) and message.startswith("push "):
        for number in range(int(message[5:])):
            await handler.write_message(f"pushed {number}")
        return None
    return {"json": {"size": 4}, "bytes": b"\xca\xfe"}.get(str(message), message)


def away(handler: Any) -> None:
    """End the connection, where its client has asked for that."""
    if getattr(handler.state, "leaves", False):
        note(handler, "left")
        handler.close(4321, "enough")


async def count(handler: Any, message: str) -> AsyncIterator[str]:
    """Yield so many numbers, with some time between them."""
    note(handler, message)
    for number in range(int(message)):
        yield f"{number} "
        await asyncio.sleep(0.01)


def say(handler: Any, message: str) -> None:
    """Say in a room what stands behind its name."""
    note(handler, message)
    room, _, text = message.partition(" ")
    handler.broadcast(text, room=room)


def may_join(handler: Any, room: str) -> bool:
    """Let everybody in, but not into the secret room."""
    return room != "secret"


def taken(handler: Any, trial: str) -> dict[str, Any]:
    """Return what was given to the bots in a trial."""
    return {"taken": TAKEN.get(trial, [])}


def routes() -> dict[str, Any]:
    """Return the routes that serve these bots."""
    rooms = {"may_join": "may_join", "history": {"replay": 10}, "presence": True}
    plans: dict[str, tuple[str, dict[str, Any]]] = {
        "talk": ("talk", {"open": "greet"}),
        "count": ("count", {}),
        "strict": ("talk", {"ratelimit": {"messages": "1/m", "burst": "1m", "then": "error"}}),
        "rooms": ("say", rooms),
        "lasting": ("talk", {"resume": True, "on_away": "away"}),
        "lasting-count": ("count", {"resume": True}),
        "lasting-rooms": ("say", {**rooms, "resume": True}),
        "taken": ("taken", {}),
    }
    return {
        name: {
            "pattern": f"/{name}",
            "handler": "WebSocketHandler",
            "kwargs": {
                "on_message": _function(function),
                "on_error": {"close": False},
                **{key: _function(v) if key in _CALLED else v for key, v in more.items()},
            },
        }
        for name, (function, more) in plans.items()
    }


_CALLED = ("open", "on_away", "may_join")


def _function(name: str) -> Any:
    return f"{__name__}.{name}" if name == "may_join" else {"function": f"{__name__}.{name}"}
