"""Callbacks note what they do under the tag of their connection: `/path?tag=...`."""

import asyncio
import time

notes = {}
gates = set()


def tag(handler):
    return handler.args["tag"][0]


def note(handler, *what):
    notes.setdefault(tag(handler), []).append(list(what))


async def gate(handler):
    """Wait until the test opens the gate of this connection."""
    while tag(handler) not in gates:
        await asyncio.sleep(0.005)


def blocking_gate(handler):
    while tag(handler) not in gates:
        time.sleep(0.005)


async def on_message(handler, message):
    word, _, name = message.partition(" ")
    if word == "open":
        gates.add(name)
    return {"notes": notes.get(name, [])}
