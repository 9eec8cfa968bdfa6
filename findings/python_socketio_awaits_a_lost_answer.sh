#!/usr/bin/env bash
# python-socketio 5.18.1: a `call()` whose connection is cut goes on waiting for its answer.
#
# Guess:  `await client.call("ask", timeout=8)` raises once the connection is cut, as the answer can
#         come by that connection only; socket.io-client 4.8.4, of the same protocol, does so.
# Seen:   it raises TimeoutError after the whole 8 s (60 s where no timeout is given), though
#         "disconnect" was reported at once and the client had been connected again for seconds. In
#         JavaScript `emitWithAck` ends at the cut: "socket has been disconnected".
# Why:    a notebook stands still for a minute after each restart of a proxy, and a question that
#         could be asked again at once is asked again too late. Race the call with an event that
#         the "disconnect" handler sets.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check python-socketio==5.18.1 aiohttp==3.14.5
npm install --silent --no-audit --no-fund --prefix "$dir" socket.io@4.8.4 socket.io-client@4.8.4 \
    >/dev/null
cat >ask.py <<'PY'
import asyncio
import json
import sys
import time

import socketio


async def main(url):
    client, events = socketio.AsyncClient(reconnection_delay=0.5), []
    client.on("connect", lambda: events.append("connect"))
    client.on("disconnect", lambda reason: events.append("disconnect"))
    await client.connect(url, transports=["websocket"])
    begin = time.monotonic()
    try:
        await client.call("ask", timeout=8)
    except Exception as error:
        name = type(error).__name__
    print(json.dumps([name, round(time.monotonic() - begin), events]))
    await client.disconnect()


asyncio.run(main(sys.argv[1]))
PY
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { Server } from 'socket.io';
import { io } from 'socket.io-client';

const EXPECTED = {
  'python-socketio': ['TimeoutError', 8, ['connect', 'disconnect', 'connect']],
  'socket.io-client': ['socket has been disconnected', 0, ['connect', 'disconnect']],
};

const server = new Server({ transports: ['websocket'] });
server.on('connection', (socket) => {
  socket.on('ask', () => socket.conn.transport.socket.terminate());
});
server.listen(0);
await once(server.httpServer, 'listening');
const url = `http://127.0.0.1:${server.httpServer.address().port}`;

async function inJavaScript() {
  const client = io(url, { transports: ['websocket'], reconnectionDelay: 500 });
  const events = [];
  client.on('connect', () => events.push('connect'));
  client.on('disconnect', () => events.push('disconnect'));
  await once(client, 'connect');
  const begin = Date.now();
  try {
    return await client.timeout(8000).emitWithAck('ask');
  } catch ({ message }) {
    return [message, Math.round((Date.now() - begin) / 1000), events];
  }
}

const seen = {
  'python-socketio': JSON.parse(
    (await promisify(execFile)('venv/bin/python', ['ask.py', url])).stdout,
  ),
  'socket.io-client': await inJavaScript(),
};
console.log('ended by, after how many seconds, what was reported by then:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'the clients behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
