#!/usr/bin/env bash
# rxjs 7.8.2: a `webSocket` that the server closes completes, whatever the code.
#
# Guess:  the observable completes after 1000, and errors with the close event after 4401 (login),
#         1013 (try again later) or 1012 (restart), so that `retry()` connects again.
# Seen:   it completes after all of them, and the code is told to a `closeObserver` only. It errors
#         for a cut alone, because that was not clean. `retry({ count: 2, delay: 100 })` asks three
#         times after a cut and once after a restart.
# Why:    a dashboard that waits for `error` to show why there is no data, or to connect again,
#         stands still after each restart of a server that says goodbye. Take `closeObserver`, throw
#         for the codes that want another try, and only then `retry`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" rxjs@7.8.2 undici@7.30.2 ws@8.23.0 \
    >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { retry } from 'rxjs';
import { webSocket } from 'rxjs/webSocket';
import { WebSocket as Undici } from 'undici';
import { WebSocketServer } from 'ws';

const EXPECTED = {
  1000: 'complete after 1 connection, closeObserver 1000',
  1012: 'complete after 1 connection, closeObserver 1012',
  1013: 'complete after 1 connection, closeObserver 1013',
  4401: 'complete after 1 connection, closeObserver 4401',
  cut: 'error after 3 connections, closeObserver 1006 1006 1006',
};

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(server, 'listening');
let connections = 0;
server.on('connection', (socket, { url }) => {
  connections += 1;
  if (url === '/cut') setTimeout(() => socket.terminate(), 300);
  else socket.close(Number(url.slice(1)), 'why');
});

function end(path) {
  connections = 0;
  const codes = [];
  return new Promise((resolve) => {
    const done = (name) => () => setTimeout(() => resolve(
      `${name} after ${connections} connection${connections > 1 ? 's' : ''}, `
      + `closeObserver ${codes.join(' ')}`,
    ), 300);
    webSocket({
      url: `ws://127.0.0.1:${server.address().port}/${path}`,
      WebSocketCtor: Undici,
      closeObserver: { next: ({ code }) => codes.push(code) },
    }).pipe(retry({ count: 2, delay: 100 })).subscribe({
      complete: done('complete'),
      error: done('error'),
    });
  });
}

const seen = {};
for (const path of Object.keys(EXPECTED)) seen[path] = await end(path);
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'rxjs behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
