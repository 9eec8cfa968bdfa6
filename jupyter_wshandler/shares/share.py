"""A share, the guest whom it lets in, and the digest of the rules that it was given under."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..config.model import Place, RouteConfig

EXPIRED = "this link has expired"
REVOKED = "this link has been revoked"
UNSHARED = "this is not shared any more"
USED_UP = "this link has been used by as many as it may"
CHANGED = "the rules of this bot have changed since the link was made; ask for a new one"
"""Why a share has ended: what guests are told, at most 123 bytes, as a close frame holds them."""

ARGUMENT = "share_token"
"""The query argument that carries a link's token. Jupyter's access log hides such names."""

ANYBODY = "Guest"
"""What a guest is called whose share has no label."""

KIND = "guest"
"""The `kind` of a guest, beside Jupyter's "user" and JupyterHub's "service"."""


class ShareError(ValueError):
    """The reason why a share cannot be issued, in words for who has asked for it."""


class ShareEnded(Exception):
    """The end of a share, for a guest who has come too late.

    Args:
        words: Why, in words for the guest.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class People(msgspec.Struct, frozen=True, omit_defaults=True):
    """The people whom a share is for, by their names and groups at the Hub."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """One route of one server, given away for a time.

    Times are in seconds since 1970. The token is not among it: nobody can read it again.

    Attributes:
        id: Names it; no secret.
        route: The route's name.
        path: The one path below base_url that it opens, in its normal spelling.
        label: What its owner calls it, and guests are called.
        created: When it was issued.
        expires: When it ends; None for never.
        uses: How many guests it may let in; None for any number.
        used: How many it has let in.
        page: Whether it opens the route's page, too.
        terms: The digest of the route's rules when it was issued; see `terms_of`.
        people: Whom it is for; None for whoever has the link.
        by: Who issued it, for events.
        ended: Why it has ended before its time; empty while it has not.
        ended_at: When that was.
        ended_by: Who has revoked it.
    """

    id: str
    route: str
    path: str
    label: str = ""
    created: float
    expires: float | None = None
    uses: int | None = None
    used: int = 0
    page: bool = True
    terms: str
    people: People | None = None
    by: str = ""
    ended: str = ""
    ended_at: float | None = None
    ended_by: str = ""

    @property
    def uses_left(self) -> int | None:
        """How many more guests it lets in; None for any number."""
        return None if self.uses is None else max(0, self.uses - self.used)


class Issued(msgspec.Struct, frozen=True):
    """A new share with its token, which is shown once."""

    share: Share
    token: str

    def __repr__(self) -> str:
        return f"<Issued {self.share.id}>"


class GuestCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a guest cookie holds; the server signs it.

    Attributes:
        share: The share's id.
        guest: Names the guest, whom nobody else can be.
        session: The id of the guest's session.
        person: Whom the directory has vouched for: fields of `Guest` such as "username", "name"
            and "groups"; None for a guest without a name.
        pending: Whether the guest counts when a socket opens, and not before.
    """

    share: str
    guest: str
    session: str
    person: dict[str, Any] | None = None
    pending: bool = False


def new_card(share: Share, person: dict[str, Any] | None = None) -> GuestCard:
    """Return the card of a new guest of a share.

    Args:
        share: The share.
        person: As for `GuestCard`.
    """
    return GuestCard(
        share=share.id,
        guest=secrets.token_urlsafe(16),
        session=secrets.token_urlsafe(24),
        person=person,
    )


def written(card: GuestCard) -> str:
    """Return a card as the text that a cookie is signed with."""
    return msgspec.json.encode(card).decode()


def read(text: bytes | None) -> GuestCard | None:
    """Return the card that a cookie holds, its signature checked; None where it is none."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=GuestCard)
    except (msgspec.MsgspecError, ValueError):
        return None


@dataclass
class Guest:
    """Somebody without a Jupyter login who was let into one route by a share.

    Has what Jupyter's `User` has, and `groups`, `scopes` and `kind` as every user here. Of a guest
    whom nobody vouches for, the username is made up, and has a slash: no login has such a one.

    Attributes:
        share: The id of the share.
    """

    username: str
    name: str = ANYBODY
    display_name: str = ANYBODY
    initials: str | None = None
    avatar_url: str | None = None
    color: str | None = None
    groups: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    kind: str = KIND
    share: str = ""


def guest_of(share: Share, card: GuestCard) -> Guest:
    """Return the guest of a card.

    Args:
        share: The card's share.
        card: The card. What it says of a person is the directory's word, but for what would give
            rights: `kind` and `scopes` are a guest's always.
    """
    digest = hashlib.sha256(f"wshandler guest\0{card.guest}".encode()).hexdigest()
    name = share.label or ANYBODY
    person: Mapping[str, Any] = card.person or {}
    shown = str(person.get("display_name") or person.get("name") or name)
    return Guest(
        username=str(person.get("username") or f"guest/{digest[:12]}"),
        name=str(person.get("name") or name),
        display_name=shown,
        initials=shown[:1].upper(),
        groups=[str(group) for group in person.get("groups") or ()],
        share=share.id,
    )


def digest_of(guest: str) -> int:
    """Return what is kept of a guest who was counted; a number that SQLite can hold.

    Args:
        guest: What the card calls the guest.
    """
    digest = hashlib.sha256(f"wshandler counted\0{guest}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def hash_of(token: str) -> str:
    """Return what is kept of a token, and found by it.

    The token has 128 random bits, so that nobody can try them all, and needs no salt.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def terms_of(config: RouteConfig) -> str:
    """Return the digest of what a share is given under: `auth`, `origins`, `xsrf` and the pattern.

    Args:
        config: The route's configuration.
    """
    terms = [_meaning(part) for part in (config.auth, config.origins, config.xsrf, config.pattern)]
    text = json.dumps(terms, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _meaning(value: Any) -> Any:
    """Return a part of a configuration without where it stands in a file."""
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        return {
            name: _meaning(entry) for name, entry in fields.items() if not isinstance(entry, Place)
        }
    if isinstance(value, Mapping):
        return {str(key): _meaning(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_meaning(entry) for entry in value]
    return value


def is_over_since(share: Share, moment: float) -> bool:
    """Return whether a share had ended, or expired, before a moment.

    Args:
        share: The share.
        moment: In seconds since 1970.
    """
    return (share.ended_at or share.expires or float("inf")) < moment


def ended_by_now(share: Share) -> str:
    """Return why a share has ended by itself; empty while it has not."""
    if share.ended:
        return share.ended
    return EXPIRED if share.expires is not None and share.expires <= time.time() else ""
