"""Bots that the console shows: one that fails, one with types, one with rooms, and an echo."""

from typing import Annotated

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Ask(msgspec.Struct, tag="ask"):
    """A question to vote on."""

    text: Text
    choices: Annotated[list[Text], Meta(min_length=2, max_length=10)]
    secret: bool = False


class Vote(msgspec.Struct, tag="vote"):
    """A vote for a choice."""

    poll: int
    choice: Annotated[int, Meta(ge=0)]


class Branch(msgspec.Struct, tag="branch"):
    """Part of a tree."""

    name: str
    left: "Branch | None" = None


class Poll(msgspec.Struct, tag="poll"):
    """A poll as it stands."""

    text: str
    votes: dict[str, int]


def ask(handler, message: Ask) -> Poll:
    return Poll(message.text, dict.fromkeys(message.choices, 0))


def vote(handler, message: Vote) -> str:
    return f"{message.choice} in {message.poll}"


def branch(handler, message: Branch) -> Branch:
    return message


def divide(handler, message):
    top, bottom = message.split("/")
    return str(int(top) / int(bottom))


def chat(handler, message):
    handler.broadcast(f"{handler.current_user.username}: {message}")


def echo(handler, message):
    return message


def fail(handler, message):
    raise ValueError(f"no such thing: {len(message)}")
