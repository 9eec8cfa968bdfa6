#!/usr/bin/env bash
# vite 8.4.0: with a proxy for '/' and `ws: true`, its own socket is answered twice and breaks.
#
# Guess:  Vite knows its own socket by the subprotocol "vite-hmr" and keeps it for itself; the proxy
#         is asked for the others, or else it takes this one too and the page is not reloaded.
# Seen:   both take it. The server behind the proxy gets a connection with "vite-hmr", and the one
#         request of the page is answered with two "101 Switching Protocols" on its connection: a
#         client reads the second one as a frame that is not valid and closes (1006). With '/api'
#         as the path nothing of this happens.
# Why:    a page developed with Vite reaches a Jupyter server at '/' in this way. The server's log
#         shows sockets that no page of its opened and then broken frames on them, and Vite's client
#         takes the lost socket for a server that was restarted, after which it loads the page again
#         (that part is read in its code). A prefix as the path, such as the server's base_url, is
#         the way out.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" vite@8.4.0 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import net from 'node:net';
import { createServer } from 'vite';
import { WebSocket, WebSocketServer } from 'ws';

async function handshake(path, protocol, proxied) {
  const asked = [];
  const behind = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(behind, 'listening');
  behind.on('connection', (socket, request) => {
    asked.push(request.headers['sec-websocket-protocol']);
    socket.on('error', () => {});
  });
  const vite = await createServer({
    configFile: false,
    root: process.cwd(),
    logLevel: 'silent',
    optimizeDeps: { noDiscovery: true },
    server: {
      host: '127.0.0.1',
      port: 0,
      watch: null,
      proxy: { [proxied]: { target: `http://127.0.0.1:${behind.address().port}`, ws: true } },
    },
  });
  await vite.listen();
  const { port } = vite.httpServer.address();
  const client = net.connect(port, '127.0.0.1');
  let answer = '';
  client.on('data', (data) => { answer += data.toString('latin1'); });
  client.on('error', () => {});
  client.write([
    `GET ${path}?token=${vite.config.webSocketToken} HTTP/1.1`,
    `Host: 127.0.0.1:${port}`,
    `Origin: http://127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
    `Sec-WebSocket-Protocol: ${protocol}`,
    '', '',
  ].join('\r\n'));
  await new Promise((resolve) => setTimeout(resolve, 1500));
  client.destroy();
  const url = `ws://127.0.0.1:${port}${path}?token=${vite.config.webSocketToken}`;
  const ws = new WebSocket(url, protocol, { origin: `http://127.0.0.1:${port}` });
  let end = 'open';
  ws.on('error', () => {});
  ws.on('close', (code) => { end = code; });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  ws.terminate();
  const { length } = answer.split('HTTP/1.1 101 ').slice(1);
  for (const socket of behind.clients) socket.terminate();
  behind.close();
  await vite.close();
  return { answers: length, then: end, behind: asked[0] };
}

const seen = {
  "'/', Vite's socket": await handshake('/', 'vite-hmr', '/'),
  "'/', the page's socket": await handshake('/bot', 'v1.bot', '/'),
  "'/api', Vite's socket": await handshake('/', 'vite-hmr', '/api'),
  "'/api', the page's socket": await handshake('/api/bot', 'v1.bot', '/api'),
};
console.log('seen:', seen);
assert.deepStrictEqual(seen, {
  "'/', Vite's socket": { answers: 2, then: 1006, behind: 'vite-hmr' },
  "'/', the page's socket": { answers: 1, then: 'open', behind: 'v1.bot' },
  "'/api', Vite's socket": { answers: 1, then: 'open', behind: undefined },
  "'/api', the page's socket": { answers: 1, then: 'open', behind: 'v1.bot' },
}, 'vite behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
