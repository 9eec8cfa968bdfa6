#!/usr/bin/env bash
# aiohttp 3.14.5: a close frame without a code is reported as 1006, a broken connection.
#
# Guess:  a server's close frame with an empty body is code 1005 to the program (RFC 6455, 7.1.5),
#         as it is to browsers and to most other clients tried.
# Seen:   the message says code 0, and after it `close_code` is 1006 with an EofStream as the
#         exception, as after a cut connection, although the close handshake was complete: the
#         client itself has answered with 1000.
# Why:    a handler's `close()` sends no code, and a proxy that drops close codes turns every end
#         into this one. A bot written with aiohttp that connects again after 1006 then does so
#         after each orderly end, and the log calls each of them a failure.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check aiohttp==3.14.5
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import base64
import hashlib
import sys

import aiohttp

EXPECTED = {
    "message": ("CLOSE", 0),
    "close_code": 1006,
    "exception": "EofStream",
    "answer": b"\x03\xe8",  # 1000
}
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
answers = asyncio.Queue()


async def serve(reader, writer):
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    key = {name.lower(): value for name, value in fields.items()}[b"sec-websocket-key"]
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    await writer.drain()
    writer.write(b"\x88\x00")  # a close frame with an empty body
    first, second = await reader.readexactly(2)
    mask = await reader.readexactly(4)
    body = await reader.readexactly(second & 0x7F)
    assert first == 0x88, first
    answers.put_nowait(bytes(byte ^ mask[i % 4] for i, byte in enumerate(body)))
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://127.0.0.1:{port}/") as ws:
            message = await ws.receive(timeout=5)
            seen = {
                "message": (message.type.name, message.data),
                "close_code": int(ws.close_code),
                "exception": type(ws.exception()).__name__,
                "answer": await asyncio.wait_for(answers.get(), 5),
            }
    server.close()
    print("seen:", seen)
    if seen != EXPECTED:
        sys.exit(f"aiohttp behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
