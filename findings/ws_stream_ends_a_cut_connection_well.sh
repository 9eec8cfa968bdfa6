#!/usr/bin/env bash
# ws 8.23.0 (npm), createWebSocketStream: a cut connection is the end of the stream, without an error.
#
# Guess:  a stream over a WebSocket fails if the connection breaks before a close frame has come,
#         as an HTTP answer of Node does: `pipeline()` rejects, and half an answer is not the whole.
# Seen:   a connection that was cut, and a close with 1011 or 4401, end the stream as 1000 does:
#         pipeline() resolves. An HTTP answer that was cut the same way rejects. Only the "close"
#         event of the WebSocket below the stream tells them apart.
# Why:    a program that pipes a bot's words into a file takes half of them for all of them, and
#         "the callback has failed" for an answer. Look at the code before keeping the file.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import http from 'node:http';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket, WebSocketServer, createWebSocketStream } from 'ws';

const EXPECTED = {
  1000: 'one two: complete, ws 1000',
  1011: 'one two: complete, ws 1011',
  4401: 'one two: complete, ws 4401',
  cut: 'one two: complete, ws 1006',
  'http, whole': 'one two: complete',
  'http, cut': 'one two: error',
};

const server = http.createServer(async (request, response) => {
  response.write('one ');
  response.write('two');
  await sleep(200);
  if (request.url === '/cut') response.destroy();
  else response.end();
});
const sockets = new WebSocketServer({ server });
sockets.on('connection', async (socket, request) => {
  socket.send('one ');
  socket.send('two');
  await sleep(200);
  if (request.url === '/cut') socket.terminate();
  else socket.close(Number(request.url.slice(1)), 'that is why');
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const address = `127.0.0.1:${server.address().port}`;

async function copy(source) {
  let text = '';
  const sink = new Writable({
    write(chunk, encoding, done) {
      text += chunk;
      done();
    },
  });
  try {
    await pipeline(source, sink);
    return `${text}: complete`;
  } catch {
    return `${text}: error`;
  }
}

const seen = {};
for (const path of ['1000', '1011', '4401', 'cut']) {
  const socket = new WebSocket(`ws://${address}/${path}`);
  const closed = once(socket, 'close');
  const copied = await copy(createWebSocketStream(socket));
  seen[path] = `${copied}, ws ${(await closed)[0]}`;
}
for (const path of ['whole', 'cut']) {
  const [response] = await once(http.get(`http://${address}/${path}`), 'response');
  seen[`http, ${path}`] = await copy(response);
}
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'ws behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
