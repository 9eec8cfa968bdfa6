"""Send without being asked: from any callback or thread to the connections of a route."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from threading import get_ident
from typing import TYPE_CHECKING

from ..connection.current import current_connection
from ..engine.payload import to_message
from ..engine.shared import SharedMessages
from ..errors import ConnectionClosed
from ..rooms.face import RoomFace, UserFace
from ..types import Delivered, Message, Sendable
from .manager import current_manager, running_managers

if TYPE_CHECKING:
    from ..client.outbox import Delivery
    from ..connection.connection import Connection
    from .manager import WebSocketManager
    from .outside import OutsideRoom


def the_manager() -> WebSocketManager:
    """Return the manager of the running callback, else the only one in this process.

    Raises:
        LookupError: There is none, or there are several and no callback is running.
    """
    found = _find_manager()
    if found is None:
        raise LookupError(
            "no WebSocket routes are served in this process; call this from a callback, or from "
            "a thread of the server that serves them"
        )
    return found


def _find_manager() -> WebSocketManager | None:
    """Return what `the_manager` does; None where there is none.

    Raises:
        LookupError: It cannot be told which.
    """
    found = current_manager.get(None)
    if found is not None:
        if found.process != os.getpid():
            raise LookupError("this process is a fork of the server; send from the parent")
        return found
    running = list(running_managers)
    if len(running) > 1:
        running = [manager for manager in running if not manager.is_stand_in] or running
    if len(running) > 1:
        raise LookupError(
            f"{len(running)} servers run in this process; call this from a callback of one of them"
        )
    return running[0] if running else None


def connections(route: str | None = None) -> list[Connection]:
    """Return the open connections of a route; safe from any thread.

    Args:
        route: The route's name; every route's connections where None.

    Raises:
        LookupError: There is no such route in this process, or no server to ask.
    """
    return _connections(the_manager(), route)


def _connections(manager: WebSocketManager, route: str | None) -> list[Connection]:
    if route is not None and manager.table.get(route) is None:
        names = [known.name for known in manager.table]
        near = difflib.get_close_matches(route, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
        raise LookupError(f"there is no route {route!r}; {hint}")
    # In one step of the interpreter's: another thread may open and close connections meanwhile.
    found = manager.served.connections_of(route) if route else tuple(manager.connections.values())
    return [connection for connection in found if not connection.closed]


def send(
    route: str,
    message: Sendable,
    *,
    to: str | None = None,
    server: str | None = None,
    token: str | None = None,
) -> Delivered | Delivery[Delivered]:
    """Send a message to the connections of a route; safe from any thread.

    A client that reads slowly is treated by its route's ``queue: {slow:}`` and delays nobody. A
    thread waits, 2 s at most, while a whole queue of a connection is on its way to the loop.

    Where the route is not served in this process (in a notebook, a script, a terminal) it is one of
    the server's that this process is under: then the message is on its way when this returns, in
    the order of the calls, and to await the result says what has become of it.

    Args:
        route: The route's name.
        message: what ``handler.write_message`` takes.
        to: A connection's id or a user's name; everyone where None.
        server: Base URL of the server; found as `client.connect` does where None.
        token: What to log in with there, "" for nothing; found likewise.

    Returns:
        The number of connections that it was sent to; from outside a `Delivery`, which is awaited
        for that.

    Raises:
        LookupError: There is no such route, or no server to ask. From outside it is raised where
            the result is awaited, like what else a server can say, and written to the standard
            error where nobody awaits it.
        TypeError: The message is None, or holds what has no JSON form.
        ValueError: `server` is no URL.
    """
    whole = to_message(message)
    if server is None and token is None:
        manager = _serving(route)
        if manager is not None:
            return deliver(manager, route, whole, to=to)
    from ..client.outbox import post  # a server does without

    return post(route, whole, to=to, server=server, token=token)


def deliver(
    manager: WebSocketManager,
    route: str,
    message: Message,
    *,
    to: str | None = None,
    user: str | None = None,
) -> Delivered:
    """Give a message to the connections of a route.

    Args:
        manager: Has the route.
        route: The route's name.
        message: What a frame carries.
        to: A connection's id or a user's name; everyone where None.
        user: A user's name, or "service/NAME" for a service of JupyterHub's; everyone where None.

    Raises:
        LookupError: There is no such route.
    """
    found = _connections(manager, route)
    meant = [connection for connection in found if is_meant(connection, to, user)]
    return Delivered(_write(manager, meant, message), route, len(found))


def _write(manager: WebSocketManager, meant: Sequence[Connection], message: Message) -> int:
    """Write a message to connections; return how many of them took it."""
    io = manager.io
    if get_ident() == io.thread:
        if isinstance(message, str) and not message.isascii():
            message.encode()  # what cannot be sent is told to the caller
        io.deliver_pending()  # what was said in rooms before goes first
        shared = SharedMessages([message], len(meant))
        return sum(connection.write_shared(shared) for connection in meant)
    sent = 0
    for connection in meant:
        try:
            connection.write_message(message)
        except ConnectionClosed:
            continue
        sent += 1
    return sent


def is_meant(connection: Connection, to: str | None, user: str | None) -> bool:
    """Return whether a message is for a connection.

    Args:
        connection: The connection.
        to: As for `deliver`.
        user: As for `deliver`.
    """
    known = connection.current_user
    name = getattr(known, "username", None)
    if user is not None:
        # A service may have a user's name; a guest who is somebody is so by the Hub's word.
        kind = getattr(known, "kind", None) or "user"
        return user == (name if kind in ("user", "guest") else f"{kind}/{name}")
    return to is None or to in (connection.id, name)


def _serving(route: str) -> WebSocketManager | None:
    """Return the manager that has to know a route; None where another process may serve it.

    Raises:
        LookupError: It cannot be told, or nobody can be meant.
    """
    manager = _the_manager_or_none()
    if manager is None or (not manager.knows_all and manager.table.get(route) is None):
        return None
    return manager


def _the_manager_or_none() -> WebSocketManager | None:
    """Return the manager of this process; None where another process is meant.

    Raises:
        LookupError: It cannot be told, or nobody can be meant.
    """
    manager = _find_manager()
    if manager is not None:
        return manager
    if "jupyter_wshandler.server.app" in sys.modules:
        return the_manager()  # of a server that has not begun: no other one is meant
    if "pytest" in sys.modules:
        # What a test has forgotten to begin must not reach people on a server that runs here.
        raise LookupError(
            "no WebSocket routes are served in this process, and no test sends to a server "
            "that it does not name; begin a Chat, or pass server='http://127.0.0.1:8888/'"
        )
    return None


def room(
    name: str, *, space: str | None = None, server: str | None = None, token: str | None = None
) -> RoomFace | OutsideRoom:
    """Return a room to speak to; from any callback, thread, timer, cell or script.

    Where no route of the space is served in this process (in a notebook, a script, a terminal) it
    is one of the server's that this process is under, and the server is asked: what is sent is on
    its way when `send` returns, and to await the result says what has become of it.

    Args:
        name: 1 to 200 printable characters.
        space: The space; that of the running callback's route where None. A route that names no
            space has one of its own, which is named as the route is; and a route's name means its
            space.
        server: Base URL of the server; found as `client.connect` does where None.
        token: What to log in with there, "" for nothing; found likewise.

    Raises:
        LookupError: No callback is running and no space is named; or there is no such space, or
            no server to ask. From outside it is raised where the server is asked.
        ValueError: It is no name of a room.
    """
    named = server is not None or token is not None
    manager = None if named else _the_manager_or_none()
    if space is None:
        connection = None if manager is None else current_connection.get(None)
        if manager is None or connection is None:
            raise LookupError(
                f"no callback is running, so the space of the room {name!r} is not known; pass "
                "space=, the name of a space or of a route"
            )
        return RoomFace(manager.rooms, manager.rooms.space_of(connection), name)
    if manager is not None and (manager.knows_all or _has_space(manager, space)):
        return RoomFace(manager.rooms, manager.rooms.space_named(space), name)
    from .outside import OutsideRoom  # a server does without

    return OutsideRoom(space, name, server, token, 0 if manager is None else manager.io.thread)


def _has_space(manager: WebSocketManager, space: str) -> bool:
    """Return whether a route of a manager's has a space, or its name."""
    return any(space in (route.config.space, route.name) for route in manager.table)


def to_user(name: str) -> UserFace:
    """Return all connections of a user, to speak to; from any callback, thread, timer or cell.

    Args:
        name: The user's name. The connections may be of any route of this server; a notebook
            reaches those of its own bots.

    Raises:
        LookupError: There is no server to ask.
    """
    return UserFace(the_manager().rooms, name)
