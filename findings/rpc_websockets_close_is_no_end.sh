#!/usr/bin/env bash
# rpc-websockets 10.0.1: `client.close()` while it waits to connect again stops nothing.
#
# Guess:  `close()` is the end, and with `max_reconnects: 2` three connections are, too.
# Seen:   closed in the pause after a server's 1012 (restart), the client connects again when the
#         pause is over, and again after each further close: a connection that opened sets the count
#         back, so the two attempts never run out. `setAutoReconnect(false)` ends it, one attempt
#         later.
# Why:    a page or script that gives up on a server that restarts, or is full, goes on asking it
#         until the process ends, and each new client adds one that asks.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" rpc-websockets@10.0.1 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'rpc-websockets';
import { WebSocketServer } from 'ws';

const EXPECTED = {
  'closed while open': 1,
  'closed while waiting': 'more than 3',
  'told not to connect again': 2,
};

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(server, 'listening');

async function run(restarts, end) {
  let connections = 0;
  server.removeAllListeners('connection');
  server.on('connection', (socket) => {
    connections += 1;
    if (restarts) socket.close(1012, 'restart');
  });
  const options = { reconnect_interval: 1000, max_reconnects: 2 };
  const client = new Client(`ws://127.0.0.1:${server.address().port}/`, options);
  await new Promise((resolve) => { client.once(restarts ? 'close' : 'open', resolve); });
  end(client);
  for (let tenths = 0; tenths < 100 && connections < 5; tenths += 1) await sleep(100);
  client.setAutoReconnect(false);
  await sleep(1500);
  return connections > 3 ? 'more than 3' : connections;
}

const seen = {
  'closed while open': await run(false, (client) => client.close()),
  'told not to connect again': await run(true, (client) => client.setAutoReconnect(false)),
  'closed while waiting': await run(true, (client) => client.close()),
};
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'rpc-websockets behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
