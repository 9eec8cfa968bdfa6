"""The callbacks of kernels.yaml, and the same ones in a cell, which runs this text and serves them.

Whatever runs here runs in both places, so the two differ in where it runs and nothing else.
"""

subscribers = set()


async def echo(handler, message):
    handler.write_message(message)


def echo_def(handler, message):
    handler.write_message(message)


async def stream(handler, message):
    for number in range(int(message)):
        yield f"item {number:6}"


def stream_def(handler, message):
    for number in range(int(message)):
        yield f"item {number:6}"


async def ignore(handler, message):
    pass


async def subscribe(handler):
    subscribers.add(handler)


async def unsubscribe(handler):
    subscribers.discard(handler)


async def publish(handler, message):
    for number in range(int(message)):
        for subscriber in tuple(subscribers):
            await subscriber.write_message(f"item {number:6}")
