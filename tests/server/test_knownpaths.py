"""A route that was asked for before is found without Jupyter's rules, and never instead of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders
from tornado.routing import Matcher, PathMatches, Rule
from tornado.web import Application, RequestHandler

from jupyter_wshandler.server import knownpaths
from jupyter_wshandler.server.bodies import rules_for
from jupyter_wshandler.server.knownpaths import KnownPaths
from jupyter_wshandler.server.requests import without_client
from jupyter_wshandler.server.routing import RouteMatcher, answered_by, insert_rules


class Jupyters(RequestHandler):
    """One of Jupyter's."""


class Private(RequestHandler):
    """Serves routes that need a login."""


class PrivateWithBody(RequestHandler):
    """The same, for requests with a body."""


class Public(RequestHandler):
    """Serves the others."""


class PublicWithBody(RequestHandler):
    """The same, for requests with a body."""


class Table:
    """The routes of a server: whether each needs a login, by its path."""

    def __init__(self, **routes: bool) -> None:
        self.routes = {
            f"/{name}": SimpleNamespace(
                name=name, config=SimpleNamespace(auth=SimpleNamespace(required=required))
            )
            for name, required in routes.items()
        }

    def find(self, path):
        route = self.routes.get(path)
        return None if route is None else ((route, ("a",), {"b": "c"}), None)


class House:
    """A web application of Jupyter's with a route or two."""

    def __init__(self, monkeypatch) -> None:
        self.asked = 0
        self.manager = SimpleNamespace(table=Table(chat=True, open=False))
        services = SimpleNamespace(manager=self.manager)
        self.application = Application(
            [(rf"/base/jupyter{n}", Jupyters) for n in range(20)] + [(r"/base/(.*)/", Jupyters)]
        )
        self.application.wildcard_router.rules.append(Rule(PathMatches(".*"), Jupyters))
        private, public = (
            RouteMatcher(services, "/base/", is_public) for is_public in (False, True)
        )
        self.known = KnownPaths(
            self.application,
            [(private, Private, PrivateWithBody), (public, Public, PublicWithBody)],
        )
        rules = [
            *rules_for(private, Private, PrivateWithBody),
            *rules_for(public, Public, PublicWithBody),
        ]
        insert_rules(self.application, rules, [], self.known.rule)
        match = PathMatches.match

        def counted(matcher, request):
            self.asked += 1
            return match(matcher, request)

        monkeypatch.setattr(PathMatches, "match", counted)

    def find(self, path: str, **fields: str) -> tuple[type, dict, int]:
        """Return who answers, with what, and how many rules were asked for it."""
        self.asked = 0
        request = without_client(path, HTTPHeaders({"Host": "localhost", **fields}))
        delegate = self.application.find_handler(request)
        return delegate.handler_class, delegate.handler_kwargs, self.asked


@pytest.fixture
def house(monkeypatch):
    return House(monkeypatch)


@pytest.mark.parametrize(("path", "handler"), [("/base/chat", Private), ("/base/open", Public)])
def test_jupyters_rules_are_asked_once_for_a_path(house, path, handler):
    first, kwargs, asked = house.find(path)
    assert first is handler
    assert asked >= 21
    again, same, asked = house.find(path)
    assert (again, asked) == (handler, 0)
    assert same == kwargs
    assert same["found"].kwargs == {"b": "c"}


def test_a_request_with_a_body_goes_to_the_handler_for_those(house):
    house.find("/base/chat")
    found, _, asked = house.find("/base/chat", **{"Content-Length": "5"})
    assert (found, asked) == (PrivateWithBody, 0)


def test_whether_a_route_needs_a_login_counts_as_it_is_now(house):
    house.find("/base/chat")
    house.manager.table = Table(chat=False)
    assert house.find("/base/chat")[0] is Public
    assert house.find("/base/chat")[0] is Public


def test_a_route_that_is_gone_is_not_found(house):
    house.find("/base/chat")
    house.manager.table = Table()
    assert house.find("/base/chat")[0] is Jupyters


def test_a_rule_that_comes_later_and_stands_before_the_routes_wins(house):
    house.find("/base/chat")
    assert house.find("/base/chat")[2] == 0
    house.application.wildcard_router.rules.insert(3, Rule(PathMatches("/base/chat"), Jupyters))
    assert house.find("/base/chat")[0] is Jupyters
    assert house.find("/base/chat")[0] is Jupyters


def test_an_extension_that_is_loaded_later_wins(house):
    house.find("/base/chat")
    house.application.add_handlers(".*$", [("/base/chat", Jupyters)])
    assert house.find("/base/chat")[0] is Jupyters


def test_where_a_rule_looks_at_more_than_the_path_nothing_is_remembered(house):
    class Sometimes(Matcher):
        def match(self, request):
            return {} if "X-Mine" in request.headers else None

    house.application.wildcard_router.rules.insert(2, Rule(Sometimes(), Jupyters))
    for _ in range(3):
        found, _, asked = house.find("/base/chat")
        assert found is Private
        assert asked >= 21
    assert house.find("/base/chat", **{"X-Mine": "1"})[0] is Jupyters


def test_what_jupyter_answers_is_always_asked_of_it(house):
    for _ in range(3):
        found, _, asked = house.find("/base/jupyter7")
        assert (found, asked) == (Jupyters, 8)


def test_the_paths_that_are_remembered_are_bounded(house, monkeypatch):
    monkeypatch.setattr(knownpaths, "PATHS_AT_MOST", 10)
    house.manager.table.find = lambda path: Table(chat=True).find("/chat")
    for n in range(100):
        house.find(f"/base/chat{n}")
    assert 0 < len(house.known._paths) <= 10
    long = "/base/" + "x" * 300
    house.find(long)
    assert long not in house.known._paths


def test_who_answers_a_path_is_found_behind_the_shortcut(house):
    assert answered_by(house.application, "/base/chat") is None
    assert answered_by(house.application, "/base/jupyter3") == "Jupyters"
