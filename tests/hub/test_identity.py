"""Who gets in under a real JupyterHub: users and their names, shares, groups, scopes, rules."""

from __future__ import annotations

import json
import textwrap

import pytest
from support.bots import bot_text
from support.hub import running_hub

ADDRESS, SPACE = "a@b.c", "zoë b"

SCOPE = "custom:bots:use"

RULES = {
    "open": "true",
    "users": "{users: [ada]}",
    "groups": "{groups: [staff, board]}",
    "scopes": f"{{scopes: ['{SCOPE}']}}",
    "function": "{function: bot.may}",
    "condition": "{condition: bot.may(handler)}",
    "member": "{membership: {username: [bob, ada]}}",
    "staff": "{membership: {groups: staff}}",
    "either": "{membership: [{groups: staff}, {username: bob}]}",
    "both": "{users: [ada, bob], groups: [staff]}",
    "kind": "{membership: {kind: service}}",
    "nobody": "{users: [ada], groups: [board]}",
}

ADMITTED = {
    "open": {"ada", "bob", "root", "service"},
    "users": {"ada"},
    "groups": {"ada"},
    "scopes": {"ada"},
    "function": {"bob", "root"},
    "condition": {"bob", "root"},
    "member": {"ada", "bob"},
    "staff": {"ada"},
    "either": {"ada", "bob"},
    "both": {"ada"},
    "kind": {"service"},
    "nobody": set(),
}

CONFIG = "url:\n" + "".join(
    f"  {name}: {{pattern: /{name}, handler: WebSocketHandler,\n"
    f"    kwargs: {{on_message: bot.who, auth: {rule}, page: page.html}}}}\n"
    for name, rule in RULES.items()
)

BOT = bot_text("hub_identity")

EXTRA = f"""
c.JupyterHub.custom_scopes = {{"{SCOPE}": {{"description": "Use the bots."}}}}
# Without this a browser's login at a server does not carry the scope.
c.Spawner.oauth_client_allowed_scopes = ["{SCOPE}"]
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-identity") / "hub",
        CONFIG,
        modules={"bot.py": BOT, "page.html": "<!doctype html><title>A page</title>"},
        users=["ada", "bob", "carol", ADDRESS, SPACE],
        admins=["root"],
        groups={"staff": ["ada", SPACE], "readers": ["ada"], "board": []},
        # A service may have the name of a user.
        services={"ada": ["access:servers"]},
        roles=[
            {"name": "bots", "users": ["ada"], "scopes": [SCOPE]},
            {"name": "guests", "groups": ["board"], "scopes": ["access:servers!server=ada/"]},
        ],
        extra_config=EXTRA,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(hub):
    """Return ada's server."""
    return hub.start("ada")


@pytest.fixture(scope="module")
def visitors(hub, server):
    """Return the browsers and scripts that the Hub lets use ada's server."""
    hub.share(server, user="bob")
    return {
        "ada": hub.browser("ada", server),
        "bob": hub.browser("bob", server),
        "root": hub.browser("root", server),
        "service": hub.script(hub.service_tokens["ada"]),
    }


def who(client, where: str) -> dict:
    """Ask a bot whom it sees."""
    with client.connect_sync(where) as socket:
        socket.send("who am I?")
        return json.loads(socket.recv(10))


def test_the_owner_of_a_server_gets_in_as_the_user_of_the_hub(visitors, server):
    assert visitors["ada"].status(server.at("open")) == 101
    seen = who(visitors["ada"], server.at("open"))
    assert (seen["username"], seen["name"], seen["kind"]) == ("ada", "ada", "user")


def test_another_user_of_the_hub_is_refused(hub, server):
    carol = hub.browser("carol")
    assert carol.visit(server.at("open")).status == 403
    assert carol.login_cookie(server) is None
    assert carol.status(server.at("open")) == 403


def test_who_is_not_logged_in_is_refused(hub, server):
    assert hub.browser().status(server.at("open")) == 403
    assert hub.script().status(server.at("open")) == 403


def test_the_page_of_a_route_leads_through_the_hubs_login_and_back(hub, server):
    browser = hub.browser()
    login = browser.visit(server.at("open"))
    assert login.status == 200
    assert "/hub/login" in login.url
    page = hub.browser("ada").visit(server.at("open"))
    assert (page.status, page.url) == (200, hub.door.url(server.at("open")))
    assert "A page" in page.text


def test_a_shared_server_lets_the_other_user_in_as_that_user_and_nobody_else(hub, server):
    assert hub.browser("carol").status(server.at("open")) == 403
    hub.share(server, user="carol")
    carol = hub.browser("carol", server)
    assert who(carol, server.at("open"))["username"] == "carol"
    assert hub.browser(ADDRESS).visit(server.at("open")).status == 403
    hub.unshare(server, user="carol")
    again = hub.browser("carol")
    assert again.visit(server.at("open")).status == 403
    assert again.status(server.at("open")) == 403


def test_a_role_that_gives_a_group_access_lets_its_members_in(hub, server):
    assert hub.browser("carol").visit(server.at("open")).status == 403
    hub.add_to_group("board", "carol")
    try:
        seen = who(hub.browser("carol", server), server.at("groups"))
        assert (seen["username"], seen["groups"]) == ("carol", ["board"])
    finally:
        hub.remove_from_group("board", "carol")
    assert hub.browser("carol").visit(server.at("groups")).status == 403


@pytest.mark.parametrize(("name", "groups"), [(ADDRESS, []), (SPACE, ["staff"])])
def test_a_name_that_a_url_has_to_escape_works_like_any_other(hub, name, groups):
    server = hub.start(name)
    owner = hub.browser(name, server)
    seen = who(owner, server.at("open"))
    assert (seen["username"], seen["groups"]) == (name, groups)
    assert owner.visit(server.at("open")).url == hub.door.url(server.at("open"))
    assert who(hub.script(hub.token(name)), server.at("open"))["username"] == name
    assert owner.status(server.at("staff")) == (101 if groups else 403)
    assert hub.browser("ada").visit(server.at("open")).status == 403
    hub.stop(name)


def test_a_named_server_is_its_owners_and_has_a_login_of_its_own(hub, server, visitors):
    named = hub.start("ada", "lab-2")
    assert named.url != server.url
    # The cookie of the one server is not sent to the other, nor does a share reach it.
    assert visitors["bob"].status(named.at("open")) == 403
    owner = hub.browser("ada", named)
    assert who(owner, named.at("open"))["username"] == "ada"
    assert owner.status(named.at("users")) == 101
    assert visitors["bob"].visit(named.at("open")).status == 403
    hub.stop("ada", "lab-2")


def test_a_bot_sees_groups_and_scopes_of_its_user(visitors, server):
    seen = who(visitors["ada"], server.at("open"))
    assert sorted(seen["groups"]) == ["readers", "staff"]
    assert f"access:servers!server={server.user}/" in seen["scopes"]
    assert SCOPE in seen["scopes"]
    seen = who(visitors["bob"], server.at("open"))
    assert seen["groups"] == []
    assert f"access:servers!server={server.user}/" in seen["scopes"]
    assert SCOPE not in seen["scopes"]


def test_a_bot_sees_that_a_service_is_no_user(visitors, server):
    seen = who(visitors["service"], server.at("open"))
    assert (seen["username"], seen["kind"], seen["groups"]) == ("ada", "service", [])
    assert "access:servers" in seen["scopes"]


@pytest.mark.parametrize("route", RULES)
def test_a_rule_admits_whom_it_names_and_refuses_everybody_else(visitors, server, route):
    found = {name: client.status(server.at(route)) for name, client in visitors.items()}
    assert found == {name: 101 if name in ADMITTED[route] else 403 for name in visitors}


def test_a_token_has_the_groups_of_its_user_but_only_its_own_scopes(hub, server):
    access = f"access:servers!server={server.user}/"
    poor = hub.script(hub.token("ada", [access, "read:users:groups!user=ada"]))
    assert poor.status(server.at("groups")) == 101
    assert poor.status(server.at("users")) == 101
    assert poor.status(server.at("scopes")) == 403
    rich = hub.script(hub.token("ada", [access, SCOPE]))
    assert rich.status(server.at("scopes")) == 101


def test_a_refusal_is_logged_with_its_user_and_route(visitors, server):
    assert visitors["bob"].status(server.at("nobody")) == 403
    lines = [line for line in server.log_text().splitlines() if "Route nobody: 403" in line]
    assert any("bob" in line for line in lines), textwrap.shorten(server.log_text()[-800:], 800)
