"""How single-user servers end under a real JupyterHub, and what keeps them from it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import websockets.exceptions
from support.bots import bot_text
from support.hub import CULLER_SCOPES, alive, running_hub
from support.hubapi import HubServer
from support.hubclient import Answer, Door
from support.server import wait_for

pytestmark = pytest.mark.timeout(300)

CONFIG = """
url:
  chat:
    pattern: /chat
    handler: WebSocketHandler
    kwargs: &bot {on_message: bot.answer, on_close: bot.closed, page: page.html}
  idle:
    pattern: /idle
    handler: WebSocketHandler
    kwargs: {<<: *bot, idle_timeout: 2s, ping_interval: 500ms}
  silent:
    pattern: /silent
    handler: WebSocketHandler
    kwargs: {<<: *bot, idle_timeout: off, ping_interval: 500ms}
  present:
    pattern: /present
    handler: WebSocketHandler
    kwargs: {<<: *bot, keep_alive: connections, ping_interval: off}
  quiet:
    pattern: /quiet
    handler: WebSocketHandler
    kwargs: {<<: *bot, keep_alive: none}
"""

BOT = bot_text("culling")

PEOPLE = ["ada", "chatting", "idle", "silent", "present", "quiet", "direct"]
"""Those whose servers the culler looks at; ada has no socket then."""

CULL_AFTER = 6
"""Seconds without activity after which the culler ends a server."""

NO_ACTIVITY = 4
"""Seconds after which the server of one user ends itself."""

EXTRA = """
# The Hub asks the proxy for the last activity of each server, and hears of it from the servers.
c.JupyterHub.last_activity_interval = 1
c.JupyterHub.activity_resolution = 0
# A server that has died is not noticed before the Hub is asked to stop it.
c.Spawner.poll_interval = 600
c.Spawner.http_timeout = 120
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-culling") / "hub",
        CONFIG,
        modules={"bot.py": BOT, "page.html": "<!doctype html><title>The page</title>"},
        users=["own", *PEOPLE],
        services={"culler": CULLER_SCOPES},
        server_env={"JUPYTERHUB_ACTIVITY_INTERVAL": "1"},
        extra_config=EXTRA,
    ) as running:
        yield running


def says(socket, text: str) -> str:
    socket.send(text)
    return socket.recv(timeout=20)


def end_of(socket, seconds: float = 30) -> tuple[int, str]:
    """Return the close code and reason of a socket that has to end in time."""
    try:
        while True:
            socket.recv(timeout=seconds)
    except websockets.exceptions.ConnectionClosed as closed:
        return closed.rcvd.code, closed.rcvd.reason


def opened(client, where: str):
    """Open a socket that answers pings and sends none."""
    return client.connect_sync(where, ping_interval=None)


def upgrade(client, where: str) -> Answer:
    """Return what answers a handshake that opens nothing; a redirect is not followed."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    if client.own_origin:
        headers |= {"Origin": client.door.origin, "Sec-Fetch-Mode": "websocket"}
    return client.fetch(where, headers=headers)


@contextlib.contextmanager
def talking(socket) -> Iterator[None]:
    """Say something now and then in the meantime."""
    over = threading.Event()

    def talk() -> None:
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            while not over.wait(0.3):
                says(socket, "hi")

    thread = threading.Thread(target=talk, name="talking")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


@contextlib.contextmanager
def meanwhile(function, *args) -> Iterator[None]:
    """Call a function in a thread in the meantime, and wait for its end."""
    thread = threading.Thread(target=function, args=args, name=function.__name__)
    thread.start()
    try:
        yield
    finally:
        thread.join(60)


# ---- a server that is stopped, and comes back -------------------------------------------------


@pytest.fixture(scope="module")
def browser(hub):
    """Return ada's browser, which knows her server."""
    return hub.browser("ada", hub.start("ada"))


@pytest.fixture(scope="module")
def session(hub, browser) -> str:
    where = hub.server("ada").at("chat")
    browser.visit(where)  # a page's cookie is kept by these browsers, that of a 101 is not
    with opened(browser, where) as socket:
        return says(socket, "session")


def test_under_a_hub_a_route_closes_after_half_an_hour_without_a_message(hub):
    server = hub.start("ada")
    with opened(hub.script(hub.token("ada")), server.at("chat")) as socket:
        assert json.loads(says(socket, "idle timeouts")) == {
            "chat": 1800.0,
            "idle": 2.0,
            "silent": 0.0,
            "present": 0.0,
            "quiet": 1800.0,
        }


def test_a_server_that_the_hub_stops_says_1001_first_and_runs_every_on_close(hub, browser, session):
    server = hub.start("ada")
    script = hub.script(hub.token("ada"))
    with (
        opened(browser, server.at("chat")) as one,
        opened(script, server.at("chat")) as two,
        opened(script, server.at("present")) as three,
        meanwhile(hub.stop, "ada"),
    ):
        for socket in (one, two, three):
            assert end_of(socket) == (1001, "the server is stopping")
    wait_for(lambda: not alive(server.pid), 10, "the end of the process")
    log = server.log_text()
    assert "received signal 2, stopping" in log  # SIGINT
    assert log.count("on_close chat 1001") == 2
    assert log.count("on_close present 1001") == 1


def test_while_a_server_is_stopped_the_hub_answers_in_its_place(hub, browser):
    assert hub.server("ada") is None
    page, tickets = "/user/ada/chat", "/user/ada/wshandler/api/tickets"
    script, stranger, other = hub.script(hub.token("ada")), hub.browser(), hub.browser("idle")
    for client in (browser, script, stranger, other):
        # A browser's page sees none of this: 1006.
        answer = upgrade(client, page)
        assert (answer.status, answer.headers["Location"]) == (302, f"/hub{page}")
        assert answer.headers["X-JupyterHub-Version"]
        # The Hub's XSRF cookie is not the server's, so that a POST never gets as far as a 424.
        answer = client.fetch(tickets, method="POST", data=b"{}")
        assert (answer.status, answer.headers.get_content_type()) == (403, "text/html")
        assert answer.headers["X-JupyterHub-Version"]
    owner = browser.visit(page)
    assert (owner.status, owner.url) == (424, hub.door.url(f"/hub{page}"))
    assert "/hub/spawn/ada?next=" in owner.text
    assert browser.visit("/user/ada/api/me").json()["message"].startswith("JupyterHub server no")
    assert other.visit(page).status == 404
    assert stranger.visit(page).url.startswith(hub.door.url("/hub/login?next="))


def test_after_a_restart_a_browser_logs_in_by_opening_a_page_and_has_its_session(
    hub, browser, session
):
    script = hub.script(hub.token("ada"))
    server = hub.start("ada")
    before = browser.login_cookie(server)
    # A token of the user's own is good at once. The cookie holds one of the Hub's for this
    # server, and the Hub has withdrawn it with the server's end.
    assert script.status(server.at("chat")) == 101
    refused = upgrade(browser, server.at("chat"))
    assert (refused.status, refused.text) == (403, "403: log in first, or send a token\n")
    # Who is still logged in at the Hub is asked nothing.
    page = browser.visit(server.at("chat"), confirm=False)
    assert (page.status, page.url) == (200, hub.door.url(server.at("chat")))
    assert browser.login_cookie(server).value != before.value
    with opened(browser, server.at("chat")) as socket:
        assert says(socket, "session") == session


# ---- the server's own timeout -----------------------------------------------------------------


def end_itself(hub) -> tuple[HubServer, str, tuple[int, str]]:
    """Let a server end itself; return it, what a chat said before that, and a socket's end."""
    config = hub.home("own") / ".jupyter" / "jupyter_server_config.py"
    config.parent.mkdir()
    config.write_text(f"c.ServerApp.shutdown_no_activity_timeout = {NO_ACTIVITY}\n")
    server = hub.start("own")
    script = hub.script(hub.token("own"))
    with opened(script, server.at("silent")) as silent:
        with opened(script, server.at("chat")) as socket:
            assert says(socket, "hi") == "hi"
            assert says(silent, "look often") == "look often"
            with talking(socket):
                time.sleep(2 * NO_ACTIVITY)
            said = says(socket, "still here")
        return server, said, end_of(silent)


@pytest.fixture(scope="module")
def own(hub) -> Iterator[Future]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(end_itself, hub)


# ---- the culler -------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What the culler has done to servers with a socket each, but for one without.

    Attributes:
        up: Whose servers run after two of its periods.
        ends: The close code and reason of sockets that have closed, by user.
        answers: What sockets that were open at the end of that time have answered, by user.
        left: Whose servers run some time after two of those sockets were closed.
    """

    up: set[str] = field(default_factory=set)
    ends: dict[str, tuple[int, str]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


def activity(hub) -> dict[str, str]:
    """Return the last activity of each server that runs, as the Hub knows it, by user."""
    found = {user["name"]: user["servers"].get("") for user in hub.ask("GET", "users")}
    return {name: server["last_activity"] for name, server in found.items() if server}


def culled(hub, *users: str) -> None:
    """Wait until servers have ended."""

    def gone() -> bool:
        time.sleep(0.25)  # the Hub has more to do than to answer this
        return not activity(hub).keys() & set(users)

    wait_for(gone, 60, f"the end of the servers of {users}")


@contextlib.contextmanager
def culler(hub) -> Iterator[None]:
    with (hub.folder / "culler.log").open("ab") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterhub_idle_culler"),
                *(f"--timeout={CULL_AFTER}", "--cull-every=1"),
                f"--url={hub.door.url(hub.path('api'))}",
            ],
            env=os.environ | {"JUPYTERHUB_API_TOKEN": hub.service_tokens["culler"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
        assert process.poll() is None, hub.logs()["culler.log"]
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def outcome(hub, own) -> Outcome:
    with ThreadPoolExecutor(2) as pool:  # more at once take too long for the Hub
        servers = dict(zip(PEOPLE, pool.map(hub.start, PEOPLE), strict=True))
    targets = hub.ask("GET", "proxy")
    outcome = Outcome()
    sockets = {}

    def enter(user: str, route: str, *, direct: bool = False) -> None:
        target = targets[f"/user/{user}/"]["target"]
        address = ("127.0.0.1", int(target.rpartition(":")[2]))
        script = hub.script(hub.token(user), Door(target, address) if direct else None)
        sockets[user] = stack.enter_context(opened(script, servers[user].at(route)))
        assert says(sockets[user], "hi") == "hi"

    with contextlib.ExitStack() as stack:
        enter("chatting", "chat")
        enter("idle", "idle")
        enter("silent", "silent")
        # Past the proxy: only what the server itself tells the Hub counts.
        enter("direct", "chat", direct=True)
        enter("present", "present", direct=True)
        enter("quiet", "quiet", direct=True)
        for user in ("chatting", "direct", "quiet"):
            stack.enter_context(talking(sockets[user]))
        outcome.ends["idle"] = end_of(sockets["idle"])
        begun = activity(hub)
        kept = {"chatting", "silent", "direct", "present"}

        def told() -> bool:
            now = activity(hub)
            return all(now[user] > begun[user] for user in kept)

        wait_for(told, 30, "activity of the servers that are to stay")
        stack.enter_context(culler(hub))
        started = time.monotonic()
        culled(hub, "ada", "idle", "quiet")
        time.sleep(max(0.0, started + 2 * CULL_AFTER - time.monotonic()))
        outcome.up = activity(hub).keys() & set(PEOPLE)
        outcome.ends["quiet"] = end_of(sockets["quiet"])
        for user in ("silent", "present"):
            outcome.answers[user] = says(sockets[user], "still here")
            sockets[user].close()
        culled(hub, "silent", "present")
        outcome.left = activity(hub).keys() & set(PEOPLE)
    return outcome


def test_a_live_chat_keeps_its_server_and_one_without_a_socket_is_culled(outcome):
    assert "chatting" in outcome.up
    assert "ada" not in outcome.up


def test_a_live_chat_keeps_its_server_also_where_no_proxy_tells_of_it(outcome):
    assert "direct" in outcome.up


def test_a_socket_that_says_nothing_is_closed_as_idle_and_then_its_server_is_culled(outcome):
    assert outcome.ends["idle"] == (1000, "idle")
    assert "idle" not in outcome.up


def test_without_idle_timeout_a_silent_socket_keeps_its_server_as_the_proxy_counts_pongs(outcome):
    assert "silent" in outcome.up
    assert outcome.answers["silent"] == "still here"


def test_with_keep_alive_connections_an_open_socket_keeps_its_server(outcome):
    assert "present" in outcome.up
    assert outcome.answers["present"] == "still here"


def test_with_keep_alive_none_messages_do_not_keep_a_server_and_its_socket_is_told_1001(outcome):
    assert "quiet" not in outcome.up
    assert outcome.ends["quiet"] == (1001, "the server is stopping")


def test_servers_are_culled_once_the_sockets_that_kept_them_are_closed(outcome):
    assert outcome.left == {"chatting", "direct"}


def test_a_live_chat_keeps_a_server_from_its_own_timeout_and_a_silent_one_does_not(own):
    server, said, end = own.result()
    assert said == "still here"
    assert end == (1001, "the server is stopping")
    wait_for(lambda: not alive(server.pid), 20, "the end of the process")
    log = server.log_text()
    assert f"Will shut down after {NO_ACTIVITY} seconds with no kernels" in log
    assert "seconds; shutting down" in log
    assert log.count("on_close silent 1001") == 1


# ---- servers that die, and the Hub's own end --------------------------------------------------


def test_for_a_server_that_has_died_the_proxy_answers_503_until_the_hub_has_noticed(hub):
    server = hub.start("direct")
    browser = hub.browser("direct", server)
    where = server.at("chat")
    with opened(browser, where) as socket:
        assert says(socket, "hi") == "hi"
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(websockets.exceptions.ConnectionClosedError) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is None  # 1006
    answer = upgrade(browser, where)
    assert (answer.status, answer.body) == (503, b"")
    assert answer.headers["X-JupyterHub-Version"] is None
    page = browser.visit(where)
    assert (page.status, page.headers.get_content_type()) == (503, "text/html")
    hub.stop("direct")
    assert upgrade(browser, where).headers["Location"] == f"/hub{where}"


def test_a_hub_that_ends_with_its_servers_lets_them_say_1001(hub):
    server = hub.start("chatting")
    with opened(hub.browser("chatting", server), server.at("chat")) as socket:
        before = server.log_text().count("on_close chat 1001")
        with meanwhile(hub.stop_hub):
            assert end_of(socket) == (1001, "the server is stopping")
    wait_for(lambda: not alive(server.pid), 20, "the end of the process")
    assert server.log_text().count("on_close chat 1001") == before + 1
