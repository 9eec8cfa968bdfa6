"""What a route's `auth` says of a user, and the attributes that callbacks count on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from jupyter_server.auth import User

from jupyter_wshandler.config.model import AuthConfig
from jupyter_wshandler.kernels.details import describe_user
from jupyter_wshandler.server.access.identity import complete, is_allowed, user_key


def hub_user(name="ada", **model):
    """Return a user as JupyterHub's identity provider makes it."""
    user = User(username=name)
    user.hub_user = {"name": name, "kind": "user", "groups": [], "scopes": [], **model}
    return complete(user)


def test_a_user_of_the_hub_has_groups_scopes_and_kind():
    user = hub_user(groups=["staff"], scopes=["access:servers!user=ada"])
    assert (user.groups, user.scopes, user.kind) == (["staff"], ["access:servers!user=ada"], "user")
    described = describe_user(user)
    assert described["username"] == "ada"
    assert described["groups"] == ["staff"]


def test_what_a_callback_does_to_its_users_groups_is_not_remembered():
    groups = ["staff"]
    hub_user(groups=groups).groups.append("board")
    assert groups == ["staff"]


def test_a_user_of_another_server_has_them_too_and_they_are_empty():
    user = complete(User(username="ada"))
    assert (user.groups, user.scopes, user.kind) == ([], [], "user")
    assert complete(None) is None


def test_attributes_of_an_identity_provider_of_ones_own_are_kept():
    assert complete(SimpleNamespace(username="ada", groups=["own"])).groups == ["own"]


@pytest.mark.parametrize(
    ("auth", "allowed"),
    [
        ({}, True),
        ({"users": ("ada", "bob")}, True),
        ({"users": ("bob",)}, False),
        ({"groups": ("staff", "guests")}, True),
        ({"groups": ("guests",)}, False),
        ({"users": ("ada",), "groups": ("guests",)}, False),
        ({"users": ("ada",), "groups": ("staff",)}, True),
        ({"scopes": ("custom:bot:use",)}, True),
        ({"scopes": ("custom:bot:use!user=ada",)}, True),
        ({"scopes": ("access:servers",)}, False),
        ({"scopes": ("access:servers!user=ada",)}, True),
        ({"groups": ("staff",), "membership": ({"username": ("bob",)},)}, False),
        ({"membership": ({"username": ("bob",)}, {"groups": ("staff",)})}, True),
    ],
)
def test_every_key_that_is_given_must_match(auth, allowed):
    user = hub_user(groups=["staff"], scopes=["custom:bot:use", "access:servers!user=ada"])
    assert is_allowed(user, AuthConfig(**auth)) is allowed


def test_a_service_is_no_user_whatever_its_name():
    service = hub_user(kind="service")
    assert not is_allowed(service, AuthConfig(users=("ada",)))
    assert not is_allowed(service, AuthConfig(membership=({"username": ("ada",)},)))
    named = ({"username": ("ada",), "kind": ("service",)},)
    assert is_allowed(service, AuthConfig(membership=named))
    assert user_key(service) != user_key(hub_user())


def test_nobody_is_in_no_group():
    for auth in ({"users": ("ada",)}, {"groups": ("staff",)}, {"scopes": ("any",)}):
        assert not is_allowed(None, AuthConfig(**auth))
    assert is_allowed(None, AuthConfig())
