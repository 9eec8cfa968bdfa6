"""Sharing by name where names are unusual: a base URL, a named server, an accent, subdomains."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from support.directory import hub_with_directory, share

OWNER, GUEST, MEMBER = "zoë b", "eve@example.org", "jörg"


@pytest.fixture(scope="module", params=[None, "hub.localhost"], ids=["one host", "subdomains"])
def service(request, tmp_path_factory):
    with hub_with_directory(
        tmp_path_factory.mktemp("hub-directory-names") / "hub",
        users=[OWNER, GUEST, MEMBER],
        groups={"die Belegschaft": [MEMBER]},
        base_url="/jupyter/",
        subdomain_host=request.param,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def server(service):
    # In the name of a server the Hub takes letters, digits, "-" and "_" only.
    return service.hub.start(OWNER, "lab-2")


def name_at(browser, where: str) -> str:
    with browser.connect_sync(where) as socket:
        socket.send("who am I?")
        return json.loads(socket.recv(20))["name"]


def test_a_named_server_lets_people_in_by_name_wherever_it_is(service, server):
    made = share(service.hub, server, route="pingbot", users=[GUEST], groups=["die Belegschaft"])
    where = urlsplit(made["url"])
    assert where.path == urlsplit(service.at(f"wshandler/directory/open/{made['id']}")).path
    assert where.netloc == urlsplit(service.origin or service.hub.door.origin).netloc
    for user in (GUEST, MEMBER):
        person = service.person(user)
        (entry,) = service.listed(person)["with_me"]
        assert (entry["owner"], entry["server"], entry["state"]) == (OWNER, "lab-2", "running")
        # By the link that the owner has been given, and may have sent.
        answer = person.visit(made["url"])
        assert answer.status == 200, answer.text
        assert "the page of pingbot" in answer.text
        assert answer.url == service.hub.door.url(server.at("pingbot"))
        assert name_at(person, server.at("pingbot")) == user
        assert person.status(server.at("other")) == 403


def test_the_owner_opens_their_own_bot_with_their_own_login(service, server):
    made = share(service.hub, server, route="pingbot", users=[GUEST])
    owner = service.person(OWNER)
    assert made["id"] in [entry["id"] for entry in service.listed(owner)["by_me"]]
    answer = service.open(owner, made["id"])
    assert answer.status == 200, answer.text
    with owner.connect_sync(server.at("pingbot")) as socket:
        socket.send("who am I?")
        who = json.loads(socket.recv(20))
    assert (who["kind"], who["username"]) == ("user", OWNER)
