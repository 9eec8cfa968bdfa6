"""Send without being asked: from any callback or thread to the connections of a route."""

from __future__ import annotations

import difflib
import os
from threading import get_ident
from typing import TYPE_CHECKING

from ..connection.current import current_connection
from ..engine.payload import to_message
from ..engine.shared import SharedMessages
from ..errors import ConnectionClosed
from ..rooms.face import RoomFace, UserFace
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
    # In one step of the interpreter's: another thread may open and close connections meanwhile.
    found = manager.served.connections_of(route) if route else tuple(manager.connections.values())
    return [connection for connection in found if not connection.closed]


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
    found = [
        connection
        for connection in connections(route)
        if to is None or to in (connection.id, getattr(connection.current_user, "username", None))
    ]
    io = the_manager().io
    if get_ident() == io.thread:
        if isinstance(whole, str) and not whole.isascii():
            whole.encode()  # what cannot be sent is told to the caller
        io.deliver_pending()  # what was said in rooms before goes first
        shared = SharedMessages([whole])
        return sum(connection.write_shared(shared) for connection in found)
    sent = 0
    for connection in found:
        try:
            connection.write_message(whole)
        except ConnectionClosed:
            continue
        sent += 1
    return sent


def room(name: str, *, space: str | None = None) -> RoomFace:
    """Return a room to speak to; from any callback, thread, timer or cell.

    Args:
        name: 1 to 200 printable characters.
        space: The space; that of the running callback's route where None. A route that names no
            space has one of its own, which is named as the route is.

    Raises:
        LookupError: No callback is running and no space is named; or there is no such space, or
            no server to ask.
        ValueError: It is no name of a room.
    """
    manager = the_manager()
    if space is not None:
        found = manager.rooms.space_named(space)
    else:
        connection = current_connection.get(None)
        if connection is None:
            raise LookupError(
                f"no callback is running, so the space of the room {name!r} is not known; pass "
                "space=, the name of a space or of a route"
            )
        found = manager.rooms.space_of(connection)
    return RoomFace(manager.rooms, found, name)


def to_user(name: str) -> UserFace:
    """Return all connections of a user, to speak to; from any callback, thread, timer or cell.

    Args:
        name: The user's name. The connections may be of any route of this server; a notebook
            reaches those of its own bots.

    Raises:
        LookupError: There is no server to ask.
    """
    return UserFace(the_manager().rooms, name)
