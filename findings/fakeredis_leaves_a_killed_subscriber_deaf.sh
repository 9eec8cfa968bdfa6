#!/usr/bin/env bash
# fakeredis 2.41.0 with redis-py 8.1.0: after CLIENT KILL a subscriber hears nothing, and no error.
#
# Guess:  `CLIENT KILL TYPE pubsub` breaks the subscriber's connection off, and the next
#         `get_message()` connects again, subscribes again and goes on: what redis-py does at a real
#         server, and why one would kill a connection in a test.
# Seen:   the answer says that one connection was killed. From then on `get_message()` returns None
#         without an error and without connecting again, and PUBLISH reaches nobody. Asyncio and
#         synchronous clients behave the same.
# Why:    a test of how a relay comes through the loss of its connection cannot be done with it: what
#         it shows is a state that no server has. Kill the connection at a real one.
# How:    a redis-server 7.0.15 with the same client gave a second "subscribe", then the message.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check fakeredis==2.41.0 redis==8.1.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys

import fakeredis

BEFORE = ["subscribe", "receivers 1", "message"]
AFTER = ["killed 1", "none", "receivers 0", "none", "receivers 0", "none"]
EXPECTED = {"asyncio": BEFORE + AFTER, "synchronous": BEFORE + AFTER}


def kind(message):
    return message["type"] if message else "none"


async def in_asyncio():
    client = fakeredis.FakeAsyncRedis(decode_responses=True)
    pubsub = client.pubsub()
    await pubsub.subscribe("news")
    seen = [kind(await pubsub.get_message(timeout=1))]
    seen.append(f"receivers {await client.publish('news', 'one')}")
    seen.append(kind(await pubsub.get_message(timeout=1)))
    seen.append(f"killed {await client.client_kill_filter(_type='pubsub')}")
    seen.append(kind(await pubsub.get_message(timeout=1)))
    for text in ("two", "three"):
        seen.append(f"receivers {await client.publish('news', text)}")
        seen.append(kind(await pubsub.get_message(timeout=1)))
    return seen


def synchronous():
    client = fakeredis.FakeRedis(decode_responses=True)
    pubsub = client.pubsub()
    pubsub.subscribe("news")
    seen = [kind(pubsub.get_message(timeout=1))]
    seen.append(f"receivers {client.publish('news', 'one')}")
    seen.append(kind(pubsub.get_message(timeout=1)))
    seen.append(f"killed {client.client_kill_filter(_type='pubsub')}")
    seen.append(kind(pubsub.get_message(timeout=1)))
    for text in ("two", "three"):
        seen.append(f"receivers {client.publish('news', text)}")
        seen.append(kind(pubsub.get_message(timeout=1)))
    return seen


seen = {"asyncio": asyncio.run(in_asyncio()), "synchronous": synchronous()}
for name, what in seen.items():
    print(f"{name}: {what}")
if seen != EXPECTED:
    sys.exit(f"fakeredis behaves differently now; this finding said {EXPECTED}")
PY
