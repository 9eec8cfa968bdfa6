#!/usr/bin/env bash
# undici 6.24.0 and 6.29.1: a WebSocket whose handshake fails has an error event and no close event.
#
# Guess:  a handshake that is refused (403, 503), cut, or finds no server is an error event and then
#         a close event with 1006, as in browsers and in undici 7 (WHATWG WebSockets, "fail the
#         WebSocket connection").
# Seen:   the error event comes, the close event never does, and `readyState` is 0 (CONNECTING) for
#         ever after. undici 7.30.2 gives both events and `readyState` 3.
# Why:    undici 6 is the global WebSocket of Node 22 (22.23.3 has 6.28.1). A client that tries again in
#         `onclose`, as nearly all do, stays away after the first restart of its server that it meets.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    six@npm:undici@6.24.0 later@npm:undici@6.29.1 seven@npm:undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import * as later from 'later';
import * as seven from 'seven';
import * as six from 'six';
import { WebSocket as Ws } from 'ws';

const server = http.createServer();
server.on('upgrade', (request, socket) => {
  if (request.url === '/cut') {
    socket.destroy();
  } else {
    const status = request.url.slice(1);
    socket.end(`HTTP/1.1 ${status} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const closed = http.createServer().listen(0, '127.0.0.1');
await once(closed, 'listening');
const nobody = closed.address().port;
closed.close();
await once(closed, 'close');

async function events(Class, url) {
  const seen = [];
  const socket = new Class(url);
  socket.onopen = () => seen.push('open');
  socket.onerror = () => seen.push('error');
  const end = new Promise((resolve) => {
    socket.onclose = (event) => resolve(seen.push(`close ${event.code}`));
  });
  await Promise.race([end, wait(5000)]); // the others take some milliseconds
  return `${seen.join(', ')}; readyState ${socket.readyState}`;
}

const port = server.address().port;
const places = {
  403: `ws://127.0.0.1:${port}/403`,
  503: `ws://127.0.0.1:${port}/503`,
  cut: `ws://127.0.0.1:${port}/cut`,
  nobody: `ws://127.0.0.1:${nobody}/`,
};
const classes = {
  'undici 6.24.0': six.WebSocket,
  'undici 6.29.1': later.WebSocket,
  'undici 7.30.2': seven.WebSocket,
  ws: Ws,
};
const seen = {};
for (const [name, Class] of Object.entries(classes)) {
  const found = Object.entries(places).map(async ([place, url]) => [place, await events(Class, url)]);
  seen[name] = Object.fromEntries(await Promise.all(found));
}
console.log('seen:', seen);
const all = (words) => Object.fromEntries(Object.keys(places).map((place) => [place, words]));
assert.deepStrictEqual(seen, {
  'undici 6.24.0': all('error; readyState 0'),
  'undici 6.29.1': all('error; readyState 0'),
  'undici 7.30.2': all('error, close 1006; readyState 3'),
  ws: all('error, close 1006; readyState 3'),
}, 'the libraries behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
