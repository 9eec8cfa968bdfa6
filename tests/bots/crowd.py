"""Bots of which some hold their thread, for callers who want one, too."""

import time


async def echo(handler, message):
    return message


def quick(handler, message):
    return message


def hold(handler, message):
    time.sleep(4)
    return message


def rule(handler):
    time.sleep(1)
    return True
