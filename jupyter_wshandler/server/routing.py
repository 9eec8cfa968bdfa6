"""The one rule that serves all routes, placed so that Jupyter's own always come first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import AnyMatches, Matcher, Rule
from tornado.web import Application

from ..config.paths import as_escaped, path_below
from .requests import without_client

if TYPE_CHECKING:
    from ..manager.manager import WebSocketManager
    from ..routes import Route
    from .services import Services


ONLY = "wshandler_only"
"""The setting of Jupyter's web application that holds the gate of a server with bots only."""


class Found(NamedTuple):
    """The route that a request's path leads to.

    Attributes:
        route: The route.
        args: What its pattern has found in the path, by position.
        kwargs: The same, by name.
        page_path: What the path names in the folder that is the route's page; None at the route's
            own address.
    """

    route: Route
    args: tuple[str, ...]
    kwargs: dict[str, str]
    page_path: str | None


class RouteMatcher(Matcher):
    """A rule's matcher that looks a path up in the manager's current route table.

    Args:
        services: What the handlers share; its manager owns the table.
        base_url: The server's base URL, with a slash at both ends.
        public: Match the routes that need no login, or those that do.
    """

    by_path = True
    """Whether it says the same of every request for a path, while the routes are the same."""

    def __init__(self, services: Services, base_url: str, public: bool) -> None:
        self.services = services
        self.manager = services.manager
        self.base_url = base_url
        self.public = public
        self.found: Callable[[str], object] | None = None
        """Is told the path of each request that a route is found for."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return what the handler's `initialize` gets, or None."""
        path = path_below(self.base_url, as_escaped(request.path))
        found = None if path is None else self.manager.table.find(path)
        if found is None or found[0][0].config.auth.required is self.public:
            return None
        if self.found is not None:
            self.found(request.path)
        (route, args, kwargs), page_path = found
        here = Found(route, tuple(args), kwargs, page_path)
        return {"target_kwargs": {"services": self.services, "found": here}}


class Shortcut(AnyMatches):
    """A matcher for a router that finds nothing but what the rules behind it would find, too."""


class FolderMatcher(RouteMatcher):
    """A matcher of the addresses of folders, which end with a slash: a route's page, or one in it.

    Jupyter's first rule takes the slash from every path that ends with one. This stands before
    it, and leaves to Jupyter what is Jupyter's without the slash.

    Args:
        application: Jupyter's web application.
        arguments: Those of a RouteMatcher.
    """

    def __init__(self, application: Application, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._application = application

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return what the handler's `initialize` gets, or None."""
        if not request.path.endswith("/"):
            return None
        matched = super().match(request)
        if matched is None or matched["target_kwargs"]["found"].page_path is None:
            return None
        return None if answered_by(self._application, request.path.rstrip("/")) else matched


def insert_rules(
    application: Application, rules: list[Rule], first: list[Rule], shortcut: Rule | None = None
) -> None:
    """Put rules just before Jupyter's final 404 rule.

    ``add_handlers`` would put them before Jupyter's own rules, where they could shadow /api.

    Args:
        application: Jupyter's web application.
        rules: The rules.
        first: Rules that stand before all of Jupyter's.
        shortcut: Stands before those, with a `Shortcut`; on a server with bots only there are not
            enough rules for one.
    """
    router = application.wildcard_router
    before = first if shortcut is None else [shortcut, *first]
    router.rules[:0] = [router.process_rule(rule) for rule in before]
    last = len(router.rules) - 1
    router.rules[last:last] = [router.process_rule(rule) for rule in rules]
    gate = application.settings.get(ONLY)
    if gate is not None:
        gate.admit(rules, first)


def unreachable(application: Application, manager: WebSocketManager, base_url: str) -> list[str]:
    """Return a sentence for each route whose path Jupyter or another extension answers.

    Args:
        application: Jupyter's web application, complete.
        manager: Owns the route table.
        base_url: The server's base URL.
    """
    sentences = []
    for route in manager.served.configured:
        if route.regex is None:
            continue
        path = base_url.rstrip("/") + route.sample_path()
        owner = answered_by(application, path)
        if owner is not None:
            sentences.append(
                f"Route {route.config.name} is never reached: {path} is answered by {owner}; "
                f"choose another pattern than {route.config.pattern}"
            )
    return sentences


def answered_by(application: Application, path: str) -> str | None:
    """Return the name of the handler that answers a path before any route is asked, or None.

    Args:
        application: Jupyter's web application, complete.
        path: The path, with the server's base URL.
    """
    request = without_client(path, HTTPHeaders({"Host": "localhost"}))
    gate = application.settings.get(ONLY)
    outer = application.default_router.rules if gate is None else [Rule(AnyMatches(), gate)]
    for rule in outer:
        if rule.target is application.wildcard_router:
            inner = application.wildcard_router.rules
        elif rule.matcher.match(request) is None:
            continue
        else:
            inner = getattr(rule.target, "rules", [rule])
        for candidate in inner:
            if isinstance(candidate.matcher, (FolderMatcher, Shortcut)):
                continue
            if isinstance(candidate.matcher, RouteMatcher):
                return None
            if candidate.matcher.match(request) is not None:
                return getattr(candidate.target, "__qualname__", str(candidate.target))
    return None
