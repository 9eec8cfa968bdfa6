#!/usr/bin/env bash
# configurable-http-proxy 5.3.0: on a WebSocket only what the client sends is activity, even a pong.
#
# Guess:  `last_activity` of a route, "updated whenever the proxy passes data to or from the proxy
#         target" (README), moves on with each message of a WebSocket, from either side; a bare
#         pong that answers the server's ping is no data of anybody's.
# Seen:   messages of the server leave it where it was. Each frame of the client moves it, and so does
#         a pong, which a browser sends by itself as the answer to a ping.
# Why:    JupyterHub's culler asks for this time. A page that only listens, to a long answer or a feed,
#         is idle to the proxy while data pour through it, and its server may be culled; with pings a
#         forgotten tab is active for ever. The two cancel out by chance only: let the server itself
#         say what it takes for activity.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    configurable-http-proxy@5.3.0 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';

const EXPECTED = {
  'nothing for a second': false,
  'a page': true,
  'a message of the client': true,
  'a message of the server': false,
  'a megabyte of the server': false,
  'a ping of the server, and its pong': true,
};

async function freePort() {
  const listener = http.createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  return port;
}

const target = http.createServer((request, response) => response.end('page'));
const sockets = new WebSocketServer({ server: target });
target.listen(0, '127.0.0.1');
await once(target, 'listening');

const [port, api] = [await freePort(), await freePort()];
const proxy = spawn('node_modules/.bin/configurable-http-proxy', [
  '--ip', '127.0.0.1', '--port', port, '--api-ip', '127.0.0.1', '--api-port', api,
], { env: { ...process.env, CONFIGPROXY_AUTH_TOKEN: 'only-for-this-run' }, stdio: 'ignore' });

function routes(path = '', options = {}) {
  const headers = { Authorization: 'token only-for-this-run' };
  return fetch(`http://127.0.0.1:${api}/api/routes${path}`, { headers, ...options });
}

try {
  for (let i = 0; ; i += 1) {
    try {
      await routes();
      break;
    } catch (error) {
      if (i === 150) throw error;
      await sleep(100);
    }
  }
  const body = JSON.stringify({ target: `http://127.0.0.1:${target.address().port}` });
  await routes('/user/ada', { method: 'POST', body });
  const client = new WebSocket(`ws://127.0.0.1:${port}/user/ada/socket`);
  const [[server]] = await Promise.all([once(sockets, 'connection'), once(client, 'open')]);
  const acts = {
    'nothing for a second': () => {},
    'a page': async () => (await fetch(`http://127.0.0.1:${port}/user/ada/`)).text(),
    'a message of the client': () => (client.send('hello'), once(server, 'message')),
    'a message of the server': () => (server.send('hello'), once(client, 'message')),
    'a megabyte of the server': () => (server.send('x'.repeat(1e6)), once(client, 'message')),
    'a ping of the server, and its pong': () => (server.ping(), once(server, 'pong')),
  };
  const seen = {};
  for (const [name, act] of Object.entries(acts)) {
    const last = async () => (await (await routes()).json())['/user/ada'].last_activity;
    const before = await last();
    await sleep(500);
    await act();
    await sleep(500);
    seen[name] = (await last()) !== before;
  }
  console.log('last_activity moved on:', seen);
  assert.deepStrictEqual(seen, EXPECTED, 'configurable-http-proxy behaves differently now');
} finally {
  proxy.kill();
}
process.exit(0);
JS
timeout 60 node main.mjs
