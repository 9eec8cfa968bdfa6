"""The callbacks that bench.yaml names."""

import asyncio
import os
import time

import jupyter_wshandler as wsh

subscribers = set()

if os.environ.get("BENCH_TRACES"):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())


async def echo(handler, message):
    handler.write_message(message)


def echo_def(handler, message):
    handler.write_message(message)


def blocked(handler, message):
    time.sleep(float(message))


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


async def say(handler, message):
    handler.broadcast(message, room="all")


async def send(handler, message):
    wsh.send("room_sub", message)
