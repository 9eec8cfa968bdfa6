"""Polls: types say what clients may send and what they are answered."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=200)]


class Ask(msgspec.Struct, tag="ask"):
    """A question to vote on."""

    text: Text
    choices: Annotated[list[Text], Meta(min_length=2, max_length=10)]


class Vote(msgspec.Struct, tag="vote"):
    """A vote for one of the choices of a poll."""

    poll: int
    choice: Annotated[int, Meta(ge=0)]


class Poll(msgspec.Struct, tag="poll"):
    """A poll as it stands."""

    id: int
    text: str
    votes: dict[str, int]


POLLS: list[Poll] = []


def ask(handler, message: Ask) -> Poll:
    poll = Poll(len(POLLS), message.text, dict.fromkeys(message.choices, 0))
    POLLS.append(poll)
    return poll


def vote(handler, message: Vote) -> Poll | None:
    if not 0 <= message.poll < len(POLLS):
        handler.write_message({"error": "there is no such poll"})
        return None
    poll = POLLS[message.poll]
    choices = list(poll.votes)
    if message.choice < len(choices):
        poll.votes[choices[message.choice]] += 1
    return poll
