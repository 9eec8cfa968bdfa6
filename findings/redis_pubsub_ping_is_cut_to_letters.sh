#!/usr/bin/env bash
# redis 8.1.0 (Python): a PubSub's pong is cut to letters with RESP3 and decode_responses.
#
# Guess:  `get_message()` after `PubSub.ping("still-here")` is of the type "pong" with the data
#         "still-here"; whether that is text or bytes is all that `decode_responses` changes.
# Seen:   so it is with RESP2, and with bytes. With RESP3, which this release speaks if it is not
#         told otherwise, and `decode_responses=True` the answer is taken for a list: the type is
#         "s", the channel is "t", the data is "i". After `ping()` they are "P", "O" and "N", and
#         after `ping("ok")` the next `get_message()` raises IndexError. The client with threads and
#         the one with asyncio do the same.
# Why:    a relay between servers pings its subscription to learn whether it is still there. It
#         waits for a "pong" that never comes and connects again each time, or the task that reads
#         the channel ends with an IndexError.
# How:    the server here is a few lines that speak the protocol, so that the script needs no
#         redis-server; a redis-server 7.0.15 gave the same messages.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check redis==8.1.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys

import redis
import redis.asyncio

PINGS = ((), ("still-here",), ("ok",))
GOOD = [("pong", None, ""), ("pong", None, "still-here"), ("pong", None, "ok")]
CUT = [("P", "O", "N"), ("s", "t", "i"), "IndexError"]
EXPECTED = {
    "RESP2, bytes": [(kind, None, data.encode()) for kind, _, data in GOOD],
    "RESP2, text": GOOD,
    "RESP3, bytes": [(kind, None, data.encode()) for kind, _, data in GOOD],
    "RESP3, text": CUT,
    "not told, text": CUT,
}


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


async def command(reader):
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def serve(reader, writer):
    """Say what a Redis says to HELLO, SUBSCRIBE and PING; everything else is fine."""
    resp3 = False
    try:
        while True:
            name, *words = await command(reader)
            if name == b"HELLO":
                resp3 = words[0] == b"3"
                writer.write(b"%1\r\n" + bulk(b"proto") + b":3\r\n")
            elif name == b"SUBSCRIBE":
                start = b">3\r\n" if resp3 else b"*3\r\n"
                writer.write(start + bulk(b"subscribe") + bulk(words[0]) + b":1\r\n")
            elif name == b"PING" and not resp3:
                writer.write(b"*2\r\n" + bulk(b"pong") + bulk(words[0] if words else b""))
            elif name == b"PING":
                writer.write(bulk(words[0]) if words else b"+PONG\r\n")
            else:
                writer.write(b"+OK\r\n")
    except asyncio.IncompleteReadError:
        pass
    writer.close()


def told(message):
    return (message["type"], message["channel"], message["data"])


async def with_asyncio(port, words, **options):
    client = redis.asyncio.Redis(port=port, **options)
    async with client, client.pubsub() as pubsub:
        await pubsub.subscribe("room")
        await pubsub.get_message(timeout=5)  # "subscribe"
        await pubsub.ping(*words)
        try:
            return told(await pubsub.get_message(timeout=5))
        except IndexError as exc:
            return type(exc).__name__


def with_threads(port, words, **options):
    with redis.Redis(port=port, **options) as client, client.pubsub() as pubsub:
        pubsub.subscribe("room")
        pubsub.get_message(timeout=5)
        pubsub.ping(*words)
        try:
            return told(pubsub.get_message(timeout=5))
        except IndexError as exc:
            return type(exc).__name__


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen = {}
    for name in EXPECTED:
        options = {"decode_responses": name.endswith("text")}
        if name.startswith("RESP"):
            options["protocol"] = int(name[4])
        seen[name] = [await with_asyncio(port, words, **options) for words in PINGS]
        threads = [await asyncio.to_thread(with_threads, port, words, **options) for words in PINGS]
        if threads != seen[name]:
            sys.exit(f"{name}: with threads it is {threads}, with asyncio {seen[name]}")
    server.close()
    for name, messages in seen.items():
        print(f"{name}: {messages}")
    if seen != EXPECTED:
        sys.exit(f"redis behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
