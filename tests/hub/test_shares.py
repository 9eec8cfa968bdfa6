"""Guests under a real JupyterHub: off until the administrator says so, and then strangers."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from support.bots import bot_text
from support.hub import running_hub

CONFIG = """
url:
  who:
    pattern: /who
    handler: WebSocketHandler
    kwargs: {on_message: shared.who, auth: {recheck: 300ms}}
  other: {pattern: /other, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
"""

HOOK = """
def settings(spawner):
    if spawner.user.name == "ada":
        spawner.args = [*spawner.args, "--WSHandlerApp.guests=links"]

c.Spawner.pre_spawn_hook = settings
"""

API = "wshandler/api/shares"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-shares") / "hub",
        CONFIG,
        modules={"shared.py": bot_text("shared")},
        users=["ada", "bob"],
        extra_config=HOOK,
    ) as running:
        yield running


def shared(hub, user: str):
    """Share a user's bot as the user; return the server and the answer."""
    server = hub.start(user)
    sent = {"Content-Type": "application/json"}
    data = json.dumps({"route": "who", "label": "Class"}).encode()
    script = hub.script(hub.token(user))
    return server, script.fetch(server.at(API), method="POST", headers=sent, data=data)


def test_guests_are_off_until_the_administrator_switches_them_on_and_the_words_say_how(hub):
    _, answer = shared(hub, "bob")
    assert answer.status == 403
    assert '"--WSHandlerApp.guests=links" in c.Spawner.args' in answer.json()["message"]


def test_a_guest_is_let_into_the_one_route_and_the_hub_never_sees_the_token(hub):
    server, answer = shared(hub, "ada")
    assert answer.status == 201, answer.text
    token = parse_qs(urlsplit(answer.json()["url"]).query)["share_token"][0]
    guest = hub.script(token)
    fields = {"Authorization": f"Bearer {token}"}
    with guest.connect_sync(server.at("who"), headers=fields) as ws:
        for _ in range(6):  # several periods of `recheck`
            ws.send("hi")
            found = json.loads(ws.recv(timeout=10))
            assert (found["kind"], found["name"]) == ("guest", "Class")
            with pytest.raises(TimeoutError):
                ws.recv(timeout=0.1)
    for where in ("other", "api/contents", "api/kernels", "lab", API, "wshandler/api/tickets"):
        stranger = hub.script().fetch(server.at(where))
        assert guest.fetch(server.at(where), headers=fields).status == stranger.status
    assert guest.status(server.at("other"), headers=fields) == 403
    # A script of another user of the Hub is no guest, and has no rights for the link.
    assert hub.script(hub.token("bob")).status(server.at("who")) == 403


def test_a_link_opens_for_who_is_logged_in_at_the_hub_as_somebody_else(hub):
    server, answer = shared(hub, "ada")
    token = parse_qs(urlsplit(answer.json()["url"]).query)["share_token"][0]
    bob = hub.browser("bob", hub.start("bob"))
    link = bob.fetch(f"{server.at('who')}?share_token={token}", headers={"Accept": "text/html"})
    assert link.status == 302
    with bob.connect_sync(server.at("who")) as ws:
        ws.send("hi")
        found = json.loads(ws.recv(timeout=10))
    assert found["kind"] == "guest"
    ada = hub.browser("ada", server)
    ada.fetch(f"{server.at('who')}?share_token={token}", headers={"Accept": "text/html"})
    with ada.connect_sync(server.at("who")) as ws:
        ws.send("hi")
        found = json.loads(ws.recv(timeout=10))
    assert (found["kind"], found["username"]) == ("user", "ada")
