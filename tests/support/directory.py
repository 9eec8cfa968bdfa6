"""A Hub with a bots service, which is the directory, and what people do with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.hub import HubServer, RunningHub, running_hub
from support.hubapi import START_SECONDS
from support.hubclient import Answer, HubBrowser
from support.server import WITHOUT_LAB, free_port, wait_for

SCOPES = ["read:users:name", "read:users:groups", "read:servers"]
"""What the directory asks the Hub for."""

CONFIG = """
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs: {on_message: bot.who, page: page.html, auth: {recheck: 1s}}
  other: {pattern: /other, handler: WebSocketHandler, kwargs: {on_message: bot.who}}
  rooms:
    pattern: "/room/{room}"
    handler: WebSocketHandler
    kwargs: {on_message: bot.who, page: page.html, auth: {recheck: 1s}}
"""

BOT = """
import json

def who(handler, message):
    user = handler.current_user
    found = {name: getattr(user, name) for name in ("kind", "username", "name", "groups", "scopes")}
    return json.dumps(found)
"""

MODULES = {"bot.py": BOT, "page.html": "<!doctype html><title>Pingbot</title>the page of pingbot"}


@dataclass
class Service:
    """The bots service of a Hub.

    Attributes:
        hub: The Hub.
        url: Where the service's own process listens, with its prefix.
        origin: Where browsers reach it, where it has a host of its own.
    """

    hub: RunningHub
    url: str
    origin: str = ""

    def at(self, path: str) -> str:
        """Return an address of the service, as the Hub's proxy has it."""
        return f"{self.origin}{self.hub.base_url}services/bots/{path.lstrip('/')}"

    @property
    def page(self) -> str:
        return self.at("wshandler/directory")

    def open(self, browser: HubBrowser, share: str) -> Answer:
        """Open a bot as a person does who has found it on the page."""
        return browser.visit(self.at(f"wshandler/directory/open/{share}"))

    def listed(self, browser: HubBrowser) -> dict[str, Any]:
        """Return what the page lists for a browser, which has been logged in."""
        answer = browser.fetch(self.at("wshandler/api/directory"))
        assert answer.status == 200, answer.text
        return answer.json()

    def person(self, user: str) -> HubBrowser:
        """Return a browser of somebody who has opened the page."""
        browser = self.hub.browser(user)
        answer = browser.visit(self.page)
        assert answer.status == 200, f"{answer.status} {answer.url}\n{answer.text[-2000:]}"
        return browser

    def stop_sharing(self, browser: HubBrowser, share: str) -> int:
        """Press "stop sharing"; return the status."""
        url = self.hub.door.url(self.page)
        values = [c.value for c in browser.jar.values() if c.name == "_xsrf" and c.goes_to(url)]
        answer = None
        for value in values:
            answer = browser.fetch(
                self.at(f"wshandler/api/directory/{share}"),
                method="DELETE",
                headers={"X-XSRFToken": value, "Sec-Fetch-Mode": "same-origin"},
            )
            if answer.status != 403:
                break
        assert answer is not None
        return answer.status


@contextmanager
def hub_with_directory(
    folder: Path,
    config: str = CONFIG,
    *,
    modules: Mapping[str, str] = MODULES,
    base_url: str = "/",
    scopes: Sequence[str] = tuple(SCOPES),
    service_args: Sequence[str] = ("--WSHandlerApp.bots_only=True",),
    server_env: Mapping[str, str] | None = None,
    service_env: Mapping[str, str] | None = None,
    extra_config: str = "",
    **options: Any,
) -> Iterator[Service]:
    """Start a Hub with a bots service; every user may use it, and every server knows of it.

    Args:
        folder: As for `running_hub`.
        config: Routes of all servers.
        modules: Their modules.
        base_url: Where all of it lives.
        scopes: Of the service's role.
        service_args: Options of the service.
        server_env: More environment variables of users' servers.
        service_env: More of the service.
        extra_config: As for `running_hub`.
        options: As for `running_hub`.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}{base_url}services/bots/"
    command = [
        str(Path(sys.prefix) / "bin" / "jupyterhub-singleuser"),
        "--allow-root",
        WITHOUT_LAB,
        "--ServerApp.log_level=DEBUG",
        f"--WSHandlerApp.session_store=sqlite:///{folder}/service.db",
        *service_args,
    ]
    service = {
        "name": "bots",
        "url": f"http://127.0.0.1:{port}",
        "command": command,
        "oauth_no_confirm": True,
        "timeout": START_SECONDS,
        "environment": {"JUPYTERHUB_SINGLEUSER_APP": "jupyter-server", **(service_env or {})},
    }
    roles = [
        {"name": "directory", "services": ["bots"], "scopes": list(scopes)},
        {"name": "user", "scopes": ["self", "access:services!service=bots"]},
    ]
    with running_hub(
        folder,
        config,
        modules=modules,
        base_url=base_url,
        roles=roles,
        server_env={"WSHANDLER_DIRECTORY_URL": url, **(server_env or {})},
        extra_config="\n".join(
            [
                f"c.JupyterHub.services.append({service!r})",
                f"c.Spawner.http_timeout = c.Spawner.start_timeout = {START_SECONDS}",
                extra_config,
            ]
        ),
        **options,
    ) as hub:
        found = Service(hub, url)
        if hub.host_routing:
            # The Hub's proxy has the host in front of the path.
            (spec,) = [name for name in hub.ask("GET", "proxy") if "/services/bots" in name]
            found.origin = (
                f"http://{spec.strip('/').split('/')[0]}:{urlsplit(hub.door.origin).port}"
            )

        def up() -> bool:
            # It has no address without a login but this one.
            status = hub.script().fetch(found.at("static/wshandler/directory.js")).status
            return status == 200

        try:
            wait_for(up, START_SECONDS, "the bots service")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{hub.log_text()[-6000:]}") from None
        yield found


def share(hub: RunningHub, server: HubServer, **asked: Any) -> dict[str, Any]:
    """Share a route of a user's server as its owner; return the server's answer."""
    answer = ask(hub, server, "POST", "", asked)
    assert answer.status == 201, f"{answer.status} {answer.text}\n{server.log_text()[-3000:]}"
    return answer.json()


def ask(hub: RunningHub, server: HubServer, method: str, path: str, value: Any = None) -> Answer:
    """Send a request to the shares of a user's server, as its owner."""
    data = None if value is None else json.dumps(value).encode()
    script = hub.script(hub.token(server.user))
    headers = {"Content-Type": "application/json"} if data else {}
    where = server.at(f"wshandler/api/shares{path}")
    return script.fetch(where, method=method, headers=headers, data=data)


def path_of(answer: Answer) -> str:
    """Return the path of the address that an answer came from, in the end."""
    return urlsplit(answer.url).path
