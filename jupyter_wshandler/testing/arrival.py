"""What a test says of a bot and of who visits it: the route, the user, the opening request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

from ..config.patterns import analyse_pattern
from ..connection.request import Request
from ..functions.namespace import collect, name_of, route_at_hand
from ..routes import Route, RouteTable
from ..sessions.cookies import new_id
from ..sessions.manager import Session

Who = str | Mapping[str, Any] | object | None
"""A user's name, the attributes of one, a user object, or None for a visitor without a login."""


class User(SimpleNamespace):
    """The `handler.current_user` of a test, with the attributes of Jupyter's own users.

    Args:
        username: The unique name.
        attributes: Any others; `name` and `display_name` are the username unless given.
    """

    def __init__(self, username: str, **attributes: Any) -> None:
        name = attributes.get("name") or username
        shown = {"name": name, "display_name": name, "initials": None, "avatar_url": None}
        super().__init__(username=username, **{**shown, "color": None, **attributes})


def user_of(who: Who) -> Any:
    """Return a user as callbacks see it.

    Args:
        who: See `Who`.

    Raises:
        ValueError: A mapping has no `username`.
    """
    if isinstance(who, str):
        return User(who)
    if isinstance(who, Mapping):
        if "username" not in who:
            raise ValueError(f"user: expected a mapping with username, found {sorted(who)}")
        return User(**who)
    return who


@dataclass
class Arrival:
    """How a client comes.

    Args:
        path: Path and query of the opening request.
        user: See `Who`.
        session: A session to come back to, its id, the values of a new one, or None.
        headers: Header fields of the opening request.
    """

    path: str
    user: Who = None
    session: Session | Mapping[str, Any] | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self) -> Request:
        """Return the opening request."""
        fields = {"Host": "localhost", **self.headers}
        return Request(fields.items(), self.path, "127.0.0.1", "http", fields["Host"])

    def session_id(self) -> tuple[str, bool, dict[str, Any]]:
        """Return the session's id, whether it is a new one, and the values it begins with."""
        session = self.session
        if isinstance(session, str):
            return session, False, {}
        values = dict(session or {})
        known = values.pop("id", None)
        if known is not None:
            # What a session holds is in the store; a copy of it may be older.
            return str(known), False, {} if isinstance(session, Session) else values
        return new_id(), True, values


def route_of(
    source: object,
    callbacks: Mapping[str, Callable[..., Any]],
    options: Mapping[str, Any] | None,
    pattern: str,
    path: str,
    name: str,
) -> Route:
    """Return the route of a bot under test.

    Args:
        source: What `functions.namespace.collect` takes, or an object with the mapping
            `functions`, and perhaps `types`, `pattern` and `name`, of a bot that is served already.
        callbacks: Callbacks by event; they win.
        options: As below ``kwargs:`` in a file; `every` and `types` take functions, not names.
        pattern: The route's pattern; from the path or the module's name where empty.
        path: The path that is asked for, with or without a query.
        name: The route's name.

    Raises:
        CallbackError: There is no callback, or one takes other arguments than it is given.
        ConfigError: The pattern or an option cannot be used.
    """
    served = getattr(source, "functions", None)
    if isinstance(served, Mapping):
        pattern = pattern or str(getattr(source, "pattern", ""))
        name = name or str(getattr(source, "name", ""))
        types = getattr(source, "types", None)
        if types and "types" not in (options or {}):
            options = {**(options or {}), "types": types}
        source = served
    own = source.__name__.rpartition(".")[2] if isinstance(source, ModuleType) else ""
    own = "chat" if own in ("", "__main__") else own
    if not pattern:
        literal = path.partition("?")[0]
        pattern = re.escape(literal) if literal else f"/{own}"
        name = name or (name_of(literal) if literal else own)
    options = options or {}
    functions = collect(source, needed=not options.get("types"), **callbacks)
    return route_at_hand(pattern, functions, options, name=name, source="Chat(options)")


def groups_of(route: Route, path: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return what the groups of a route's pattern match in a path.

    Args:
        route: The route.
        path: Path and query.

    Raises:
        ValueError: The pattern does not match.
    """
    match = RouteTable([route]).match(path.partition("?")[0])
    if match is None:
        raise ValueError(
            f"the pattern {route.config.pattern} does not match the path {path!r}; "
            f"pass a path that it matches, such as path={route.sample_path()!r}"
        )
    return tuple(match[1]), match[2]


def path_of(route: Route, path: str) -> str:
    """Return the path to ask for: the given one, or the only one that the pattern matches.

    Args:
        route: The route.
        path: Path and query, a query alone, or nothing.

    Raises:
        ValueError: The pattern matches several paths.
    """
    if path.startswith("/"):
        return path
    literal = analyse_pattern(route.config.pattern).literal
    if literal is None:
        raise ValueError(
            f"the pattern {route.config.pattern} matches many paths; say which one is asked for, "
            f"such as path={route.sample_path() + path!r}"
        )
    return literal + path


__all__ = ["Arrival", "User", "Who", "groups_of", "path_of", "route_of", "user_of"]
