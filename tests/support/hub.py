"""A real JupyterHub with its proxy, and single-user servers with the extension, on loopback.

One hub a module; servers are started when a test asks for them::

    with running_hub(folder, CONFIG, modules={"bot.py": BOT}, users=["ada", "bob"]) as hub:
        server = hub.start("ada")
        browser = hub.browser("ada", server)  # logged in, and through the OAuth dance
        assert browser.status(server.at("chat")) == 101
        script = hub.script(hub.token("bob"))
        assert script.status(server.at("chat")) == 403
        hub.share(server, user="bob")

Hub, proxy and every single-user server write a log of their own and are ended by process id.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.bots import bot_text
from support.hubapi import START_SECONDS, HubApi, HubServer
from support.hubclient import Door, HubBrowser, Script
from support.need import need
from support.server import WITHOUT_LAB, free_port, wait_for

API_SCOPES = [
    *("admin:users", "admin:groups", "admin:servers", "admin:server_state", "access:servers"),
    *("tokens", "shares", "users:shares", "groups:shares", "read:hub", "proxy", "shutdown"),
]
"""What the tests themselves may ask the Hub for."""

CULLER_SCOPES = ["list:users", "read:users:activity", "read:servers", "delete:servers"]


def alive(pid: int) -> bool:
    """Return whether a process is there and not only its exit code."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return True
        return False
    return state != "Z"


def listens(port: int) -> bool:
    """Return whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class RunningHub(HubApi):
    """What a test knows of a running Hub, and what it may ask of it.

    Attributes:
        password: The password of every user but the admins.
        admin_password: The password of the admins.
        service_tokens: The tokens of the services, by name.
    """

    admins: tuple[str, ...] = ()
    proxy_args: tuple[str, ...] = ()
    host_routing: bool = False
    hub_port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    proxy_token: str = field(default_factory=lambda: secrets.token_hex(16))
    service_tokens: dict[str, str] = field(default_factory=dict)
    hub_process: subprocess.Popen | None = None
    proxy_process: subprocess.Popen | None = None

    def password_of(self, user: str) -> str:
        return self.admin_password if user in self.admins else self.password

    def proxy_log_text(self) -> str:
        return (self.folder / "proxy.log").read_text(errors="replace")

    def home(self, user: str) -> Path:
        """Return a user's home folder, made where it is not yet there."""
        home = self.folder / "homes" / user
        home.mkdir(parents=True, exist_ok=True)
        return home

    # ---- clients ---------------------------------------------------------------------------

    def browser(
        self, user: str | None = None, server: HubServer | None = None, door: Door | None = None
    ) -> HubBrowser:
        """Return a new browser; logged in where there is a user, with a server's cookie too."""
        browser = HubBrowser(self, door)
        if user is not None:
            browser.log_in(user)
        return browser if server is None else browser.enter(server)

    def script(self, token: str | None = None, door: Door | None = None) -> Script:
        """Return a client with a token in the Authorization field; None sends none."""
        return Script(self, token, door)

    # ---- processes ---------------------------------------------------------------------------

    def _popen(self, command: Sequence[str | Path], log: str, **env: str) -> subprocess.Popen:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_"))}
        kept |= {"HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}
        kept |= {"PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
        kept |= {"CONFIGPROXY_AUTH_TOKEN": self.proxy_token} | env
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=kept,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_proxy(self, sync: bool = True) -> None:
        """Start the proxy.

        Args:
            sync: Have a Hub that runs tell it its routes at once. A Hub that has not started its
                proxy itself looks after it only every `c.JupyterHub.last_activity_interval`.
        """
        port, error = self.door.address[1], f"http://127.0.0.1:{self.hub_port}{self.path('error')}"
        self.proxy_process = self._popen(
            [
                *(need("configurable-http-proxy"), "--ip=127.0.0.1", f"--port={port}"),
                *("--api-ip=127.0.0.1", f"--api-port={self.api_port}", f"--error-target={error}"),
                *(["--host-routing"] if self.host_routing else []),
                *self.proxy_args,
            ],
            "proxy.log",
        )
        if sync and self.hub_process is not None and self.hub_process.poll() is None:
            wait_for(lambda: listens(self.api_port), START_SECONDS, "the proxy's port")
            self.ask("POST", "proxy")

    def stop_proxy(self, sig: int = signal.SIGTERM) -> None:
        """End the proxy, and with it every connection through it."""
        _end(self.proxy_process, sig)

    def start_hub(self) -> None:
        """Start the Hub on what it has left in its folder, and wait until it answers."""
        config = self.folder / "jupyterhub_config.py"
        self.hub_process = process = self._popen(
            [sys.executable, "-m", "jupyterhub", f"--config={config}"], "hub.log"
        )

        def up() -> bool:
            assert process.poll() is None, "the Hub ended at once"
            with suppress(OSError):
                return self.script(self.api_token).fetch(self.path("api/info")).status == 200
            return False

        try:
            # It waits for its services; each look costs it a page until the proxy knows of it.
            wait_for(up, 1.5 * START_SECONDS, "the Hub", 0.2)
        except AssertionError as error:
            tail = self.log_text()[-4000:] + self.proxy_log_text()[-1000:]
            raise AssertionError(f"{error}\n{tail}") from None

    def stop_hub(self, sig: int = signal.SIGTERM) -> None:
        """End the Hub; it ends its servers too unless it was told to keep them, or is killed."""
        _end(self.hub_process, sig)

    def close(self) -> None:
        """End everything that was started: the Hub, the proxy and all servers."""
        self.stop_hub()
        self.stop_proxy()
        noted = self.folder / "servers" / "pids"
        pids = [int(line) for line in noted.read_text().split()] if noted.exists() else []
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for pid in filter(alive, pids):
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, sig)
            deadline = time.monotonic() + 10
            while any(map(alive, pids)) and time.monotonic() < deadline:
                time.sleep(0.05)


def _end(process: subprocess.Popen | None, sig: int) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(sig)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@contextmanager
def running_hub(
    folder: Path,
    config: str | Path | None = None,
    *,
    modules: Mapping[str, str] | None = None,
    users: Sequence[str] = ("ada", "bob"),
    admins: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
    services: Mapping[str, Sequence[str]] | None = None,
    roles: Sequence[Mapping[str, Any]] = (),
    base_url: str = "/",
    subdomain_host: str | None = None,
    server_args: Sequence[str] = (),
    server_env: Mapping[str, str] | None = None,
    proxy_args: Sequence[str] = (),
    culler: Sequence[str] | None = None,
    keep_servers: bool = False,
    extra_config: str = "",
) -> Iterator[RunningHub]:
    """Start a Hub and its proxy, and end them and all single-user servers at the end.

    Args:
        folder: Where its files, the homes of its users and all logs go.
        config: Routes for everybody: the path of a YAML file, or its text.
        modules: Python modules to write beside the text, by file name.
        users: Names of people.
        admins: Names of people who are admins as well.
        groups: Members by the name of their group.
        services: Scopes by the name of a service; its token is in `service_tokens`.
        roles: More roles, as `c.JupyterHub.load_roles` takes them.
        base_url: Where all of it lives.
        subdomain_host: A host such as "hub.localhost" for a subdomain per user.
        server_args: More options of every single-user server.
        server_env: More environment variables of every single-user server.
        proxy_args: More options of the proxy.
        culler: Options of the idle culler, which runs as a service where this is not None.
        keep_servers: Leave single-user servers running when the Hub ends.
        extra_config: More lines for `jupyterhub_config.py`.
    """
    need("configurable-http-proxy")
    folder = Path(folder)
    (folder / "servers").mkdir(parents=True)
    port = free_port()
    origin = f"http://{subdomain_host or '127.0.0.1'}:{port}"
    hub = RunningHub(
        folder,
        base_url,
        Door(origin, ("127.0.0.1", port)),
        secrets.token_hex(16),
        admins=tuple(admins),
        proxy_args=tuple(proxy_args),
        host_routing=subdomain_host is not None,
    )
    hub.api_door = Door(f"http://127.0.0.1:{hub.hub_port}", ("127.0.0.1", hub.hub_port))
    hub.service_tokens |= {name: secrets.token_hex(16) for name in services or {}}
    loaded = [{"name": "tests", "services": ["tests"], "scopes": API_SCOPES}, *map(dict, roles)]
    for name, scopes in (services or {}).items():
        loaded.append({"name": f"of-{name}", "services": [name], "scopes": list(scopes)})
    served = [{"name": "tests", "api_token": hub.api_token}]
    served += [{"name": name, "api_token": token} for name, token in hub.service_tokens.items()]
    if culler is not None:
        command = [sys.executable, "-m", "jupyterhub_idle_culler", *culler]
        served.append({"name": "culler", "command": command})
        loaded.append({"name": "culler", "services": ["culler"], "scopes": CULLER_SCOPES})
    arguments = ["--allow-root", WITHOUT_LAB, *server_args]
    if config is not None:
        arguments.insert(0, f"--WSHandlerApp.config_file={_routes(folder, config, modules or {})}")
    settings = {
        "JupyterHub.bind_url": f"http://127.0.0.1:{port}{base_url}",
        "JupyterHub.hub_port": hub.hub_port,
        "JupyterHub.db_url": f"sqlite:///{folder}/hub.sqlite",
        "JupyterHub.cookie_secret": secrets.token_bytes(32),
        "JupyterHub.authenticator_class": "shared-password",
        "JupyterHub.allow_named_servers": True,
        "JupyterHub.cleanup_servers": not keep_servers,
        "JupyterHub.load_groups": {
            name: {"users": list(of)} for name, of in (groups or {}).items()
        },
        "JupyterHub.load_roles": loaded,
        "JupyterHub.services": served,
        "SharedPasswordAuthenticator.user_password": hub.password,
        "SharedPasswordAuthenticator.admin_password": hub.admin_password,
        "Authenticator.allowed_users": {*users, *admins},
        "Authenticator.admin_users": set(admins),
        "ConfigurableHTTPProxy.should_start": False,
        "ConfigurableHTTPProxy.api_url": f"http://127.0.0.1:{hub.api_port}",
        "ConfigurableHTTPProxy.auth_token": hub.proxy_token,
        "SimpleLocalProcessSpawner.home_dir_template": f"{folder}/homes/{{username}}",
        "Spawner.cmd": [str(Path(sys.prefix) / "bin" / "jupyterhub-singleuser")],
        "Spawner.args": arguments,
        "Spawner.environment": {
            "JUPYTERHUB_SINGLEUSER_APP": "jupyter-server",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default",
            **(server_env or {}),
        },
    }
    if subdomain_host is not None:
        settings["JupyterHub.subdomain_host"] = origin
    lines = [f"c.{name} = {value!r}" for name, value in settings.items()]
    text = bot_text("hub_config") + "\n".join(lines)
    (folder / "jupyterhub_config.py").write_text(f"{text}\n{extra_config}\n", encoding="utf-8")
    try:
        hub.start_proxy()
        hub.start_hub()
        yield hub
    finally:
        hub.close()


def _routes(folder: Path, config: str | Path, modules: Mapping[str, str]) -> Path:
    """Write the routes for everybody where they are a text; return where they are."""
    if isinstance(config, Path):
        return config
    routes = folder / "routes"
    routes.mkdir()
    for name, text in modules.items():
        (routes / name).write_text(text, encoding="utf-8")
    (routes / "wshandler.yaml").write_text(config, encoding="utf-8")
    return routes / "wshandler.yaml"
