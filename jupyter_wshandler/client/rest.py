"""Asks the REST API of a server, below ``<base_url>/wshandler/api/``."""

from __future__ import annotations

import json
import secrets
import socket
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..errors import ConnectError, RequestRefused
from .addresses import UNIX, Server

TIMEOUT = 10.0
"""Seconds that a server has to accept a connection, and for each piece of its answer."""

NO_LOGIN = "log in first"
"""How a server of this package begins what it says to who is not logged in."""

LARGEST = 16 * 2**20
"""Bytes of the largest answer that is read."""


def request(
    server: Server,
    method: str,
    path: str,
    body: Any = None,
    *,
    token: str | None = None,
    timeout: float = TIMEOUT,
) -> Any:
    """Ask a server for one thing and return what its answer says, None where it has no body.

    No redirect is followed, and no proxy of the environment is used: both would see the token.

    Args:
        server: Which one, as `find_server` returns it.
        method: The verb, such as "GET".
        path: The address below ``wshandler/api/``.
        body: What to send as JSON; nothing where None.
        token: What to log in with, "" for nothing; the server's own where None.
        timeout: Seconds for each step.

    Raises:
        RequestRefused: The answer is an error, or not one of this API's.
        ConnectError: The server cannot be reached.
    """
    token = server.token if token is None else token
    answer = _exchange(server, method, path, body, token, timeout)
    said = _json(answer.text) if answer.kind == "application/json" else None
    if not 200 <= answer.status < 300:
        raise _refusal(server, answer.status, said, token)
    if answer.text and said is None:
        raise _no_answer(server, answer)
    return said


def text_of(
    server: Server, path: str, *, token: str | None = None, timeout: float = TIMEOUT
) -> str:
    """Ask a server for a document, JSON or plain text, and return it as it came.

    Args:
        server: Which one, as `find_server` returns it.
        path: The address below ``wshandler/api/``.
        token: What to log in with, "" for nothing; the server's own where None.
        timeout: Seconds for each step.

    Raises:
        RequestRefused: The answer is an error, or not one of this API's.
        ConnectError: The server cannot be reached.
    """
    token = server.token if token is None else token
    answer = _exchange(server, "GET", path, None, token, timeout)
    if answer.status != 200:
        said = _json(answer.text) if answer.kind == "application/json" else None
        raise _refusal(server, answer.status, said, token)
    if answer.kind not in ("application/json", "text/plain"):
        raise _no_answer(server, answer)
    if len(answer.text) >= LARGEST:  # what is behind it was not read
        words = f"{server.url} answers with more than {LARGEST} bytes; ask for less at a time"
        raise RequestRefused(words, answer.status)
    return answer.text.decode(errors="replace")


class _Answer(NamedTuple):
    """What a server has answered."""

    status: int
    kind: str
    text: bytes


def _exchange(
    server: Server, method: str, path: str, body: Any, token: str, timeout: float
) -> _Answer:
    """Ask a server; see `request`.

    Raises:
        ConnectError: The server cannot be reached.
    """
    # A server without any login, or that does not know the token, first checks that no page of
    # another site asks: what sends a value twice is none (Tornado's double-submit cookie).
    value = secrets.token_hex(16)
    headers = {"Accept": "application/json", "Cookie": f"_xsrf={value}", "X-XSRFToken": value}
    if token:
        headers["Authorization"] = f"token {token}"
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    connection = _connection(server, timeout)
    target = f"{urlsplit(server.url).path}wshandler/api/{path}"
    try:
        connection.request(method, target, data, headers)
        # Closing the connection leaves the socket to an answer that is not read to its end.
        with connection.getresponse() as answer:
            return _Answer(answer.status, answer.headers.get_content_type(), answer.read(LARGEST))
    except TimeoutError:
        raise ConnectError(f"{server.url} did not answer within {timeout:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(
            f"the certificate of {server.url} is not trusted ({error.verify_message}); if it is "
            "your own, set SSL_CERT_FILE=the-certificate.pem"
        ) from error
    except (OSError, HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConnectError(f"cannot reach {server.url}: {why}; is the server running?") from error
    finally:
        connection.close()


class _OfUnixSocket(HTTPConnection):
    """A connection to a server that listens on a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(server: Server, timeout: float) -> HTTPConnection:
    parts = urlsplit(server.url)
    if parts.scheme == UNIX:
        return _OfUnixSocket(server.socket_path, timeout)
    if parts.scheme == "https":
        context = ssl.create_default_context()
        return HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    return HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)


def _no_answer(server: Server, answer: _Answer) -> RequestRefused:
    return RequestRefused(f"{server.url} answers as no Jupyter server does", answer.status)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _refusal(server: Server, status: int, said: Any, token: str) -> RequestRefused:
    reason = str(said.get("message") or "") if isinstance(said, dict) else ""
    reason = reason[:1000].strip()
    if token:
        reason = reason.replace(token, "***")
    if status == 404 and not reason:
        text = (
            f"{server.url} has no such address: is jupyter_wshandler installed where it runs, and "
            "is it as new as this command?"
        )
    elif reason.startswith(NO_LOGIN) or status in (301, 302, 303, 307, 401):
        sent = "does not know the token that was sent" if token else "asks for a login"
        text = f"{server.url} {sent}; pass one of its tokens as token=..."
    else:
        text = reason or f"{server.url} answers {status}"
    return RequestRefused(text, status, reason)
