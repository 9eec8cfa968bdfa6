#!/usr/bin/env bash
# @microsoft/fetch-event-source 2.0.1: a comment that keeps the line open arrives as a message.
#
# Guess:  of an event stream `onmessage` is given the events that have data. A comment (": ping"), a
#         block with `retry:` or `id:` alone is none, as in the EventSource of the HTML standard.
# Seen:   each of them is a message with the data "". At the end of the stream it does not connect
#         again, as an EventSource does, but `onclose` is called and the promise is fulfilled.
# Why:    servers send a comment every 15 s or so where an answer takes its time: `JSON.parse("")`
#         throws in `onmessage`, which counts as an error of the connection, so that the request is
#         sent again from its beginning, a question to a language model too. Skip messages without
#         data.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" \
    @microsoft/fetch-event-source@2.0.1 undici@7.30.2 >/dev/null
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { EventSource } from 'undici';

const BLOCKS = [': ping', 'retry: 200', 'id: 7', 'data: {"piece": "a"}'];
const DATA = '{"piece": "a"}';
const EXPECTED = {
  EventSource: { messages: [DATA], 'connects again': true },
  'fetch-event-source': { messages: ['', '', '', DATA], 'connects again': false },
  'fetch-event-source and JSON.parse': 'asks again',
};

let requests = 0;
const server = createServer((request, response) => {
  requests += 1;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(BLOCKS.map((block) => `${block}\n\n`).join(''));
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const url = `http://127.0.0.1:${server.address().port}/`;

// All that it takes of a page.
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
globalThis.window = { fetch, setTimeout, clearTimeout };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

async function withEventSource() {
  requests = 0;
  const messages = [];
  const source = new EventSource(url);
  source.onmessage = ({ data }) => { if (requests === 1) messages.push(data); };
  for (let tenths = 0; tenths < 50 && requests < 2; tenths += 1) await sleep(100);
  source.close();
  return { messages, 'connects again': requests > 1 };
}

async function withFetch() {
  requests = 0;
  const messages = [];
  await fetchEventSource(url, { onmessage: ({ data }) => messages.push(data) });
  await sleep(2000);
  return { messages, 'connects again': requests > 1 };
}

async function parsed() {
  requests = 0;
  const controller = new AbortController();
  fetchEventSource(url, {
    signal: controller.signal,
    onmessage: ({ data }) => JSON.parse(data),
    onerror: () => 100, // ms until the next try; by itself it takes a second
  });
  for (let tenths = 0; tenths < 50 && requests < 2; tenths += 1) await sleep(100);
  controller.abort();
  return requests > 1 ? 'asks again' : 'asks once';
}

const seen = {
  EventSource: await withEventSource(),
  'fetch-event-source': await withFetch(),
  'fetch-event-source and JSON.parse': await parsed(),
};
console.log('seen:', JSON.stringify(seen, null, 2));
assert.deepStrictEqual(seen, EXPECTED, 'the libraries behave differently now');
process.exit(0);
JS
timeout 60 node main.mjs
