"""Share a route, for whoever may ask for that: the REST API, and the kernel of a bot."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from ...config.units import parse_duration
from ...shares.share import ARGUMENT, Issued, People, Share, ShareError
from ...shares.stores import StoreFailed
from ..directory.messages import Wrong, check_names

if TYPE_CHECKING:
    from ...routes import Route
    from ..services import Services


NO_NAMES = (
    "users, groups: this server knows no directory, and so nobody by name; where there is one, the "
    "Hub's administrator names it with WSHANDLER_DIRECTORY_URL in c.Spawner.environment"
)


class NotShared(Exception):
    """The reason why a route is not shared, in words for who has asked for it.

    Args:
        status: The HTTP status that says the same.
        words: Why, and what to do.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class ShareRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What somebody asks for who shares a route.

    Attributes:
        route: The name of the route; None where `path` says which.
        path: The path below base_url; None where the route has one only.
        label: What the share is called, and its guests are.
        expires: After how long it ends: seconds, a text such as "2h", or None for never.
        uses: How many guests it lets in; None for any number.
        page: Whether it opens the route's page, too.
        users: The users of the Hub whom it is for.
        groups: The groups of the Hub whom it is for.
    """

    route: str | None = None
    path: str | None = None
    label: str = ""
    expires: int | float | str | None = None
    uses: int | None = None
    page: bool = True
    users: list[str] = []
    groups: list[str] = []


async def share_route(
    services: Services, route: Route, request: ShareRequest, by: Any, *, origin: str = ""
) -> dict[str, Any]:
    """Share a route, and return what its owner gets to know of it, the link among it.

    Args:
        services: What the handlers share.
        route: The route.
        request: What is asked for.
        by: Who asks: a user, or None.
        origin: The origin by which who asks has reached the server, for a server that does not
            know what its own is.

    Raises:
        NotShared: It is not shared.
    """
    issued = await issue(services, route, request, by)
    if issued.share.people is None:
        url = url_of(services, issued, origin)
    else:
        url = await _register(services, issued.share, route, origin)
    return {**described(services, issued.share), "url": url}


async def _register(services: Services, share: Share, route: Route, origin: str) -> str:
    """Tell the directory of a share for people; return where they open it.

    Raises:
        NotShared: It does not take it; then there is no such share.
    """
    assert services.named is not None
    try:
        where = await services.named.register(share, route)
    except ShareError as error:
        await services.shares.revoke(share.id)
        raise NotShared(HTTPStatus.BAD_GATEWAY, str(error)) from None
    except BaseException:
        # Who has asked has left meanwhile, and would not know that it is shared.
        services.named.forget(share.id)
        await asyncio.shield(services.shares.revoke(share.id))
        raise
    # A path at the host that people reach this server at.
    return f"{services.guests.origin(origin)}{where}" if where.startswith("/") else where


async def issue(services: Services, route: Route, request: ShareRequest, by: Any) -> Issued:
    """Issue a share of a route that takes guests.

    Args:
        services: What the handlers share.
        route: The route.
        request: What is asked for.
        by: Who asks: a user, or None.

    Raises:
        NotShared: It is not shared.
    """
    guests, people = services.guests, _people(request)
    if guests.policy == "off" or (guests.policy == "people" and people is None):
        raise NotShared(HTTPStatus.FORBIDDEN, guests.why_off)
    if people is not None and services.named is None:
        raise NotShared(HTTPStatus.FORBIDDEN, NO_NAMES)
    if not route.config.auth.guests:
        raise NotShared(
            HTTPStatus.CONFLICT,
            f"the route {route.name!r} takes no guests; remove `guests: false` from its `auth`",
        )
    try:
        issued = await services.shares.issue(
            route,
            path=request.path,
            label=request.label,
            expires=_seconds(request.expires),
            uses=request.uses,
            page=request.page,
            people=people,
            by=_name(by),
        )
    except ShareError as error:
        raise NotShared(HTTPStatus.BAD_REQUEST, str(error)) from None
    except StoreFailed as error:
        raise NotShared(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
    guests.tell("shared", issued.share, by)
    return issued


async def unshare(services: Services, share_id: str, by: Any = None) -> bool:
    """Revoke a share, and put its guests out; return whether there was one.

    Args:
        services: What the handlers share.
        share_id: The share's id.
        by: Who asks: a user, or None.

    Raises:
        NotShared: It has ended, but that cannot be stored.
    """
    try:
        return await services.shares.revoke(share_id, by=_name(by))
    except StoreFailed as error:
        raise NotShared(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None


def url_of(services: Services, issued: Issued, origin: str = "") -> str:
    """Return the link of a share, which holds its token.

    Args:
        services: What the handlers share.
        issued: The new share.
        origin: As for `share_route`.
    """
    base_url = services.manager.served.base_url.rstrip("/")
    query = urlencode({ARGUMENT: issued.token})
    return f"{services.guests.origin(origin)}{base_url}{issued.share.path}?{query}"


def described(services: Services, share: Share) -> dict[str, Any]:
    """Return what its owner may know of a share at any time; no token.

    Args:
        services: What the handlers share.
        share: The share.
    """
    people = share.people
    found: dict[str, Any] = {
        name: getattr(share, name)
        for name in ("id", "route", "path", "label", "created", "expires", "uses", "used", "page")
    }
    return {
        **found,
        "guests": len(services.guests.guests(share.id)),
        "connections": len(services.guests.connections(share.id)),
        "users": [] if people is None else list(people.users),
        "groups": [] if people is None else list(people.groups),
    }


def _name(user: Any) -> str:
    return str(getattr(user, "username", None) or "")


def _people(request: ShareRequest) -> People | None:
    if not request.users and not request.groups:
        return None
    for what, names in (("users", request.users), ("groups", request.groups)):
        try:
            check_names(what, names)
        except Wrong as error:
            raise NotShared(HTTPStatus.BAD_REQUEST, str(error)) from None
    return People(users=tuple(request.users), groups=tuple(request.groups))


def _seconds(expires: int | float | str | None) -> float | None:
    """Return the seconds of a duration as a person writes it.

    Raises:
        ShareError: It is none.
    """
    if expires is None:
        return None
    try:
        return float(parse_duration(expires))
    except ValueError:
        raise ShareError(
            f'expires: expected a duration such as "2h", or seconds, found {expires!r:.60}'
        ) from None
