#!/usr/bin/env bash
# undici 7.30.2: a WebSocketStream that nobody reads takes in all that the server sends.
#
# Guess:  while the program does not read `readable`, nothing more is taken from the network, and the
#         server's `bufferedAmount` grows: that pressure is what a WebSocketStream is there for.
# Seen:   of 64 MiB the server has none left to send, and all of it is in the memory of the client. A
#         stream of ws 8.23.0 leaves 62 MiB or more with the server. The other direction works: a
#         write waits while the server does not read.
# Why:    a program that pipes a feed into something slower grows by the difference until it is
#         ended for want of memory, and a server that thins out a feed for slow readers, or closes
#         theirs, never sees that this one is slow. Let the server wait for an answer now and then.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocketStream } from 'undici';
import { WebSocket, WebSocketServer, createWebSocketStream } from 'ws';

const MIB = 1 << 20;
const COUNT = 64;
const EXPECTED = {
  undici: { 'left at the server': 'nothing', 'then read': '64 MiB' },
  ws: { 'left at the server': 'nearly all' },
  'undici writes to a server that does not read': 'waits',
};

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(server, 'listening');
const url = `ws://127.0.0.1:${server.address().port}`;

async function sentTo(connect) {
  const [[socket], client] = await Promise.all([once(server, 'connection'), connect()]);
  for (let i = 0; i < COUNT; i += 1) socket.send(Buffer.alloc(MIB));
  let before;
  let left = socket.bufferedAmount;
  do {
    before = left;
    await sleep(2000);
    left = socket.bufferedAmount;
  } while (left !== before);
  if (left) return [left > (COUNT - 16) * MIB ? 'nearly all' : `${left} bytes`, client];
  return ['nothing', client];
}

async function read(reader) {
  let bytes = 0;
  while (bytes < COUNT * MIB) bytes += (await reader.read()).value.byteLength;
  return `${bytes / MIB} MiB`;
}

async function opened() {
  return new WebSocketStream(url).opened;
}

const seen = {};
{
  const [left, { readable }] = await sentTo(opened);
  seen.undici = { 'left at the server': left, 'then read': await read(readable.getReader()) };
}
{
  const [left, socket] = await sentTo(async () => {
    const client = new WebSocket(url);
    createWebSocketStream(client).on('error', () => {});
    return client;
  });
  seen.ws = { 'left at the server': left };
  socket.terminate();
}
{
  const [[socket], { writable }] = await Promise.all([once(server, 'connection'), opened()]);
  socket.pause();
  const writer = writable.getWriter();
  const all = (async () => {
    for (let i = 0; i < COUNT; i += 1) await writer.write(new Uint8Array(MIB));
    return 'goes on';
  })();
  seen['undici writes to a server that does not read'] = await Promise.race([
    all, sleep(5000, 'waits'),
  ]);
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'undici behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
