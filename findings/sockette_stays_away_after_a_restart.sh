#!/usr/bin/env bash
# sockette 2.0.6: it connects again when it was refused, and not when the server restarts.
#
# Guess:  a wrapper that promises to connect again if the connection is lost does so after 1001
#         ("going away", what a server says that stops), and gives up after `maxAttempts` refusals.
# Seen:   after 1001, and after a close without a code, it never connects again, as after 1000, and
#         calls neither `onreconnect` nor `onmaximum`. After 4401 it connects again and again, past
#         `maxAttempts: 2`: each connection that opens sets the count back, and the pause with it.
# Why:    a Jupyter server that is restarted tells its clients 1001: the page stays dead until
#         somebody reloads it. A user whose login ran out asks the server every second for ever.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" sockette@2.0.6 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import Sockette from 'sockette';
import { WebSocket, WebSocketServer } from 'ws';

globalThis.WebSocket = WebSocket;

async function connections(code) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  let count = 0;
  const told = [];
  const more = new Promise((resolve) => {
    server.on('connection', (socket) => {
      count += 1;
      if (count === 6) resolve();
      if (code === 1005) socket.close();
      else socket.close(code);
    });
  });
  const client = new Sockette(`ws://127.0.0.1:${server.address().port}/`, {
    timeout: 50,
    maxAttempts: 2,
    onreconnect: () => told.push('reconnect'),
    onmaximum: () => told.push('maximum'),
  });
  await Promise.race([more, new Promise((resolve) => setTimeout(resolve, 2000))]);
  try { client.close(); } catch { /* not open just now */ }
  for (const socket of server.clients) socket.terminate();
  server.close();
  return count < 6 ? `${count}, told ${told.length}` : `more than 5, maximum ${told.includes('maximum')}`;
}

const seen = {};
for (const code of [1000, 1001, 1005, 1012, 4401]) seen[code] = await connections(code);
console.log('seen:', seen);
assert.deepStrictEqual(seen, {
  1000: '1, told 0',
  1001: '1, told 0',
  1005: '1, told 0',
  1012: 'more than 5, maximum false',
  4401: 'more than 5, maximum false',
}, 'sockette behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
