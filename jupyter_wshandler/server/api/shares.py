"""What is shared, at ``<base_url>/wshandler/api/shares`` and below it."""

from __future__ import annotations

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ...config.nodes import shorten
from ...config.paths import normal_path
from ...routes import Route
from ...shares.share import Share
from ...shares.stores import StoreFailed
from ..access.authorize import RESOURCE, resource_of
from ..access.sharing import NotShared, ShareRequest, described, share_route, unshare
from .base import OTHERS_ROUTE, ApiHandler
from .looking import number, page

EXPECTED = 'JSON such as {"route": "pingbot", "label": "Ann", "expires": "2h", "uses": 30}'


class SharingHandler(ApiHandler):
    """What the two addresses of shares have in common."""

    async def refuse_others(self, resource: str) -> None:
        """Refuse whom the Authorizer does not let use a route: they may not share it either.

        Args:
            resource: What the Authorizer knows the route by.

        Raises:
            HTTPError: 403.
        """
        with self.answering():
            if not await self.may(resource):
                raise HTTPError(403, OTHERS_ROUTE)

    async def there(self) -> None:
        """Have the shares read.

        Raises:
            HTTPError: 503, they cannot be.
        """
        try:
            await self.services.shares.look()
        except StoreFailed as error:
            raise HTTPError(503, str(error)) from None


class SharesHandler(SharingHandler):
    """The address where routes are shared, and where what is shared is listed."""

    most = {"post": 65536}

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"shares": [...], "total", "next"}``, without their links.

        Those nobody can read again. ``?route=`` and a name lists the shares of one route, a
        ``?limit=`` the first of them, and ``?after=`` takes the `next` of the page before. Those of
        routes that the Authorizer does not let the user use are left out.
        """
        await self.there()
        limit, after = number(self, "limit", 2**53), self.get_query_argument("after", "")
        name = self.get_query_argument("route", None)
        shares = self.services.shares.shares(name)
        allowed: dict[str, bool] = {}
        with self.answering():
            for share in shares:
                if share.route not in allowed:
                    allowed[share.route] = await self.may(f"{RESOURCE}:{share.route}")
        known = [share for share in shares if allowed[share.route]]
        # One that has ended meanwhile is still known by its place.
        left = sorted((share for share in known if _place(share) > after), key=_place)
        found = left if limit is None else left[:limit]
        following = _place(found[-1]) if found and len(found) < len(left) else None
        told = [described(self.services, share) for share in found]
        self.answer(page("shares", told, len(known), following))

    @ws_authenticated
    async def post(self) -> None:
        """Share a route, and answer with the share and its link: 201.

        The body is a `ShareRequest`, with a route's name, a path below base_url, or both. 400
        where that cannot be, 403 where the user may not or the server takes no guests, 404 where
        there is no such route, 409 where the route takes no guests.
        """
        request = self.body_as(ShareRequest, EXPECTED)
        route = self._route(request)
        await self.refuse_others(resource_of(route))
        origin = f"{self.request.protocol}://{self.request.host}"
        try:
            found = await share_route(
                self.services, route, request, self.current_user, origin=origin
            )
        except NotShared as error:
            raise HTTPError(error.status, error.words) from None
        self.set_status(201)
        self.answer(found)

    def _route(self, request: ShareRequest) -> Route:
        table = self.services.manager.table
        if request.path is not None:
            found = table.match(normal_path(request.path)) if request.path[:1] == "/" else None
            if found is not None and request.route in (None, found[0].name):
                return found[0]
            if request.route is None:
                raise self._unknown(f"path: no route has the path {shorten(request.path)}")
            if table.get(request.route) is not None:
                raise HTTPError(
                    400,
                    f"path: expected one that leads to the route {shorten(request.route)}, found "
                    f"{shorten(request.path)}",
                )
        if request.route is None:
            raise HTTPError(400, f"expected {EXPECTED}: neither route nor path is there")
        route = table.get(request.route)
        if route is None:
            raise self._unknown(f"route: there is no route named {shorten(request.route)}")
        return route

    def _unknown(self, words: str) -> HTTPError:
        # Not their names: some may be for others only.
        return HTTPError(404, f"{words}; `jupyter wshandler routes` lists them")


class ShareHandler(SharingHandler):
    """The address of one share."""

    @ws_authenticated
    async def get(self, share_id: str) -> None:
        """Answer with the share, without its link."""
        self.answer(described(self.services, await self._share(share_id)))

    @ws_authenticated
    async def delete(self, share_id: str) -> None:
        """Revoke the share: its guests are put out at once. 204, or 404 where there is none."""
        share = await self._share(share_id)
        try:
            found = await unshare(self.services, share.id, self.current_user)
        except NotShared as error:
            raise HTTPError(error.status, error.words) from None
        if not found:
            raise HTTPError(404, "there is no such share, or it has ended")
        self.set_status(204)
        self.finish()

    async def _share(self, share_id: str) -> Share:
        await self.there()
        known = {share.id: share for share in self.services.shares.shares()}
        share = known.get(share_id)
        if share is None:
            raise HTTPError(404, "there is no such share, or it has ended")
        await self.refuse_others(f"{RESOURCE}:{share.route}")
        return share


def _place(share: Share) -> str:
    """Return what orders shares: the older first."""
    return f"{share.created:017.6f}-{share.id}"
