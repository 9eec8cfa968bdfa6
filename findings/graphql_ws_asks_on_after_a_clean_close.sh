#!/usr/bin/env bash
# graphql-ws 6.4.2: after a server's 1000 it connects again at once and for ever.
#
# Guess:  1000 is the one close code after which a client stays away; where a subscription is still
#         wanted, it counts as an attempt and waits like any other: `retryAttempts: 3` is the end.
# Seen:   1000 is no failure to it, so neither the pause nor the number of attempts apply: 20
#         connections follow each other with less than a second between them. After 1013 the same
#         server is asked four times in all, with growing pauses.
# Why:    a server that ends a conversation in good order gets the most from that client: the end of
#         a stream, "one connection each", or an idle limit should be said with another code.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    graphql-ws@6.4.2 graphql@16.11.0 undici@7.30.2 ws@8.23.0 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { createClient } from 'graphql-ws';
import { WebSocket as Undici } from 'undici';
import { WebSocketServer } from 'ws';

const ENOUGH = 20; // connections, and then it is clear
const EXPECTED = {
  1000: { connections: ENOUGH, error: 'none', longestPause: 'under 1 s' },
  1013: { connections: 4, error: 1013, longestPause: 'over 1 s' },
};

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  handleProtocols: (offered) => [...offered][0],
});
await once(server, 'listening');

async function run(code) {
  const times = [];
  let client;
  const end = await new Promise((resolve) => {
    server.removeAllListeners('connection');
    server.on('connection', (socket) => {
      times.push(performance.now());
      if (times.length === ENOUGH) resolve('none');
      socket.on('message', () => socket.close(code, 'enough'));
    });
    client = createClient({
      url: `ws://127.0.0.1:${server.address().port}/`,
      webSocketImpl: Undici,
      retryAttempts: 3,
    });
    const sink = { next() {}, error: (event) => resolve(event.code), complete() {} };
    client.subscribe({ query: 'subscription { ticks }' }, sink);
  });
  client.terminate();
  const longest = Math.max(...times.slice(1).map((time, index) => time - times[index]));
  return {
    connections: times.length,
    error: end,
    longestPause: longest < 1000 ? 'under 1 s' : 'over 1 s',
  };
}

const seen = { 1013: await run(1013), 1000: await run(1000) };
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'graphql-ws behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
