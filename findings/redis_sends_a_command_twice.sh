#!/usr/bin/env bash
# redis 8.1.0 (Python, asyncio): a command whose answer was lost is carried out again, unasked.
#
# Guess:  a connection that breaks after INCR was sent raises ConnectionError: the client cannot
#         know whether the server has done it, and the counter may only be 0 or 1.
# Seen:   no error. The client connects again and sends the command again, and the server has done
#         it twice: INCR answers 2, RPUSH has two entries, PUBLISH has told everybody twice.
#         `retry=Retry(NoBackoff(), 0)` gives the ConnectionError back.
# Why:    bots on several servers talk through PUBLISH, streams and counters. With the defaults,
#         "at most once" became "at least once": a chat shows a line twice, a quota counts double.
# How:    the server here is a few lines that speak the protocol, so that the script needs no
#         redis-server; a redis-server 7.0.15 behind a proxy that cuts gave the same counts.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check redis==8.1.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import sys
from collections import Counter

import redis.asyncio
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry

COMMANDS = (("INCR", "n"), ("RPUSH", "list", "entry"), ("PUBLISH", "channel", "text"))
EXPECTED = {"defaults": {"INCR": 2, "RPUSH": 2, "PUBLISH": 2}}
EXPECTED["no retry"] = {name: ("ConnectionError", 1) for name in EXPECTED["defaults"]}
done = Counter()


async def command(reader):
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(size + 2))[:-2].decode())
    return words


async def serve(reader, writer):
    """Carry commands out, and lose the answer to the first one of each kind."""
    try:
        while True:
            name = (await command(reader))[0].upper()
            if name not in ("INCR", "RPUSH", "PUBLISH"):
                writer.write(b"+PONG\r\n" if name == "PING" else b"+OK\r\n")
                continue
            done[name] += 1
            if done[name] == 1:
                break
            writer.write(b":%d\r\n" % done[name])
    except asyncio.IncompleteReadError:
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen = {"defaults": {}, "no retry": {}}
    for kind, options in (("defaults", {}), ("no retry", {"retry": Retry(NoBackoff(), 0)})):
        for words in COMMANDS:
            done.clear()
            client = redis.asyncio.Redis(port=port, protocol=2, **options)
            await client.ping()  # the connection is up and healthy
            try:
                await client.execute_command(*words)
                seen[kind][words[0]] = done[words[0]]
            except ConnectionError:
                seen[kind][words[0]] = ("ConnectionError", done[words[0]])
            await client.aclose()
    server.close()
    print("seen:", seen)
    if seen != EXPECTED:
        sys.exit(f"redis behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
