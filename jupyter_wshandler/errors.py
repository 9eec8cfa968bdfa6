"""The exceptions of jupyter_wshandler.

::

    WSHandlerError
    ├── ConfigError           one or more problems in the configuration, each with its place
    ├── CallbackError         a function named in the configuration cannot be used
    ├── HandshakeError        an opening handshake is refused with an HTTP status
    │   └── LimitReached      ... because as many connections are open as may be
    ├── ProtocolError         a peer broke RFC 6455 or 7692; carries the close code
    ├── ConnectionClosed      something was sent to a connection that is closing or closed
    ├── ConnectionRefused     a route's own rule refuses this connection
    ├── RouteRefused          a kernel may not serve the route that it asks for
    ├── ShareRefused          a route may not be shared, or not so
    ├── RoomRefused           a connection may not join a room
    ├── MessageRefused        a message is not what its function takes
    │   └── RefuseMessage         ... because a filter does not let it in
    ├── BackplaneError        what joins several servers refuses what it was asked for
    │   └── BackplaneDown         ... because it cannot be reached now
    ├── NoAnswer              a function that takes part in a handshake took too long
    ├── PoolBusy              no callback thread became free in time
    ├── ConnectError          the client cannot open a connection
    │   └── HandshakeRefused      ... because the server answers with an HTTP status
    ├── AnswerFailed          an answer that a client has asked for has not ended well
    ├── QueueFull             too much waits for a client's connection that is lost
    ├── RequestRefused        a server's REST API answers with an HTTP status that is no success
    └── ServerNotFound        the client does not know which server is meant
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Self


class WSHandlerError(Exception):
    """The base of every exception that this package raises on purpose."""


class ConfigError(WSHandlerError):
    """What is wrong in a configuration, every problem with its place.

    Args:
        problems: What is wrong, one entry a problem; each prints as one paragraph.
    """

    def __init__(self, problems: Sequence[object]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CallbackError(WSHandlerError):
    """The reason why a function that the configuration names cannot be used."""


class HandshakeError(WSHandlerError):
    """The refusal of an opening handshake (RFC 6455 section 4.2.2).

    Args:
        status: HTTP status of the answer.
        reason: One sentence for the client; holds no secret.
        headers: Header fields that the answer must carry.
    """

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        super().__init__(f"{status}: {reason}")


class LimitReached(HandshakeError):
    """The refusal of an opening handshake because as many connections are open as may be.

    Args:
        status: HTTP status of the answer, 429 or 503.
        reason: One sentence for the client; holds no secret.
        retry_after: Seconds after which the client may ask again (RFC 9110 section 10.2.3).
    """

    def __init__(self, status: int, reason: str, retry_after: int) -> None:
        super().__init__(status, reason, {"Retry-After": str(retry_after), "Connection": "close"})


class ProtocolError(WSHandlerError):
    """A peer that broke the WebSocket protocol.

    Args:
        code: Close code for the close frame (RFC 6455 section 7.4.1).
        reason: One sentence; at most 123 bytes of UTF-8.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"{code}: {reason}")


class ConnectionClosed(WSHandlerError):
    """The end of a connection, closing or closed: nothing can be sent or awaited.

    Where Tornado's own module is loaded, `tornado.websocket.WebSocketClosedError` catches it.

    Args:
        message: One sentence.
        code: The close code, where it is known (RFC 6455 section 7.4).
        reason: The reason that came with it.
    """

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Be Tornado's exception, too, for those who have loaded it: their code catches that."""
        tornado = sys.modules.get("tornado.websocket")
        theirs = getattr(tornado, "WebSocketClosedError", None)
        if theirs is not None and theirs not in ConnectionClosed.__mro__:
            ConnectionClosed.__bases__ = (*ConnectionClosed.__bases__, theirs)
        return super().__new__(cls, *args)

    def __init__(self, message: str = "", code: int | None = None, reason: str = "") -> None:
        self.code = code
        self.reason = reason
        super().__init__(message)


class ConnectionRefused(WSHandlerError):
    """The refusal of a connection by a route's own rule; the client sees 403."""


class RouteRefused(WSHandlerError):
    """The refusal of a route that a kernel wants to serve; says why and what to do."""


class ShareRefused(WSHandlerError):
    """The refusal of a share that somebody wants to make or to end; says why and what to do."""


class RoomRefused(WSHandlerError):
    """The refusal of a place in a room; says why and what to do."""


class MessageRefused(WSHandlerError):
    """The refusal of a message of a client that is not what its function takes.

    Args:
        path: Where in the message: ``$.rows[3].when``; ``$`` is the whole.
        expected: What is expected there, in words.
        found: What was found: its JSON where that is short, or else its kind.
    """

    def __init__(self, path: str, expected: str, found: str) -> None:
        self.path = path
        self.expected = expected
        self.found = found
        super().__init__(f"{path}: expected {expected}, found {found}")

    def problem(self) -> dict[str, object]:
        """Return what the client is told."""
        told = {"path": self.path, "expected": self.expected, "found": self.found}
        return {"error": "message", **told}


class RefuseMessage(MessageRefused):
    """What a filter raises to refuse a message: no function gets it, and its client is told why.

    Args:
        reason: What the client is told, as text, up to 1,000 characters of it.
    """

    def __init__(self, reason: object = "refused") -> None:
        super().__init__("$", "a message that is let in", "one that is not")
        # It becomes JSON: whatever is given, that is text, and such as UTF-8 can say.
        self.reason = str(reason)[:1000].encode(errors="replace").decode()
        self.args = (self.reason,)

    def problem(self) -> dict[str, object]:
        """Return what the client is told."""
        return {"error": "message", "reason": self.reason}


class BackplaneError(WSHandlerError):
    """What joins several servers has refused, or does not do, what it was asked for; says why."""


class BackplaneDown(BackplaneError):
    """What joins several servers cannot be reached now; it comes back by itself."""


class NoAnswer(WSHandlerError, TimeoutError):
    """A function that takes part in a handshake and did not answer in time."""


class PoolBusy(WSHandlerError):
    """A wait that was too long: every callback thread stayed busy for too long."""


class ConnectError(WSHandlerError, ConnectionError):
    """The reason why the client cannot open a connection, and what to do about it."""


class HandshakeRefused(ConnectError):
    """A server's answer to the client's opening handshake with an HTTP status.

    Args:
        message: What was refused, by which status, and what to do; holds no token.
        status: The HTTP status (RFC 9110 section 15).
        reason: The server's own sentence; empty where it gave none.
    """

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


class AnswerFailed(WSHandlerError):
    """The end of an answer that a client has asked for, where it has not ended well.

    Args:
        message: What has happened, and what to do.
        how: "failed" (its callback has raised), "refused" (the route's `ratelimit`, or the message
            is not what its function takes), "stopped", or "unknown" (the connection was lost, and
            with it the answer).
        id: Names the failure in the server's log; empty where there is none.
        retry_after: Seconds until a refused message might pass; None where that is not known.
        path: Where a refused message is not what its function takes; empty elsewhere.
    """

    def __init__(
        self,
        message: str,
        how: str,
        id: str = "",
        retry_after: float | None = None,
        path: str = "",
    ) -> None:
        self.how = how
        self.id = id
        self.retry_after = retry_after
        self.path = path
        super().__init__(message)


class QueueFull(WSHandlerError):
    """The refusal of a message by a client whose connection is lost, as too many wait for it."""


class RequestRefused(WSHandlerError):
    """A server's answer to a request at its REST API that is no success.

    Args:
        message: What was asked, what the server said, and what to do; holds no token.
        status: The HTTP status (RFC 9110 section 15).
        reason: The server's own sentence; empty where it gave none.
    """

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


class ServerNotFound(WSHandlerError, LookupError):
    """A search of the client's that found no server, or several and no way to choose."""
