"""The rules of this extension: which path is answered by which handler."""

from __future__ import annotations

import re

from jupyter_server.utils import url_path_join
from tornado.routing import PathMatches
from tornado.web import Application

from . import guestpages
from .api import base as api
from .api.drain import DrainHandler
from .api.health import health_rules
from .api.looks import look_rules
from .api.routes import RouteClientsHandler, RoutesHandler
from .api.shares import ShareHandler, SharesHandler
from .api.spaces import RoomHandler
from .api.tickets import TicketsHandler
from .bodies import rules_for
from .console import console_rules
from .directory.arrival import arrival_rules
from .directory.handlers import rules as directory_rules
from .directory.service import Directory
from .handlers import (
    PrivateRouteHandler,
    PrivateRouteHandlerWithBody,
    PublicRouteHandler,
    PublicRouteHandlerWithBody,
)
from .knownpaths import KnownPaths
from .routing import FolderMatcher, RouteMatcher, insert_rules
from .services import Services


def install(
    application: Application,
    services: Services,
    base_url: str,
    directory: Directory | None = None,
) -> None:
    """Put the rules of the API and of all routes into Jupyter's web application.

    A login is asked for by the class of the handler, not by an `if` in it, so that private and
    public routes have rules of their own.

    Args:
        application: Jupyter's web application.
        services: What the handlers share.
        base_url: The server's base URL.
        directory: What this server is the directory of; None for any other server.
    """
    by_name = []
    if services.named is not None:
        by_name += arrival_rules(services, services.named, base_url)
    if directory is not None:
        by_name += directory_rules(services, directory, base_url)
    tickets = url_path_join(base_url, "wshandler", "api", "tickets")
    health = url_path_join(base_url, "wshandler", "api", "health")
    drain = url_path_join(base_url, "wshandler", "api", "drain")
    shares = re.escape(url_path_join(base_url, "wshandler", "api", "shares"))
    routes = re.escape(url_path_join(base_url, "wshandler", "api", "routes"))
    spaces = re.escape(url_path_join(base_url, "wshandler", "api", "spaces"))
    looks, others = look_rules(services, base_url)
    console, console_without_slash = console_rules(services, base_url)
    private, public = (RouteMatcher(services, base_url, is_public) for is_public in (False, True))
    private_folder, public_folder = (
        FolderMatcher(application, services, base_url, is_public) for is_public in (False, True)
    )
    known = KnownPaths(
        application,
        [
            (private, PrivateRouteHandler, PrivateRouteHandlerWithBody),
            (public, PublicRouteHandler, PublicRouteHandlerWithBody),
        ],
    )
    insert_rules(
        application,
        [
            *api.rules(PathMatches(re.escape(tickets) + "$"), TicketsHandler, services),
            *health_rules(PathMatches(re.escape(health) + "$"), services),
            *api.rules(PathMatches(re.escape(drain) + "$"), DrainHandler, services),
            *api.rules(PathMatches(shares + "$"), SharesHandler, services),
            *api.rules(PathMatches(shares + r"/([\w-]+)$"), ShareHandler, services),
            *api.rules(PathMatches(routes + "$"), RoutesHandler, services),
            *api.rules(PathMatches(routes + r"/(.+)$"), RouteClientsHandler, services),
            *api.rules(PathMatches(spaces + r"/([^/]+)/rooms/(.+)$"), RoomHandler, services),
            *looks,
            *console_without_slash,
            *by_name,
            *others,
            *rules_for(private, PrivateRouteHandler, PrivateRouteHandlerWithBody),
            *rules_for(public, PublicRouteHandler, PublicRouteHandlerWithBody),
        ],
        [
            *guestpages.rules(services, base_url),
            *console,
            *rules_for(private_folder, PrivateRouteHandler, PrivateRouteHandlerWithBody),
            *rules_for(public_folder, PublicRouteHandler, PublicRouteHandlerWithBody),
        ],
        known.rule,
    )
