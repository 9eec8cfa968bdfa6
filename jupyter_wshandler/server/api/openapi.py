"""The API described in OpenAPI 3.1, at ``<base_url>/wshandler/api/openapi.json``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.utils import url_path_join

from ... import __version__
from ..access.authorize import READ
from .base import ApiHandler

FOLDER = Path(__file__).parent
"""Where the description is, for people to write; a test holds it against a real server."""


class OpenApiHandler(ApiHandler):
    """The address of the API's description."""

    action = READ

    @ws_authenticated
    def get(self) -> None:
        """Answer with the description (https://spec.openapis.org/oas/v3.1)."""
        self.answer(document(self.base_url))


def document(base_url: str) -> dict[str, Any]:
    """Return the description of the API of a server.

    Args:
        base_url: The server's base URL, a path.
    """
    found = dict(_read())
    found["info"] = {**found["info"], "version": __version__}
    found["servers"] = [{"url": url_path_join(base_url, "wshandler", "api")}]
    return found


@cache
def _read() -> dict[str, Any]:
    found, schemas = (
        yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
        for name in ("openapi.yaml", "schemas.yaml")
    )
    found["components"]["schemas"] = schemas
    return dict(found)
