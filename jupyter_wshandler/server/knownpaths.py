"""The paths of routes that were asked for before, found again without all of Jupyter's rules.

Our rule stands behind Jupyter's, so that none of its addresses can be shadowed; a request for a
route so passes some ninety regular expressions first. What they say of a path is always the same.
"""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Matcher, PathMatches, Router, Rule
from tornado.web import Application, RequestHandler

from .bodies import WithBody, has_body
from .routing import RouteMatcher, Shortcut

PATHS_AT_MOST = 4096
"""Paths that are remembered; when there are more, all are forgotten."""

LONGEST = 256
"""Characters of a path that is remembered."""


class KnownPaths(Router):
    """A router that stands before all rules, and finds what they have found before.

    Args:
        application: Jupyter's web application.
        kinds: The matchers of routes, each with its handler and the one for requests with a body.
    """

    def __init__(
        self,
        application: Application,
        kinds: list[tuple[RouteMatcher, type[RequestHandler], type[RequestHandler]]],
    ) -> None:
        self.rule = Rule(Shortcut(), self)
        self._application = application
        self._kinds = kinds
        self._matchers = {id(matcher) for matcher, _, _ in kinds}
        self._paths: set[str] = set()
        self._manager = kinds[0][0].manager
        self._table: Any = None
        self._rules = 0
        self._is_sure = False
        for matcher, _, _ in kinds:
            matcher.found = self.note

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """Return who answers a request for a path that is known, or None."""
        if request.path not in self._paths or self._has_changed():
            return None
        for matcher, plain, with_body in self._kinds:
            found = matcher.match(request)
            if found is not None:
                handler = with_body if has_body(request.headers) else plain
                return self._application.get_handler_delegate(request, handler, **found)
        return None

    def note(self, path: str) -> None:
        """Remember a path: all rules before those of the routes were asked, and had none for it.

        Args:
            path: The path of a request.
        """
        self._has_changed()
        if self._is_sure and len(path) <= LONGEST:
            if len(self._paths) >= PATHS_AT_MOST:
                self._paths.clear()
            self._paths.add(path)

    def _has_changed(self) -> bool:
        """Return whether there are other rules or routes than before; then all is forgotten."""
        rules, table = self._application.wildcard_router.rules, self._manager.table
        if len(rules) == self._rules and table is self._table:
            return False
        self._rules, self._table = len(rules), table
        self._paths.clear()
        self._is_sure = all(_goes_by_path(rule) for rule in self._before(rules))
        return True

    def _before(self, rules: list[Rule]) -> list[Rule]:
        """Return the rules that stand before those of the routes."""
        before = []
        for rule in rules:
            inner = rule.matcher.matcher if isinstance(rule.matcher, WithBody) else rule.matcher
            if id(inner) in self._matchers:
                break
            if rule is not self.rule:
                before.append(rule)
        return before


def _goes_by_path(rule: Rule) -> bool:
    """Return whether a rule says the same of every request for a path, and answers what it takes.

    One for requests with a body has a twin for the others: see `bodies.rules_for`.
    """
    matcher: Matcher = rule.matcher
    if isinstance(matcher, WithBody):
        matcher = matcher.matcher
    by_path = type(matcher) is PathMatches or getattr(matcher, "by_path", False)
    return by_path and isinstance(rule.target, type)
