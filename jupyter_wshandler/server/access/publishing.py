"""Who may send to the clients of a route from outside, without a connection of their own.

Whoever may use a bot does not speak for it. On a server whose users run code anyway, they could
say whatever they like to its clients by that; where there are bots only, the administrator says who
else speaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from traitlets import HasTraits, List, Unicode

from ...config.rooms import USER_ROOM
from ...rooms.names import user_of
from ...routes import Route
from ...shares.share import Guest
from .identity import is_allowed, user_key

EVERYBODY = "*"
"""Stands among the names for whoever may use the route."""

SERVICE = "service:"
"""Begins the name of a service of JupyterHub's, as a user may have the same name."""

NOT_NAMED = (
    "this user may not send to the clients of routes from outside; the server's administrator "
    "names who may in c.WSHandlerApp.publishers"
)

NOT_ALLOWED = (
    "this user may not use this route, by its `auth`, and so not send to its clients; the server's "
    "administrator can name them in c.WSHandlerApp.publishers"
)

ASKS_ITSELF = (
    "this route has a function that decides who may use it (`condition`), and it decides on "
    "connections only; the server's administrator can name who may send to its clients in "
    "c.WSHandlerApp.publishers"
)


ASKS_ITS_ROOMS = (
    "a route of this space has a function that decides who is in a room (`may_join`), and it "
    "decides on connections only; the server's administrator can name who may send to its rooms, "
    "and look into them, in c.WSHandlerApp.publishers"
)


class _Names(List[str]):
    """A list of names, or one name.

    Of one name on the command line traitlets makes None where a List may be that: its default.
    """

    def from_string(self, s: str) -> list[str] | None:
        """Return the list of what the command line has once."""
        return None if s == "None" else [s]

    def validate(self, obj: Any, value: Any) -> Any:
        """Return a list, and take one name for a list of it."""
        return super().validate(obj, [value] if isinstance(value, str) else value)


class PublishingTraits(HasTraits):
    """What an administrator may say about messages from outside."""

    publishers = _Names(
        Unicode(),
        None,
        allow_none=True,
        help="""Who may send to the clients of routes, and to rooms, from outside (POST
        wshandler/api/routes/NAME, wshandler/api/spaces/SPACE/rooms/ROOM, `jupyter wshandler send`),
        look into rooms, and empty the server (`jupyter wshandler drain`): users by name, and
        "service:NAME" for a service of JupyterHub's. "*" is whoever may use the route. Unset, it is
        "*", and with bots only it is nobody. The Authorizer is asked in any case.""",
    ).tag(config=True)


@dataclass(frozen=True, slots=True)
class Publishers:
    """Those who may send from outside.

    Attributes:
        named: Keys of those whom the administrator has named, as `identity.user_key` makes them.
        others: Whether whoever may use a route may, too.
    """

    named: frozenset[str]
    others: bool

    @classmethod
    def of(cls, names: Iterable[str] | None, *, bots_only: bool) -> Publishers:
        """Return what the trait says.

        Args:
            names: Its value; None where it is unset.
            bots_only: Whether the server has bots and nothing else.
        """
        if names is None:
            return cls(frozenset(), not bots_only)
        given = {name for name in names if name}
        keys = {n if n.startswith(SERVICE) else f"user:{n}" for n in given - {EVERYBODY}}
        return cls(frozenset(keys), EVERYBODY in given)

    def names(self, user: Any) -> bool:
        """Return whether the administrator has named a user."""
        return not isinstance(user, Guest) and user_key(user) in self.named

    def why_not_at_all(self, user: Any) -> str:
        """Return why a user may send to no route; empty where it depends on the route."""
        return "" if self.others or self.names(user) else NOT_NAMED

    def why_not(self, user: Any, route: Route) -> str:
        """Return why a user may not send to the clients of a route; empty where they may.

        Args:
            user: Somebody with a login.
            route: The route.
        """
        if self.names(user):
            return ""
        if not self.others:
            return NOT_NAMED
        if not is_allowed(user, route.config.auth):
            return NOT_ALLOWED
        return ASKS_ITSELF if route.config.auth.condition is not None else ""

    def why_not_in_rooms(self, user: Any, route: Route) -> str:
        """Return why a user may not use the rooms of a route's; empty where they may.

        Args:
            user: Somebody who may send to the route's clients.
            route: The route.
        """
        return "" if "may_join" not in route.callbacks or self.names(user) else ASKS_ITS_ROOMS

    def may_look_into(self, user: Any, room: str) -> bool:
        """Return whether a user may see what was said in a room: not in that of another user.

        Args:
            user: Somebody who may use the rooms of its space.
            room: The room's name.
        """
        if not room.startswith(USER_ROOM) or self.names(user):
            return True
        return room == USER_ROOM + user_of(user)
