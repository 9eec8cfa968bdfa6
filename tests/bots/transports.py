"""Bots that echo, push and count, for what happens on the wire after the handshake."""

import asyncio

from jupyter_wshandler.manager.manager import current_manager


async def echo(handler, message):
    return message


def threaded(handler, message):
    return message


async def later(handler, message):
    await asyncio.sleep(0.05)
    return message


async def push(handler, message):
    # Nobody waits for the queue here: what does not fit is the policy's.
    for _ in range(int(message)):
        if handler.closed:
            break
        handler.write_message(bytes(65536))
        await asyncio.sleep(0)


async def count(handler, message):
    for number in range(int(message)):
        handler.write_message(number.to_bytes(4, "big") + bytes(65532))
        await asyncio.sleep(0)
    print("all", message, "are written")


async def offer(handler, message):
    for number in range(int(message)):
        await handler.write_message(number.to_bytes(4, "big") + bytes(65532))


async def three(handler, message):
    for number in range(3):
        await asyncio.sleep(0.002)
        handler.write_message(f"{message} {number}")


async def slowly(handler):
    await asyncio.sleep(0.005)
    return True


async def report(handler, message):
    manager = current_manager.get()
    mine = handler.id
    return {
        "connections": len([c for c in manager.connections if c != mine]),
        "transport": type(handler._transport).__name__,
    }
