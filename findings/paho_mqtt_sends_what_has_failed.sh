#!/usr/bin/env bash
# paho-mqtt 2.2.0: what it has refused to publish for want of a connection is published afterwards.
#
# Guess:  `publish()` while the connection is away returns MQTT_ERR_NO_CONN, `wait_for_publish()`
#         raises "Message publish failed", and the message is gone: the program says it again.
# Seen:   so it is with QoS 0. With QoS 1 and 2 the same error is raised and the message is kept: it
#         goes out once the client is connected again, and `on_publish` reports it, while
#         `is_published()` of that message still raises the error. So does one before `connect()`.
# Why:    a sensor or a bot that says again what has failed says everything twice after each break
#         of its network. With QoS 1 or 2 take MQTT_ERR_NO_CONN for "will be sent", and count on
#         `on_publish`.
# How:    over a WebSocket to the broker aedes 1.2.0, which cuts the connection once.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check paho-mqtt==2.2.0
npm install --silent --no-audit --no-fund --prefix "$dir" aedes@1.2.0 ws@8.23.0 >/dev/null
cat >bot.py <<'PY'
import sys
import threading
import time

import paho.mqtt.client as mqtt

connected, away, published = threading.Event(), threading.Event(), []
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="websockets")
client.reconnect_delay_set(3, 3)
client.on_connect = lambda *_: connected.set()
client.on_disconnect = lambda *_: away.set()
client.on_publish = lambda client, userdata, mid, *_: published.append(mid)


def publish(text, qos):
    info = client.publish("answers", text, qos=qos)
    try:
        info.wait_for_publish(0.2)
        print(f"{text}: published", flush=True)
    except RuntimeError as error:
        print(f"{text}: {info.rc.name}, {error}", flush=True)
    return info


publish("early, QoS 0", 0)
early = publish("early, QoS 1", 1)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_start()
assert away.wait(10)
connected.clear()
late = [publish(f"away, QoS {qos}", qos) for qos in (0, 1, 2)]
assert connected.wait(20)
time.sleep(2)
for info in (early, *late[1:]):
    try:
        state = info.is_published()
    except RuntimeError as error:
        state = str(error)
    reported = "reported" if info.mid in published else "not reported"
    print(f"at last: {reported} by on_publish; {state}")
client.disconnect()
client.loop_stop()
PY
cat >main.mjs <<'JS'
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { Aedes } from 'aedes';
import { WebSocketServer, createWebSocketStream } from 'ws';

const FAILED = 'Message publish failed: The client is not currently connected.';
const AT_LAST = `at last: reported by on_publish; ${FAILED}`;
const EXPECTED = {
  client: [
    ...['early, QoS 0', 'early, QoS 1', 'away, QoS 0', 'away, QoS 1', 'away, QoS 2'].map(
      (text) => `${text}: MQTT_ERR_NO_CONN, ${FAILED}`,
    ),
    AT_LAST, AT_LAST, AT_LAST,
  ],
  broker: ['early, QoS 1', 'away, QoS 1', 'away, QoS 2'],
};

const broker = await Aedes.createBroker();
const arrived = [];
broker.on('publish', ({ topic, payload }) => {
  if (topic === 'answers') arrived.push(String(payload));
});
const http = createServer().listen(0, '127.0.0.1');
await once(http, 'listening');
const server = new WebSocketServer({ server: http, handleProtocols: () => 'mqtt' });
let connections = 0;
server.on('connection', (socket, request) => {
  const stream = createWebSocketStream(socket);
  stream.on('error', () => {});
  broker.handle(stream, request);
  connections += 1;
  if (connections === 1) setTimeout(() => socket.terminate(), 2000);
});

const bot = ['bot.py', String(http.address().port)];
const { stdout } = await promisify(execFile)('venv/bin/python', bot);
const seen = { client: stdout.trim().split('\n'), broker: arrived };
console.log('seen:', seen);
assert.deepStrictEqual(seen, EXPECTED, 'paho-mqtt behaves differently now');
process.exit(0);
JS
timeout 60 node main.mjs
