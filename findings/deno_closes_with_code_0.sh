#!/usr/bin/env bash
# deno 2.9.6: a connection that breaks off is a close event with code 0, not 1006.
#
# Guess:  a runtime's own WebSocket is the browser's: a cut and a handshake that is answered 403 are
#         close events with 1006, and a server's 1014 (bad gateway) is 1014.
# Seen:   `event.code` is 0 for each of the three; the server that said 1014 is answered 1002.
#         `wasClean` is false and an error event comes first, as in a browser after a cut.
# Why:    client code that connects again on 1006, or looks a code up in a table, does neither under
#         Deno. `!event.wasClean` holds in both.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" deno@2.9.6 undici@7.30.2 ws@8.23.0 \
    >/dev/null
cat >client.mjs <<'JS'
export function closed(Class, address) {
  return new Promise((resolve) => {
    const seen = [];
    const socket = new Class(address);
    socket.onerror = () => seen.push('error');
    socket.onclose = ({ code, wasClean }) => {
      resolve([...seen, `close ${code} wasClean ${wasClean}`].join(', '));
    };
  });
}
JS
cat >in_deno.mjs <<'JS'
import { closed } from './client.mjs';

const seen = {};
for (const path of process.argv.slice(3)) {
  seen[path] = await closed(WebSocket, process.argv[2] + path);
}
console.log(JSON.stringify(seen));
process.exit(0);
JS
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { WebSocket as Undici } from 'undici';
import { WebSocketServer } from 'ws';
import { closed } from './client.mjs';

const good = 'close 4401 wasClean true';
const EXPECTED = {
  undici: {
    4401: good,
    1014: 'close 1014 wasClean true',
    cut: 'error, close 1006 wasClean false',
    403: 'error, close 1006 wasClean false',
  },
  deno: {
    4401: good,
    1014: 'error, close 0 wasClean false',
    cut: 'error, close 0 wasClean false',
    403: 'error, close 0 wasClean false',
  },
  'the server reads for 1014': [1014, 1002],
};

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  verifyClient: ({ req }, done) => done(req.url !== '/403', 403),
});
await once(server, 'listening');
const answers = [];
server.on('connection', (socket, { url }) => {
  if (url === '/cut') setTimeout(() => socket.terminate(), 500);
  else socket.close(Number(url.slice(1)), 'why');
  if (url === '/1014') socket.on('close', (code) => answers.push(code));
});

const base = `ws://127.0.0.1:${server.address().port}/`;
const paths = Object.keys(EXPECTED.deno);
const seen = { undici: {} };
for (const path of paths) seen.undici[path] = await closed(Undici, base + path);
const command = ['run', '--allow-all', 'in_deno.mjs', base, ...paths];
const { stdout } = await promisify(execFile)('node_modules/.bin/deno', command);
seen.deno = JSON.parse(stdout);
seen['the server reads for 1014'] = answers;
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'the two behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
