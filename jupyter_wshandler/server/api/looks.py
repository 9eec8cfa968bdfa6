"""The rules of all addresses that tell what a server does, and of those that there are not."""

from __future__ import annotations

import re

from jupyter_server.utils import url_path_join
from tornado.routing import PathMatches, Rule

from ..services import Services
from .base import ApiHandler, rules
from .config import ConfigHandler
from .connections import ConnectionHandler, ConnectionsHandler
from .errors import ErrorHandler, ErrorsHandler
from .events import EventsHandler
from .frames import FramesHandler
from .openapi import OpenApiHandler
from .rooms import RoomsHandler, SpacesHandler
from .traffic import TrafficHandler
from .types import TypesHandler
from .unknown import UnknownHandler

ADDRESSES: tuple[tuple[str, type[ApiHandler]], ...] = (
    ("connections", ConnectionsHandler),
    (r"connections/([\w-]+)", ConnectionHandler),
    ("spaces", SpacesHandler),
    ("spaces/([^/]+)/rooms", RoomsHandler),
    ("errors", ErrorsHandler),
    (r"errors/(\w+)", ErrorHandler),
    ("events", EventsHandler),
    ("frames", FramesHandler),
    ("traffic", TrafficHandler),
    ("types", TypesHandler),
    ("config", ConfigHandler),
    (r"openapi\.json", OpenApiHandler),
)


def look_rules(services: Services, base_url: str) -> tuple[list[Rule], list[Rule]]:
    """Return the rules of these addresses, and those that come behind all others of the API.

    Args:
        services: What the handlers share.
        base_url: The server's base URL.
    """
    below = re.escape(url_path_join(base_url, "wshandler", "api") + "/")
    found: list[Rule] = []
    for path, handler in ADDRESSES:
        found += rules(PathMatches(f"{below}{path}$"), handler, services)
    return found, rules(PathMatches(f"{below}.*$"), UnknownHandler, services)
