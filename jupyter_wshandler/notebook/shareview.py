"""What a cell shows of a share: words where no script runs, and `share.js` where one does."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

NAMED = 12
"""People that are named; of more there is the number."""

SHORT = 60
"""Characters of a name that are shown."""

_UNITS = ((86400, "day"), (3600, "h"), (60, "min"))


class Shown(Protocol):
    """What is shown of a share: see `share.Share`."""

    route: str

    @property
    def id(self) -> str:
        """What the server calls it."""

    @property
    def url(self) -> str:
        """The link, where it is known."""

    @property
    def label(self) -> str:
        """What it is called."""

    @property
    def users(self) -> list[str]:
        """The users that it is for."""

    @property
    def groups(self) -> list[str]:
        """The groups that it is for."""

    @property
    def state(self) -> str:
        """What has become of it."""

    @property
    def reason(self) -> str:
        """Why."""

    @property
    def expires(self) -> datetime | None:
        """When it ends by itself."""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until then."""

    @property
    def uses(self) -> int | None:
        """As many guests as it may let in."""

    @property
    def uses_left(self) -> int | None:
        """As many guests as it will still let in."""

    @property
    def inside(self) -> list[Guest]:
        """Whose each of its connections is."""


def summary(share: Shown) -> str:
    """Return what a share is and how it stands, without its link."""
    name = f"{share.label!r} of {share.route}" if share.label else f"of {share.route}"
    if share.state != "open":
        return f"{name}: {share.state}" + (f": {share.reason}" if share.reason else "")
    parts = ["open", f"{len(people(share.inside))} in"]
    if share.uses_left is not None:
        parts.append(f"{share.uses_left} of {share.uses} uses left")
    left = share.seconds_left
    parts.append("without an end" if left is None else f"{duration(left)} left")
    return f"{name}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """Return a time that is left, as people say it: in one or two units, and never too much."""
    for number, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            whole, rest = divmod(int(seconds), size)
            text = f"{whole} {unit}{'s' if unit == 'day' and whole > 1 else ''}"
            if number + 1 < len(_UNITS):
                smaller, name = _UNITS[number + 1]
                if rest >= smaller:
                    text += f" {rest // smaller} {name}"
            return text
    return f"{int(seconds)} s"


class Guest(NamedTuple):
    """Whose a connection is, as the server has said it when it opened."""

    username: str
    name: str


def guest_of(user: Any) -> Guest:
    """Return whose a connection is.

    Args:
        user: Its `current_user`, before any callback of the bot's has had it.
    """
    username = str(getattr(user, "username", ""))
    name = str(getattr(user, "display_name", "") or getattr(user, "name", "") or username)
    return Guest(username, name)


def people(guests: Iterable[Guest]) -> list[str]:
    """Return who is in by connections, each person once: three tabs are one.

    Args:
        guests: Whose each connection is.
    """
    names: dict[str, str] = {}
    for guest in guests:
        names.setdefault(guest.username, _name(guest))
    return list(names.values())


def _name(guest: Guest) -> str:
    if guest.username.startswith("guest/"):
        # All guests of one link have its label for a name: what tells them apart is their id.
        return f"guest {guest.username[6:10]}"
    name = guest.name
    return name if len(name) <= SHORT else name[: SHORT - 1] + "…"


def _data(share: Shown, key: str) -> dict[str, Any]:
    """Return what `share.js` shows."""
    names = people(share.inside)
    live = share.state == "open"
    expires = share.expires
    return {
        "key": key,
        "id": share.id,
        "bot": share.route,
        "label": share.label,
        "state": share.state,
        "reason": share.reason,
        # Of a share that has ended the link stays in no file.
        "url": share.url if live else "",
        "expires": None if expires is None else expires.timestamp(),
        "uses": share.uses,
        "usesLeft": share.uses_left,
        "people": names[:NAMED],
        "count": len(names),
        "for": [*share.users, *(f"@{group}" for group in share.groups)],
    }


def page_of_share(share: Shown, key: str, script: str) -> str:
    """Return what the output of a cell shows of a share.

    Args:
        share: The share.
        key: Names the place where it is shown, so that it stays the same card when it changes.
        script: The URL of the script that shows it; empty where there is none.
    """
    element = f"wshandler-share-{key}"
    data = _data(share, key)
    words = f'<div id="{element}">{_words(share, data)}</div>'
    if not script:
        return words
    return (
        f'{words}\n<script type="module">\n'
        f"import({literal(script)}).then((share) => "
        f"share.mount({literal(element)}, {literal(data)}));\n"
        "</script>"
    )


def _words(share: Shown, data: dict[str, Any]) -> str:
    what = f"<b>{html.escape(share.label or share.route)}</b>"
    if share.state == "waiting":
        return f"<p>{what}: the link is here when the server has answered.</p>"
    if share.state != "open":
        return f"<p>{what}: shared no longer: {html.escape(share.reason)}.</p>"
    if share.url:
        address = html.escape(share.url, quote=True)
        link = f'<a href="{address}" target="_blank" rel="noopener noreferrer">{address}</a>'
    elif data["for"]:
        link = "its address is on the page that lists what is shared"
    else:
        link = "its link was shown when it was made, and is kept nowhere"
    if data["for"]:
        link += f" (for {html.escape(', '.join(data['for']))})"
    told = [f"{data['count']} in" + (": " if data["people"] else "")]
    told[0] += html.escape(", ".join(data["people"]))
    if data["count"] > len(data["people"]):
        told[0] += f" and {data['count'] - len(data['people'])} more"
    if share.uses_left is not None:
        told.append(f"{share.uses_left} of {share.uses} uses left")
    if share.expires is not None:
        told.append(f"until {share.expires:%Y-%m-%d %H:%M}")
    return f"<p>{what}: {link}</p><p>{' · '.join(told)}</p>"


def literal(value: Any) -> str:
    """Return a value as a literal that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace(">", "\\u003e")
