"""Who gets a socket under JupyterHub, case by case: for a test and for a table.

``PYTHONPATH=tests python -m support.admission`` measures every case with a real Hub, its proxy and
nginx, and writes docs/deploy/who-gets-in.md (`make who-gets-in`).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import websockets.exceptions

from support.hub import RunningHub, running_hub
from support.hubapi import HubServer
from support.hubclient import Client, Door
from support.nginx import HUB_HOST, running_nginx
from support.server import free_port, wait_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "deploy" / "who-gets-in.md"

RECHECK = 2

CONFIG = f"""
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{recheck: {RECHECK}s}}}}
  ticket:
    pattern: /ticket
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, xsrf: ticket}}
  paged:
    pattern: /paged
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, page: page.html}}
  class:
    pattern: /class
    handler: WebSocketHandler
    kwargs: {{on_message: bot.echo, auth: {{groups: [class], recheck: {RECHECK}s}}}}
"""

BOT = "async def echo(handler, message):\n    return message\n"

TERMINALS = "`api/terminals`"

ORIGINS = ("this server", "another site", "`null`", "none")

PEOPLE = {
    "the owner of the server": "ada",
    "another user": "bob",
    "a user whom the server is shared with": "eve",
    "a member of a group with a role for the server": "gil",
    "an admin": "root",
}

SERVICES = {
    "a service with `access:servers`": "robot",
    "a service without it": "stranger",
}

ROLES = [
    {"name": "class", "groups": ["class"], "scopes": ["access:servers!user=ada"]},
    {"name": "bots", "users": ["eve"], "scopes": ["access:services!service=bots"]},
    {"name": "class-bots", "groups": ["class"], "scopes": ["access:services!service=bots"]},
]

AT_SERVICE = {
    "a user with a role for the service": "eve",
    "a member of a group with a role for it": "gil",
    "another user": "bob",
    "an admin": "root",
    "a service with `access:services`": "helper",
    "a service without it": "stranger",
}

SERVICE_REVOKED = "a user whose login or token was revoked"

REVOKED = "the owner, whose login or token was revoked"


@dataclass
class House:
    """What the cases need: a Hub, the server that is asked for, and two ways in."""

    hub: RunningHub
    server: HubServer
    doors: dict[str, Door]

    def service(self, path: str) -> str:
        """Return the URL of a path of the service with bots only."""
        return f"{self.hub.base_url}services/bots/{path}"


def service_block(folder: Path) -> str:
    """Return the lines of the Hub's configuration that add the service."""
    file = folder / "hub" / "routes" / "wshandler.yaml"
    command = [sys.executable, "-m", "jupyter_wshandler", "serve", str(file), "--bots-only"]
    settings = {
        "name": "bots",
        "url": f"http://127.0.0.1:{free_port()}",
        "command": [*command, "--allow-root", "--WSHandlerApp.session_store=memory://"],
        "oauth_no_confirm": True,
        "environment": {"HOME": str(folder)},
    }
    return f"c.JupyterHub.services.append({settings!r})"


@contextmanager
def running_house(folder: Path) -> Iterator[House]:
    """Start a Hub, one server, and nginx with TLS in front of the Hub's proxy."""
    with ExitStack() as stack:
        hub = stack.enter_context(
            running_hub(
                folder / "hub",
                CONFIG,
                modules={"bot.py": BOT, "page.html": "<!doctype html><title>A page</title>"},
                users=["ada", "bob", "eve", "gil"],
                admins=["root"],
                groups={"class": ["gil"]},
                services={
                    "robot": ["access:servers"],
                    "helper": ["access:services"],
                    "stranger": ["read:hub"],
                },
                roles=ROLES,
                extra_config=service_block(folder),
            )
        )
        health = f"{hub.base_url}services/bots/wshandler/api/health"
        wait_for(lambda: hub.script().fetch(health).status == 200, 60, "the service", 0.2)
        server = hub.start("ada")
        hub.share(server, user="eve")
        nginx = stack.enter_context(
            running_nginx(folder / "nginx", hub.door.address[1], host=HUB_HOST)
        )
        tls = Door(nginx.origin(tls=True), ("127.0.0.1", nginx.tls_port), nginx.tls_context())
        yield House(hub, server, {"proxy": hub.door, "nginx": tls})


def status(
    at: Callable[[str], str], client: Client, path: str, way: str, token: str, origin: str
) -> int:
    """Ask for a socket; return the status of the answer."""
    headers = {}
    if way == "header":
        headers["Authorization"] = f"token {token}"
    elif way == "query":
        path += f"?token={token}"
        headers["Sec-Fetch-Mode"] = "websocket"
    field = {
        "this server": client.door.origin,
        "another site": "https://evil.example",
        "`null`": "null",
        "none": None,
    }[origin]
    return client.status(at(path), origin=field, headers=headers)


def admissions(house: House, door: Door) -> dict[tuple[str, str], dict[str, int]]:
    """Return the status for everybody, by who and how, and by origin."""
    hub, server = house.hub, house.server
    clients: dict[tuple[str, str], tuple[Client, str]] = {}
    for who, name in PEOPLE.items():
        browser = hub.browser(name, door=door)
        browser.visit(server.at("files/none"))
        # The Hub gives another user no cookie for the server; there is only the Hub's own.
        assert (browser.login_cookie(server) is None) is (name == "bob")
        clients[who, "cookie"] = browser, ""
        for way in ("header", "query"):
            clients[who, way] = Client(hub, door), hub.token(name)
    for who, name in SERVICES.items():
        for way in ("header", "query"):
            clients[who, way] = Client(hub, door), hub.service_tokens[name]
    clients[REVOKED, "cookie"] = hub.browser("ada", server, door).log_out(), ""
    for way in ("header", "query"):
        token = hub.token("ada")
        hub.revoke("ada", token)
        clients[REVOKED, way] = Client(hub, door), token
    clients["nobody", "-"] = Client(hub, door), ""
    return {
        case: {
            origin: status(server.at, client, "bot", case[1], token, origin) for origin in ORIGINS
        }
        for case, (client, token) in clients.items()
    }


def service_admissions(house: House, door: Door) -> dict[tuple[str, str], dict[str, int]]:
    """Return the same of the service, and what its users get of Jupyter's terminals."""
    hub = house.hub
    clients: dict[tuple[str, str], tuple[Client, str]] = {}
    for who, name in AT_SERVICE.items():
        token = hub.service_tokens.get(name) or hub.token(name)
        if name not in hub.service_tokens:
            browser = hub.browser(name, door=door)
            browser.visit(house.service("paged"))
            clients[who, "cookie"] = browser, ""
        for way in ("header", "query"):
            clients[who, way] = Client(hub, door), token
    browser = hub.browser("eve", door=door)
    browser.visit(house.service("paged"))
    gone = browser.log_out()
    clients[SERVICE_REVOKED, "cookie"] = gone, ""
    # The service may know eve for as long as the route's `recheck` says, as she was just there.
    wait_for(
        lambda: status(house.service, gone, "bot", "cookie", "", "none") == 403,
        RECHECK + 10,
        "the end of a login",
    )
    token = hub.token("eve")
    hub.revoke("eve", token)
    clients[SERVICE_REVOKED, "header"] = Client(hub, door), token
    clients["nobody", "-"] = Client(hub, door), ""
    found = {}
    for (who, way), (client, token) in clients.items():
        here = {
            origin: status(house.service, client, "bot", way, token, origin) for origin in ORIGINS
        }
        headers = {"Authorization": f"token {token}"} if way == "header" else {}
        where = house.service("api/terminals") + (f"?token={token}" if way == "query" else "")
        answer = client.fetch(where, method="POST", headers=headers)
        found[who, way] = here | {TERMINALS: answer.status}
    return found


def tickets(house: House, door: Door) -> dict[str, int]:
    """Return the status at a route with ``xsrf: ticket``, by what the owner brings."""
    browser = house.hub.browser("ada", house.server, door)
    script = Client(house.hub, door)
    token = house.hub.token("ada")
    at, of = house.server.at("ticket"), house.server.at
    with_ticket = browser.ticketed(house.server, "ticket")
    return {
        "the cookie alone": browser.status(at),
        "the cookie and a ticket": browser.status(with_ticket),
        "the cookie and the same ticket again": browser.status(with_ticket),
        "a token in the header": status(of, script, "ticket", "header", token, "none"),
        "a token in the query": status(
            house.server.at, script, "ticket", "query", token, "this server"
        ),
    }


def endings(house: House, door: Door) -> dict[str, int]:
    """Return the close code of open sockets, by what happens to their user's rights."""
    hub, server = house.hub, house.server
    tokens = {way: hub.token("ada") for way in ("header", "query")}
    leaving, guest, member = (hub.browser(name, server, door) for name in ("ada", "eve", "gil"))
    client = Client(hub, door)
    cases: dict[str, tuple[Callable, Callable[[], None]]] = {
        "a token is revoked that came in the header": (
            lambda: client.connect_sync(
                server.at("bot"), headers={"Authorization": f"token {tokens['header']}"}
            ),
            lambda: hub.revoke("ada", tokens["header"]),
        ),
        "a token is revoked that came in the query": (
            lambda: client.connect_sync(
                server.at(f"bot?token={tokens['query']}"), headers={"Sec-Fetch-Mode": "websocket"}
            ),
            lambda: hub.revoke("ada", tokens["query"]),
        ),
        "the user logs out at the Hub": (
            lambda: leaving.connect_sync(server.at("bot")),
            lambda: leaving.log_out(),
        ),
        "a share is withdrawn": (
            lambda: guest.connect_sync(server.at("bot")),
            lambda: hub.unshare(server, user="eve"),
        ),
        "the user leaves the group that has the role for the server": (
            lambda: member.connect_sync(server.at("bot")),
            lambda: hub.remove_from_group("class", "gil"),
        ),
    }
    with ExitStack() as stack, ThreadPoolExecutor(len(cases)) as pool:
        sockets = {case: stack.enter_context(opens()) for case, (opens, _) in cases.items()}
        for _, happens in cases.values():
            happens()
        ends = {case: pool.submit(close_code, socket) for case, socket in sockets.items()}
        codes = {case: end.result() for case, end in ends.items()}
    hub.share(server, user="eve")
    hub.add_to_group("class", "gil")
    # A group that a route names, for somebody who keeps the right to use the server.
    hub.add_to_group("class", "eve")
    inside = hub.browser("eve", server, door)
    with inside.connect_sync(server.at("class")) as socket:
        hub.remove_from_group("class", "eve")
        codes["the user leaves a group that the route's `auth` names"] = close_code(socket)
    return codes


def close_code(socket) -> int:
    """Wait for the end of a socket and return its close code."""
    try:
        socket.recv(timeout=RECHECK + 20)
    except websockets.exceptions.ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006
    raise AssertionError("a message came where only an end could come")


def measured(house: House) -> str:
    """Measure every case through both doors; return the document."""
    got_in = {name: admissions(house, door) for name, door in house.doors.items()}
    at_service = {name: service_admissions(house, door) for name, door in house.doors.items()}
    with_ticket = {name: tickets(house, door) for name, door in house.doors.items()}
    ended = {name: endings(house, door) for name, door in house.doors.items()}

    def cell(of: Callable[[Mapping], int], found: Mapping[str, Mapping]) -> str:
        values = [str(of(by_door)) for by_door in found.values()]
        return values[0] if len(set(values)) == 1 else " / ".join(values)

    lines = [HEAD]
    lines += [f"| who | by | {' | '.join(ORIGINS)} |", "|---|---|" + "---|" * len(ORIGINS)]
    for case in next(iter(got_in.values())):
        cells = [cell(lambda found, c=case, o=o: found[c][o], got_in) for o in ORIGINS]
        lines.append(f"| {' | '.join([*case, *cells])} |")
    columns = [*ORIGINS, TERMINALS]
    lines += [SERVICE, f"| who | by | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for case in next(iter(at_service.values())):
        cells = [cell(lambda found, c=case, o=o: found[c][o], at_service) for o in columns]
        lines.append(f"| {' | '.join([*case, *cells])} |")
    lines += [TICKETS, "| the owner brings | |", "|---|---|"]
    for what in next(iter(with_ticket.values())):
        lines.append(f"| {what} | {cell(lambda found, w=what: found[w], with_ticket)} |")
    lines += [ENDINGS, "| what happens | close code |", "|---|---|"]
    for what in next(iter(ended.values())):
        lines.append(f"| {what} | {cell(lambda found, w=what: found[w], ended)} |")
    return "\n".join([*lines, TAIL])


HEAD = """\
# Who gets in under JupyterHub

<!-- Generated by `make who-gets-in`; tests/hub/test_admission.py measures it again. -->

Measured with a real JupyterHub: one user's server with a route that has no `auth` and no `origins`
of its own, reached through the Hub's proxy and through nginx with TLS in front of it. Both give the
same answers; where they did not, a cell would hold two. 101 is an open socket, 403 a refusal before
anything of yours runs.

## At the handshake

The credential is the login cookie that the server sets after the login at the Hub, a token of the
Hub's in the `Authorization` field, or one in the query: `?token=` with `Sec-Fetch-Mode: websocket`,
which [not every browser sends](jupyterhub.md#tokens). The columns are the `Origin` of the page that
opens the socket.
"""

SERVICE = """
A token in the hands of a page is that page's own: Jupyter asks for no origin then. To admit only
certain pages whatever they bring, set `origins`. The Hub gives another user no cookie for this
server; that row shows a browser which is logged in at the Hub only.

## At a service with bots only

[One server for everybody](jupyterhub.md#bots-as-a-service), at `/services/bots/` of the same Hub.
The last column is a `POST` that would open a terminal on any other server.
"""

TICKETS = """
## With `xsrf: ticket`

From a page of this server, or from a script:
"""

ENDINGS = """
## While a socket is open

Within the route's `recheck` (60 s, where nothing else is configured):
"""

TAIL = """
The same login is refused with 403 at the next handshake.
"""


def main() -> None:
    """Measure, and write the document."""
    with tempfile.TemporaryDirectory() as folder, running_house(Path(folder)) as house:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(measured(house), encoding="utf-8")


if __name__ == "__main__":
    main()
