"""Every address below ``<base_url>/wshandler/api/`` that there is not: an error like the others."""

from __future__ import annotations

from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from .base import ApiHandler


class UnknownHandler(ApiHandler):
    """The address of a mistake: 404 in JSON, for those who are logged in."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may know that there is nothing here, and say it."""
        await super().prepare()
        if not self._finished:
            self._say()

    def _say(self) -> None:
        raise HTTPError(404, "the API has no such address; openapi.json lists those that there are")

    @ws_authenticated
    def get(self) -> None:
        """Say it."""
        self._say()

    @ws_authenticated
    def post(self) -> None:
        """Say it."""
        self._say()
