"""Who talks to a Hub: a browser with cookies, and a script with a token.

Both take the URLs that the Hub gives (`HubServer.at`), as a path or with a host in front, and
send what they have to say to their `Door`, whatever the host is called.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin, urlsplit

import websockets.asyncio.client
import websockets.sync.client
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from support.hub import HubServer, RunningHub

OWN = "the origin of the socket's own URL"
"""Stands for the Origin that a page of the same server has."""

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
"""What a browser says about a request for a page."""

SECONDS = 30
"""How long an answer may take: a Hub that starts a server takes its time."""


@dataclass(frozen=True)
class Door:
    """Say where clients come in.

    Attributes:
        origin: What a browser would show, such as "https://hub.example.org:8443".
        address: Host and port of whom to connect to for it.
        tls: Trusts the certificate behind an https origin.
    """

    origin: str
    address: tuple[str, int]
    tls: ssl.SSLContext | None = None

    def url(self, where: str) -> str:
        """Return a whole URL; one that names its host already stays as it is."""
        return urljoin(self.origin + "/", where)


@dataclass
class Answer:
    """One answer over HTTP."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    url: str

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Cookie:
    """A cookie as a browser keeps it (RFC 6265 section 5.3)."""

    name: str
    value: str
    domain: str
    path: str
    attributes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, line: str, url: str) -> Cookie:
        """Read a Set-Cookie field that came from a URL."""
        parts = urlsplit(url)
        pair, *rest = line.split(";")
        name, _, value = pair.partition("=")
        fields = (entry.partition("=") for entry in rest)
        attributes = {key.strip().lower(): found.strip() for key, _, found in fields}
        path = attributes.get("path", "")
        if not path.startswith("/"):
            path = parts.path.rpartition("/")[0] or "/"
        domain = attributes.get("domain", "").lstrip(".") or str(parts.hostname)
        return cls(name.strip(), value.strip(), domain, path, attributes)

    def is_over(self) -> bool:
        """Return whether the field takes the cookie away."""
        expires = self.attributes.get("expires", "")
        gone = bool(expires) and parsedate_to_datetime(expires) <= datetime.now(UTC)
        return self.attributes.get("max-age") == "0" or gone

    def goes_to(self, url: str) -> bool:
        """Return whether a browser sends the cookie to a URL."""
        parts = urlsplit(url)
        host, path = str(parts.hostname), parts.path or "/"
        below = "domain" in self.attributes and host.endswith("." + self.domain)
        return (
            (host == self.domain or below)
            and (path == self.path or path.startswith(self.path.rstrip("/") + "/"))
            and ("secure" not in self.attributes or parts.scheme in ("https", "wss"))
        )


class Connect(websockets.asyncio.client.connect):
    """Open a socket as a browser does: a redirect is a refusal."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Client:
    """Send requests and open sockets; a subclass says with which credentials.

    Args:
        hub: The Hub.
        door: Where to come in; the Hub's own proxy where None.
    """

    own_origin = False

    def __init__(self, hub: RunningHub, door: Door | None = None) -> None:
        self.hub = hub
        self.door = door or hub.door

    def credentials(self, url: str) -> dict[str, str]:
        """Return the headers that say who asks."""
        return {}

    def keep(self, url: str, lines: list[str]) -> None:
        """Take the Set-Cookie fields of an answer."""

    def fetch(
        self, where: str, *, method: str = "GET", headers: Mapping[str, str] = {}, data=None
    ) -> Answer:
        """Send one HTTP request and follow no redirect."""
        url = self.door.url(where)
        parts = urlsplit(url)
        host, port = self.door.address
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(
                str(parts.hostname), parts.port, timeout=SECONDS, context=self.door.tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
        connection._create_connection = lambda address, *rest: socket.create_connection(
            (host, port), *rest
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc} | self.credentials(url) | dict(headers)
        try:
            connection.request(method, target, body=data, headers=sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read(), url)
        finally:
            connection.close()
        self.keep(url, answer.headers.get_all("Set-Cookie") or [])
        return answer

    def _options(self, where, origin, headers, options) -> tuple[str, dict[str, Any]]:
        url = self.door.url(where)
        parts = urlsplit(url)
        if origin is OWN:
            origin = f"{parts.scheme}://{parts.netloc}" if self.own_origin else None
        sent = self.credentials(url) | dict(headers or {})
        if self.own_origin:
            sent = {"Sec-Fetch-Mode": "websocket"} | sent
        common = {
            "additional_headers": sent,
            "origin": origin,
            "ssl": self.door.tls if parts.scheme == "https" else None,
            "compression": None,
            "proxy": None,
            "open_timeout": SECONDS,
        }
        return "ws" + url.removeprefix("http"), common | options

    def connect(self, where: str, *, origin: str | None = OWN, headers=None, **options):
        """Open a socket as an async context manager.

        Args:
            where: The Hub's URL of the server with the route, as from `HubServer.at`.
            origin: The Origin field; None sends none. The default is none for a script, and for
                a browser the origin of the URL itself.
            headers: More header fields, over those of this client.
            options: More options of `websockets.connect`.
        """
        uri, options = self._options(where, origin, headers, options)
        host, port = self.door.address
        return Connect(uri, host=host, port=port, **options)

    def connect_sync(self, where: str, *, origin: str | None = OWN, headers=None, **options):
        """Open a socket as a context manager; see `connect`."""
        uri, options = self._options(where, origin, headers, options)
        sock = socket.create_connection(self.door.address, timeout=SECONDS)
        try:
            return websockets.sync.client.connect(uri, sock=sock, **options)
        except BaseException as error:
            sock.close()
            if isinstance(error.__cause__, InvalidStatus):
                raise error.__cause__ from None  # a redirect, which a browser does not follow
            raise

    def status(self, where: str, *, origin: str | None = OWN, headers=None) -> int:
        """Open a socket, leave, and return the status of the handshake: 101, 403 and so on.

        A redirect is not followed: the Hub answers with one in the place of a server that is down.
        """
        try:
            with self.connect_sync(where, origin=origin, headers=headers):
                return 101
        except InvalidStatus as error:
            return error.response.status_code


class Script(Client):
    """A program with a token in the Authorization field, or with none."""

    def __init__(self, hub: RunningHub, token: str | None = None, door: Door | None = None) -> None:
        super().__init__(hub, door)
        self.token = token

    def credentials(self, url: str) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"} if self.token else {}


class HubBrowser(Client):
    """A browser: it logs in with the Hub's form, follows redirects and keeps cookies by path.

    Attributes:
        jar: The cookies, by name, domain and path.
    """

    own_origin = True

    def __init__(self, hub: RunningHub, door: Door | None = None) -> None:
        super().__init__(hub, door)
        self.jar: dict[tuple[str, str, str], Cookie] = {}

    def credentials(self, url: str) -> dict[str, str]:
        going = [cookie for cookie in self.jar.values() if cookie.goes_to(url)]
        going.sort(key=lambda cookie: -len(cookie.path))
        return {"Cookie": "; ".join(f"{c.name}={c.value}" for c in going)} if going else {}

    def keep(self, url: str, lines: list[str]) -> None:
        for line in lines:
            cookie = Cookie.of(line, url)
            key = (cookie.name, cookie.domain, cookie.path)
            if cookie.is_over():
                self.jar.pop(key, None)
            else:
                self.jar[key] = cookie

    def visit(self, where: str, *, confirm: bool = True) -> Answer:
        """Open a page as a person does: follow redirects, and agree where the Hub asks.

        Args:
            where: The page.
            confirm: Whether to press "Authorize" where another person's server asks for it.
        """
        return self._follow(self.fetch(where, headers=NAVIGATE), confirm)

    def _follow(self, answer: Answer, confirm: bool = True) -> Answer:
        for _ in range(20):
            if answer.status in (301, 302, 303, 307, 308):
                target = urljoin(answer.url, answer.headers["Location"])
                answer = self.fetch(target, headers=NAVIGATE)
            elif confirm and b'name="scopes"' in answer.body and b"Authorize" in answer.body:
                answer = self._submit(answer, {})
            else:
                return answer
        raise AssertionError(f"too many redirects, the last to {answer.url}")

    def _submit(self, page: Answer, fields: Mapping[str, str], where: str = "") -> Answer:
        """Send the form of a page with its hidden fields and these."""
        hidden = re.findall(r'type="hidden"\s+name="([^"]+)"\s+value="([^"]*)"', page.text)
        assert hidden, f"no form at {page.url}: {page.status}\n{page.text[-2000:]}"
        pairs = [*((name, unescape(value)) for name, value in hidden), *fields.items()]
        origin = urlsplit(page.url)
        return self.fetch(
            urljoin(page.url, where),
            method="POST",
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": f"{origin.scheme}://{origin.netloc}",
                **NAVIGATE,
            },
            data=urlencode(pairs).encode(),
        )

    def log_in(self, user: str, password: str | None = None) -> HubBrowser:
        """Log in at the Hub's form.

        Args:
            user: The name.
            password: The password; the right one where None.
        """
        page = self.visit(self.hub.path("login"))
        answer = self._submit(
            page, {"username": user, "password": password or self.hub.password_of(user)}
        )
        assert answer.status == 302, f"{user} cannot log in: {answer.status}\n{answer.text[-2000:]}"
        return self

    def enter(self, server: HubServer) -> HubBrowser:
        """Open a page of a server, so that the Hub's OAuth leaves its cookie for that server."""
        # A page that asks for a login; the one at the root does not.
        answer = self.visit(server.at("files/none"))
        assert self.login_cookie(server), f"{answer.status} at {answer.url}\n{answer.text[-2000:]}"
        return self

    def login_cookie(self, server: HubServer) -> Cookie | None:
        """Return the cookie that a single-user server has set for a login, if there is one."""
        path = urlsplit(server.url).path
        for cookie in self.jar.values():
            # Another one, "...-oauth-state", is there while the login is under way.
            if cookie.path == path and re.fullmatch(r"jupyterhub-user-.*(?<!-state)", cookie.name):
                return cookie
        return None

    def ticketed(self, server: HubServer, route: str) -> str:
        """Fetch a ticket as a page of a server does; return the socket's URL that carries it.

        Args:
            server: The server, which has been entered.
            route: The path of a route with ``xsrf: ticket``.
        """
        where = server.at(route)
        url = self.door.url(where)
        xsrf = [c for c in self.jar.values() if c.name == "_xsrf" and c.goes_to(url)]
        answer = self.fetch(
            server.at("wshandler/api/tickets"),
            method="POST",
            headers={
                "Content-Type": "application/json",
                "Sec-Fetch-Mode": "same-origin",
                "X-XSRFToken": max(xsrf, key=lambda cookie: len(cookie.path)).value,
            },
            data=json.dumps({"path": urlsplit(url).path}).encode(),
        )
        assert answer.status == 200, f"{answer.status} {answer.text}"
        return f"{where}?{urlencode({'ws_token': answer.json()['ticket']})}"

    def log_out(self) -> HubBrowser:
        """Log out at the Hub; the cookies of single-user servers stay, as in a browser."""
        assert self.visit(self.hub.path("logout")).status == 200
        return self
