"""A bot that tells a story word by word, the way language models answer."""

import asyncio

STORY = (
    "Once upon a time a small server lived at the edge of a large network. "
    "One evening somebody knocked and said: “{message}”. "
    "The server had been asked many things, but never that. "
    "It thought about it for a while, one word after the other, "
    "and because nobody had hung up in the meantime, it kept the line open "
    "and answered: that is a fine thing to say to a server. Tell me more."
)

PAUSE = 0.03
"""Seconds between two words."""


async def on_message(handler, message):
    """Yield the answer in pieces; each is sent when it is yielded.

    The chat page writes every ``{"token": ...}`` behind the one before, in one bubble, until
    ``{"done": true}``. While this function waits, the server serves everybody else.
    """
    if isinstance(message, bytes):
        message = f"{len(message)} bytes"
    for word in STORY.format(message=message).split(" "):
        yield {"token": word + " "}
        await asyncio.sleep(PAUSE)
    yield {"done": True}
