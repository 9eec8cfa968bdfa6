"""Bots that are shared by name, under a real JupyterHub whose bots service is the directory."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from support.directory import ask, hub_with_directory, path_of, share
from support.server import wait_for
from websockets.exceptions import ConnectionClosed

USERS = ["ada", "bob", "carol", "zoë b", "eve@example.org"]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with hub_with_directory(
        tmp_path_factory.mktemp("hub-directory") / "hub",
        users=USERS,
        groups={"staff": ["carol"]},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def hub(service):
    return service.hub


@pytest.fixture(scope="module")
def ada(hub):
    return hub.start("ada")


@pytest.fixture(scope="module")
def bob(service):
    """A browser of bob's, who is logged in at the Hub and has opened the page."""
    return service.person("bob")


def told(browser, where: str) -> dict:
    """Return what a bot says of who talks to it."""
    with browser.connect_sync(where) as socket:
        socket.send("who am I?")
        return json.loads(socket.recv(20))


def closing(socket) -> tuple[int, str]:
    """Wait until the server closes a socket; return code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(30)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_bob_finds_the_bot_opens_it_and_is_bob_without_any_right(service, ada, bob):
    made = share(service.hub, ada, route="pingbot", label="Ping", users=["bob"])
    assert urlsplit(made["url"]).path == service.at(f"wshandler/directory/open/{made['id']}")
    assert "share_token" not in made["url"]
    (entry,) = [it for it in service.listed(bob)["with_me"] if it["id"] == made["id"]]
    assert (entry["owner"], entry["state"], entry["label"]) == ("ada", "running", "Ping")
    answer = service.open(bob, made["id"])
    assert (answer.status, path_of(answer)) == (200, "/user/ada/pingbot"), answer.text
    assert not urlsplit(answer.url).query
    assert "the page of pingbot" in answer.text
    who = told(bob, ada.at("pingbot"))
    assert who["kind"] == "guest"
    assert who["name"] == "bob"
    assert who["username"] == "guest/bob"
    assert who["scopes"] == []
    # And nothing else of ada's server.
    for path in ("other", "api/contents", "wshandler/api/shares", "lab", "room/x"):
        assert bob.fetch(ada.at(path)).status in (302, 403, 404), path
    assert bob.status(ada.at("other")) == 403
    assert bob.status(ada.at("pingbot")) == 101


def test_who_it_is_not_shared_with_sees_nothing_and_gets_nowhere(service, ada):
    made = share(service.hub, ada, route="pingbot", users=["bob"])
    carol = service.person("carol")
    assert made["id"] not in json.dumps(service.listed(carol))
    answer = service.open(carol, made["id"])
    assert answer.status == 403
    assert "not shared with you" in answer.text
    assert carol.status(ada.at("pingbot")) == 403
    assert service.stop_sharing(carol, made["id"]) == 404


def test_a_group_and_its_name_reach_the_bot_and_who_leaves_it_is_put_out(service, hub, ada):
    made = share(hub, ada, route="pingbot", groups=["staff"])
    carol = service.person("carol")
    assert service.open(carol, made["id"]).status == 200
    assert told(carol, ada.at("pingbot"))["groups"] == ["staff"]
    with carol.connect_sync(ada.at("pingbot")) as socket:
        hub.remove_from_group("staff", "carol")
        try:
            assert closing(socket) == (4403, "this is not shared with you any more")
            assert carol.status(ada.at("pingbot")) == 403
        finally:
            hub.add_to_group("staff", "carol")


def test_who_stops_sharing_on_the_page_puts_everybody_out(service, hub, ada, bob):
    made = share(hub, ada, route="pingbot", users=["bob"])
    owner = service.person("ada")
    (entry,) = [it for it in service.listed(owner)["by_me"] if it["id"] == made["id"]]
    assert entry["users"] == ["bob"]
    service.open(bob, made["id"])
    with bob.connect_sync(ada.at("pingbot")) as socket:
        assert service.stop_sharing(bob, made["id"]) == 404
        assert service.stop_sharing(owner, made["id"]) == 204
        assert closing(socket) == (4403, "this is not shared any more")
    assert made["id"] not in json.dumps(service.listed(bob))
    assert service.open(bob, made["id"]).status == 403
    assert bob.status(ada.at("pingbot")) == 403
    # ada's server knows it, too.
    wait_for(lambda: ask(hub, ada, "GET", f"/{made['id']}").status == 404, 10, "the end there")


def test_what_is_revoked_at_the_server_leaves_the_page_and_closes_at_once(service, hub, ada, bob):
    made = share(hub, ada, route="pingbot", users=["bob"])
    service.open(bob, made["id"])
    with bob.connect_sync(ada.at("pingbot")) as socket:
        assert ask(hub, ada, "DELETE", f"/{made['id']}").status == 204
        code, words = closing(socket)
        assert code == 4403
        assert words
    wait_for(
        lambda: made["id"] not in json.dumps(service.listed(bob)), 10, "the end on the page"
    )


def test_a_user_who_is_deleted_is_put_out(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["eve@example.org"])
    eve = service.person("eve@example.org")
    service.open(eve, made["id"])
    with eve.connect_sync(ada.at("pingbot")) as socket:
        hub.ask("DELETE", "users/eve%40example.org")
        assert closing(socket) == (4403, "your account is not there any more")
    assert eve.status(ada.at("pingbot")) == 403
