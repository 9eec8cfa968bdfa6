"""What the pages of ours have in common that a person opens: the login, the policy, the words."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from tornado.httputil import url_concat
from tornado.web import HTTPError

from .access.refused import words_of
from .api.base import ApiHandler
from .pages import HTML, POLICY, seen_from

STATIC = Path(__file__).parent / "static"


class ShownPage(ApiHandler):
    """An address that a browser goes to: leads to the login, and answers with pages of ours."""

    note = ""
    """The file of the page that says why another one is not shown."""

    def values(self) -> dict[str, str]:
        """Return what stands in each page."""
        return {}

    def get_login_url(self) -> str:
        """Return where to log in."""
        return JupyterHandler.get_login_url(self)

    def refuse_stranger(self) -> None:
        """Send a browser that is not logged in to the login, and back.

        Raises:
            HTTPError: 403: it is logged in as somebody who may not use this server.
        """
        if self.request.method != "GET":
            super().refuse_stranger()
        url = self.get_login_url()
        # The Hub's has a query of its own, and remembers where its user came from.
        self.redirect(url if "?" in url else url_concat(url, {"next": self.request.path}))

    @property
    def content_security_policy(self) -> str:
        """What the page may do."""
        return f"{JupyterHandler.content_security_policy.fget(self)}; {POLICY}"  # type: ignore[attr-defined]

    def show(self, template: str, **values: str) -> None:
        """Answer with a page of ours.

        Args:
            template: The name of its file.
            values: What stands in it.
        """
        text = (STATIC / template).read_text(encoding="utf-8")
        static = seen_from(self.request.path, self.services.static_url).rstrip("/")
        for name, value in {**self.values(), **values, "static": static}.items():
            text = text.replace("{{" + name + "}}", escape(value))
        self.finish(text, set_content_type=HTML)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with a page that says what it is, in words."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        sentence = words_of(error) if isinstance(error, HTTPError) else ""
        self.set_header("Cache-Control", "no-store")
        self.show(self.note, note=sentence or "this did not work")
