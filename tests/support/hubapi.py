"""What a test asks of a Hub through its REST API."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support.hubclient import Answer, Client, Door, Script
from support.server import wait_for

START_SECONDS = 150
"""How long a Hub or a server may take to start on a busy machine."""


def _q(name: str) -> str:
    return quote(name, safe="")


@dataclass
class HubServer:
    """A single-user server as the Hub knows it.

    Attributes:
        user: Its owner.
        name: Its name; "" for the default server.
        url: Its URL as the Hub gives it: a path, or with subdomains a whole URL.
        log_path: What it writes.
        pid: Its process.
    """

    user: str
    name: str
    url: str
    log_path: Path
    pid: int

    def at(self, path: str) -> str:
        """Return the URL of a path of this server, such as a route."""
        return self.url.rstrip("/") + "/" + path.lstrip("/")

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")


@dataclass
class HubApi:
    """A Hub as one who may do everything sees it.

    Attributes:
        folder: Where everything is that belongs to it.
        base_url: Where the Hub and its servers live.
        door: How clients reach it: its own proxy.
        api_token: A token that may do everything.
        api_door: How to reach the REST API, where that is not through the proxy.
    """

    folder: Path
    base_url: str
    door: Door
    api_token: str
    api_door: Door | None = None
    token_ids: dict[str, str] = field(default_factory=dict, init=False)

    def path(self, where: str = "") -> str:
        """Return the path of a page of the Hub itself, such as "login"."""
        return f"{self.base_url}hub/{where}"

    def log_text(self) -> str:
        """Return what the Hub has written."""
        return (self.folder / "hub.log").read_text(errors="replace")

    def logs(self) -> dict[str, str]:
        """Return all logs by name: the Hub's, the proxy's and every server's."""
        paths = [*self.folder.glob("*.log"), *(self.folder / "servers").glob("*.log")]
        return {path.name: path.read_text(errors="replace") for path in paths}

    def api(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Answer:
        """Send a request to the Hub's REST API, as one who may do everything.

        Args:
            method: "GET" and so on.
            path: What comes after ``/hub/api/``, quoted.
            body: Becomes the JSON body.
            token: Whose request it is instead.
        """
        data = None if body is None else json.dumps(body).encode()
        client: Client = Script(self, token or self.api_token, self.api_door)
        return client.fetch(self.path(f"api/{path}"), method=method, data=data)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that has to succeed; return what the answer's JSON says."""
        answer = self.api(method, path, body)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.text}"
        return answer.json() if answer.body else None

    def server(self, user: str, name: str = "") -> HubServer | None:
        """Return a server that is ready, as the Hub knows it, or None."""
        model = self.ask("GET", f"users/{_q(user)}?include_stopped_servers")["servers"].get(name)
        if not model or not model["ready"]:
            return None
        log_path = self.folder / "servers" / (quote(f"{user}/{name}", safe="") + ".log")
        return HubServer(user, name, model["url"], log_path, model["state"].get("pid", 0))

    def start(self, user: str, name: str = "") -> HubServer:
        """Start a user's server, or take the one that runs, and wait until it is ready."""
        running = self.server(user, name)
        if running is not None:
            return running
        suffix = f"servers/{_q(name)}" if name else "server"
        self.ask("POST", f"users/{_q(user)}/{suffix}")
        try:
            # Each look costs the Hub as much as the start of a server does for a moment.
            return wait_for(lambda: self.server(user, name), START_SECONDS, f"{user}'s server", 0.2)
        except AssertionError as error:
            tails = "\n".join(f"{key}:\n{text[-3000:]}" for key, text in self.logs().items())
            raise AssertionError(f"{error}\n{tails}") from None

    def stop(self, user: str, name: str = "") -> None:
        """Stop a user's server and wait until the Hub says that it is gone."""
        suffix = f"servers/{_q(name)}" if name else "server"
        self.ask("DELETE", f"users/{_q(user)}/{suffix}")

        def gone() -> bool:
            model = self.ask("GET", f"users/{_q(user)}?include_stopped_servers")
            found = model["servers"].get(name)
            return not found or bool(found["stopped"])

        wait_for(gone, START_SECONDS, f"the end of {user}'s server")

    def token(
        self,
        user: str,
        scopes: Sequence[str] | None = None,
        *,
        note: str = "made by a test",
        expires_in: int | None = None,
    ) -> str:
        """Make a token of a user.

        Args:
            user: Whose.
            scopes: What it may, such as ["access:servers!user=ada"]; all that the user may
                where None.
            note: What the user's token page says about it.
            expires_in: Seconds.
        """
        body = {"note": note, "expires_in": expires_in}
        if scopes is not None:
            body["scopes"] = list(scopes)
        made = self.ask("POST", f"users/{_q(user)}/tokens", body)
        self.token_ids[made["token"]] = made["id"]
        return made["token"]

    def revoke(self, user: str, token: str) -> None:
        """Revoke a token that `token` has made."""
        self.ask("DELETE", f"users/{_q(user)}/tokens/{self.token_ids[token]}")

    def share(self, server: HubServer, *, user: str | None = None, group: str | None = None):
        """Give a user or a group access to a server.

        JupyterHub 6.1 does not count a group's share for a token, and so for no login at a
        server either; a role with "groups" works.
        """
        self._shares("POST", server, user, group)

    def unshare(self, server: HubServer, *, user: str | None = None, group: str | None = None):
        """Take a share back."""
        self._shares("PATCH", server, user, group)

    def _shares(self, method: str, server: HubServer, user: str | None, group: str | None):
        body = {key: value for key, value in (("user", user), ("group", group)) if value}
        self.ask(method, f"shares/{_q(server.user)}/{_q(server.name)}", body)

    def add_to_group(self, group: str, *users: str) -> None:
        self.ask("POST", f"groups/{_q(group)}/users", {"users": users})

    def remove_from_group(self, group: str, *users: str) -> None:
        self.ask("DELETE", f"groups/{_q(group)}/users", {"users": users})

    def questions(self, user: str | None = None) -> int:
        """Return how often the Hub has been asked whose token or cookie one is.

        Args:
            user: Count only questions about this user's or service's; all where None.
        """
        who = ".*" if user is None else re.escape(user)
        pattern = rf"\d{{3}} GET {re.escape(self.path('api/user'))} \({who}@[^@)]*\)"
        return len(re.findall(pattern, self.log_text()))
