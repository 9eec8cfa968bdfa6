#!/usr/bin/env bash
# websocket 1.0.35 (npm), w3cwebsocket: an empty text message never arrives.
#
# Guess:  '' is a message like any other: RFC 6455 allows an empty payload, and browsers, ws and
#         undici deliver it.
# Seen:   the empty text is dropped without a word, while an empty binary message and the texts
#         around it arrive.
# Why:    an empty line of a streamed answer, an empty cell, "nothing found": a client that counts
#         answers, or waits for one per question, waits for ever under Node and not in the browser.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    websocket@1.0.35 undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { WebSocket as Undici } from 'undici';
import websocket from 'websocket';
import { WebSocket as Ws, WebSocketServer } from 'ws';

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(server, 'listening');
server.on('connection', (socket) => {
  socket.send('before');
  socket.send('');
  socket.send(Buffer.alloc(0));
  socket.send('after');
  socket.close(1000);
});

function messages(Class) {
  return new Promise((resolve) => {
    const seen = [];
    const socket = new Class(`ws://127.0.0.1:${server.address().port}/`);
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => seen.push(typeof data === 'string' ? `"${data}"` : 'binary');
    socket.onclose = () => resolve(seen.join(' '));
  });
}

const seen = {
  ws: await messages(Ws),
  undici: await messages(Undici),
  websocket: await messages(websocket.w3cwebsocket),
};
console.log('seen:', seen);
assert.deepStrictEqual(seen, {
  ws: '"before" "" binary "after"',
  undici: '"before" "" binary "after"',
  websocket: '"before" binary "after"',
}, 'the libraries behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
