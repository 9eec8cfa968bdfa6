"""What an administrator of a JupyterHub can hold against its users' own settings, and what not."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.hub import running_hub
from support.notebook import notebook
from support.server import running_server, wait_for

ROUTES = """
url:
  report: {pattern: /report, handler: WebSocketHandler, kwargs: {on_message: bot.report}}
  shared: {pattern: /shared, handler: WebSocketHandler, kwargs: {on_message: bot.admins}}
  owners:
    pattern: /owners
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, auth: {users: [closed]}}
  limited:
    pattern: /limited
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, max_connections: {user: 2}}
"""

BOT = bot_text("hub_levers")

OWN = """
# A user's own settings: as much freedom as there is.
c.WSHandlerApp.config_file = {home!r} + "/own.yaml"
c.WSHandlerApp.enforce = {{}}
c.WSHandlerApp.defaults = {{"max_message": "8MiB"}}
c.WSHandlerApp.allow_public_routes = True
c.WSHandlerApp.kernel_routes = "any"
c.WSHandlerApp.url = {{
    "public": {{
        "pattern": "/public",
        "handler": "WebSocketHandler",
        "kwargs": {{"on_message": "bot.echo", "auth": False}},
    }},
    "mine": {{
        "pattern": "/mine",
        "handler": "WebSocketHandler",
        "kwargs": {{"on_message": "bot.echo", "max_connections": 1000}},
    }},
    "shared": {{
        "pattern": "/shared",
        "handler": "WebSocketHandler",
        "kwargs": {{"on_message": "bot.users", "max_connections": 1000}},
    }},
}}
"""

OWN_ROUTES = """
url:
  filed: {pattern: /filed, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
"""

ADMINS = """
import logging
c.EventLogger.handlers = [logging.FileHandler({events!r})]
c.WSHandlerApp.config_file = {routes!r}
c.WSHandlerApp.enforce = {{"max_connections": {{"user": 2}}}}
c.WSHandlerApp.defaults = {{"max_message": "1KiB"}}
"""

COMMAND = [
    "--WSHandlerApp.enforce={'max_connections': {'user': 2}}",
    "--WSHandlerApp.defaults={'max_message': '1KiB'}",
    "--WSHandlerApp.allow_public_routes=False",
]
"""What the administrator gives on the command line, beside the file with the routes."""

HOOK = """
ARGS = {args!r}

def levers(spawner):
    # One Hub with several kinds of servers. Where all are alike: c.Spawner.args and so on.
    name = spawner.user.name
    spawner.args = spawner.args + ARGS.get(name, [])
    spawner.disable_user_config = name == "closed"
    if name in ("closed", "loose"):
        spawner.environment = spawner.environment | {{"JUPYTER_CONFIG_PATH": {etc!r}}}

c.Spawner.pre_spawn_hook = levers
c.Spawner.http_timeout = 120
"""

SERVERS = ["pinned", "strict", "closed", "loose"]
"""Whose servers there are: with the levers on the command line, there with `url` and no routes of
kernels too, with `disable_user_config`, and with no more than a system-wide file."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub-levers")
    routes, etc = folder / "routes" / "wshandler.yaml", folder / "etc"
    routes.parent.mkdir()
    routes.write_text(ROUTES)
    (routes.parent / "bot.py").write_text(BOT)
    etc.mkdir()
    settings = ADMINS.format(events=str(folder / "events.log"), routes=str(routes))
    (etc / "jupyter_server_config.py").write_text(settings)
    common = [f"--WSHandlerApp.config_file={routes}", *COMMAND]
    args = {
        "pinned": [*common, "--WSHandlerApp.kernel_routes=private"],
        "strict": [*common, "--WSHandlerApp.kernel_routes=off", "--WSHandlerApp.url={}"],
    }
    with running_hub(
        folder / "hub",
        users=[*SERVERS, "bob"],
        extra_config=HOOK.format(args=args, etc=str(etc)),
    ) as running:
        for user in SERVERS:
            write_own(running.home(user))
        with ThreadPoolExecutor(2) as pool:
            for server in pool.map(running.start, SERVERS):
                running.share(server, user="bob")
        yield running


def write_own(home) -> None:
    """Write a user's own settings wherever Jupyter may look for them."""
    folder = home / ".jupyter"
    folder.mkdir(parents=True)
    for name in ("jupyter_server_config.py", "jupyter_wshandler_config.py", "elsewhere.py"):
        (folder / name).write_text(OWN.format(home=str(home)))
    (home / "own.yaml").write_text(OWN_ROUTES)
    (home / "bot.py").write_text(BOT)
    # With this Jupyter reads that file in place of every jupyter_server_config.py.
    (folder / "jupyter_config.py").write_text(
        f"c.ServerApp.config_file = {str(folder / 'elsewhere.py')!r}\n"
    )


def says(socket, text: str) -> str:
    socket.send(text)
    return socket.recv(timeout=20)


def ask(hub, user: str, route: str, text: str = "hi") -> str:
    with hub.script(hub.token(user)).connect_sync(hub.start(user).at(route)) as socket:
        return says(socket, text)


def report(hub, user: str) -> dict:
    return json.loads(ask(hub, user, "report"))


def refusal(client, where: str):
    """Return the answer to a handshake that has to be refused."""
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        client.connect_sync(where)
    return refused.value.response


# ---- on the command line ----------------------------------------------------------------------


def test_what_the_command_line_says_no_file_of_a_user_overrides(hub):
    seen = report(hub, "pinned")
    assert seen["traits"] == {"kernel_routes": "private", "allow_public_routes": False}
    routes = {"report", "shared", "owners", "limited", "mine"}
    assert seen["most"] == dict.fromkeys(routes, 2)
    assert seen["largest"] == dict.fromkeys(routes, 1024)


def test_a_users_own_routes_join_those_of_the_administrator_and_win_under_the_same_name(hub):
    assert ask(hub, "pinned", "mine", "hello") == "hello"
    assert ask(hub, "pinned", "shared") == "the user's"
    where = hub.start("pinned").at("mine")
    script = hub.script(hub.token("pinned"))
    with script.connect_sync(where), script.connect_sync(where):
        assert refusal(script, where).status_code == 429


def test_a_public_route_of_a_user_is_broken_and_not_public(hub):
    assert report(hub, "pinned")["broken"] == ["public"]
    where = hub.start("pinned").at("public")
    assert hub.script().status(where) == 403
    assert hub.script(hub.token("pinned")).status(where) == 503
    assert "c.WSHandlerApp.allow_public_routes" in hub.start("pinned").log_text()


def test_url_on_the_command_line_leaves_a_user_no_routes_of_their_own(hub):
    seen = report(hub, "strict")
    assert (seen["broken"], set(seen["most"])) == ([], {"report", "shared", "owners", "limited"})
    assert ask(hub, "strict", "shared") == "the administrator's"
    assert hub.script(hub.token("strict")).status(hub.start("strict").at("mine")) == 404


def test_a_wrong_setting_of_a_user_costs_the_routes_and_not_what_is_enforced(tmp_path):
    folder = tmp_path / ".jupyter-state" / "config"
    folder.mkdir(parents=True)
    own = OWN.format(home=str(tmp_path))
    (folder / "jupyter_wshandler_config.py").write_text(own)
    # Jupyter goes on with the settings of that file when those that came later are not taken.
    (folder / "jupyter_server_config.py").write_text("c.WSHandlerApp.threads = -1\n")
    with running_server(
        ROUTES, folder=tmp_path, modules={"bot.py": BOT}, extra_args=COMMAND
    ) as server:
        for route in ("public", "mine", "report"):
            assert server.fetch(route)[0] == 404
        assert "No routes are served: a setting of c.WSHandlerApp is wrong" in server.log_text()
        with notebook(server) as book:
            book.run("import jupyter_wshandler as wsh")
            assert "c.WSHandlerApp.kernel_routes is 'off'" in serve(book)
        assert server.stop() == 0
        assert "AttributeError" not in server.log_text()


# ---- files ------------------------------------------------------------------------------------


def test_with_disable_user_config_a_system_wide_file_is_all_that_is_read(hub):
    seen = report(hub, "closed")
    routes = {"report", "shared", "owners", "limited"}
    assert seen == {
        "traits": {"kernel_routes": "private", "allow_public_routes": False},
        "broken": [],
        "most": dict.fromkeys(routes, 2),
        "largest": dict.fromkeys(routes, 1024),
    }
    assert ask(hub, "closed", "shared") == "the administrator's"


def test_a_system_wide_file_alone_holds_nothing(hub):
    server = hub.start("loose")
    # The administrator's folder is even the first of those that Jupyter looks into, but a user's
    # jupyter_config.py sends it elsewhere.
    stranger = hub.script()
    with stranger.connect_sync(server.at("public")) as socket:
        assert says(socket, "anybody?") == "anybody?"
    assert ask(hub, "loose", "shared") == "the user's"
    assert hub.script(hub.token("loose")).status(server.at("limited")) == 404


def test_jupyter_reads_a_users_folder_before_that_of_the_system(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith("JUPYTER")}
    env |= {"HOME": str(tmp_path), "JUPYTER_PREFER_ENV_PATH": "0"}
    code = "import json, jupyter_core.paths as p; print(json.dumps(p.jupyter_config_path()))"
    found = json.loads(subprocess.check_output([sys.executable, "-c", code], env=env))
    assert found.index(str(tmp_path / ".jupyter")) < found.index("/etc/jupyter")


# ---- kernels ----------------------------------------------------------------------------------


class OfHub:
    """A single-user server as `Notebook` knows servers."""

    process = SimpleNamespace(poll=lambda: None)

    def __init__(self, hub, user: str) -> None:
        self._server, self._script = hub.start(user), hub.script(hub.token(user))

    def fetch(self, path: str, **options):
        answer = self._script.fetch(self._server.at(path), **options)
        return answer.status, answer.headers, answer.body

    def connect_sync(self, path: str, **options):
        return self._script.connect_sync(self._server.at(path), **options)


def serve(book, options: str = "") -> str | None:
    """Serve a bot of a kernel; return the error, if there is one."""
    cell = book.run(f"wsh.serve('/kernel', lambda h, m: 'kernel ' + m{options})", fails=True)
    return cell.error


def test_a_bot_in_a_users_kernel_is_private_whatever_the_user_says(hub):
    where = hub.start("pinned").at("kernel")
    with notebook(OfHub(hub, "pinned")) as book:
        book.run("import jupyter_wshandler as wsh")
        for options in (", auth=False", ", origins=['*']"):
            assert "c.WSHandlerApp.kernel_routes is 'any'" in serve(book, options)
        assert hub.script(hub.token("pinned")).status(where) == 404
        assert serve(book) is None
        assert ask(hub, "pinned", "kernel") == "kernel hi"
        assert hub.script().status(where) == 403
        assert hub.script(hub.token("strict")).status(where) == 403
        browser = hub.browser("pinned", hub.start("pinned"))
        assert browser.status(where) == 101
        assert browser.status(where, origin="https://example.org") == 403


def test_bots_in_kernels_can_be_switched_off(hub):
    with notebook(OfHub(hub, "strict")) as book:
        book.run("import jupyter_wshandler as wsh")
        assert "c.WSHandlerApp.kernel_routes is 'off'" in serve(book)
    assert hub.script(hub.token("strict")).status(hub.start("strict").at("kernel")) == 404


# ---- limits and refusals ----------------------------------------------------------------------


def refusals(hub) -> list[dict]:
    """Return the events of refusals on the server of the user "closed"."""
    path = hub.folder.parent / "events.log"
    found = map(json.loads, path.read_text().splitlines())
    return [event for event in found if event["__schema__"] == "urn:jupyter-wshandler:refused"]


@contextlib.contextmanager
def noted(hub, **expected):
    """Expect one refusal, as one line of the server's log and as one event."""
    server = hub.start("closed")
    lines, events = server.log_text().splitlines(), refusals(hub)
    yield
    wait_for(lambda: len(refusals(hub)) > len(events), what="the event")
    new = [
        {key: value for key, value in event.items() if not key.startswith("__")}
        for event in refusals(hub)[len(events) :]
    ]
    assert new == [expected]
    said = [line for line in server.log_text().splitlines()[len(lines) :] if "Route " in line]
    who, status = expected["user"] or "anonymous", expected["status"]
    assert len(said) == 1
    reason = expected["reason"].removeprefix("too many connections: ")
    assert said[0].endswith(f"Route {expected['route']}: {status} for {who}: {reason}")


def test_limits_of_a_user_are_each_users_own_and_say_when_to_come_back(hub):
    where = hub.start("closed").at("limited")
    owner, guest = hub.script(hub.token("closed")), hub.script(hub.token("bob"))
    again = hub.browser("bob", hub.start("closed"))
    with owner.connect_sync(where), owner.connect_sync(where):
        with noted(
            hub,
            route="limited",
            status=429,
            user="closed",
            kind="user",
            reason="too many connections: you have 2 open here already, "
            "which is the most a user may have",
        ):
            answer = refusal(owner, where)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        with guest.connect_sync(where), again.connect_sync(where):
            # With whatever credential, a user is one.
            assert refusal(guest, where).status_code == 429
            assert refusal(again, where).status_code == 429
        assert guest.status(where) == 101


def test_a_refusal_names_the_hubs_user_the_route_and_the_reason(hub):
    with noted(
        hub,
        route="owners",
        status=403,
        user="bob",
        kind="user",
        reason="this user may not use this route",
    ):
        where = hub.start("closed").at("owners")
        assert hub.script(hub.token("bob")).status(where) == 403


def test_a_refusal_holds_no_secret(hub):
    server = hub.start("closed")
    token = hub.token("strict")  # of somebody who may not use this server
    browser = hub.browser("bob", server)
    cookie = browser.login_cookie(server).value
    for client, secret in (
        (hub.script("a-made-up-token"), "a-made-up-token"),
        (hub.script(token), token),
    ):
        with noted(
            hub,
            route="shared",
            status=403,
            user=None,
            kind=None,
            reason="log in first, or send a token",
        ):
            assert client.status(server.at("shared?word=in-the-query")) == 403
        assert secret not in server.log_text() + json.dumps(refusals(hub))
    query = {"Sec-Fetch-Mode": "websocket"}
    assert hub.script().status(server.at(f"shared?token={token}"), headers=query) == 403
    assert browser.status(server.at("owners")) == 403
    everything = server.log_text() + json.dumps(refusals(hub))
    for secret in (token, cookie, cookie.split("|")[4].partition(":")[2]):
        assert secret not in everything
    assert "in-the-query" not in json.dumps(refusals(hub))
