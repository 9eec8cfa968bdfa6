"""The extension's files for browsers, at ``<base_url>/static/wshandler/``."""

from __future__ import annotations

from http.client import responses
from typing import Any

from jupyter_server.base.handlers import FileFindHandler
from tornado.web import HTTPError, stream_request_body

from . import crossorigin
from .access.inquiry import InquiringHandler
from .bodies import UnreadBody, has_body


# Its `initialize` takes the services beside what Jupyter's own takes.
@stream_request_body
class StaticHandler(UnreadBody, InquiringHandler, FileFindHandler):  # type: ignore[misc]
    """The extension's files for browsers, served as Jupyter does, but for bodies: none is read."""

    def set_cors_headers(self) -> None:
        """Let the pages load the helper that the `origins` of a route admits."""
        super().set_cors_headers()
        self.set_header("Vary", "Origin")
        origin = self.request.headers.get("Origin", "")
        if origin == "null":
            # A guest's page; and anybody may read these files.
            crossorigin.let_read(self, "*", cookies=False)
        elif origin and crossorigin.admitted(self.services.manager, origin):
            crossorigin.let_read(self, origin, cookies=False)

    def get_content_type(self) -> str:
        """Return the type of a file; that of TypeScript's declarations is plain text."""
        # Machines' tables know the ending as another program's, or as that of a film.
        if str(self.absolute_path).endswith(".d.ts"):
            return "text/plain; charset=utf-8"
        return super().get_content_type()

    async def prepare(self) -> None:  # type: ignore[override]
        """Refuse a body."""
        self.lets_body_in = not has_body(self.request.headers)
        with self.answering():
            await self.find_out_who(super().prepare)
        if not self.lets_body_in:
            raise HTTPError(400 if self.request.method in ("GET", "HEAD") else 405)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one plain sentence.

        Jupyter's page of an error needs a user, and raises where a method is refused before.
        """
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: {responses.get(status_code, 'refused')}\n")
