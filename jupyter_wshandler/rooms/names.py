"""Names of rooms: which ones may be, which ones a connection is in from the start, and whose."""

from __future__ import annotations

import hashlib
from typing import Any

from ..config.rooms import MAX_ROOM, PLACEHOLDER, USER_ROOM, why_not_name
from ..connection.connection import Connection
from ..errors import ConnectionRefused
from ..routes import Route

NOTEBOOK = "notebook\x1f"
"""What the spaces of kernels' routes begin with: no configured route has such a one, so that a
notebook gets into no room of the server's own."""


def check_room(name: object) -> str:
    """Return the name of a room.

    Raises:
        ValueError: It can be none.
    """
    why = why_not_name(name)
    if why is not None:
        raise ValueError(f"expected the name of a room; {why}")
    return str(name)


def space_of(route: Route) -> str:
    """Return the space of a route's rooms."""
    name = route.config.space or route.config.name
    return name if route.host is None else NOTEBOOK + name


def channel_of(space: str, room: str) -> str:
    """Return the channel of a room; no two rooms have the same."""
    return f"{len(space)}:{space}:{room}"


def user_of(user: Any) -> str:
    """Return the name that the rooms of one user have; empty for nobody.

    Args:
        user: As the identity provider knows them. A service is no user, whatever its name; a
            guest's name is the directory's, or has a slash, as no login has.
    """
    name = getattr(user, "username", None)
    if not isinstance(name, str) or not name:
        return ""
    kind = getattr(user, "kind", None) or "user"
    return name if kind in ("user", "guest") else f"{kind}/{name}"


def person_of(connection: Connection) -> str:
    """Return who is one person in a list of members: a user, or a visitor's browser.

    It is shown to others, so that it holds no session's id.
    """
    name = user_of(connection.current_user)
    if name:
        return name
    session = connection.attached_session
    known = connection.id if session is None else session.id
    return f"visitor/{hashlib.sha256(known.encode()).hexdigest()[:12]}"


def first_rooms(connection: Connection) -> tuple[str, ...]:
    """Return the rooms that a connection is in from the start; the same whenever it is asked.

    Raises:
        ConnectionRefused: One has a name that cannot be, or that is not the visitor's to choose.
    """
    names = []
    for template in connection.entry.config.rooms:
        name = _filled(template, connection)
        if name is None:
            continue
        if why_not_name(name) is not None:
            raise ConnectionRefused(
                f"a room's name has 1 to {MAX_ROOM} printable characters; ask for another one"
            )
        if name.startswith(USER_ROOM) and not template.startswith(USER_ROOM):
            raise ConnectionRefused("a room whose name begins with user: is a user's own")
        if name not in names:
            names.append(name)
    return tuple(names)


def _filled(template: str, connection: Connection) -> str | None:
    """Return a name with its groups filled in; None where it needs a user, and there is none."""
    groups, user = connection.path_kwargs, user_of(connection.current_user)
    wanted = PLACEHOLDER.findall(template)
    if "user" in wanted and not user:
        return None
    values = {**groups, "user": user}
    return PLACEHOLDER.sub(lambda match: values.get(match[1], ""), template)
