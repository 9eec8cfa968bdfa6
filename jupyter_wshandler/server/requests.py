"""Requests that no client has sent: to ask about what one would be answered."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine


class NoConnection:
    """The connection of a request that no client has sent."""

    context = None

    def set_close_callback(self, callback: Any) -> None:
        """Ignore the callback: nothing is open."""


def without_client(uri: str, headers: HTTPHeaders) -> HTTPServerRequest:
    """Return a GET that came over no connection.

    Args:
        uri: Its path and query.
        headers: Its header fields.
    """
    return HTTPServerRequest(
        start_line=RequestStartLine("GET", uri, "HTTP/1.1"),
        headers=headers,
        connection=NoConnection(),  # type: ignore[arg-type]
    )
