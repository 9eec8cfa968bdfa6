#!/usr/bin/env bash
# websocket-as-promised 2.1.0 with ws 8.23.0 (npm): onClose gets a bare number; its `code` is undefined.
#
# Guess:  set up with ws as its README says, onClose and `await close()` give an event with code
#         and reason, and a request that was open is rejected with both in its message.
# Seen:   the event is the number itself, so code and reason are undefined, and the request is
#         rejected with "closed with reason: undefined (undefined)", whatever the server has said.
#         With undici, as in a browser, it is an event: "closed with reason: login (4401)".
# Why:    a page looks at `event.code === 4401` to log in again or at 1012 to wait; the same
#         module under Node, in a test or a script, never takes that branch.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    websocket-as-promised@2.1.0 ws@8.23.0 undici@7.30.2 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { WebSocket as Undici } from 'undici';
import WebSocketAsPromised from 'websocket-as-promised';
import { WebSocket as Ws, WebSocketServer } from 'ws';

const SAID = 'WebSocket closed with reason: ';
const EXPECTED = {
  'ws, answer': 'an answer',
  'ws, 4401 from the server': `number undefined undefined; ${SAID}undefined (undefined).`,
  'ws, own close()': 'number undefined',
  'undici, answer': 'an answer',
  'undici, 4401 from the server': `object 4401 login; ${SAID}login (4401).`,
  'undici, own close()': 'object 1005',
};

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(server, 'listening');
server.on('connection', (socket) => {
  socket.on('message', (data) => {
    const { id, text } = JSON.parse(data);
    if (text === 'close') socket.close(4401, 'login');
    else socket.send(JSON.stringify({ id, text: 'an answer' }));
  });
});

function client(options) {
  return new WebSocketAsPromised(`ws://127.0.0.1:${server.address().port}/`, {
    packMessage: (data) => JSON.stringify(data),
    unpackMessage: (data) => JSON.parse(data),
    attachRequestId: (data, id) => ({ ...data, id }),
    extractRequestId: (data) => data?.id,
    timeout: 5000,
    ...options,
  });
}

const KINDS = {
  // as the README has it for ws, and for a WebSocket like that of a browser
  ws: { createWebSocket: (url) => new Ws(url), extractMessageData: (event) => event },
  undici: { createWebSocket: (url) => new Undici(url) },
};
const seen = {};
for (const [kind, options] of Object.entries(KINDS)) {
  const refused = client(options);
  await refused.open();
  seen[`${kind}, answer`] = (await refused.sendRequest({ text: 'hi' })).text;
  const closed = new Promise((resolve) => refused.onClose.addListener(resolve));
  const error = await refused.sendRequest({ text: 'close' }).catch((error) => error.message);
  const event = await closed;
  seen[`${kind}, 4401 from the server`] =
    `${typeof event} ${event.code} ${event.reason}; ${error}`;

  const leaving = client(options);
  await leaving.open();
  const own = await leaving.close();
  seen[`${kind}, own close()`] = `${typeof own} ${own.code}`;
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'websocket-as-promised behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
