"""Attacks in a random order, several at a time, each by a user of its own: for the long run."""

from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from support.attacks import Attack, all_attacks, attack_once
from support.server import RunningServer

AT_ONCE = 4
"""Attacks that go on at a time, at most."""


def decks(seed: int, names: list[str]) -> Iterator[Attack]:
    """Yield the attacks in a random order, again and again: none is left out."""
    dice = random.Random(seed)
    while True:
        deck = [all_attacks()[name] for name in names]
        dice.shuffle(deck)
        yield from deck


def attack_at_random(server: RunningServer, pause: float, seed: int, names: list[str]) -> None:
    """Begin an attack every `pause` seconds until standard input ends; print a line for each."""
    done, room = threading.Event(), threading.Semaphore(AT_ONCE)
    alone = threading.Lock()

    def wait() -> None:
        sys.stdin.read()
        done.set()

    def run(one: Attack) -> None:
        try:
            if one.alone:
                with alone:
                    result = attack_once(server, one, 0.5)
            else:
                result = attack_once(server, one, 0.5)
            line = json.dumps({"name": one.name, "words": result.words})
            # In one piece: `print` writes the end of a line by itself, and others write as well.
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
        finally:
            room.release()

    threading.Thread(target=wait, daemon=True).start()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in decks(seed, names):
            room.acquire()
            if done.wait(pause):
                return
            pool.submit(run, one)
