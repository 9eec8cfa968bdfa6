#!/usr/bin/env bash
# reconnecting-websocket 4.4.0 and partysocket 1.3.0: a cut connection is a clean close with 1000.
#
# Guess:  a connection that is cut without a close frame reaches `onclose` as 1006 with `wasClean`
#         false: these classes stand in for WebSocket.
# Seen:   1000 with `wasClean` true, and `onclose` comes before `onerror`. WebSocket itself (here
#         undici's, after the browsers' standard) says `error` first, then 1006. The wrappers make
#         a close event of their own out of the error, and never hear the real one. A close that
#         the server has sent, 4401 for one, does arrive as it is.
# Why:    "1000 and clean" is how a page knows that the bot has said goodbye. With these wrappers a
#         Wi-Fi that goes down says so, too. Over `ws`, whose cuts raise no error, it is 1006:
#         tests in Node with `ws` do not show it.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    reconnecting-websocket@4.4.0 partysocket@1.3.0 undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import Party from 'partysocket/ws';
import Reconnecting from 'reconnecting-websocket';
import { WebSocket as Undici } from 'undici';
import { WebSocket as Ws, WebSocketServer } from 'ws';

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
await once(server, 'listening');
server.on('connection', (socket, request) => {
  if (request.url === '/cut') setTimeout(() => socket.terminate(), 50);
  else socket.close(4401, 'login');
});

function events(path, make) {
  return new Promise((resolve) => {
    const seen = [];
    const socket = make(`ws://127.0.0.1:${server.address().port}/${path}`);
    socket.onerror = () => seen.push('error');
    socket.onclose = (event) => seen.push(`${event.code} ${event.wasClean}`);
    setTimeout(() => resolve(seen.join(', ')), 1000);
  });
}

const wrapped = (Class, WebSocket) => (url) => new Class(url, [], { WebSocket, maxRetries: 0 });
const makers = {
  'undici alone': (url) => new Undici(url),
  'reconnecting-websocket over undici': wrapped(Reconnecting, Undici),
  'partysocket over undici': wrapped(Party, Undici),
  'reconnecting-websocket over ws': wrapped(Reconnecting, Ws),
};
const seen = {};
for (const [name, make] of Object.entries(makers)) {
  seen[name] = { cut: await events('cut', make), refused: await events('refused', make) };
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, {
  'undici alone': { cut: 'error, 1006 false', refused: '4401 true' },
  'reconnecting-websocket over undici': { cut: '1000 true, error', refused: '4401 true' },
  'partysocket over undici': { cut: '1000 true, error', refused: '4401 true' },
  'reconnecting-websocket over ws': { cut: '1006 false', refused: '4401 true' },
}, 'the libraries behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
