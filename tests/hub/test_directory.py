"""Bots that are shared by name, under a real JupyterHub whose bots service is the directory."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from support.directory import ask, hub_with_directory, path_of, share
from support.hubapi import START_SECONDS
from support.hubclient import Cookie
from support.server import wait_for
from websockets.exceptions import ConnectionClosed

from jupyter_wshandler.server.directory.codes import digest

USERS = ["ada", "bob", "carol", "zoë b", "eve@example.org"]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with hub_with_directory(
        tmp_path_factory.mktemp("hub-directory") / "hub",
        users=USERS,
        groups={"staff": ["carol"]},
        # The most talkative logs there are: one test looks for secrets in them.
        server_args=["--ServerApp.log_level=DEBUG"],
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
    assert who["username"] == "bob"
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
        assert closing(socket) == (4403, "this is not shared any more")
    wait_for(lambda: made["id"] not in json.dumps(service.listed(bob)), 10, "the end on the page")


def test_a_user_who_is_deleted_is_put_out(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["eve@example.org"])
    eve = service.person("eve@example.org")
    service.open(eve, made["id"])
    with eve.connect_sync(ada.at("pingbot")) as socket:
        hub.ask("DELETE", "users/eve%40example.org")
        assert closing(socket) == (4403, "your account is not there any more")
    assert eve.status(ada.at("pingbot")) == 403


# ---- attacks ---------------------------------------------------------------------------------


def step(browser, where: str):
    """Send a browser to an address; return where the answer sends it on."""
    answer = browser.fetch(where, headers={"Sec-Fetch-Dest": "document"})
    assert answer.status == 302, f"{where}: {answer.status} {answer.text}"
    return urljoin(answer.url, answer.headers["Location"])


def to_the_code(service, browser, made) -> str:
    """Go the way of "open" up to the address with the code, and not there."""
    arrival = step(browser, service.at(f"wshandler/directory/open/{made['id']}"))
    back = step(browser, step(browser, arrival))
    assert "share_code=" in back
    return back


def secret_in(browser, made) -> Cookie:
    """Return the cookie that goes with a code: what the share's server has given the browser."""
    (found,) = [
        cookie
        for cookie in browser.jar.values()
        if cookie.name.startswith("wshandler-arrival") and cookie.path.endswith(made["id"])
    ]
    return found


def test_a_code_opens_once(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["bob"])
    bob = service.person("bob")
    back = to_the_code(service, bob, made)
    kept = dict(bob.jar)
    answer = bob.visit(back)
    assert answer.status == 200
    assert "the page of pingbot" in answer.text
    again = bob.fetch(back)
    assert again.status == 403
    assert "not good for this browser" in again.text
    # Nor for somebody who has all that the browser had, the secret that goes with the code too.
    bob.jar = kept
    assert secret_in(bob, made)
    again = bob.fetch(back)
    assert again.status == 403
    assert "not good here" in again.text


def test_a_code_of_somebody_else_opens_nothing_and_is_used_up(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["bob", "carol"])
    bob, carol = service.person("bob"), service.person("carol")
    bobs = to_the_code(service, bob, made)
    # Carol is sent bob's address, before and after she has begun on a way of her own.
    assert carol.fetch(bobs).status == 403
    to_the_code(service, carol, made)
    answer = carol.fetch(bobs)
    assert answer.status == 403
    assert "not good here" in answer.text
    assert carol.status(ada.at("pingbot")) == 403
    assert bob.fetch(bobs).status == 403


def test_a_code_for_one_bot_opens_no_other_and_at_no_other_server(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["bob"])
    other = share(hub, ada, route="other", users=["bob"])
    room = share(hub, ada, route="rooms", path="/room/one", users=["bob"])
    second = hub.start("ada", "second-lab")
    there = share(hub, second, route="pingbot", users=["bob"])
    bob = service.person("bob")
    for elsewhere, wrong in ((ada, other), (ada, room), (second, there), (second, made)):
        # With a way begun there, too, and by the same secret: it is not what is missing.
        if wrong is not made:
            to_the_code(service, bob, wrong)
        code = parse_qs(urlsplit(to_the_code(service, bob, made)).query)["share_code"][0]
        if wrong is not made:
            secret_in(bob, wrong).value = secret_in(bob, made).value
        where = elsewhere.at(f"wshandler/shared/{wrong['id']}?share_code={code}")
        answer = bob.fetch(where, headers={"Sec-Fetch-Dest": "document"})
        assert answer.status == 403, (where, answer.text)
        assert "wshandler-guest" not in str(answer.headers)
    for where in (ada.at("other"), ada.at("room/one"), second.at("pingbot")):
        assert bob.status(where) == 403, where


def token_of(server) -> str:
    """Return the Hub token of a user's server, as the account that runs it can."""
    environ = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    found = dict(line.partition(b"=")[::2] for line in environ)
    return found[b"JUPYTERHUB_API_TOKEN"].decode()


def told_by_service(service, method: str, path: str, token: str, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    return service.hub.script(token).fetch(
        service.at(f"wshandler/directory/servers/{path}"), method=method, data=data, headers=headers
    )


def test_another_server_of_the_same_owner_redeems_no_code_and_changes_no_share(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["bob"])
    other = token_of(hub.start("ada", "second-lab"))
    bob = service.person("bob")
    back = urlsplit(to_the_code(service, bob, made))
    body = {
        "code": parse_qs(back.query)["share_code"][0],
        "share": made["id"],
        "path": "/pingbot",
        "state": digest(secret_in(bob, made).value),
    }
    answer = told_by_service(service, "POST", "redeem", other, body)
    assert (answer.status, "bob" in answer.text) == (403, False), answer.text
    taken = {"id": made["id"], "route": "x", "path": "/x", "users": ["bob"]}
    answer = told_by_service(service, "PUT", f"shares/{made['id']}", other, taken)
    assert answer.status == 400
    assert "another server" in answer.text
    assert told_by_service(service, "DELETE", f"shares/{made['id']}", other).status == 404
    check = {"ask": [{"share": made["id"], "user": "carol"}]}
    (verdict,) = told_by_service(service, "POST", "check", other, check).json()["answers"]
    assert (verdict["allowed"], verdict["groups"]) == (False, [])


def test_a_users_server_finds_out_nothing_about_who_has_never_come(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["bob", "nobody"], groups=["staff"])
    names = ["bob", "carol", "zoë b", "nobody"]
    check = {"ask": [{"share": made["id"], "user": name} for name in names]}
    answer = told_by_service(service, "POST", "check", token_of(ada), check)
    told = answer.json()["answers"]
    assert len(told) == len(names)
    assert all(verdict == told[0] for verdict in told)
    assert (told[0]["allowed"], told[0]["groups"]) == (False, [])
    service.open(service.person("carol"), made["id"])
    answer = told_by_service(service, "POST", "check", token_of(ada), check)
    told = answer.json()["answers"]
    assert [verdict["groups"] for verdict in told] == [[], ["staff"], [], []]


def test_only_the_token_of_a_users_server_counts_there_and_no_page_asks(service, hub, ada):
    good = token_of(ada)
    assert told_by_service(service, "GET", "shares", good).status == 200
    addresses = [
        ("GET", "about", None),
        ("GET", "shares", None),
        ("PUT", "shares/share-one", {"id": "share-one"}),
        ("DELETE", "shares/share-one", None),
        ("POST", "redeem", {"code": "x", "share": "x", "path": "/", "state": "x"}),
        ("POST", "check", {"ask": []}),
    ]
    bobs = service.person("bob")
    for method, path, body in addresses:
        for token in ("", hub.token("ada"), hub.api_token, "made-up"):
            answer = told_by_service(service, method, path, token, body)
            assert answer.status == 403, (method, path, answer.text)
        answer = told_by_service(service, method, path, good, body, Origin=hub.door.origin)
        assert answer.status == 403
        where = service.at(f"wshandler/directory/servers/{path}")
        assert bobs.fetch(where, method=method, data=b"{}" if body else None).status == 403
    for method in ("PATCH", "OPTIONS", "HEAD"):
        assert told_by_service(service, method, "shares", "").status in (403, 405)


def test_people_need_a_login_and_services_are_no_people(service, hub):
    for path in ("", "/open/share-one", "/code/share-one?share_state=" + "0" * 64):
        answer = hub.browser().fetch(service.at(f"wshandler/directory{path}"))
        assert answer.status == 302
        assert "/hub/api/oauth2/authorize" in answer.headers["Location"]
    for path in ("api/directory", "api/directory/share-one"):
        assert hub.browser().fetch(service.at(f"wshandler/{path}")).status == 403


def test_no_picture_or_frame_tells_its_author_who_looks_at_it(service, hub, ada, bob):
    made = share(hub, ada, route="pingbot", users=["bob"])
    for dest in ("image", "iframe", "script", "empty"):
        for where in (
            service.at(f"wshandler/directory/open/{made['id']}"),
            service.at(f"wshandler/directory/code/{made['id']}?share_state={'0' * 64}"),
            ada.at(f"wshandler/shared/{made['id']}"),
        ):
            assert bob.fetch(where, headers={"Sec-Fetch-Dest": dest}).status == 403, (dest, where)


def test_the_way_of_a_code_leaves_no_trace(service, hub, ada):
    made = share(hub, ada, route="pingbot", users=["bob"])
    bob = service.person("bob")
    arrival = step(bob, service.at(f"wshandler/directory/open/{made['id']}"))
    for where in (arrival, step(bob, arrival)):
        answer = bob.fetch(where, headers={"Sec-Fetch-Dest": "document"})
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
    back = to_the_code(service, bob, made)
    code = parse_qs(urlsplit(back).query)["share_code"][0]
    answer = bob.fetch(back, headers={"Sec-Fetch-Dest": "document"})
    assert answer.status == 302
    assert "share_code" not in answer.headers["Location"]
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    (line,) = [it for it in answer.headers.get_all("Set-Cookie") if "wshandler-guest" in it]
    assert "HttpOnly" in line
    assert "Path=/user/ada/pingbot" in line
    assert "SameSite=Lax" in line
    secrets = [code, token_of(ada), line.partition(";")[0].partition("=")[2]]
    for name, text in hub.logs().items():
        for secret in secrets:
            assert secret not in text, name


# ---- servers and services that come and go --------------------------------------------------


def state_of(service, browser, made) -> str:
    """Return what the page says of a bot's server."""
    (entry,) = [it for it in service.listed(browser)["with_me"] if it["id"] == made["id"]]
    return entry["state"]


def test_a_share_outlives_its_server_and_the_page_says_that_it_is_stopped(service, hub, ada, bob):
    made = share(hub, ada, route="pingbot", users=["bob"])
    service.open(bob, made["id"])
    hub.stop("ada")
    # The Hub is asked again after a moment.
    wait_for(lambda: state_of(service, bob, made) == "stopped", 20, "the server's state")
    answer = service.open(bob, made["id"])
    assert answer.status == 503
    assert "ada&#x27;s server is stopped" in answer.text
    again = hub.start("ada")
    wait_for(lambda: state_of(service, bob, made) == "running", 20, "the server's state")
    assert service.open(bob, made["id"]).status == 200
    assert told(bob, again.at("pingbot"))["name"] == "bob"


def test_what_is_shared_survives_the_kill_of_the_service(service, hub):
    server = hub.start("ada")
    made = share(hub, server, route="pingbot", users=["bob"])
    bob = service.person("bob")
    (pid,) = pids_of(hub)
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        answer = bob.fetch(service.at("wshandler/api/directory"))
        return answer.status == 200 and made["id"] in answer.text

    # The Hub starts it again.
    wait_for(back, START_SECONDS, "the service")
    assert service.open(bob, made["id"]).status == 200


def pids_of(hub) -> list[int]:
    """Return the process of the service, a child of the Hub's."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            if f"PPid:\t{hub.hub_process.pid}\n" in status.read_text():
                command = (status.parent / "cmdline").read_bytes()
                if b"session_store=" in command:
                    found.append(int(status.parent.name))
    return found


# ---- where the directory is not what it needs to be -----------------------------------------


def test_who_may_be_named_is_checked_and_nobody_is_let_in_by_a_plain_link(service, hub):
    server = hub.start("ada")
    answer = ask(hub, server, "POST", "", {"route": "pingbot"})
    assert answer.status == 403
    assert "--WSHandlerApp.guests=links" in answer.text
    answer = ask(hub, server, "POST", "", {"route": "pingbot", "users": [" "]})
    assert answer.status == 400
    assert "users" in answer.text
    answer = ask(hub, server, "POST", "", {"route": "rooms", "path": "/room/é", "users": ["bob"]})
    assert answer.status == 201, answer.text
    bob = service.person("bob")
    opened = service.open(bob, answer.json()["id"])
    assert (opened.status, path_of(opened)) == (200, "/user/ada/room/%C3%A9"), opened.text
    assert bob.status(server.at("room/%C3%A9")) == 101
    assert bob.status(server.at("room/e")) == 403
