#!/usr/bin/env bash
# pycrdt-websocket 0.16.5 with y-websocket 3.1.0: who comes into a room sees nobody of those in it.
#
# Guess:  a newcomer is told at once who is there (the "awareness" of Yjs), and when a connection is
#         cut the others are told at once that it has gone, as the server of Yjs does both.
# Seen:   the newcomer is told of nobody, until the others renew what they have said, which they do
#         every 15 s. Who was cut is still there for the others: they find out by themselves after
#         30 s of silence. With the server of y-websocket 2.1.0 and that client both take no time.
# Why:    the faces and cursors beside a shared document come late and stay too long after a lost
#         network, and a bot that counts who is there counts wrong for up to half a minute.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check \
    pycrdt-websocket==0.16.5 pycrdt==0.14.13 uvicorn==0.54.0 websockets==17.4
npm install --silent --no-audit --no-fund --prefix "$dir" \
    y-websocket@3.1.0 yjs@13.6.33 ws@8.23.0 >/dev/null
npm install --silent --no-audit --no-fund --omit=optional --prefix "$dir/server" \
    y-websocket@2.1.0 yjs@13.6.33 ws@6.2.3 >/dev/null
cat >asgi.py <<'PY'
from pycrdt.websocket import ASGIServer, WebsocketServer

rooms = WebsocketServer()
serve = ASGIServer(rooms)


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await serve(scope, receive, send)
        return
    async with rooms:
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind.endswith("shutdown"):
                return
PY
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { createServer, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { WebsocketProvider } from 'y-websocket';
import * as Y from 'yjs';

const EXPECTED = {
  'y-websocket': { newcomer: 'sees ada', cut: 'sees nobody' },
  'pycrdt-websocket': { newcomer: 'sees nobody', cut: 'sees ada' },
};
const SECONDS = 4;

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { listener.once('listening', resolve); });
  const { port } = listener.address();
  await new Promise((resolve) => { listener.close(resolve); });
  return port;
}

async function listening(port) {
  for (let tries = 0; tries < 200; tries += 1) {
    const answers = await new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => { socket.destroy(); resolve(true); });
      socket.once('error', () => resolve(false));
    });
    if (answers) return;
    await sleep(200);
  }
  throw new Error('the server did not start');
}

async function join(port, name) {
  const provider = new WebsocketProvider(`ws://127.0.0.1:${port}`, 'room', new Y.Doc(), {
    WebSocketPolyfill: WebSocket,
    disableBc: true,
  });
  provider.awareness.setLocalState({ name });
  await new Promise((resolve) => { provider.once('sync', resolve); });
  return provider;
}

function others({ awareness }) {
  const names = [...awareness.getStates()]
    .filter(([id]) => id !== awareness.clientID)
    .map(([, { name }]) => name);
  return `sees ${names.join(', ') || 'nobody'}`;
}

async function becomes(provider, what) {
  const end = Date.now() + SECONDS * 1000;
  while (Date.now() < end && others(provider) !== what) await sleep(100);
  return others(provider);
}

async function run(command, args) {
  const port = await freePort();
  const server = spawn(command, args.map((arg) => arg.replace('PORT', port)), {
    env: { ...process.env, PORT: port, HOST: '127.0.0.1' },
    stdio: 'ignore',
  });
  try {
    await listening(port);
    const ada = await join(port, 'ada');
    await sleep(500);
    const bob = await join(port, 'bob');
    const newcomer = await becomes(bob, 'sees ada');
    ada.awareness.setLocalState({ name: 'ada' });
    assert.equal(await becomes(bob, 'sees ada'), 'sees ada');
    ada.shouldConnect = false;
    ada.ws.terminate();
    const cut = await becomes(bob, 'sees nobody');
    bob.destroy();
    return { newcomer, cut };
  } finally {
    server.kill('SIGKILL');
  }
}

const seen = {
  'y-websocket': await run('node', ['server/node_modules/y-websocket/bin/server.cjs']),
  'pycrdt-websocket': await run(
    'venv/bin/uvicorn',
    ['--host', '127.0.0.1', '--port', 'PORT', '--lifespan', 'on', 'asgi:app'],
  ),
};
console.log(`seen within ${SECONDS} s:`, seen);
assert.deepStrictEqual(seen, EXPECTED, 'the servers behave differently now');
process.exit(0);
JS
timeout 90 node main.mjs
