"""`jupyter wshandler share` in a terminal of a user's server, under a real JupyterHub."""

from __future__ import annotations

import json

import pytest
from support.bots import bot_text
from support.hub import running_hub

from jupyter_wshandler.client import connect
from jupyter_wshandler.errors import HandshakeRefused

CONFIG = """
url:
  run: {pattern: /run, handler: WebSocketHandler, kwargs: {on_message: inside.run, timeout: 90s}}
  who: {pattern: /who, handler: WebSocketHandler, kwargs: {on_message: inside.who}}
"""

HOOK = """
def settings(spawner):
    if spawner.user.name == "ada":
        spawner.args = [*spawner.args, "--WSHandlerApp.guests=links"]
        spawner.environment = {**spawner.environment, "JUPYTERHUB_PUBLIC_URL": PUBLIC}

c.Spawner.pre_spawn_hook = settings
PUBLIC = "https://hub.example.org/user/ada/"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-share") / "hub",
        CONFIG,
        modules={"inside.py": bot_text("share_inside")},
        users=["ada", "bob"],
        extra_config=HOOK,
    ) as running:
        yield running


def in_a_terminal(hub, user: str, *arguments: str) -> dict:
    """Return what a command has left behind that a user has run in a terminal of their server."""
    server = hub.start(user)
    with hub.script(hub.token(user)).connect_sync(server.at("run")) as terminal:
        terminal.send(json.dumps(arguments))
        return json.loads(terminal.recv(timeout=90))


def test_the_command_finds_the_users_server_and_its_link_works_through_the_hub(hub):
    made = in_a_terminal(hub, "ada", "share", "/who", "--json")
    assert made["code"] == 0, made["said"]
    found = json.loads(made["out"])
    assert found["url"].startswith("https://hub.example.org/user/ada/who?share_token=")
    path = found["url"].removeprefix("https://hub.example.org")
    link = hub.door.url(path)
    with connect(link) as bot:
        bot.send("hi")
        assert bot.recv_json() == {"kind": "guest", "said": "hi"}
        listed = in_a_terminal(hub, "ada", "share", "--list", "--json")
        assert [each["guests"] for each in json.loads(listed["out"])["shares"]] == [1]
        ended = in_a_terminal(hub, "ada", "share", "--revoke", found["id"])
        assert "1 guest had to leave" in ended["said"]
    with pytest.raises(HandshakeRefused, match="Ask whoever gave you this link"):
        connect(link).open()


def test_a_message_to_all_who_are_connected_goes_to_the_users_own_server(hub):
    server = hub.start("ada")
    with hub.script(hub.token("ada")).connect_sync(server.at("who")) as one:
        ended = in_a_terminal(hub, "ada", "send", "/who", "Back in five minutes", "--user", "ada")
        assert ended["out"] == "Sent to 1 connection of ada to who.\n", ended["said"]
        assert one.recv(timeout=10) == "Back in five minutes"
        listed = json.loads(in_a_terminal(hub, "ada", "routes", "--json")["out"])["routes"]
        assert {route["name"]: route["connections"] for route in listed} == {"run": 1, "who": 1}


def test_where_the_administrator_has_not_switched_guests_on_a_user_is_told_who_can(hub):
    refused = in_a_terminal(hub, "bob", "share", "/who")
    assert (refused["code"], refused["out"]) == (1, "")
    assert "until its administrator switches them on" in refused["said"]
    assert '"--WSHandlerApp.guests=links" in c.Spawner.args' in refused["said"]
