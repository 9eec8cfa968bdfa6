"""A server that gives one answer to all, and keeps what it was asked."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from urllib.parse import quote

from jupyter_wshandler.client.addresses import Server

SECRET = "a-secret"
"""The token of such a server."""


@contextmanager
def answering(
    status: int,
    body: bytes,
    kind: str = "application/json",
    at: Path | None = None,
    after: float = 0.0,
):
    """Serve one answer for all, by TCP or a unix socket; yield the server and what it heard.

    It takes its time: so many seconds before each answer.
    """
    heard: list[tuple[str, str, dict[str, str], bytes]] = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            heard.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
            time.sleep(after)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *args: object) -> None:
            pass

        def address_string(self) -> str:
            return "client"

    server: UnixStreamServer | HTTPServer
    server = UnixStreamServer(str(at), Site) if at else HTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place = (
        f"http+unix://{quote(str(at), safe='')}" if at else f"http://127.0.0.1:{server.server_port}"
    )
    try:
        yield Server(f"{place}/me/", SECRET), heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
