"""A browser as far as the handshake goes: it logs in with the form and keeps its cookies."""

from __future__ import annotations

import re
import socket
from http.cookies import Morsel, SimpleCookie
from urllib.parse import urlencode

from support.server import RunningServer


class Visitor:
    """Send requests to a server with the cookies it has set before.

    Attributes:
        jar: The cookies by name, with their attributes.
    """

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.jar: dict[str, Morsel] = {}

    def cookie_header(self) -> dict[str, str]:
        pairs = "; ".join(f"{name}={morsel.value}" for name, morsel in self.jar.items())
        return {"Cookie": pairs} if pairs else {}

    def keep(self, values) -> None:
        """Take the values of an answer's Set-Cookie fields."""
        for value in values or ():
            for name, morsel in SimpleCookie(value).items():
                if morsel.value:
                    self.jar[name] = morsel
                else:
                    self.jar.pop(name, None)

    def fetch(self, path: str, *, token=False, headers=None, **options):
        """Send one HTTP request as the server fixture does, with cookies."""
        sent = self.cookie_header() | (headers or {})
        status, answer, body = self.server.fetch(path, token=token, headers=sent, **options)
        self.keep(answer.get_all("Set-Cookie"))
        return status, answer, body

    def log_in(self, password: str) -> Visitor:
        """Log in with the form of the login page, as a person does."""
        status, _, page = self.fetch("/login")
        assert status == 200
        xsrf = re.search(rb'name="_xsrf" value="([^"]+)"', page)
        assert xsrf, "the login page has no XSRF field"
        status, _, body = self.fetch(
            "/login",
            method="POST",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            data=urlencode({"password": password, "_xsrf": xsrf[1].decode()}).encode(),
        )
        assert status == 302, body[-600:]
        # A server with bots only has no api/me; tickets are for POST, which a stranger is not told.
        assert self.fetch("/api/me")[0] == 200 or self.fetch("/wshandler/api/tickets")[0] == 405
        return self

    def handshake(self, path: str, headers=(), *, token=False, **options):
        """Ask for a socket; return status, head and the open socket."""
        sent = [*self.cookie_header().items(), *headers]
        if token:
            sent += self.server.headers(None if token is True else token).items()
        status, head, sock = self.server.raw_handshake(path, sent, **options)
        self.keep(fields(head, "Set-Cookie"))
        return status, head, sock

    def status(self, path: str, headers=(), **options) -> int:
        """Ask for a socket, leave, and return the status."""
        found, _, sock = self.handshake(path, headers, **options)
        sock.close()
        return found


def fields(head: str, name: str) -> list[str]:
    """Return the values of a field in the head of an answer."""
    lines = (line.partition(":") for line in head.split("\r\n")[1:])
    return [value.strip() for key, _, value in lines if key.lower() == name.lower()]


def rest(sock: socket.socket, head: str, seconds: float = 10.0) -> bytes:
    """Read the body of an answer whose head was read, and close."""
    sock.settimeout(seconds)
    size = int("".join(fields(head, "Content-Length")) or 0)
    data = b""
    with sock:
        while len(data) < size:
            chunk = sock.recv(65536)
            assert chunk, f"the body ended after {len(data)} of {size} bytes"
            data += chunk
    return data
