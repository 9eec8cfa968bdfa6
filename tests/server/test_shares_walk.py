"""A guest gets one route and nothing else: a walk of every rule of a server with JupyterLab."""

from __future__ import annotations

import http.client
import json
import re
from contextlib import closing
from urllib.parse import quote

import pytest
from support import rules
from support.bots import bot_text
from support.server import running_server, wait_for
from support.sharing import bearer, cookie_of, revoke, share, token_of

YAML = """
url:
  who: {pattern: /who, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  other: {pattern: /other, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  below: {pattern: /who/below, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  longer: {pattern: /whoever, handler: WebSocketHandler, kwargs: {on_message: shared.who}}
  rooms: {pattern: "/rooms/{room}", handler: WebSocketHandler, kwargs: {on_message: shared.who}}
"""

VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

ADDRESSES = (
    *("api/contents", "api/contents/secret.txt", "api/kernels", "api/sessions", "api/terminals"),
    *("api/kernelspecs", "api/me", "api/status", "api/shutdown", "api/events", "api/config/x"),
    *("files/secret.txt", "view/secret.txt", "nbconvert/html/x.ipynb", "lab", "lab/tree/x"),
    *("lab/api/workspaces", "lab/api/settings", "tree", "login", "logout", "metrics", ""),
    *("terminals/websocket/1", "api/kernels/x-x-x-x-x/channels", "api/events/subscribe"),
    *("robots.txt", "favicon.ico", "lab/api/translations", "api/sessions/x-x-x-x-x"),
    *("api/kernels/x-x-x-x-x", "api/kernels/x-x-x-x-x/restart", "api/contents/x/trust"),
    *("api/contents/secret.txt/checkpoints", "api/contents/secret.txt/checkpoints/x"),
    *("wshandler/api/tickets", "wshandler/api/shares", "wshandler/api/shares/x"),
    *("other", "who/below", "who/", "whoever", "who/index.html", "rooms/x", "rooms/x/"),
    *("who/../other", "who%2f..%2fother", "who;/../other", "Who", "rooms"),
)
"""Addresses that are worth a look, whatever rules there are."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walk")
    (folder / "secret.txt").write_text("a-secret-only-its-owner-knows")
    with running_server(
        YAML,
        folder=folder,
        modules={"shared.py": bot_text("shared")},
        base_url="/user/ann/",
        command=rules.launcher(folder),
        extra_args=[
            "--ServerApp.jpserver_extensions={'jupyterlab': True, 'notebook_shim': True}",
        ],
    ) as running:
        told = folder / "rules.json"
        # It is there before it is written.
        wait_for(lambda: told.exists() and told.read_text().endswith("]"), 40, "the rules")
        yield running


def every_path(server) -> list[str]:
    """Return a path for each rule that the server has, and those above."""
    found = {"/robots.txt", "/favicon.ico"}
    found |= {server.base_url + address for address in ADDRESSES}
    for rule in rules.read(server.folder):
        found |= set(rule["paths"])
        if rule["pattern"]:
            path = rules.sample(rule["pattern"])
            if path.startswith("/") and re.match(rule["pattern"], path):
                found.add(quote(path, safe="/%:;?=&+,@~"))
    return sorted(found - {server.base_url + "who"})


SILENT: set[str] = set()
"""Addresses of others at which some request got no answer at all; there a short wait will do."""

SHORT, LONG = 0.3, 15.0
"""Seconds that an answer is waited for."""


class Asker:
    """Sends many requests over one connection, and keeps of the answers what can be compared."""

    def __init__(self, server) -> None:
        self.server = server
        self.connection = http.client.HTTPConnection(server.host, server.port)

    def close(self) -> None:
        self.connection.close()

    def __call__(self, verb: str, path: str, headers: dict, query: str = "") -> tuple:
        self.connection.timeout = SHORT if path in SILENT else LONG
        for _ in range(1 if path in SILENT else 2):
            try:
                self.connection.request(verb, path + query, headers=headers)
                answer = self.connection.getresponse()
                break
            except TimeoutError:
                SILENT.add(path)
                self.connection.close()
                return 0, "", None
            except (http.client.HTTPException, OSError):
                self.connection.close()  # it may only have been idle for too long
        else:
            return 0, "", None
        body = answer.read()
        assert b"a-secret-only" not in body, (verb, path)
        location = re.sub(r"(\?|%3F)share_token.*", "", answer.headers.get("Location", ""))
        return answer.status, location, answer.headers.get("Content-Type")


UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


@pytest.fixture(scope="module")
def guests(server):
    """Return the ways in which a guest of `/who` may come: header fields, and a query."""
    made = share(server, route="who")
    query = f"?share_token={token_of(made)}"
    return {
        "cookie": ({"Cookie": cookie_of(server, made, "/who")}, ""),
        "header": (bearer(made), ""),
        "query": ({}, query),
    }


def test_the_walk_sees_jupyterlab_and_all_that_is_ours(server):
    paths = every_path(server)
    for rule in rules.read(server.folder):
        pattern = rule["pattern"]
        assert not pattern or any(re.match(pattern, path) for path in paths), rule
    for address in ("api/contents", "lab", "wshandler/api/shares", "rooms/x", "other"):
        assert server.base_url + address in paths
    handlers = {rule["handler"] for rule in rules.read(server.folder)}
    assert {"LabHandler", "ContentsHandler", "TermSocket", "SharesHandler"} <= handlers
    modules = {rule["module"].partition(".")[0] for rule in rules.read(server.folder)}
    assert {"jupyterlab", "notebook", "jupyter_server_terminals", "jupyter_wshandler"} <= modules


@pytest.mark.timeout(600)
@pytest.mark.parametrize("verb", VERBS)
def test_a_guest_is_a_stranger_everywhere_else(server, guests, verb):
    differ, cleaned = [], set()
    accepts = [{"Accept": "text/html"}, {"Accept": "*/*"}][: 2 if verb == "GET" else 1]
    with closing(Asker(server)) as ask:
        for path in every_path(server):
            for accept in accepts:
                stranger = ask(verb, path, accept)
                for way, (fields, query) in guests.items():
                    guest = ask(verb, path, {**accept, **fields}, query)
                    if query and guest[:2] == (302, f"./{path.rpartition('/')[2]}"):
                        # A route's page: first a browser loses the token, and is a stranger then.
                        cleaned.add(path)
                        guest = ask(verb, path, {**accept, **fields})
                    if stranger != guest:
                        differ.append((way, path, stranger, guest))
    assert not differ
    own = {server.base_url + address for address in ("other", "rooms/x", "who/below", "whoever")}
    assert cleaned == (own if verb in ("GET", "HEAD") else set())


@pytest.mark.timeout(600)
def test_a_guest_opens_no_other_socket(server, guests):
    for path in every_path(server):
        stranger = asked_for_a_socket(server, path, {})
        for way, (fields, query) in guests.items():
            guest = asked_for_a_socket(server, path + query, fields)
            assert guest == stranger != 101, (way, path)
    for fields, query in guests.values():
        assert asked_for_a_socket(server, server.base_url + "who" + query, fields) == 101


@pytest.fixture
def running(server):
    """Return the addresses of the sockets of a terminal and of a kernel that the owner has."""
    kernel = json.loads(server.fetch("/api/kernels", method="POST", data=b"{}")[2])["id"]
    terminal = json.loads(server.fetch("/api/terminals", method="POST", data=b"{}")[2])["name"]
    yield [
        f"{server.base_url}api/kernels/{kernel}/channels",
        f"{server.base_url}terminals/websocket/{terminal}",
        f"{server.base_url}api/events/subscribe",
    ]
    server.fetch(f"/api/kernels/{kernel}", method="DELETE")
    server.fetch(f"/api/terminals/{terminal}", method="DELETE")


def test_a_guest_gets_into_no_terminal_and_no_kernel_that_the_owner_has_open(
    server, guests, running
):
    token = guests["query"][1].partition("=")[2]
    ways = [
        *guests.values(),
        ({}, f"?token={token}"),
        ({"Authorization": f"token {token}"}, ""),
        ({**guests["cookie"][0], "Origin": "null"}, f"?session_id=x&ws_token={token}"),
        ({}, ""),
    ]
    for path in running:
        assert asked_for_a_socket(server, path, server.headers()) == 101, path
        for fields, query in ways:
            assert asked_for_a_socket(server, path + query, fields) == 403, (path, fields)


def test_the_cookies_of_two_shares_in_one_browser_open_those_two_and_no_more(server):
    who, room = share(server, route="who"), share(server, path="/rooms/blue")
    cookies = f"{cookie_of(server, who, '/who')}; {cookie_of(server, room, '/rooms/blue')}"
    opens = {
        address: asked_for_a_socket(server, server.base_url + address, {"Cookie": cookies})
        for address in ("who", "rooms/blue", "rooms/%62lue", "rooms/red", "other", "who/below")
    }
    assert [address for address, status in opens.items() if status == 101] == [
        *("who", "rooms/blue", "rooms/%62lue"),
    ]
    assert revoke(server, who["id"]) == 204
    fields = {"Cookie": cookies}
    assert asked_for_a_socket(server, server.base_url + "who", fields) == 403
    assert asked_for_a_socket(server, server.base_url + "rooms/blue", fields) == 101


def asked_for_a_socket(server, path: str, fields: dict) -> int:
    seconds = SHORT if path.partition("?")[0] in SILENT else LONG
    connection = http.client.HTTPConnection(server.host, server.port, timeout=seconds)
    with closing(connection):
        connection.request("GET", path, headers={**UPGRADE, **fields})
        try:
            with connection.getresponse() as answer:
                return answer.status
        except http.client.RemoteDisconnected:
            return 0
        except TimeoutError:
            SILENT.add(path.partition("?")[0])
            return 0


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("GET", "HEAD")])
def test_other_verbs_are_a_strangers_at_the_shared_route_itself(server, guests, verb):
    path = server.base_url + "who"
    with closing(Asker(server)) as ask:
        stranger = ask(verb, path, {})
        for way, (fields, query) in guests.items():
            assert ask(verb, path, fields, query) == stranger, way
