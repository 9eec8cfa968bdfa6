"""A bot whose messages are checked: one kind of type after the other, all told apart by `type`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Literal, NotRequired, TypedDict

import msgspec


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Ask(msgspec.Struct, tag="ask"):
    """A question."""

    text: str
    rows: list[dict[str, int]] = []


@dataclass
class Vote:
    """A vote for a colour."""

    type: Literal["vote"]
    colour: Colour


class Leave(TypedDict):
    """The end of it all."""

    type: Literal["leave"]
    why: NotRequired[str]


class Answer(msgspec.Struct, tag="answer"):
    """What is answered."""

    text: str
    at: datetime


GIVEN: list[object] = []


def on_message(handler, message: Ask | Vote | Leave) -> Answer:
    GIVEN.append(message)
    return Answer(type(message).__name__, datetime(2026, 1, 1, tzinfo=UTC))


def ask(handler, message: Ask) -> Answer:
    return on_message(handler, message)


async def vote(handler, message: Vote) -> AsyncIterator[Colour]:
    for colour in Colour:
        await asyncio.sleep(0)
        yield colour


def other(handler, message):
    return {"keys": sorted(message)}
