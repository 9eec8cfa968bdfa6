"""More of each kind: other inputs than those that a fault was first found with."""

from __future__ import annotations

from support.attacks import Attacker, attack, flood
from support.frames import BINARY, CONT, PING, PONG, TEXT, frame


@attack("Pings of 125 bytes and one-byte messages by turns, from four clients at a time")
def mixed_flood(attacker: Attacker) -> str:
    chunk = (frame(PING, b"p" * 125) + frame(TEXT, b"x") + frame(PONG)) * 3000
    return flood(attacker, "/echo", chunk)


@attack("Pings between the fragments of one message, from four clients at a time")
def pings_in_a_message(attacker: Attacker) -> str:
    chunk = (frame(CONT, fin=False) + frame(PING)) * 5000
    return flood(attacker, "/echo", chunk, frame(BINARY, b"x", fin=False))
