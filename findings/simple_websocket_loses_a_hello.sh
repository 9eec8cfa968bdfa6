#!/usr/bin/env bash
# simple-websocket 1.1.0: what arrives together with the handshake is lost if a close is among it.
#
# Guess:  a server that says one thing and closes is read as that message, then ConnectionClosed
#         with the code, no matter how the bytes are cut into segments.
# Seen:   if the message and the close come in the same segment as the 101 answer, the program
#         gets no message, and the code is 1005 for 4401. If the close comes later, it gets both.
# Why:    "say why, then close" is how a server refuses somebody who may not come in, and on a
#         fast line it all fits into one segment: the client hears nothing of it, now and then.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check simple-websocket==1.1.0 wsproto==1.3.2
timeout 60 "$dir/venv/bin/python" - <<'PY'
import base64
import contextlib
import hashlib
import socket
import sys
import threading
import time

from simple_websocket import Client, ConnectionClosed

EXPECTED = {"one segment": ([], 1005), "close later": (["hello"], 4401)}
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HELLO, CLOSE = b"\x81\x05hello", b"\x88\x07\x11\x31login"


def serve(listener, later):
    connection, _ = listener.accept()
    with connection:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(4096)
        key = next(
            line.split(b": ", 1)[1]
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        if later is None:
            connection.sendall(answer + HELLO + CLOSE)
        else:
            connection.sendall(answer + HELLO)
            later.wait(5)
            connection.sendall(CLOSE)
        connection.settimeout(2)
        with contextlib.suppress(OSError):
            while connection.recv(4096):  # the client's close, then its end
                pass


def talk(later=None):
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener, later), daemon=True)
    thread.start()
    client = Client(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
    if later is not None:
        later.set()
    for _ in range(50):  # reading only once it has ended: a waiting receive() may miss the end
        if not client.connected:
            break
        time.sleep(0.1)
    got = []
    try:
        while (message := client.receive(timeout=5)) is not None:
            got.append(message)
    except ConnectionClosed as exc:
        return got, int(exc.reason)
    finally:
        thread.join(6)
        listener.close()


seen = {"one segment": talk(), "close later": talk(threading.Event())}
print("seen:", seen)
if seen != EXPECTED:
    sys.exit(f"simple-websocket behaves differently now; this finding said {EXPECTED}")
PY
