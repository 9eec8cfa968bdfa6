"""Bots that raise what is no Exception, in every place where code of the user's runs."""

import asyncio
import sys


class Own(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self):
        sys.exit(3)

    __repr__ = __str__


def fail(handler):
    name = handler.get_argument("raises")
    if name == "SystemExit":
        sys.exit(1)
    if name == "BaseExceptionGroup":
        raise BaseExceptionGroup("all", [SystemExit(), KeyboardInterrupt()])
    made = {
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "CancelledError": asyncio.CancelledError,
        "Own": Own,
        "Unspeakable": Unspeakable,
    }
    raise made[name]()


async def late(handler):
    await asyncio.sleep(0)
    fail(handler)


async def echo(handler, message):
    return message


async def fails(handler, *args):
    await late(handler)


async def value_error(handler, message):
    raise ValueError("first")


class Awaitable:
    def __init__(self, handler):
        self.handler = handler

    def __await__(self):
        yield
        fail(self.handler)


def awaitable(handler, message):
    return Awaitable(handler)


async def body(handler, message):
    yield "begun"
    fail(handler)


async def at_the_end(handler, message):
    try:
        yield "begun"
    finally:
        fail(handler)


async def aclose(handler, message):
    try:
        yield "begun"
        await asyncio.sleep(60)
    finally:
        fail(handler)


def generator(handler, message):
    yield "begun"
    fail(handler)


async def start_task(handler, message):
    handler.start_task(late(handler))
    return "begun"


async def create_task(handler, message):
    asyncio.create_task(late(handler))  # noqa: RUF006 (as bots are written)
    await asyncio.sleep(0.02)
    return "begun"


async def ensure_future(handler, message):
    asyncio.ensure_future(late(handler))  # noqa: RUF006
    await asyncio.sleep(0.02)
    return "begun"


async def threadsafe(handler, message):
    loop = asyncio.get_running_loop()

    def inside():
        asyncio.run_coroutine_threadsafe(late(handler), loop)

    await asyncio.to_thread(inside)
    await asyncio.sleep(0.02)
    return "begun"


async def call_soon(handler, message):
    asyncio.get_running_loop().call_soon(fail, handler)
    await asyncio.sleep(0.02)
    return "begun"


async def call_later(handler, message):
    asyncio.get_running_loop().call_later(0.01, fail, handler)
    await asyncio.sleep(0.05)
    return "begun"


async def stop(handler, message):
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.02)
    return "begun"


PLACES = {
    "open": {"open": fails, "on_message": echo},
    "on_message": {"on_message": fails},
    "on_pong": {"on_message": echo, "on_pong": fails},
    "on_error": {"on_message": value_error, "on_error": fails},
    "every": {"on_message": echo, "every": {"0.1s": fails}},
    "awaitable": {"on_message": awaitable, "run": "loop"},
    "body": {"on_message": body},
    "finally": {"on_message": at_the_end},
    "generator": {"on_message": generator},
    "generator_on_loop": {"on_message": generator, "run": "loop"},
    "on_close": {"on_message": echo, "on_close": fails},
    "aclose": {"on_message": aclose},
    "start_task": {"on_message": start_task},
    "create_task": {"on_message": create_task},
    "ensure_future": {"on_message": ensure_future},
    "threadsafe": {"on_message": threadsafe},
    "call_soon": {"on_message": call_soon},
    "call_later": {"on_message": call_later},
    "stop": {"on_message": stop},
    "condition": {"on_message": echo, "condition": fails},
    "select_subprotocol": {"on_message": echo, "select_subprotocol": fails},
    "get_compression_options": {"on_message": echo, "get_compression_options": fails},
}
