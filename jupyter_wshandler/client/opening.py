"""The client's side of an opening handshake: where it goes, and why it fails, in words."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..engine.resuming import OFFER
from ..errors import ConnectError, HandshakeRefused
from .targets import Endpoint

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket
    from websockets.http11 import Response


async def open_async(endpoint: Endpoint, options: dict[str, Any]) -> AsyncSocket:
    """Open a socket on the running event loop.

    Args:
        endpoint: Where, and with which token.
        options: Keyword arguments for the `websockets` library.

    Raises:
        HandshakeRefused: The server answers with an HTTP status.
        ConnectError: It cannot be reached, or does not answer as a WebSocket server.
        TimeoutError: It does not answer within `open_timeout` seconds.
    """
    from websockets.asyncio import client

    with _explained(endpoint, options["open_timeout"]):
        connecting = _reach(client.connect, client.unix_connect, endpoint, options)
        socket: AsyncSocket = await connecting(create_connection=_socket())
        return socket


class _Refused(Exception):
    """The server's answer on its way out of the library, which would follow a redirect."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(response.status_code)


@functools.cache
def _socket() -> type[AsyncSocket]:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import InvalidStatus

    class Socket(ClientConnection):
        heard = 0
        """Bytes that have come; see `keepalive`."""

        def data_received(self, data: bytes) -> None:
            self.heard += len(data)
            super().data_received(data)

        async def handshake(self, *args: Any, **kwargs: Any) -> None:
            try:
                await super().handshake(*args, **kwargs)
            except InvalidStatus as error:
                raise _Refused(error.response) from None

    return Socket


def _reach(tcp: Any, unix: Any, endpoint: Endpoint, options: dict[str, Any]) -> Any:
    """Return the library's function for an endpoint with all but the socket's class given."""
    headers = dict(options["additional_headers"])
    if endpoint.token and not any(name.lower() == "authorization" for name in headers):
        headers["Authorization"] = endpoint.authorization
    # An environment's proxy has no business with loopback, and would see the token.
    given = {**options, "additional_headers": headers, "proxy": None, "logger": _log}
    path = endpoint.server.socket_path if endpoint.server else ""
    if path:
        return functools.partial(unix, path, endpoint.url, **given)
    return functools.partial(tcp, endpoint.url, **given)


@contextmanager
def _explained(endpoint: Endpoint, timeout: float | None) -> Iterator[None]:
    """Turn whatever ends an opening handshake into an exception that says what to do."""
    import ssl

    from websockets.exceptions import InvalidHandshake

    try:
        yield
    except _Refused as error:
        raise _refusal(endpoint, error.response) from None
    except TimeoutError:
        # A server without TLS may wait for the rest of what it takes for a request.
        hint = "; is it a server without TLS (ws, http)?" if endpoint.url.startswith("wss:") else ""
        raise TimeoutError(
            f"{endpoint.shown} did not answer the opening handshake within {timeout or 0:g} s{hint}"
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(
            f"the certificate of {endpoint.shown} is not trusted ({error.verify_message}); if it "
            "is your own, pass ssl=ssl.create_default_context(cafile='the-certificate.pem')"
        ) from error
    except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
        raise ConnectError(
            f"{endpoint.shown} ended the connection in the handshake ({_words(error)}); wss and "
            "https are for a server with TLS, ws and http for one without"
        ) from error
    except OSError as error:
        raise ConnectError(
            f"cannot reach {endpoint.shown}: {_words(error)}; is the server running?"
        ) from error
    except (InvalidHandshake, EOFError) as error:
        raise ConnectError(
            f"{endpoint.shown} does not answer as a WebSocket server ({_words(error)}); is the "
            "server behind the proxy running? wss and https are for a server with TLS, ws and http "
            "for one without"
        ) from error


def _words(error: BaseException) -> str:
    """Return what an error says, or its name where it says nothing."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _refusal(endpoint: Endpoint, response: Response) -> HandshakeRefused:
    status, reason = response.status_code, ""
    if response.headers.get("Content-Type", "").startswith("text/plain"):
        # Only a plain sentence is one; Jupyter's own pages are HTML, and long.
        reason = bytes(response.body or b"")[:300].decode(errors="replace").strip()
        reason = reason.partition("\n")[0].removeprefix(f"{status}: ")
        if endpoint.token:
            reason = reason.replace(endpoint.token, "***")
    said = f"{status}: {reason}" if reason else f"{status} {response.reason_phrase}".rstrip()
    text = f"{endpoint.shown} refuses the connection with {said}. {_advice(endpoint, response)}"
    return HandshakeRefused(text, status, reason)


def _advice(endpoint: Endpoint, response: Response) -> str:
    status = response.status_code
    if 300 <= status < 400:
        place = urlsplit(response.headers.get("Location", ""))
        where = f"{place.scheme}://{place.netloc}{place.path}" if place.netloc else place.path
        if "X-JupyterHub-Version" in response.headers:
            # Of itself a Jupyter server redirects no socket.
            return "The Hub answers in its place: the server is not running. Start it at the Hub."
        return f"It redirects to {where}, which is not followed: {endpoint.login}."
    if endpoint.is_link and status in (401, 403):
        return "Ask whoever gave you this link for a new one."
    if endpoint.is_link and status == 404:
        return "Ask whoever gave you this link whether the bot is running."
    if status in (401, 403):
        if not endpoint.token:
            return f"Pass token=... to log in; {endpoint.login}."
        return (
            f"Note that {endpoint.login}: pass another one as token=... if it is not for this "
            "server; otherwise its user may not use this route."
        )
    if status == 404:
        return (
            "There is no such route: compare the path with the patterns under `url:`, "
            "and look whether the server's log says that the extension is loaded."
        )
    if status in (429, 503):
        after = response.headers.get("Retry-After", "")
        if after.isdecimal():
            return f"Try again in {after} s."
        return "`jupyter wshandler check FILE` finds what is wrong with a route."
    if status == 200:
        return "Something that knows no WebSockets answers there: look at the address."
    if status in (502, 504):
        return "That is a proxy before the server: is the server running?"
    return "The server's log says why."


def _hide_secrets(record: logging.LogRecord) -> bool:
    """Keep secrets out of the debug log, in which the library writes every header and frame."""
    args = record.args
    if isinstance(args, tuple) and len(args) == 2:
        name = str(args[0]).lower()
        if name == "authorization" or (name == _OFFERS and OFFER in str(args[1])):
            record.args = (args[0], "***")
    elif isinstance(args, tuple) and any(b'"secret"' in getattr(arg, "data", b"") for arg in args):
        record.msg, record.args = "< TEXT ***, which holds a secret", ()
    return True


_OFFERS = "sec-websocket-protocol"
_log = logging.getLogger("jupyter_wshandler.client")
_log.addFilter(_hide_secrets)
