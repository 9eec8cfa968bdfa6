"""What is asked for who wants to share a route: whether that can be, and then the share."""

from __future__ import annotations

import secrets
import time

from ..config.nodes import shorten
from ..config.paths import normal_path
from ..config.patterns import MAX_PATH
from ..routes import Route, RouteTable
from .share import People, Share, ShareError, terms_of

MAX_LABEL = 200
"""Characters of a label."""

MAX_SECONDS = 10 * 366 * 86400.0
"""Seconds for which a share may be issued that ends at all."""

MAX_USES = 1_000_000


def check(label: str, expires: float | None, uses: int | None) -> None:
    """Refuse what no share can be.

    Args:
        label: What it is to be called.
        expires: After how many seconds it is to end; None for never.
        uses: How many guests it is to let in; None for any number.

    Raises:
        ShareError: It cannot be; says what is expected.
    """
    if len(label) > MAX_LABEL or not label.isprintable():
        raise ShareError(
            f"label: expected at most {MAX_LABEL} printable characters, found {shorten(label)}"
        )
    if expires is not None and not 1 <= expires <= MAX_SECONDS:
        raise ShareError(
            f"expires: expected a time of 1 s to ten years, found {expires:g} s; "
            'write "2h", or null for a share that does not expire'
        )
    if uses is not None and not 1 <= uses <= MAX_USES:
        raise ShareError(
            f"uses: expected a number from 1 to {MAX_USES}, found {uses}; write null for any number"
        )


def path_of(route: Route, path: str | None) -> str:
    """Return the path that a share of a route opens, in its normal spelling.

    Args:
        route: The route.
        path: As its owner has written it; None for the only one that there is.

    Raises:
        ShareError: There is no such path.
    """
    if route.config_error or route.compiled is None:
        raise ShareError(f"the route {route.name!r} is broken; its error is in the server's log")
    if path is None:
        if route.compiled.literal is None:
            raise ShareError(
                f"path: the pattern {route.config.pattern} stands for many addresses; name the "
                "one to share, such as " + route.sample_path()
            )
        return normal_path(route.compiled.literal)
    if not path.startswith("/") or "?" in path or "#" in path or len(path) > MAX_PATH:
        raise ShareError(
            f"path: expected a path below the server's address that begins with /, without ? and "
            f"#, found {shorten(path)}"
        )
    normal = normal_path(path)
    found = RouteTable([route]).find(normal)
    if found is None or found[1] is not None:
        raise ShareError(
            f"path: expected one that the pattern {route.config.pattern} matches, found "
            f"{shorten(path)}"
        )
    return normal


def new_share(
    route: Route,
    path: str | None,
    label: str,
    expires: float | None,
    uses: int | None,
    page: bool,
    people: People | None,
    by: str,
) -> Share:
    """Return a share that can be, with an id of its own; see `ShareBook.issue`.

    Raises:
        ShareError: It cannot be.
    """
    check(label, expires, uses)
    now = time.time()
    return Share(
        id=secrets.token_hex(6),
        route=route.name,
        path=path_of(route, path),
        label=label,
        created=now,
        expires=None if expires is None else now + expires,
        uses=uses,
        page=page,
        terms=terms_of(route.config),
        people=people,
        by=by,
    )
