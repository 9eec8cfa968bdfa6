#!/usr/bin/env bash
# fakeredis 2.41.0 with redis-py 8.1.0: asyncio subscribers that were closed are counted for ever.
#
# Guess:  after `await pubsub.aclose()`, or at the end of `async with client.pubsub()`, the server
#         has no subscriber any more: PUBLISH returns 0, as with a real one.
# Seen:   with FakeAsyncRedis PUBLISH and PUBSUB NUMSUB still say 1 for each, and PUBSUB NUMPAT
#         counts the closed patterns. With the synchronous FakeRedis the first two say 0, as they do
#         for an asyncio subscriber that has unsubscribed before it was closed.
# Why:    "is anybody listening?" by PUBLISH's answer, or a test that a connection which ends takes
#         its subscription along, sees the opposite of a real server: a leak is reported that is
#         none, and presence that counts receivers never comes down.
# How:    a redis-server 7.0.15 with the same client gave 0 for all of them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check fakeredis==2.41.0 redis==8.1.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys

import fakeredis

EXPECTED = {
    "asyncio, open": [1, 1],
    "asyncio, aclose": [1, 1],
    "asyncio, async with": [1, 1],
    "asyncio, unsubscribe and aclose": [0, 0],
    "asyncio, patterns": 1,
    "synchronous, close": [0, 0],
}


async def counted(client, channel):
    """Return what PUBSUB NUMSUB and PUBLISH say."""
    [(_, subscribers)] = await client.pubsub_numsub(channel)
    return [subscribers, await client.publish(channel, "hello")]


async def in_asyncio(seen):
    client = fakeredis.FakeAsyncRedis(decode_responses=True)
    pubsub = client.pubsub()
    await pubsub.subscribe("a")
    seen["asyncio, open"] = await counted(client, "a")
    await pubsub.aclose()
    seen["asyncio, aclose"] = await counted(client, "a")
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("b")
    seen["asyncio, async with"] = await counted(client, "b")
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("c")
        await pubsub.unsubscribe("c")
    seen["asyncio, unsubscribe and aclose"] = await counted(client, "c")
    async with client.pubsub() as pubsub:
        await pubsub.psubscribe("d*")
    seen["asyncio, patterns"] = await client.pubsub_numpat()


def synchronous(seen):
    client = fakeredis.FakeRedis(decode_responses=True)
    with client.pubsub() as pubsub:
        pubsub.subscribe("a")
    [(_, subscribers)] = client.pubsub_numsub("a")
    seen["synchronous, close"] = [subscribers, client.publish("a", "hello")]


seen = {}
asyncio.run(in_asyncio(seen))
synchronous(seen)
for name, what in seen.items():
    print(f"{name}: {what}")
if seen != EXPECTED:
    sys.exit(f"fakeredis behaves differently now; this finding said {EXPECTED}")
PY
