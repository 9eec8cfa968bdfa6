"""Filters of all routes, as an administrator may have them: they write a file, and hide cards."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from jupyter_wshandler import RefuseMessage

LOG = Path(__file__).with_name("audit.log")

CARD = re.compile(r"\d{4} \d{4}")


def write(handler: Any, what: str, said: object) -> None:
    """Write one line."""
    with LOG.open("a") as log:
        log.write(f"{handler.route} {handler.current_user is not None} {what} {said}\n")


def on_open(handler: Any) -> None:
    """Write that somebody has come."""
    write(handler, "open", "")


def incoming(handler: Any, message: Any) -> Any:
    """Write what a client says, and refuse some of it."""
    write(handler, "in", message)
    if message == "spam":
        raise RefuseMessage("no spam here")
    if message == "fail in":
        raise ValueError("a filter's fault")
    return message


def outgoing(handler: Any, message: Any) -> Any:
    """Hide cards, and write what a client is told."""
    if message in ("fail out", b"fail out"):
        raise ValueError("a filter's fault")
    if isinstance(message, bytes):
        message = message.replace(b"4711", b"****")
    else:
        message = CARD.sub("**** ****", message)
    write(handler, "out", message)
    return message


def on_close(handler: Any) -> None:
    """Write that somebody has gone."""
    write(handler, "close", handler.close_code)


class Later:
    """The same for what comes in, by way of something that takes its time."""

    async def on_open(self, handler: Any) -> None:
        """Wait."""
        await asyncio.sleep(0.01)
        write(handler, "later open", "")

    async def incoming(self, handler: Any, message: Any) -> Any:
        """Wait longer for the first of two."""
        await asyncio.sleep(0.05 if message == "first" else 0)
        if message == "fail later":
            raise ValueError("a filter's fault")
        return message

    async def on_close(self, handler: Any) -> None:
        """Wait."""
        await asyncio.sleep(0.01)
        write(handler, "later close", handler.close_code)
