#!/usr/bin/env bash
# httpx 0.28.1: `aiter_lines()` cuts a JSON line of an event stream in two at a character inside it.
#
# Guess:  the lines of a stream are what ends with a line feed or carriage return, as server-sent
#         events and JSON lines have it; each `data:` line is one JSON document.
# Seen:   a line also ends at U+0085, U+2028 and U+2029, which JSON allows as they are in a string;
#         JSON.stringify and msgspec write them so. `data: {"text":"a<U+2028>b"}` arrives as two
#         lines, neither of them JSON. `iter_lines()` does the same; httpx-sse 0.4.3, which takes
#         the text of the same response apart itself, does not.
# Why:    a bot that hands a model's answer on to a page reads it as such a stream. Text copied from
#         a document may have these characters in it: for that text only, the loop raises
#         JSONDecodeError, or loses the end of the answer if it skips what is not a `data:` line.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq --disable-pip-version-check \
  httpx==0.28.1 httpx-sse==0.4.3 msgspec==0.22.0
timeout 60 "$dir/venv/bin/python" - <<'PY'
import asyncio
import json
import sys

import httpx
import msgspec
from httpx_sse import EventSource

CHARACTERS = (" ", "\u0085", "\u2028", "\u2029")
CUT = {"aiter_lines": 2, "iter_lines": 2, "httpx-sse": 1, "documents": 0}
EXPECTED = {f"U+{ord(character):04X}": CUT for character in CHARACTERS}
EXPECTED["U+0020"] = {"aiter_lines": 1, "iter_lines": 1, "httpx-sse": 1, "documents": 1}


def documents(lines):
    """How many of the lines are a whole JSON document after `data: `."""
    count = 0
    for line in lines:
        try:
            json.loads(line.removeprefix("data: "))
            count += 1
        except json.JSONDecodeError:
            pass
    return count


async def serve(reader, writer):
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    event = msgspec.json.encode({"text": f"a{chr(int(path[1:], 16))}b"})
    body = b"data: " + event + b"\n\n"
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    await writer.drain()
    writer.close()


def with_threads(url):
    with httpx.Client(trust_env=False) as client, client.stream("GET", url) as response:
        return [line for line in response.iter_lines() if line]


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    seen = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for character in CHARACTERS:
            url = f"http://127.0.0.1:{port}/{ord(character):04X}"
            async with client.stream("GET", url) as response:
                lines = [line async for line in response.aiter_lines() if line]
            async with client.stream("GET", url) as response:
                events = [event.json() async for event in EventSource(response).aiter_sse()]
            seen[f"U+{ord(character):04X}"] = {
                "aiter_lines": len(lines),
                "iter_lines": len(await asyncio.to_thread(with_threads, url)),
                "httpx-sse": len(events),
                "documents": documents(lines),
            }
    server.close()
    for name, what in seen.items():
        print(f"{name}: {what}")
    if seen != EXPECTED:
        sys.exit(f"httpx behaves differently now; this finding said {EXPECTED}")


asyncio.run(main())
PY
