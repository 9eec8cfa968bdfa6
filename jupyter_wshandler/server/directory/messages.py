"""What users' servers and the directory say to each other: JSON, over HTTP.

A user's server proves itself with its own Hub token, in ``Authorization: token ...``. The directory
asks the Hub whose server that is; nothing of what a message says is taken for it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

SERVERS = "wshandler/directory/servers"
"""Where users' servers ask, below the base URL of the service."""

HOME = "wshandler/directory"
"""The page for people, below the base URL of the service."""

ARRIVAL = "wshandler/shared"
"""Where a user's server lets people in who come from the directory, below its base URL."""

CODE = "share_code"
"""The query argument that carries a code. Jupyter's access log leaves out what has such a name."""

STATE = "share_state"
"""The query argument with the digest of what the server has given the browser; left out, too."""

MOST_PEOPLE = 500
"""Users, and groups, that one bot is shared with."""

MOST_CHECKS = 200
"""Guests that are asked about at a time."""

LONGEST_NAME = 255
"""Characters of the name of a user, of a group or of a route."""

LONGEST_LABEL = 200
"""Characters of a label."""

LONGEST_PATH = 2048
"""Characters of a path."""

_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[!$&'()*+,;=:@A-Za-z0-9._~%-]+)+/?|/")


class Wrong(ValueError):
    """A message that cannot be used, in words for who has sent it."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """One bot that is shared with people.

    Attributes:
        id: The share's id, made by the server that the bot runs in.
        owner: The Hub's name of whose server that is.
        server: The name of the server; "" for the default one.
        route: The name of the route.
        path: The path that is opened, below the server's base URL, escaped.
        label: What the owner calls it.
        users: Names of users it is shared with.
        groups: Names of groups it is shared with.
        created: When it was shared (seconds since 1970).
        expires: When that ends; None for never.
        page: Whether there is a page to open.
    """

    id: str
    owner: str
    server: str
    route: str
    path: str
    label: str = ""
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    created: float = 0.0
    expires: float | None = None
    page: bool = True


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user's server says of a bot that it shares; as in `Listing`."""

    id: str
    route: str
    path: str
    label: str = ""
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    expires: float | None = None
    page: bool = True

    def check(self) -> None:
        """Check what types alone do not say.

        Raises:
            Wrong: It cannot be used.
        """
        if not is_id(self.id):
            raise Wrong("expected an id of 8 to 64 letters, digits, - and _")
        # With its escapes undone as well: a browser takes `%2e%2e` for `..`.
        spellings = (self.path, self.path.lower().replace("%2e", "."))
        if len(self.path) > LONGEST_PATH or not all(map(_PATH.fullmatch, spellings)):
            raise Wrong("expected a path such as /pingbot, escaped, without . and .. in it")
        for what, text, most in (
            ("the route's name", self.route, LONGEST_NAME),
            ("the label", self.label, LONGEST_LABEL),
        ):
            if len(text) > most or not _is_line(text):
                raise Wrong(f"{what}: expected one line of at most {most} characters")
        for what, names in (("users", self.users), ("groups", self.groups)):
            check_names(what, names)
        if not self.users and not self.groups:
            raise Wrong("expected at least one user or group")


class Redemption(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code that somebody has come with.

    Attributes:
        code: The code.
        share: The id of the share that it has to be for.
        path: The path that was opened, below the server's base URL.
        state: The digest of what the browser was given before it fetched the code.
    """

    code: str
    share: str
    path: str
    state: str


class Person(msgspec.Struct, frozen=True):
    """Who somebody is, by the Hub's word.

    Attributes:
        name: The Hub's name of the user.
        groups: Names of the user's groups.
    """

    name: str
    groups: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """Whether somebody may still use what is shared.

    Attributes:
        share: The id of the share.
        user: The name of the user.
    """

    share: str
    user: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question.

    Attributes:
        allowed: Whether it is a yes; None where nobody could say.
        why: Why not, in words for the guest.
        groups: The user's groups, where it is a yes.
        shared: Whether there still is such a share.
    """

    allowed: bool | None
    why: str = ""
    groups: tuple[str, ...] = ()
    shared: bool = True


class Questions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several questions at once."""

    ask: tuple[Question, ...]


class Verdicts(msgspec.Struct, frozen=True):
    """The answers to several questions, in their order."""

    answers: tuple[Verdict, ...]


class Ids(msgspec.Struct, frozen=True):
    """The ids of all that a server shares."""

    shares: tuple[str, ...]


class About(msgspec.Struct, frozen=True):
    """Where the directory is.

    Attributes:
        home: What browsers reach the service at: a URL, or a path at the same host, with a slash
            at its end.
    """

    home: str


def is_id(text: str) -> bool:
    """Return whether a text can be the id of a share."""
    return _ID.fullmatch(text) is not None


def check_names(what: str, names: Any) -> None:
    """Check names of users or groups.

    Args:
        what: What they are names of, for the error.
        names: The names.

    Raises:
        Wrong: They cannot be names.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise Wrong(f'{what}: expected a list of names such as ["bob"], found {type(names)}')
    if len(names) > MOST_PEOPLE:
        raise Wrong(
            f"{what}: expected at most {MOST_PEOPLE} names, found {len(names)}; use a group"
        )
    for name in names:
        if not name.strip() or len(name) > LONGEST_NAME or not _is_line(name):
            raise Wrong(f"{what}: expected names of 1 to {LONGEST_NAME} characters in one line")


def _is_line(text: str) -> bool:
    return all(character.isprintable() for character in text)
