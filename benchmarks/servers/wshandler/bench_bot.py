"""The callbacks that bench.yaml names."""

import asyncio

subscribers = set()


async def echo(handler, message):
    handler.write_message(message)


def echo_def(handler, message):
    handler.write_message(message)


async def push(handler, message):
    handler.write_message(message)
    for _ in range(2):
        await asyncio.sleep(0.002)
        handler.write_message(message)


async def subscribe(handler):
    subscribers.add(handler)


async def unsubscribe(handler):
    subscribers.discard(handler)


async def ignore(handler, message):
    pass


async def publish(handler, message):
    for subscriber in subscribers:
        subscriber.write_message(message)
