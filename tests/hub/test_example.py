"""The Hub of `make hub`, from the very files in examples/jupyterhub, on a port of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.hub import START_SECONDS, RunningHub, alive
from support.hubclient import Door
from support.hubnotebook import kernel_of
from support.need import need
from support.server import free_port, wait_for
from websockets.exceptions import ConnectionClosed

EXAMPLE = Path(__file__).parents[2] / "examples" / "jupyterhub"

README = EXAMPLE.parent / "jupyterhub-service" / "README.md"

PASSWORD = re.compile(r"^ +(ada|bob|grace) +(\S+)", re.MULTILINE)

OWN_CONFIG = """
c.WSHandlerApp.enforce = {}
c.WSHandlerApp.url = {
    "own": {
        "pattern": "/own",
        "handler": "WebSocketHandler",
        "kwargs": {"on_message": "greeter.on_message", "max_message": "1MiB", "xsrf": "origin"},
    }
}
"""
"""What a user may try in a file of the user's own."""


def stop(hub: RunningHub, sig: int) -> int | None:
    """Stop the Hub of the example, and return its exit code."""
    hub.stop_hub(sig)
    assert hub.hub_process is not None
    return hub.hub_process.returncode


@contextmanager
def running_example(folder: Path) -> Iterator[RunningHub]:
    """Run what `make hub` runs; the Hub starts its proxy itself here."""
    need("configurable-http-proxy")
    port = free_port()
    folder.mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))},
        "PORT": str(port),
        "LAB": "0",
        "TMPDIR": str(folder),
        "PYTHONUNBUFFERED": "1",
    }
    hub = RunningHub(folder, "/", Door(f"http://127.0.0.1:{port}", ("127.0.0.1", port)), "")
    with (folder / "hub.log").open("wb") as log:
        hub.hub_process = process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", f"--config={EXAMPLE / 'jupyterhub_config.py'}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def up() -> bool:
        assert process.poll() is None, f"the Hub ended at once:\n{hub.log_text()[-4000:]}"
        with suppress(OSError):
            return hub.browser().fetch(hub.path("login")).status == 200
        return False

    try:
        # It waits for its service, and each look costs it a page.
        wait_for(up, 1.5 * START_SECONDS, "the Hub", 0.2)
        printed = dict(PASSWORD.findall(hub.log_text()))
        hub.admins, hub.admin_password, hub.password = ("grace",), printed["grace"], printed["ada"]
        hub.api_token = token_of(hub, "grace")
        yield hub
    finally:
        stop(hub, signal.SIGTERM)


def token_of(hub: RunningHub, user: str) -> str:
    """Return a token that a user has made with the password."""
    login = {"username": user, "password": hub.password_of(user)}
    return hub.ask("POST", f"users/{user}/tokens", {"auth": login})["token"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_example(tmp_path_factory.mktemp("hub-example") / "hub") as running:
        yield running


@pytest.fixture(scope="module")
def server(hub):
    return hub.start("ada")


def greeting(browser, server, route="greeter") -> str:
    with browser.connect_sync(browser.ticketed(server, route)) as socket:
        return socket.recv(10)


def test_it_prints_where_it_is_and_who_may_log_in(hub):
    printed = hub.log_text()
    assert f"{hub.door.origin}/" in printed
    assert {name for name, _ in PASSWORD.findall(printed)} == {"ada", "bob", "grace"}
    assert "Traceback" not in printed


def test_a_login_leads_to_the_page_of_the_first_bot(hub, server):
    page = hub.browser("ada").visit(server.url)
    assert (page.status, page.url) == (200, hub.door.url(server.at("greeter")))
    assert page.body == (EXAMPLE.parent / "pingbot" / "chat.html").read_bytes()


def test_the_bot_greets_its_user_by_name_with_the_groups(hub, server):
    browser = hub.browser("ada", server)
    with browser.connect_sync(browser.ticketed(server, "greeter")) as socket:
        assert socket.recv(10) == "Hello ada, your groups: staff"
        socket.send("good morning")
        assert socket.recv(10) == "ada said: good morning"


def test_the_staffroom_is_for_the_group_and_for_nobody_else(hub, server):
    assert greeting(hub.browser("ada", server), server, "staffroom").startswith("Hello ada")
    grace = hub.browser("grace", server)
    assert greeting(grace, server) == "Hello grace, your groups: none"
    with pytest.raises(AssertionError, match="this user may not use this route"):
        grace.ticketed(server, "staffroom")
    assert hub.script(token_of(hub, "grace")).status(server.at("greeter")) == 101
    assert hub.script(token_of(hub, "grace")).status(server.at("staffroom")) == 403


def test_a_cookie_alone_opens_no_socket(hub, server):
    assert hub.browser("ada", server).status(server.at("greeter")) == 403
    assert hub.script(token_of(hub, "ada")).status(server.at("greeter")) == 101


def test_users_share_their_servers_themselves(hub, server):
    bob = hub.browser("bob")
    assert bob.visit(server.at("greeter")).status == 403
    token = token_of(hub, "ada")
    assert hub.api("POST", "shares/ada/", {"user": "bob"}, token=token).status == 200
    assert greeting(bob.enter(server), server) == "Hello bob, your groups: none"


def test_what_the_administrator_enforces_holds_whatever_a_user_writes(hub):
    (state,) = hub.folder.glob("jupyterhub-*")
    settings = state / "homes" / "bob" / ".jupyter" / "jupyter_server_config.py"
    settings.parent.mkdir(parents=True)
    settings.write_text(OWN_CONFIG)
    server = hub.start("bob")
    bob = hub.browser("bob", server)
    assert greeting(bob, server) == "Hello bob, your groups: none"
    # The file has been read: its route is there. What it says against the rules is not heard.
    assert bob.status(server.at("own")) == 403
    with bob.connect_sync(bob.ticketed(server, "own")) as socket:
        socket.send("x" * 60_000)
        assert socket.recv(10).startswith("bob said: x")
        socket.send("x" * 70_000)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
    assert closed.value.rcvd.code == 1009


def test_ctrl_c_ends_all_of_it_and_leaves_nothing(tmp_path):
    with running_example(tmp_path / "hub") as hub:
        server = hub.start("ada")
        assert hub.browser("ada", server).visit(server.at("greeter")).status == 200
        assert alive(server.pid)
        (note,) = hub.folder.glob("jupyterhub-*/proxy.pid")
        proxy = int(note.read_text())
        assert stop(hub, signal.SIGINT) == 0
        assert not alive(server.pid)
        wait_for(lambda: not alive(proxy), 10, "the end of the proxy")
        assert [path.name for path in hub.folder.iterdir()] == ["hub.log"]
        assert "Traceback" not in hub.log_text()
        with socket.socket() as probe:
            assert probe.connect_ex(hub.door.address) != 0


# ---- the service -------------------------------------------------------------------------------


def service(path: str = "") -> str:
    return f"/services/bots/{path}"


def asked(browser, path: str, question: str) -> list[str]:
    """Ask a bot of the service, with a ticket as a page does; return what it has said."""
    with browser.connect_sync(ticketed_at_service(browser, path)) as socket:
        greeting = socket.recv(10)
        socket.send(question)
        return [greeting, socket.recv(10)]


def ticketed_at_service(browser, path: str) -> str:
    class Here:
        at = staticmethod(service)

    return browser.ticketed(Here, path)


def listed(browser) -> dict:
    """Return what the service's page lists for who is logged in there."""
    answer = browser.fetch(service("wshandler/api/directory"))
    assert answer.status == 200, answer.text
    return answer.json()


def test_the_service_greets_each_user_by_name_on_one_server(hub):
    wait_for(
        lambda: hub.script().fetch(service("wshandler/api/health")).status == 200, 60, "it", 0.2
    )
    for name, groups in (("ada", "staff"), ("bob", "none")):
        browser = hub.browser(name)
        # The root leads to the list, and that to the bot.
        page = browser.visit(service())
        assert (page.status, page.url) == (200, hub.door.url(service("wshandler/directory")))
        here = listed(browser)["here"]
        assert [bot["route"] for bot in here] == ["helpdesk", "staff"][: 1 + (name == "ada")]
        page = browser.visit(here[0]["open"])
        assert (page.status, page.url) == (200, hub.door.url(service("helpdesk")))
        assert "<title>Help desk</title>" in page.text
        greeting, answer = asked(browser, "helpdesk", "hi")
        assert greeting == f"Hello {name}, your groups: {groups}"
        assert re.fullmatch(rf"{name} asks: hi \(people here: [12]\)", answer)
        assert browser.status(service("helpdesk")) == 403, "a cookie alone opens no socket"
    with pytest.raises(AssertionError, match="this user may not use this route"):
        ticketed_at_service(browser, "staff")


def test_the_service_has_nothing_but_bots_for_the_admin_either(hub):
    grace = hub.script(token_of(hub, "grace"))
    assert grace.status(service("helpdesk")) == 101
    for path in ("lab", "api/terminals", "api/contents", "api/kernels", "files/x"):
        for verb in ("GET", "POST"):
            assert grace.fetch(service(path), method=verb).status == 404
    assert "can also open a terminal" not in hub.log_text()


CELL = """
import jupyter_wshandler as wsh


def on_message(handler, message):
    return f"{message} yourself, {handler.current_user.name}"


bot = wsh.serve("/tuesdaybot", on_message=on_message)
share = bot.share("Tuesday's bot", users=["bob"], expires="2h")
print(share.url)
"""
"""What the README of the service has ada run."""


def test_ada_shares_a_bot_of_her_notebook_with_bob_as_the_readme_says(hub, server):
    told = textwrap.indent(CELL.replace("print(share.url)", "share").strip(), "   ")
    assert told in README.read_text()
    with kernel_of(hub, server, token_of(hub, "ada")) as book:
        link = book.run(CELL).text.strip()
        assert link.startswith(hub.door.url(service("wshandler/directory/open/")))
        bob = hub.browser("bob")
        assert bob.visit(service()).status == 200
        (found,) = listed(bob)["with_me"]
        assert (found["owner"], found["label"]) == ("ada", "Tuesday's bot")
        assert found["open"] == link
        assert bob.visit(link).url == hub.door.url(server.at("tuesdaybot"))
        page = bob.fetch(server.at("tuesdaybot"), headers={"Accept": "text/html"})
        assert (page.status, "<title>tuesdaybot" in page.text) == (200, True)
        book.run("share.revoke()")
        assert bob.visit(link).status == 403
