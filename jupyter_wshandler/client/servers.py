"""Which Jupyter server is this process under? Find its address, and the token for it."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from ..errors import ServerNotFound

SECURE = {"ws": False, "http": False, "wss": True, "https": True}
UNIX = "http+unix"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
WILDCARDS = frozenset({"", "0.0.0.0", "*"})  # noqa: S104  # nothing is bound to it here
hindrances: list[Callable[[str], str | None]] = []
"""Each gets a path, with its slash, that is looked for without naming a server, and says why no
server has it, or None. A kernel says so of its own bots that no server knows yet."""

EXAMPLE = "connect(..., server='http://127.0.0.1:8888/', token='...')"


@dataclass(frozen=True)
class Server:
    """Hold where a server listens and what it takes for a login.

    Attributes:
        url: Its base URL with a final slash: http, https, or http+unix for a unix socket.
        token: What goes behind "Authorization: token"; empty where there is none.
        source: Where this was found, for error messages.
        alias: Another base URL under which it goes.
        root_dir: The folder that it serves.
        pid: Its process; 0 where that is unknown.
    """

    url: str
    token: str = field(default="", repr=False)
    source: str = "server="
    alias: str = ""
    root_dir: str = ""
    pid: int = 0

    @property
    def socket_path(self) -> str:
        """Path of the unix socket that it listens on; empty where it listens on TCP."""
        parts = urlsplit(self.url)
        return unquote(parts.netloc) if parts.scheme == UNIX else ""

    @property
    def websocket_url(self) -> str:
        """Base URL for sockets, with a final slash; a unix socket goes by the name localhost."""
        parts = urlsplit(self.url)
        if parts.scheme == UNIX:
            return f"ws://localhost{parts.path}"
        return f"{'wss' if SECURE[parts.scheme] else 'ws'}://{parts.netloc}{parts.path}"

    def owns(self, url: str) -> bool:
        """Tell whether a whole URL is this server's: same scheme, host and port, path below."""
        return any(_below(url, base) for base in (self.url, self.alias) if base)


@dataclass(frozen=True)
class Endpoint:
    """Hold all that a handshake needs to know of where it goes.

    Attributes:
        url: The socket's URL with its query, which never holds a token.
        token: What to log in with; empty for nothing.
        login: One sentence on which token is sent, or why none is; holds no token.
        server: Which server it is; None for one that is not known here.
    """

    url: str
    token: str = field(repr=False)
    login: str
    server: Server | None

    @property
    def shown(self) -> str:
        """The URL without its query, for error messages."""
        return self.url.partition("?")[0]


def resolve(
    target: str,
    args: Mapping[str, Any] | None = None,
    server: str | None = None,
    token: str | None = None,
) -> Endpoint:
    """Find out where a target is and which token may be sent there.

    Args:
        target: A path below the server's base URL, or a whole ws, wss, http or https URL.
        args: Query arguments; a list gives several values of one name.
        server: Base URL of the server; found by `find_server` where None. A whole URL as
            target needs none.
        token: The token to send, "" for none. Where None, a whole URL is sent the token of the
            server found here that it belongs to, and any other address none.

    Raises:
        ServerNotFound: A path was given, and the server cannot be found.
        ValueError: The target or `server` is no address, or the token no token.
    """
    place, path, query = _split_target(target)
    query = "&".join(filter(None, (query, urlencode(args or {}, doseq=True))))
    query, asked = take_token(query)
    token = _checked(asked or None if token is None else token)
    path = quote(path, safe="/%:@!$&'()*+,;=~")
    found: Server | None
    if place is None:
        for why_not in hindrances if server is None else ():
            reason = why_not("/" + unquote(path).lstrip("/"))
            if reason:
                raise ServerNotFound(reason)
        found = find_server(server)
        url = found.websocket_url + path.lstrip("/")
    else:
        url = place.scheme.lower().replace("http", "ws") + "://" + place.netloc + (path or "/")
        found = owner_of(url)
        if found:
            # The token goes to the address where its server listens, not to a namesake of it.
            own = urlsplit(found.websocket_url)
            url = f"{own.scheme}://{own.netloc}{path}"
    if token is None:
        token = _checked(found.token if found else "") or ""
        login = _found_login(found)
    else:
        login = "the token that was passed was sent" if token else "no token was sent, as asked for"
    return Endpoint(f"{url}?{query}" if query else url, token, login, found)


def _split_target(target: str) -> tuple[SplitResult | None, str, str]:
    place: SplitResult | None = None
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", target):
        place = split_url(target)
        if place.scheme not in SECURE:
            raise ValueError(
                f"expected a path, or a ws, wss, http or https URL, found {place.scheme}://"
            )
        path, query, fragment = place.path, place.query, place.fragment
    else:
        rest, _, fragment = target.partition("#")
        path, _, query = rest.partition("?")
    if fragment:
        raise ValueError("the URL of a WebSocket has no '#'; write %23 where it belongs to a name")
    # A proxy may resolve them: what looks like a path of one user's would reach another's.
    if {".", ".."} & set(re.split(r"[/\\]", unquote(path))):
        raise ValueError(f"expected a path without '.' and '..', found {path!r}")
    return place, path, query


def _checked(token: str | None) -> str | None:
    """Return a token without the newline of the file that it was read from."""
    token = token.strip() if token else token
    if token and not (token.isascii() and token.isprintable()):
        raise ValueError("a token consists of printable ASCII characters; this one does not")
    return token


def _found_login(server: Server | None) -> str:
    if server is None:
        return "no token was sent, as the URL belongs to no server that was found here"
    if server.token:
        return f"the token from {server.source} was sent"
    login = f"no token was sent, as {server.source} gives none"
    if os.environ.get("JUPYTER_TOKEN"):
        # A server that takes it says so in its runtime file: this may be meant for another.
        login += "; if JUPYTER_TOKEN is for this server, pass token=os.environ['JUPYTER_TOKEN']"
    return login


def split_url(url: str) -> SplitResult:
    """Split a whole URL and refuse what a client must not send anywhere.

    Raises:
        ValueError: It has no host, names a user or password, or a port that cannot be.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError(
            "a URL must not hold a user name or password; pass headers={'Authorization': ...}"
        )
    if not parts.netloc or (parts.scheme != UNIX and not parts.hostname):
        shown = url.partition("?")[0]
        raise ValueError(f"expected a URL with a host such as ws://127.0.0.1/, found {shown!r}")
    if parts.scheme != UNIX:
        _ = parts.port  # Raises where it is no port.
    return parts


def take_token(query: str) -> tuple[str, str]:
    """Return a query without its `token`, and that token: one in a URL ends up in logs."""
    pairs = parse_qsl(query, keep_blank_values=True)
    tokens = [value for name, value in pairs if name == "token"]
    if not tokens:
        return query, ""
    return urlencode([pair for pair in pairs if pair[0] != "token"]), tokens[-1]


def find_server(server: str | None = None) -> Server:
    """Find the server that this process is under.

    In this order: the one that is named; the JupyterHub variables; the runtime files of
    jupyter_server, and there this very process, then `JPY_PARENT_PID` (the server that started
    this kernel), then an ancestor of either, then the only server that is alive. In a kernel that
    somebody else has started (`jupyter execute`, papermill) and that is still there, that one is
    not taken: it knows nothing of this kernel.

    Args:
        server: Base URL of a server, also as Jupyter prints it, with ``/lab?token=...``.

    Raises:
        ServerNotFound: There is none, or several and nothing that tells which.
        ValueError: `server` is no URL.
    """
    if server is not None:
        return _named(server)
    hub = hub_server()
    if hub:
        return hub
    alive = running_servers()
    by_pid = {found.pid: found for found in alive}
    for pid in _relatives():
        if pid in by_pid:
            return by_pid[pid]
    starter = _starter()
    if alive and starter and _is_running(starter):
        raise ServerNotFound(_started_by(starter, alive))
    if len(alive) == 1:
        return alive[0]
    raise ServerNotFound(_which(alive) if alive else _nothing())


def owner_of(url: str) -> Server | None:
    """Return the server found here that a whole URL belongs to, if there is one."""
    hub = hub_server()
    known = [*([hub] if hub else []), *running_servers()]
    return next((server for server in known if server.owns(url)), None)


def hub_server() -> Server | None:
    """Return the single-user server that JupyterHub's variables describe, if they do."""
    url, token = (os.environ.get(f"JUPYTERHUB_{name}", "") for name in ("SERVICE_URL", "API_TOKEN"))
    parts = urlsplit(url)
    if not token or parts.scheme not in ("http", "https"):
        return None
    # Where a server is told to listen on all addresses, this machine's own is one of them.
    netloc = _netloc(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    path = parts.path if parts.path.strip("/") else ""
    path = path or os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "") or "/"
    return Server(f"{parts.scheme}://{netloc}{_slashed(path)}", token, "JUPYTERHUB_API_TOKEN")


def runtime_dir() -> Path:
    """Return the folder in which Jupyter servers leave their runtime files."""
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def running_servers() -> list[Server]:
    """Return the servers whose runtime file is here and whose process is alive."""
    found = (_from_file(path) for path in sorted(runtime_dir().glob("jpserver-*.json")))
    return [server for server in found if server and _alive(server)]


def _from_file(path: Path) -> Server | None:
    try:
        info = json.loads(path.read_text("utf-8"))
        base = _slashed(str(info["base_url"]))
        if info.get("sock"):
            url = str(info["url"])
        else:
            scheme = "https" if info.get("secure") else "http"
            url = f"{scheme}://{_netloc(str(info['hostname']), int(info['port']))}{base}"
        return Server(
            url=_slashed(url),
            token=str(info.get("token") or ""),
            source=f"the runtime file {path.name}",
            alias=_slashed(str(info.get("url") or url)),
            root_dir=str(info.get("root_dir") or ""),
            pid=int(info["pid"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        # Being written, removed in between, or another program's: not a server to talk to.
        return None


def _alive(server: Server) -> bool:
    if server.pid <= 0:
        return False
    if os.name == "nt":
        # Windows has no signal that only asks; os.kill would end the process.
        parts = urlsplit(server.url)
        try:
            socket.create_connection((parts.hostname, parts.port), timeout=1).close()
        except OSError:
            return False
        return True
    return _is_running(server.pid)


def _is_running(pid: int) -> bool:
    """Return whether a process of this user's is there; never on Windows, where asking ends it."""
    if os.name == "nt":
        return False
    try:
        os.kill(pid, 0)
    except (OSError, OverflowError):
        # Also where the number has gone to a process of another user's: that wrote no file here.
        return False
    return True


def _starter() -> int:
    """Return the process that has started this kernel; 0 where this is none, or nobody knows."""
    pid = os.environ.get("JPY_PARENT_PID", "")
    return int(pid) if pid.isdecimal() else 0


def _relatives() -> Iterator[int]:
    """Yield the processes whose server this may be, the surest first."""
    yield os.getpid()
    starter = _starter()
    if starter:
        yield starter
    yield from _line_of(os.getppid())
    # Something may stand between a kernel and its starter that has no parent itself.
    yield from _line_of(starter)


def _line_of(pid: int) -> Iterator[int]:
    """Yield a process and its ancestors."""
    while pid > 0:
        yield pid
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return  # No /proc on this system: the parent is all that is known.
        # The second field is a name in parentheses and may hold anything, parentheses too.
        pid = int(stat.rpartition(")")[2].split()[1])


def _named(text: str) -> Server:
    parts = urlsplit(text)
    if parts.scheme not in (*SECURE, UNIX):
        raise ValueError(
            "expected the base URL of a server such as http://127.0.0.1:8888/ as server=, "
            f"found the scheme {parts.scheme!r}"
        )
    parts = split_url(text)
    path, (_, token) = parts.path, take_token(parts.query)
    if token:
        # As Jupyter prints it: the page that opens first is not part of the base URL.
        path = path.removesuffix("/").removesuffix("/lab").removesuffix("/tree")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    url = f"{scheme}://{parts.netloc}{_slashed(path)}"
    known = owner_of(url)
    if known is None:
        return Server(url, token)
    # Asked for under any of its names, a known server is reached where it said that it listens.
    own = urlsplit(known.url)
    url = f"{own.scheme}://{own.netloc}{_slashed(path)}"
    return replace(known, url=url, token=token or known.token)


def _below(url: str, base: str) -> bool:
    asked, own = urlsplit(url), urlsplit(base)
    if own.scheme == UNIX or asked.scheme == UNIX:
        same = (asked.scheme, asked.netloc) == (own.scheme, own.netloc)
    else:
        same = _place(asked) == _place(own)
    return same and (asked.path.rstrip("/") + "/").startswith(own.path)


def _place(parts: SplitResult) -> tuple[bool, str, int]:
    secure = SECURE[parts.scheme]
    host = (parts.hostname or "").rstrip(".")
    return secure, "localhost" if host in LOOPBACK else host, parts.port or (443 if secure else 80)


def _netloc(host: str, port: int) -> str:
    if host in WILDCARDS:
        host = "127.0.0.1"
    elif host == "::":
        host = "::1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _slashed(url: str) -> str:
    return url if url.endswith("/") else url + "/"


def _which(alive: list[Server]) -> str:
    lines = "".join(f"\n  {server.url}  (folder {server.root_dir})" for server in alive)
    return (
        f"{len(alive)} Jupyter servers run here and none of them started this process:{lines}\n"
        f"Say which: connect(..., server={alive[0].url!r})"
    )


def _started_by(starter: int, alive: list[Server]) -> str:
    first, count = alive[0], len(alive)
    those = f"The {count} Jupyter servers that run here do"
    if count == 1:
        those = f"The Jupyter server that runs here ({first.url}, folder {first.root_dir}) does"
    return (
        f"this kernel was started by process {starter}, which is no Jupyter server (`jupyter "
        f"execute`, papermill, a console). {those} not know its bots: run the notebook in "
        "JupyterLab, test the bot with jupyter_wshandler.testing.Chat, or, for a bot of that "
        f"server, say so: connect(..., server={first.url!r})"
    )


def _nothing() -> str:
    folder = runtime_dir()
    stale = len(list(folder.glob("jpserver-*.json")))
    files = f"only {stale} of servers that have ended" if stale else "none"
    return (
        "no Jupyter server found. Looked for JUPYTERHUB_SERVICE_URL with JUPYTERHUB_API_TOKEN "
        f"in the environment (not both are set), and for runtime files jpserver-*.json in {folder} "
        f"({files}). Start a server (jupyter wshandler serve FILE), or name one: {EXAMPLE}"
    )
