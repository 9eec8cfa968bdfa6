"""Bots as a service of a real JupyterHub: who gets in, as whom, for how long, and to what."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.hub import running_hub
from support.server import free_port, wait_for
from websockets.exceptions import ConnectionClosed

RECHECK = 2

NOTHING = "404: there is nothing at this address: this server has bots only\n"

CONFIG = f"""
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: {{on_message: bot.who, auth: {{recheck: {RECHECK}s}}, page: page.html}}
  staff:
    pattern: /staff
    handler: WebSocketHandler
    kwargs: {{on_message: bot.who, auth: {{groups: [staff], recheck: {RECHECK}s}}}}
  scoped:
    pattern: /scoped
    handler: WebSocketHandler
    kwargs: {{on_message: bot.who, auth: {{scopes: ['custom:bots:use']}}}}
  ticket: {{pattern: /ticket, handler: WebSocketHandler,
    kwargs: {{on_message: bot.who, xsrf: ticket}}}}
"""

BOT = """
import json


def who(handler, message):
    user = handler.current_user
    names = ("username", "name", "kind", "groups", "scopes")
    return json.dumps({name: getattr(user, name) for name in names})
"""

MODULES = {"bot.py": BOT, "page.html": "<!doctype html><title>A page</title>"}

COMMANDS = {
    "serve": [
        *("-m", "jupyter_wshandler", "serve", "{file}", "--bots-only"),
        "--WSHandlerApp.publishers=service:robot",
    ],
    "singleuser": [
        *("-m", "jupyterhub.singleuser", "--WSHandlerApp.config_file={file}"),
        "--WSHandlerApp.bots_only=True",
        "--WSHandlerApp.publishers=service:robot",
    ],
    "open": ["-m", "jupyter_wshandler", "serve", "{file}"],
}
"""Ways to start a service; the last gives all of Jupyter away."""


@dataclass
class Service:
    """A service as a client of the Hub sees it, where a server is expected."""

    url: str
    folder: Path

    def at(self, path: str) -> str:
        return self.url + path.lstrip("/")

    def log_text(self) -> str:
        return (self.folder / "hub.log").read_text(errors="replace")


def block(name: str, command: list[str], file: Path, home: Path) -> str:
    """Return the lines of a Hub's configuration that add a service."""
    words = [sys.executable, *(word.replace("{file}", str(file)) for word in command)]
    settings = {
        "name": name,
        "url": f"http://127.0.0.1:{free_port()}",
        "command": [*words, "--allow-root", "--WSHandlerApp.session_store=memory://"],
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": ["custom:bots:use"],
        "environment": {"HOME": str(home), "PYTHONUNBUFFERED": "1"},
    }
    return f"c.JupyterHub.services.append({settings!r})\n"


@contextmanager
def running_services(folder: Path, names, **options):
    """Run a Hub with services; yield it and them, by name."""
    routes = folder / "bots"
    routes.mkdir(parents=True)
    for name, text in {**MODULES, "wshandler.yaml": CONFIG}.items():
        (routes / name).write_text(text)
    extra = "c.JupyterHub.custom_scopes = {'custom:bots:use': {'description': 'Use them.'}}\n"
    for name in names:
        extra += block(name, COMMANDS[name], routes / "wshandler.yaml", folder)
    base_url = options.get("base_url", "/")
    with running_hub(folder / "hub", extra_config=extra, **options) as hub:
        services = {}
        for name in names:
            services[name] = service = Service(f"{base_url}services/{name}/", hub.folder)
            client = hub.script()
            health = service.at("wshandler/api/health")
            wait_for(lambda: client.fetch(health).status == 200, 60, name, 0.2)  # noqa: B023
        yield hub, services


@pytest.fixture(scope="module", params=["serve", "singleuser"])
def house(request, tmp_path_factory):
    """Return a Hub at a base_url and its service of bots."""
    access = f"access:services!service={request.param}"
    with running_services(
        tmp_path_factory.mktemp("service"),
        [request.param],
        base_url="/jupyter/",
        users=["ada", "bob", "carol"],
        admins=["root"],
        groups={"staff": ["ada"], "class": ["ada", "bob"]},
        services={"robot": [access]},
        roles=[
            {"name": "class", "groups": ["class"], "scopes": [access]},
            {"name": "use", "users": ["ada"], "scopes": ["custom:bots:use"]},
        ],
    ) as (hub, services):
        yield hub, services[request.param]


@pytest.fixture
def hub(house):
    return house[0]


@pytest.fixture
def service(house):
    return house[1]


def enter(hub, service, user):
    """Return a browser that has logged in at the Hub and opened the bot's page."""
    browser = hub.browser(user)
    page = browser.visit(service.at("bot"))
    assert page.status == 200, (page.url, page.text[-600:])
    assert "A page" in page.text
    return browser


def who(client, where: str) -> dict:
    with client.connect_sync(where) as socket:
        socket.send("who am I?")
        return json.loads(socket.recv(10))


def test_each_user_comes_under_the_name_of_the_hub_with_groups_and_scopes(hub, service):
    seen = who(enter(hub, service, "ada"), service.at("bot"))
    assert (seen["username"], seen["kind"]) == ("ada", "user")
    assert sorted(seen["groups"]) == ["class", "staff"]
    assert "custom:bots:use" in seen["scopes"]
    seen = who(enter(hub, service, "bob"), service.at("bot"))
    assert (seen["username"], seen["groups"]) == ("bob", ["class"])
    assert "custom:bots:use" not in seen["scopes"]
    assert who(enter(hub, service, "root"), service.at("bot"))["username"] == "root"
    robot = hub.script(hub.service_tokens["robot"])
    assert who(robot, service.at("bot"))["kind"] == "service"


def test_who_may_not_use_the_service_is_refused(hub, service):
    carol = hub.browser("carol")
    assert carol.visit(service.at("bot")).status == 403
    assert carol.status(service.at("bot")) == 403
    assert hub.script(hub.token("carol")).status(service.at("bot")) == 403
    assert hub.browser().status(service.at("bot")) == 403


def test_who_talks_to_a_bot_does_not_speak_for_it_but_whom_the_administrator_names(hub, service):
    where = service.at("wshandler/api/routes/bot")
    body = {"method": "POST", "data": b'{"message": "a word to all", "user": "bob"}'}
    with enter(hub, service, "bob").connect_sync(service.at("bot")) as socket:
        for user in ("ada", "bob", "root"):
            answer = hub.script(hub.token(user)).fetch(where, **body)
            assert answer.status == 403
            assert "c.WSHandlerApp.publishers" in answer.text
        assert hub.script().fetch(where, **body).status == 403
        answer = hub.script(hub.service_tokens["robot"]).fetch(where, **body)
        assert (answer.status, json.loads(answer.text)["delivered"]) == (200, 1)
        assert socket.recv(10) == "a word to all"


def test_a_route_asks_for_groups_and_scopes_as_on_a_users_own_server(hub, service):
    ada, bob = enter(hub, service, "ada"), enter(hub, service, "bob")
    for route in ("staff", "scoped"):
        assert ada.status(service.at(route)) == 101
        assert bob.status(service.at(route)) == 403


def test_a_page_gets_tickets_and_the_cookie_alone_opens_nothing(hub, service):
    ada = enter(hub, service, "ada")
    assert ada.status(service.at("ticket")) == 403
    ticketed = ada.ticketed(service, "ticket")
    assert ada.status(ticketed) == 101
    assert ada.status(ticketed) == 403


def ends_with(socket, code: int) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(RECHECK + 20)
    assert closed.value.rcvd.code == code


def test_a_logout_at_the_hub_and_one_at_the_service_close_the_socket(hub, service):
    ada, again = enter(hub, service, "ada"), enter(hub, service, "ada")
    with ada.connect_sync(service.at("bot")) as socket:
        ada.log_out()
        ends_with(socket, 4401)
    with again.connect_sync(service.at("bot")) as socket:
        again.fetch(service.at("logout"))
        ends_with(socket, 4401)
    assert again.status(service.at("bot")) == 403


def test_a_lost_group_closes_the_socket_and_a_revoked_token_as_well(hub, service):
    bob = enter(hub, service, "bob")
    with bob.connect_sync(service.at("bot")) as socket:
        hub.remove_from_group("class", "bob")
        ends_with(socket, 4403)
    hub.add_to_group("class", "bob")
    token = hub.token("ada")
    with hub.script(token).connect_sync(service.at("bot")) as socket:
        hub.revoke("ada", token)
        ends_with(socket, 4401)


VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

ABSENT = [
    *(
        "api",
        "api/status",
        "api/me",
        "api/terminals",
        "api/kernels",
        "api/contents",
        "api/sessions",
    ),
    *("api/contents/bot.py", "api/shutdown", "api/config/x", "api/kernelspecs", "files/bot.py"),
    *("files/", "view/bot.py", "nbconvert/html/x", "lab", "lab/", "tree", "lab/api/settings"),
    *("terminals/1", "terminals/websocket/1", "api/events/subscribe", "user-redirect", "nowhere"),
]


@pytest.mark.parametrize("user", ["ada", "root"])
def test_nothing_but_bots_is_there_for_anybody_with_any_verb(hub, service, user):
    browser, script = enter(hub, service, user), hub.script(hub.token(user))
    for path in ABSENT:
        for verb in VERBS:
            for client in (browser, script):
                answer = client.fetch(service.at(path), method=verb)
                expected = (404, "" if verb == "HEAD" else NOTHING)
                assert (answer.status, answer.text) == expected, (verb, path)
        assert browser.status(service.at(path)) == 404
    assert script.fetch(service.at("metrics")).status == 200
    assert "is a server with bots only" not in service.log_text()
    assert "can also open a terminal" not in service.log_text()


def test_the_root_leads_to_the_first_page(hub, service):
    page = hub.browser("ada").visit(service.at(""))
    assert (page.status, page.url) == (200, hub.door.url(service.at("bot")))


def test_a_service_that_is_not_for_bots_only_gives_a_terminal_and_warns_of_it(tmp_path):
    with running_services(
        tmp_path,
        ["open"],
        users=["ada"],
        roles=[{"name": "all", "users": ["ada"], "scopes": ["access:services!service=open"]}],
    ) as (hub, services):
        service = services["open"]
        script = hub.script(hub.token("ada"))
        # What shows that the tests above can fail.
        assert script.fetch(service.at("api/terminals"), method="POST").status == 200
        assert who(script, service.at("bot"))["username"] == "ada"
        (line,) = [one for one in service.log_text().splitlines() if "open a terminal" in one]
        assert re.search(
            r"use the service open can also .* read files on this server, as \w+", line
        )
        assert "--bots-only" in line
