#!/usr/bin/env bash
# faye-websocket 0.11.4 (npm): a close with 1012, 1013 or 1014 is a broken protocol to the client.
#
# Guess:  `event.code` is the code the server sent, also 1012 (service restart), 1013 (try again
#         later) and 1014 (bad gateway), which are registered since; without a code it is 1005.
# Seen:   those three reach the page as 1002, a protocol error, with the server's reason beside it,
#         and 1002 is also what the server is answered. A close without a code reads as 1000. And a
#         handshake that is answered 403 reaches `onclose` as 1002 too, not as 1006.
# Why:    under Node a restart, a full server, a refused login and a peer that is really broken look
#         the same to a client that is built on it. One that gives up on 1002, because a broken
#         protocol does not mend itself, stays away after each restart.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    faye-websocket@0.11.4 undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import Faye from 'faye-websocket';
import { WebSocket as Undici } from 'undici';
import { WebSocketServer } from 'ws';

const EXPECTED = {
  undici: {
    1001: '1001 "why", server 1001', 1012: '1012 "why", server 1012',
    1013: '1013 "why", server 1013', 1014: '1014 "why", server 1014',
    4401: '4401 "why", server 4401', none: '1005 "", server 1005', 403: '1006',
  },
  faye: {
    1001: '1001 "why", server 1001', 1012: '1002 "why", server 1002',
    1013: '1002 "why", server 1002', 1014: '1002 "why", server 1002',
    4401: '4401 "why", server 4401', none: '1000 "", server 1000', 403: '1002',
  },
};

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  verifyClient: ({ req }, done) => done(req.url !== '/403', 403),
});
await once(server, 'listening');
let answered;
server.on('connection', (socket, { url }) => {
  answered = once(socket, 'close');
  if (url === '/none') socket.close();
  else socket.close(Number(url.slice(1)), 'why');
});

async function closed(Class, path) {
  const socket = new Class(`ws://127.0.0.1:${server.address().port}/${path}`);
  socket.onerror = () => {};
  const { code, reason } = await new Promise((resolve) => { socket.onclose = resolve; });
  if (path === '403') return String(code);
  const [told] = await answered;
  return `${code} "${reason}", server ${told}`;
}

const seen = { undici: {}, faye: {} };
for (const path of Object.keys(EXPECTED.faye)) {
  seen.undici[path] = await closed(Undici, path);
  seen.faye[path] = await closed(Faye.Client, path);
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'the libraries behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
