"""Tokens under a real JupyterHub: where they may stand, what they must be good for."""

from __future__ import annotations

import pytest
from support.hub import running_hub

CONFIG = """
url:
  chat: {pattern: /chat, handler: WebSocketHandler, kwargs: {on_message: bot.who, page: page.html}}
"""

BOT = """
def who(handler, message):
    return handler.current_user.username
"""

STRICT = "strict"
"""The named server that takes no cookie for a socket."""

EXTRA = f"""
c.Spawner.environment["JUPYTERHUB_ALLOW_WEBSOCKET_COOKIE_AUTH"] = (
    lambda spawner: "0" if spawner.name == "{STRICT}" else "1"
)
c.JupyterHub.log_level = "DEBUG"
"""

WEBSOCKET = {"Sec-Fetch-Mode": "websocket"}
"""What every browser says of a WebSocket, and no page can change."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-tokens") / "hub",
        CONFIG,
        modules={"bot.py": BOT, "page.html": "<!doctype html><title>A page</title>"},
        services={"caller": ["access:servers"], "reader": ["list:users"]},
        # The most talkative logs there are: one test looks for tokens in them.
        server_args=["--ServerApp.log_level=DEBUG"],
        proxy_args=["--log-level=debug"],
        extra_config=EXTRA,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(hub):
    return hub.start("ada")


@pytest.fixture(scope="module")
def strict(hub):
    return hub.start("ada", STRICT)


def user_seen(client, where: str, **options) -> str:
    with client.connect_sync(where, **options) as socket:
        socket.send("who am I?")
        return socket.recv(10)


@pytest.mark.parametrize("scheme", ["token", "Bearer"])
def test_a_script_gets_in_with_a_token_in_the_authorization_field(hub, server, scheme):
    headers = {"Authorization": f"{scheme} {hub.token('ada')}"}
    assert user_seen(hub.script(), server.at("chat"), headers=headers) == "ada"


def test_a_token_that_the_hub_does_not_know_is_refused(hub, server):
    assert hub.script("0123456789abcdef").status(server.at("chat")) == 403


def test_a_revoked_token_opens_nothing_new(hub, server):
    token = hub.token("ada")
    hub.revoke("ada", token)
    assert hub.script(token).status(server.at("chat")) == 403


def test_a_token_in_the_query_counts_only_where_the_browser_says_that_it_is_a_websocket(
    hub, server
):
    where = f"{server.at('chat')}?token={hub.token('ada')}"
    assert user_seen(hub.script(), where, headers=WEBSOCKET) == "ada"
    assert hub.script().status(where) == 403
    assert hub.script().status(where, headers={"Sec-Fetch-Mode": "navigate"}) == 403
    assert hub.script().status(where, headers={"Sec-Fetch-Mode": "cors"}) == 403


def test_a_token_in_the_query_speaks_for_itself_in_another_users_browser(hub, server):
    bob = hub.browser("bob")
    assert bob.status(server.at("chat")) == 403
    assert user_seen(bob, f"{server.at('chat')}?token={hub.token('ada')}") == "ada"


def test_a_bad_token_in_the_query_does_not_shut_out_a_good_cookie(hub, server):
    ada = hub.browser("ada", server)
    assert user_seen(ada, f"{server.at('chat')}?token=0123456789abcdef") == "ada"


def test_a_server_that_takes_no_cookies_for_sockets_refuses_a_cookie_alone(hub, server, strict):
    browser = hub.browser("ada", strict).enter(server)
    assert browser.status(server.at("chat")) == 101
    assert browser.status(strict.at("chat")) == 403
    # The cookie is good for everything else, the page of the route included.
    assert browser.fetch(strict.at("chat"), headers={"Sec-Fetch-Mode": "navigate"}).status == 200
    assert browser.login_cookie(strict) is not None


def test_a_server_that_takes_no_cookies_for_sockets_takes_tokens(hub, strict):
    token = hub.token("ada")
    browser = hub.browser("ada", strict)
    assert user_seen(browser, f"{strict.at('chat')}?token={token}") == "ada"
    assert user_seen(hub.script(token), strict.at("chat")) == "ada"


@pytest.mark.parametrize(
    ("user", "scopes"),
    [
        ("ada", ["read:users:name!user=ada"]),
        ("ada", ["tokens!user=ada", "servers!user=ada"]),
        ("ada", [f"access:servers!server=ada/{STRICT}"]),
        ("bob", None),
        ("bob", ["access:servers!user=bob"]),
    ],
    ids=["reads", "manages", "another-server", "another-user", "another-users-server"],
)
def test_a_token_without_access_to_the_server_is_refused(hub, server, strict, user, scopes):
    token = hub.token(user, scopes)
    assert hub.script(token).status(server.at("chat")) == 403
    where = f"{server.at('chat')}?token={token}"
    assert hub.script().status(where, headers=WEBSOCKET) == 403


@pytest.mark.parametrize("scopes", [["access:servers!server=ada/"], ["access:servers!user=ada"]])
def test_a_token_needs_nothing_but_access_to_the_server(hub, server, scopes):
    assert user_seen(hub.script(hub.token("ada", scopes)), server.at("chat")) == "ada"


def test_a_service_gets_in_where_its_role_gives_it_access(hub, server):
    assert user_seen(hub.script(hub.service_tokens["caller"]), server.at("chat")) == "caller"
    assert hub.script(hub.service_tokens["reader"]).status(server.at("chat")) == 403
    where = f"{server.at('chat')}?token={hub.service_tokens['caller']}"
    assert user_seen(hub.script(), where, headers=WEBSOCKET) == "caller"


def test_no_token_and_no_cookie_is_in_any_log(hub, server, strict):
    good, poor, bad = hub.token("ada"), hub.token("ada", ["tokens!user=ada"]), "a" * 32
    browser = hub.browser("ada", server).enter(strict)
    before = {name: len(text) for name, text in hub.logs().items()}
    for token in (good, poor, bad):
        for at in (server, strict):
            hub.script(token).status(at.at("chat"))
            hub.script().status(f"{at.at('chat')}?token={token}", headers=WEBSOCKET)
            hub.script().status(f"{at.at('chat')}?token={token}")
            hub.script().fetch(f"{at.at('chat')}?token={token}")
            browser.status(f"{at.at('chat')}?token={token}")
            browser.visit(f"{at.at('chat')}?token={token}")
    browser.log_out()
    logs = hub.logs()
    assert set(logs) >= {"hub.log", "proxy.log", server.log_path.name, strict.log_path.name}
    for name in (server.log_path.name, strict.log_path.name, "proxy.log", "hub.log"):
        assert len(logs[name]) > before[name], f"{name} says nothing at all"
    secrets = {
        "good token": good,
        "token without access": poor,
        "unknown token": bad,
        "service's token": hub.service_tokens["caller"],
        **{f"cookie {c.name} of {c.path}": c.value.strip('"') for c in browser.jar.values()},
    }
    secrets = {what: secret for what, secret in secrets.items() if "_xsrf" not in what}
    found = [
        (what, name) for what, secret in secrets.items() for name in logs if secret in logs[name]
    ]
    assert not found
