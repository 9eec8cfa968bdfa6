"""A bot that fails where it is told to, for those who look at what a server does."""

import time

import msgspec


class Slow(Exception):
    """An exception whose text takes its time."""

    def __str__(self):
        time.sleep(0.2)
        return "slowly"


def answer(handler, message):
    if message == "slowly":
        raise Slow
    if message == "wait":
        time.sleep(10)
    if isinstance(message, bytes) or message.startswith("fail"):
        raise ValueError("this cannot be done")
    return message


class Wish(msgspec.Struct):
    """What somebody wants."""

    much: int


class Granted(msgspec.Struct):
    """What they get."""

    much: int


def grant(handler, message: Wish) -> Granted:
    return Granted(message.much)
