"""Send without being asked: from any callback or thread to the connections of a route."""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING

from ..engine.payload import to_message
from ..errors import ConnectionClosed
from ..types import Sendable
from .manager import current_manager, running_managers

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from .manager import WebSocketManager


def the_manager() -> WebSocketManager:
    """Return the manager of the running callback, else the only one in this process.

    Raises:
        LookupError: There is none, or there are several and no callback is running.
    """
    found = current_manager.get(None)
    if found is not None:
        if found.process != os.getpid():
            raise LookupError("this process is a fork of the server; send from the parent")
        return found
    running = list(running_managers)
    if len(running) > 1:
        running = [manager for manager in running if not manager.is_stand_in] or running
    if len(running) == 1:
        return running[0]
    if not running:
        raise LookupError(
            "no WebSocket routes are served in this process; call this from a callback, or from "
            "a thread of the server that serves them"
        )
    raise LookupError(
        f"{len(running)} servers run in this process; call this from a callback of one of them"
    )


def connections(route: str | None = None) -> list[Connection]:
    """Return the open connections of a route; safe from any thread.

    Args:
        route: The route's name; every route's connections where None.

    Raises:
        LookupError: There is no such route, or no server to ask.
    """
    manager = the_manager()
    if route is not None and manager.table.get(route) is None:
        names = [known.name for known in manager.table]
        near = difflib.get_close_matches(route, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
        raise LookupError(f"there is no route {route!r}; {hint}")
    return [
        connection
        for connection in list(manager.connections.values())
        if not connection.closed and (route is None or connection.route == route)
    ]


def send(route: str, message: Sendable, *, to: str | None = None) -> int:
    """Send a message to the connections of a route; safe from any thread.

    A client that reads slowly is treated by its route's ``queue: {slow:}`` and delays nobody. A
    thread waits, 2 s at most, while a whole queue of a connection is on its way to the loop.

    Args:
        route: The route's name.
        message: what ``handler.write_message`` takes.
        to: A connection's id or a user's name; everyone where None.

    Returns:
        The number of connections that it was sent to.

    Raises:
        LookupError: There is no such route, or no server to ask.
        TypeError: The message is None, or holds what has no JSON form.
    """
    whole = to_message(message)
    sent = 0
    for connection in connections(route):
        if to is None or to in (connection.id, getattr(connection.current_user, "username", None)):
            try:
                connection.write_message(whole)
            except ConnectionClosed:
                continue
            sent += 1
    return sent
