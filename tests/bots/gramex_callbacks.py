"""Callbacks as code for Gramex has them: each kind of function, result and ending."""

import asyncio

import tornado.gen
from journal import blocking_gate, gate, note

from jupyter_wshandler import ConnectionClosed


def closed(handler):
    note(handler, "close", handler.close_code, handler.close_reason)


def opened(handler):
    note(handler, "open")


def kind(handler, message):
    return {"type": type(message).__name__, "length": len(message)}


def echo(handler, message):
    note(handler, "message", message)
    return message


VALUES = {
    "str": "text",
    "bytes": b"bytes",
    "dict": {"a": 1},
    "list": [1, 2],
    "int": 5,
    "none": None,
    "tuple": (1, 2),
    "true": True,
    "object": object(),
    "deep": [{"when": 1j}],
}


def returns(handler, message):
    return VALUES[message]


async def returns_later(handler, message):
    await asyncio.sleep(0)
    return VALUES[message]


def counts(handler, message):
    for number in range(3):
        yield f"{message} {number}"


async def counts_later(handler, message):
    for number in range(3):
        await asyncio.sleep(0)
        yield {message: number}


async def slowly(handler, message):
    note(handler, "begin", message)
    await asyncio.sleep(0.02)
    note(handler, "end", message)


@tornado.gen.coroutine
def slowly_in_tornado(handler, message):
    note(handler, "begin", message)
    yield tornado.gen.sleep(0.02)
    note(handler, "end", message)
    return "answer to " + message


def blocks(handler, message):
    if message == "wait":
        blocking_gate(handler)
    return "done: " + message


async def opens_slowly(handler):
    note(handler, "open begins")
    await gate(handler)
    note(handler, "open ends")


def open_returns(handler):
    return VALUES[handler.args["value"][0]]


async def closes_slowly(handler):
    note(handler, "close begins")
    await asyncio.sleep(0.02)
    note(handler, "close ends", handler.close_code)


def closes_in_steps(handler):
    note(handler, "close begins")
    yield "nobody is there any more"
    note(handler, "close ends", handler.close_code)


def fails(handler, *message):
    raise RuntimeError("a-detail-only-the-log-knows")


async def fails_later(handler, *message):
    await asyncio.sleep(0)
    raise RuntimeError("a-detail-only-the-log-knows")


def closes_at_once(handler):
    note(handler, "open")
    handler.close(4001, "not today")


async def waits_for_the_end(handler, message):
    note(handler, "begin")
    while not handler.closed:
        await asyncio.sleep(0.005)
    try:
        handler.write_message("too late")
    except ConnectionClosed as error:
        note(handler, "write failed", type(error).__name__)
    note(handler, "end")


def writes_too_late(handler):
    try:
        handler.write_message("too late")
    except ConnectionClosed:
        note(handler, "write failed")


def writes(handler, message):
    handler.write_message(VALUES[message])


def writes_as_http(handler, message):
    handler.write(message)


def last_protocol(handler, protocols):
    note(handler, "offered", *protocols)
    return protocols[-1]


def compression(handler):
    return {} if "on" in handler.args else None


def pings(handler, message):
    handler.ping(message)


def ponged(handler, data):
    note(handler, "pong", type(data).__name__, data.decode())
    return "pong"
