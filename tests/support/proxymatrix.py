"""What proxies do with WebSockets, case by case: for a test and for a table.

``PYTHONPATH=tests python -m support.proxymatrix`` measures every proxy that is installed in front
of a real server, and writes docs/deploy/proxies.md (`make proxies`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import ConnectionClosed, InvalidStatus

from support import frames
from support.bots import bot_text
from support.frames import CLOSE
from support.http2 import Http2
from support.proxies import HOST, PROXIES, SILENCE, RunningProxy, running_proxy
from support.server import RunningServer, running_server
from support.wire import KEY

DOCUMENT = Path(__file__).parents[2] / "docs" / "deploy" / "proxies.md"
BEGIN, END = "<!-- measured by make proxies -->", "<!-- end of what is measured -->"

CONFIG = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, max_message: 32MiB, queue: {bytes: 64MiB},
                  on_close: bots.gone}}
  packed: {pattern: /packed, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, compression: true}}
  small: {pattern: /small, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  limited: {pattern: /limited, handler: WebSocketHandler,
            kwargs: {on_message: bots.echo, ratelimit: {messages: 1/h, then: close}}}
  end: {pattern: /end, handler: WebSocketHandler, kwargs: {on_message: bots.end}}
  one: {pattern: /one, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, max_connections: {user: 1}}}
  pings: {pattern: /pings, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, ping_interval: 0.3s}}
  silent: {pattern: /silent, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, ping_interval: 0}}
"""

BOTS = bot_text("proxied")

SIZE = 20 * 1000 * 1000
CODES = (1000, 1001, 1008, 1011, 1012, 1013, 3000, 4000, 4401, 4999)
REASON = "because: ünï"
YES, NO = "yes", "no"
AGAIN = 10
"""How often a client sends too much: what is lost is not lost each time."""


@asynccontextmanager
async def connected(
    proxy: RunningProxy, server: RunningServer, path: str, **options: Any
) -> AsyncIterator[websockets.asyncio.client.ClientConnection]:
    """Open a socket as a client of the public name does."""
    options.setdefault("compression", None)
    options.setdefault("additional_headers", server.headers())
    async with websockets.asyncio.client.connect(
        f"wss://{HOST}:{proxy.port}{path}",
        sock=socket.create_connection(("127.0.0.1", proxy.port), timeout=20),
        ssl=proxy.tls_context(),
        server_hostname=HOST,
        ping_interval=None,
        max_size=None,
        proxy=None,
        **options,
    ) as client:
        yield client


async def said(client: Any, message: Any) -> bool:
    """Return whether a message comes back as it was."""
    await client.send(message)
    async with asyncio.timeout(30):
        return bool(await client.recv() == message)


async def ending(client: Any) -> tuple[int | None, str]:
    """Wait for the end, and return how it was."""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(20):
            while True:
                await client.recv()
    return client.close_code, client.close_reason or ""


async def messages(proxy: RunningProxy, server: RunningServer) -> dict[str, str]:
    """Measure what goes to and fro."""
    found = {}
    async with connected(proxy, server, "/echo") as client:
        found["text and bytes"] = yes_if(
            [await said(client, "grüße"), await said(client, b"\0\xff" * 1000)]
        )
        found["20 MB in one message, there and back"] = yes_if([await said(client, "x" * SIZE)])
        cookies = SimpleCookie()
        for value in client.response.headers.get_all("Set-Cookie"):
            cookies.load(value)
        found["the session cookie is `Secure`"] = yes_if(
            [bool(c["secure"]) for c in cookies.values()]
        )
    async with connected(proxy, server, "/packed", compression="deflate") as client:
        agreed = "permessage-deflate" in client.response.headers.get("Sec-WebSocket-Extensions", "")
        found["compression"] = yes_if([agreed, await said(client, "compress me " * 1000)])
    return found


async def closes(proxy: RunningProxy, server: RunningServer) -> dict[str, str]:
    """Measure how ends arrive, of either side."""
    arrived = {}
    for code in CODES:
        async with connected(proxy, server, "/end") as client:
            await client.send(f"{code} {REASON}")
            arrived[code] = await ending(client)
    found = {}
    found["each close code, with its reason"] = shown(
        [(code, REASON) for code in CODES], list(arrived.values())
    )
    wrong = []
    for path, sent, text in (
        ("/echo", b"\xff", True),
        ("/limited", "x", None),
        ("/echo", "fail", None),
    ):
        async with connected(proxy, server, path) as client:
            with contextlib.suppress(ConnectionClosed):
                await client.send(sent, text=text)
                await client.send(sent, text=text)
            wrong.append((await ending(client))[0])
    found["1007, 1008 and 1011 of the server's own"] = shown([1007, 1008, 1011], wrong)
    ends = [await asyncio.to_thread(too_much, proxy, server) for _ in range(AGAIN)]
    expected = (1009, "message over 1048576 bytes")
    whole = sum(end == expected for end in ends)
    found["20 MB to a route that takes 1 MiB: 1009 with its reason"] = f"{whole} of {AGAIN}"
    found["who is slow in the middle of such a message is not cut off"] = yes_if(
        [await asyncio.to_thread(slow_in_the_middle, proxy, server)]
    )
    async with connected(proxy, server, "/echo") as client:
        await client.close(4005, REASON)
    async with connected(proxy, server, "/end") as client:
        last: Any = None
        for _ in range(100):
            await client.send("last")
            last = await client.recv()
            if "4005" in last:
                break
            await asyncio.sleep(0.05)
        found["the client's own code and reason reach `on_close`"] = yes_if(
            ["4005" in last, "because: " in last]
        )
    return found


def too_much(proxy: RunningProxy, server: RunningServer) -> tuple[int | None, str]:
    """Send what is too large, and return how that ended.

    With a client that blocks: it reads in a thread while it writes, and fails where one that
    runs on an event loop may still find the close frame before the end of the stream.
    """
    context = proxy.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # see support/nginx.py
    with websockets.sync.client.connect(
        f"wss://{HOST}:{proxy.port}/small",
        sock=socket.create_connection(("127.0.0.1", proxy.port), timeout=20),
        ssl=context,
        server_hostname=HOST,
        additional_headers=server.headers(),
        compression=None,
        ping_interval=None,
        proxy=None,
    ) as client:
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            client.send("x" * SIZE)
            client.recv(timeout=20)
        return client.close_code, client.close_reason or ""


def slow_in_the_middle(proxy: RunningProxy, server: RunningServer) -> bool:
    """Send half of what is too large, the rest after our close frame; return whether it passes."""
    fields = {
        "Host": f"{HOST}:{proxy.port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
        **server.headers(),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=20)
    with proxy.tls_context().wrap_socket(plain, server_hostname=HOST) as sock:
        sock.sendall(f"GET /small HTTP/1.1\r\n{lines}\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
        data = data.partition(b"\r\n\r\n")[2]
        try:
            sock.sendall(b"\x82\xff" + SIZE.to_bytes(8, "big") + bytes(4) + bytes(SIZE // 2))
            while len(data) < 4 and (chunk := sock.recv(65536)):
                data += chunk
            time.sleep(0.5)
            sock.sendall(bytes(SIZE - SIZE // 2) + frames.close(1009))
        except OSError:
            return False
        if (data[:1], data[2:4]) != (bytes([0x80 | CLOSE]), (1009).to_bytes(2, "big")):
            return False
        with contextlib.suppress(OSError):  # a proxy need not end TLS as it should
            while sock.recv(65536):
                pass
        return True


async def refusals(proxy: RunningProxy, server: RunningServer) -> dict[str, str]:
    """Measure whether the status of a refusal arrives."""
    cases: list[tuple[str, dict[str, str], int]] = [
        ("/echo", {}, 403),
        ("/echo", server.headers() | {"Origin": "https://example.com"}, 101),
        ("/nowhere", server.headers(), 404),
        ("/one", server.headers(), 429),
    ]
    got = []
    async with connected(proxy, server, "/one"):
        for path, headers, _ in cases:
            try:
                async with connected(proxy, server, path, additional_headers=headers):
                    got.append(101)
            except InvalidStatus as refusal:
                got.append(refusal.response.status_code)
    wanted = [status for *_, status in cases]
    return {"refusals: 403, 404, 429": shown(wanted, got)}


@asynccontextmanager
async def silence(
    proxy: RunningProxy, server: RunningServer, found: dict[str, str]
) -> AsyncIterator[None]:
    """Measure sockets on which nobody says anything for longer than the proxy bears."""
    async with (
        connected(proxy, server, "/pings") as pinged,
        connected(proxy, server, "/silent") as silent,
    ):
        until = time.monotonic() + 2.5 * SILENCE
        yield
        await asyncio.sleep(max(0.0, until - time.monotonic()))
        found["silence over its time-out, with our pings"] = await after_silence(pinged)
        found["the same with `ping_interval: 0`"] = await after_silence(silent)


async def after_silence(client: Any) -> str:
    """Return whether a socket still lives."""
    try:
        return "open" if await said(client, "still here") else "broken"
    except (ConnectionClosed, TimeoutError):
        return f"cut, {client.close_code}"


def over_http2(proxy: RunningProxy, server: RunningServer) -> dict[str, str]:
    """Measure what HTTP/2 in front does."""
    host = f"{HOST}:{proxy.port}"
    client = Http2.connect(proxy.port, HOST, proxy.tls_context("h2", "http/1.1"))
    try:
        page = str(client.get(host, "/api/status", server.token)) if client.agreed else "not spoken"
    finally:
        client.close()
    client = Http2.connect(proxy.port, HOST, proxy.tls_context("h2", "http/1.1"))
    try:
        answer = client.talk(host, "/echo", server.token, "hello") if client.agreed else None
    except (EOFError, OSError):
        answer = "lost"
    finally:
        client.close()
    return {
        "HTTP/2: a GET": page,
        "HTTP/2: a WebSocket (RFC 8441)": YES if answer == "hello" else NO,
    }


async def reload(proxy: RunningProxy, server: RunningServer) -> dict[str, str]:
    """Measure what a reload of the proxy's configuration does to an open socket."""
    async with connected(proxy, server, "/pings") as client:
        assert await said(client, "before")
        await asyncio.to_thread(proxy.reload)
        until = time.monotonic() + 2
        try:
            while time.monotonic() < until:
                assert await said(client, "during")
                await asyncio.sleep(0.1)
            kept = "open"
        except (ConnectionClosed, TimeoutError):
            kept = f"ended, {client.close_code}"
    for attempt in range(50):
        try:
            async with connected(proxy, server, "/echo") as client:
                new = await said(client, "after")
            break
        except (OSError, InvalidStatus, EOFError):
            if attempt == 49:
                raise
            await asyncio.sleep(0.1)
    return {"a reload with an open socket": kept, "a new socket after it": yes_if([new])}


def yes_if(facts: list[bool]) -> str:
    """Say yes where all hold, and there is one."""
    return YES if facts and all(facts) else NO


def shown(wanted: list[Any], got: list[Any]) -> str:
    """Say yes, or what came in place of what was wanted."""
    wrong = [f"{g} for {w}" for w, g in zip(wanted, got, strict=True) if w != g]
    return "; ".join(wrong) or YES


async def _measure(proxy: RunningProxy, server: RunningServer) -> dict[str, str]:
    found: dict[str, str] = {}
    async with silence(proxy, server, found):
        for part in (messages, closes, refusals):
            found |= await part(proxy, server)
        found |= await asyncio.to_thread(over_http2, proxy, server)
    return found | await reload(proxy, server)


def measure(name: str, folder: Path, server: RunningServer) -> dict[str, str]:
    """Start a proxy in front of a server, and return what it does, by case."""
    with running_proxy(name, folder, server.port) as proxy:
        try:
            return {"version": proxy.version} | asyncio.run(_measure(proxy, server))
        except Exception as error:
            error.add_note(proxy.log_text()[-2000:])
            error.add_note(server.log_text()[-2000:])
            raise


@contextmanager
def running_house(folder: Path) -> Iterator[RunningServer]:
    """Start the server that all proxies stand in front of."""
    with running_server(
        CONFIG,
        folder=folder,
        modules={"bots.py": BOTS},
        extra_args=[
            "--ServerApp.trust_xheaders=True",
            f"--ServerApp.local_hostnames=['localhost', '{HOST}']",
        ],
    ) as server:
        yield server


def table(found: dict[str, dict[str, str]]) -> str:
    """Return what was measured as a table: a row for a case, a column for a proxy."""
    names = list(found)
    lines = [
        f"| | {' | '.join(PROXIES[name].title for name in names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    lines += [
        f"| {case} | {' | '.join(found[name][case] for name in names)} |"
        for case in found[names[0]]
    ]
    return "\n".join(lines)


def documented() -> dict[str, dict[str, str]]:
    """Return the table of the document."""
    text = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in text.strip().splitlines()
    ]
    titles = {kind.title: name for name, kind in PROXIES.items()}
    return {
        titles[title]: {row[0]: row[at] for row in rows[2:]}
        for at, title in enumerate(rows[0])
        if title
    }


def main() -> None:
    """Measure all, and write the table into the document."""
    with tempfile.TemporaryDirectory() as folder, running_house(Path(folder)) as server:
        found = {name: measure(name, Path(folder) / name, server) for name in PROXIES}
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(found)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
