"""A raw Tornado WebSocketHandler, to see what it does with the same abuse.

Run as a script with a port; `running_tornado` does that for a test.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

ended: dict[str, list[int | None]] = {}


class Echo(WebSocketHandler):
    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self):
        ended.setdefault(self.get_argument("name", ""), []).append(self.close_code)


class Packed(Echo):
    def get_compression_options(self):
        return {}


class Slow(Echo):
    async def on_message(self, message):
        await asyncio.sleep(0.2)
        self.write_message(message)


class Blocking(Echo):
    def on_message(self, message):
        time.sleep(0.5)
        self.write_message(message)


class Push(Echo):
    async def on_message(self, message):
        for _ in range(int(message)):
            try:
                self.write_message(bytes(65536), binary=True)
            except WebSocketClosedError:
                return
            await asyncio.sleep(0)


class Leave(Echo):
    def on_message(self, message):
        self.close(4000, "leave")


class Up(RequestHandler):
    def get(self):
        self.finish("up")


class Report(WebSocketHandler):
    def on_message(self, message):
        self.write_message(json.dumps({"ended": ended}))


ROUTES = {
    "/echo": Echo,
    "/packed": Packed,
    "/slow": Slow,
    "/blocking": Blocking,
    "/push": Push,
    "/leave": Leave,
    "/report": Report,
    "/up": Up,
}


async def serve(port: int) -> None:
    Application(list(ROUTES.items())).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


@contextmanager
def running_tornado(folder: Path) -> Iterator:
    """Start a Tornado server with handlers of these kinds and stop it at the end."""
    from support.server import RunningServer, free_port, wait_until_up

    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / "tornado.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, str(port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = RunningServer(port, "/", "none", folder, process, log_path)
    try:
        wait_until_up(server, "/up")
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
