"""Who may send from outside, as `c.WSHandlerApp.publishers` says it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from traitlets import TraitError
from traitlets.config import Config, Configurable
from traitlets.config.loader import DeferredConfigList, DeferredConfigString

from jupyter_wshandler.config.model import AuthConfig, Place, RouteConfig
from jupyter_wshandler.manager.push import is_meant
from jupyter_wshandler.routes import Route
from jupyter_wshandler.server.access.publishing import (
    ASKS_ITSELF,
    NOT_ALLOWED,
    NOT_NAMED,
    Publishers,
    PublishingTraits,
)
from jupyter_wshandler.shares.share import Guest


class App(PublishingTraits, Configurable):
    """What has the trait."""


def user(name: str, kind: str = "user") -> SimpleNamespace:
    return SimpleNamespace(username=name, kind=kind, groups=[], scopes=[])


def route(**auth) -> Route:
    place = Place("wshandler.yaml", 1)
    return Route(RouteConfig(name="push", pattern="/push", place=place, auth=AuthConfig(**auth)))


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (DeferredConfigString("ada"), {"user:ada"}),
        (DeferredConfigString("service:grader"), {"service:grader"}),
        (DeferredConfigList(["ada", "bob"]), {"user:ada", "user:bob"}),
        (["ada", "service:grader"], {"user:ada", "service:grader"}),
        ("ada", {"user:ada"}),
        ([], set()),
        ("", set()),
        (DeferredConfigString(""), set()),
    ],
)
def test_one_name_or_several_are_taken_however_they_are_given_and_let_in_nobody_else(typed, found):
    given = App(config=Config(App={"publishers": typed})).publishers
    assert given is not None
    for bots_only in (True, False):
        assert Publishers.of(given, bots_only=bots_only) == Publishers(frozenset(found), False)


def test_what_is_no_name_is_refused_and_so_is_no_word_for_everybody():
    for wrong in (5, [5], {"ada": True}):
        with pytest.raises(TraitError):
            App(config=Config(App={"publishers": wrong}))
    assert not Publishers.of(["**", " *", "all"], bots_only=False).others


def test_unset_it_is_whoever_may_use_the_route_and_with_bots_only_nobody():
    unset = App().publishers
    everybody, nobody = (Publishers.of(unset, bots_only=only) for only in (False, True))
    assert everybody.why_not(user("ada"), route()) == ""
    assert nobody.why_not(user("ada"), route()) == nobody.why_not_at_all(user("ada")) == NOT_NAMED
    starred = Publishers.of(["*"], bots_only=True)
    assert starred.why_not(user("ada"), route()) == ""
    assert starred.why_not(user("ada"), route(users=("bob",))) == NOT_ALLOWED
    assert starred.why_not(user("ada"), route(condition="bot.decides")) == ASKS_ITSELF


def test_a_service_is_no_user_of_its_name_and_a_guest_is_nobody():
    named = Publishers.of(["ada", "service:grader"], bots_only=True)
    assert named.names(user("ada"))
    assert named.names(user("grader", "service"))
    assert not named.names(user("ada", "service"))
    assert not named.names(user("grader"))
    assert not named.names(user("service:grader"))
    assert not named.names(Guest(username="ada"))
    assert named.why_not(user("ada"), route(users=("bob",), condition="bot.decides")) == ""


def test_what_is_for_a_user_is_not_for_a_service_of_the_name():
    ada, service, guest = (
        SimpleNamespace(id=f"c{number}", current_user=user("ada", kind))
        for number, kind in enumerate(("user", "service", "guest"))
    )
    nobody = SimpleNamespace(id="ada", current_user=None)
    everybody = (ada, service, guest, nobody)
    assert [c for c in everybody if is_meant(c, None, "ada")] == [ada, guest]
    assert [c for c in everybody if is_meant(c, None, "service/ada")] == [service]
    assert [c for c in everybody if is_meant(c, "ada", None)] == [*everybody]
    assert [c for c in everybody if is_meant(c, "c1", None)] == [service]
    assert [c for c in everybody if is_meant(c, None, "")] == []
    assert [c for c in everybody if is_meant(c, None, None)] == [*everybody]
