#!/usr/bin/env bash
# happy-dom 21.0.4: a connection that was cut closes cleanly, and there is no error event.
#
# Guess:  in the DOM that tests run in, a connection that breaks off is what it is in a browser: an
#         error event, then a close event with 1006 and `wasClean` false. jsdom does so.
# Seen:   with happy-dom `onerror` is not called, neither for the cut nor for a handshake that is
#         answered 403, and the close event of the cut has 1006 with `wasClean` true.
# Why:    a component that shows "connection lost" on `onerror` or on `!event.wasClean` fails its
#         test where it works in the browser, and one that takes `wasClean` for the end of the
#         conversation passes where it does not.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    happy-dom@21.0.4 jsdom@29.1.1 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { Window } from 'happy-dom';
import { JSDOM } from 'jsdom';
import { WebSocketServer } from 'ws';

const EXPECTED = {
  jsdom: {
    '/closed': 'open, close 4401 wasClean true',
    '/cut': 'open, error, close 1006 wasClean false',
    '/refused': 'error, close 1006 wasClean false',
  },
  'happy-dom': {
    '/closed': 'open, close 4401 wasClean true',
    '/cut': 'open, close 1006 wasClean true',
    '/refused': 'close 1006 wasClean false',
  },
};

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  verifyClient: ({ req }, done) => done(req.url !== '/refused', 403),
});
await once(server, 'listening');
server.on('connection', (socket, { url }) => {
  if (url === '/closed') socket.close(4401, 'login');
  else setTimeout(() => socket.terminate(), 500);
});

const { port } = server.address();
const url = `http://127.0.0.1:${port}/`;
const windows = { jsdom: new JSDOM('', { url }).window, 'happy-dom': new Window({ url }) };

function events(window, path) {
  return new Promise((resolve) => {
    const seen = [];
    const socket = new window.WebSocket(`ws://127.0.0.1:${port}${path}`);
    socket.onopen = () => seen.push('open');
    socket.onerror = () => seen.push('error');
    socket.onclose = ({ code, wasClean }) => {
      seen.push(`close ${code} wasClean ${wasClean}`);
      resolve(seen.join(', '));
    };
  });
}

const seen = { jsdom: {}, 'happy-dom': {} };
for (const [name, window] of Object.entries(windows)) {
  for (const path of Object.keys(EXPECTED.jsdom)) seen[name][path] = await events(window, path);
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'the libraries behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
