#!/usr/bin/env bash
# mock-socket 9.3.1: an object arrives as that object, and a message sent after close() arrives too.
#
# Guess:  the stand-in for tests does as the WebSocket of a browser: send() makes a text of an
#         object, "[object Object]", drops what is sent after close(), and a close with a code of
#         one's own that the other side answers has `wasClean` true.
# Seen:   the object arrives with its members, the late message arrives, and close(4000) has
#         `wasClean` false, while close() has it true. undici does as browsers do.
# Why:    a page that forgot JSON.stringify, or says goodbye too late, passes its tests and fails
#         at its first visitor; one that connects again unless `wasClean` does so only in tests.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    mock-socket@9.3.1 undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Server, WebSocket as Mock } from 'mock-socket';
import { WebSocket as Undici } from 'undici';
import { WebSocketServer } from 'ws';

const EXPECTED = {
  'mock-socket': {
    heard: ['string hi', 'object {"text":"hi"}', 'string late'],
    'close(4000)': '4000 bye, unclean',
    'close()': '1005 , clean',
  },
  undici: {
    heard: ['string hi', 'string [object Object]'],
    'close(4000)': '4000 bye, clean',
    'close()': '1005 , clean',
  },
};

// Say these words, close, and tell how the client's socket has ended.
async function talk(Class, url, words, ...close) {
  const socket = new Class(url);
  await new Promise((resolve) => (socket.onopen = resolve));
  for (const word of words) socket.send(word);
  const closed = new Promise((resolve) => (socket.onclose = resolve));
  socket.close(...close);
  if (words.length) socket.send('late');
  const { code, reason, wasClean } = await closed;
  await sleep(300); // whatever is still under way arrives
  return `${code} ${reason}, ${wasClean ? 'clean' : 'unclean'}`;
}

async function run(Class, url, heard) {
  const seen = {};
  seen['close(4000)'] = await talk(Class, url, ['hi', { text: 'hi' }], 4000, 'bye');
  seen.heard = heard.splice(0);
  seen['close()'] = await talk(Class, url, []);
  return seen;
}

const show = (data) => `${typeof data} ${typeof data === 'string' ? data : JSON.stringify(data)}`;
const seen = {};

const heard = [];
const mock = new Server('ws://127.0.0.1:8080/');
mock.on('connection', (socket) => socket.on('message', (data) => heard.push(show(data))));
seen['mock-socket'] = await run(Mock, 'ws://127.0.0.1:8080/', heard);
mock.stop();

const real = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(real, 'listening');
real.on('connection', (socket) => {
  socket.on('message', (data, binary) => heard.push(show(binary ? data : data.toString())));
});
seen.undici = await run(Undici, `ws://127.0.0.1:${real.address().port}/`, heard);
real.close();

console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'mock-socket behaves differently now');
JS
timeout 60 node main.mjs
