"""Real proxies with the configurations of examples/proxies, on ports of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.need import need
from support.nginx import MAIN, make_certificate
from support.processes import end
from support.server import free_port, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples" / "proxies"
HOST = "jupyter.example.org"

SILENCE = 3
"""Seconds of silence that a proxy bears in the tests, where the examples have 90."""


@dataclass
class Setting:
    """Where a proxy is started."""

    folder: Path
    upstream: int
    port: int
    certificate: Path
    key: Path
    admin: int = field(default_factory=free_port)


@dataclass
class RunningProxy:
    """What a test knows of a running proxy."""

    name: str
    version: str
    setting: Setting
    process: subprocess.Popen
    log_path: Path

    @property
    def port(self) -> int:
        return self.setting.port

    def tls_context(self, *protocols: str) -> ssl.SSLContext:
        """Return a context that trusts this proxy's certificate, and offers these protocols."""
        context = ssl.create_default_context(cafile=str(self.setting.certificate))
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def reload(self) -> None:
        """Have the proxy read its configuration again, as an administrator does."""
        PROXIES[self.name].reload(self)

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")


@dataclass(frozen=True)
class Kind:
    """One proxy: its program, its file among the examples, and how it is told what."""

    title: str
    program: str
    example: str
    version: str
    write: Callable[[str, Setting], list[str]]
    reload: Callable[[RunningProxy], object]


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """Return an example with ports and paths of a test in it."""
    for old, new in changes:
        assert text.count(old) == 1, f"the example has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    return text


def paths(at: Setting) -> tuple[tuple[str, str], ...]:
    return (
        (f"/etc/ssl/certs/{HOST}.pem", str(at.certificate)),
        (f"/etc/ssl/private/{HOST}.key", str(at.key)),
        ("127.0.0.1:8888", f"127.0.0.1:{at.upstream}"),
    )


def nginx(text: str, at: Setting) -> list[str]:
    text = replaced(
        text,
        *paths(at),
        ("listen 443 ssl", f"listen 127.0.0.1:{at.port} ssl"),
        ("proxy_read_timeout 90s;", f"proxy_read_timeout {SILENCE}s;"),
        ("proxy_send_timeout 90s;", f"proxy_send_timeout {SILENCE}s;"),
    )
    (at.folder / "jupyter.conf").write_text(text)
    user = "user root root;" if os.geteuid() == 0 else ""
    main = at.folder / "nginx.conf"
    main.write_text(MAIN.format(folder=at.folder, user=user))
    return ["-p", str(at.folder), "-c", str(main)]


def haproxy(text: str, at: Setting) -> list[str]:
    both = at.folder / "both.pem"
    both.write_text(at.certificate.read_text() + at.key.read_text())
    text = replaced(
        text,
        (f"/etc/haproxy/{HOST}.pem", str(both)),
        ("127.0.0.1:8888", f"127.0.0.1:{at.upstream}"),
        ("bind :443", f"bind 127.0.0.1:{at.port}"),
        ("timeout tunnel       90s", f"timeout tunnel {SILENCE}s"),
    )
    main = at.folder / "haproxy.cfg"
    main.write_text(text)
    return ["-W", "-db", "-f", str(main)]


MODULES = (
    *("mpm_event", "authz_core", "headers", "http2", "proxy", "proxy_http"),
    *("proxy_wstunnel", "socache_shmcb", "ssl"),
)
APACHE = """\
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog /dev/stderr
ServerName {host}
Listen 127.0.0.1:{port}
{user}
{modules}
{text}
"""


def apache(text: str, at: Setting) -> list[str]:
    text = replaced(
        text,
        *paths(at)[:2],
        ("<VirtualHost *:443>", f"<VirtualHost 127.0.0.1:{at.port}>"),
        ("ProxyTimeout 90", f"ProxyTimeout {SILENCE}"),
    ).replace("127.0.0.1:8888", f"127.0.0.1:{at.upstream}")
    folder = "/usr/lib/apache2/modules"
    main = at.folder / "apache.conf"
    main.write_text(
        APACHE.format(
            folder=at.folder,
            host=HOST,
            port=at.port,
            user="User nobody\nGroup nogroup" if os.geteuid() == 0 else "",
            modules="\n".join(f"LoadModule {m}_module {folder}/mod_{m}.so" for m in MODULES),
            text=text,
        )
    )
    return ["-DFOREGROUND", "-f", str(main)]


def caddy(text: str, at: Setting) -> list[str]:
    options = f"{{\n\tadmin 127.0.0.1:{at.admin}\n\tauto_https disable_redirects\n}}\n"
    text = replaced(text, *paths(at), (f"{HOST} {{", f"https://{HOST}:{at.port} {{"))
    main = at.folder / "Caddyfile"
    main.write_text(options + text)
    return ["run", "--adapter", "caddyfile", "--config", str(main)]


def reload_caddy(proxy: RunningProxy) -> None:
    at = proxy.setting
    command = [need("caddy"), "reload", "--force", "--adapter", "caddyfile"]
    command += ["--config", at.folder / "Caddyfile", "--address", f"127.0.0.1:{at.admin}"]
    subprocess.run(command, check=True, capture_output=True, timeout=20, env=environment(at))


def hub_proxy(text: str, at: Setting) -> list[str]:
    text = replaced(text, *paths(at), ("--port=443", f"--port={at.port}"))
    command = shlex.split(text.replace("\\\n", ""), comments=True)
    assert command[0] == "configurable-http-proxy"
    return [*command[1:], "--ip=127.0.0.1", f"--api-port={at.admin}", "--log-level=warn"]


def tell_hub_proxy(proxy: RunningProxy) -> None:
    at = proxy.setting
    route = {"target": f"http://127.0.0.1:{at.upstream}"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{at.admin}/api/routes/another", json.dumps(route).encode(), method="POST"
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        assert answer.status == 201


def signalled(number: int) -> Callable[[RunningProxy], object]:
    return lambda proxy: proxy.process.send_signal(number)


PROXIES = {
    "nginx": Kind("nginx", "nginx", "nginx.conf", "-v", nginx, signalled(signal.SIGHUP)),
    "haproxy": Kind("HAProxy", "haproxy", "haproxy.cfg", "-v", haproxy, signalled(signal.SIGUSR2)),
    "apache": Kind("Apache", "apache2", "apache.conf", "-v", apache, signalled(signal.SIGUSR1)),
    "caddy": Kind("Caddy", "caddy", "Caddyfile", "version", caddy, reload_caddy),
    "jupyterhub": Kind(
        "JupyterHub's proxy",
        "configurable-http-proxy",
        "jupyterhub-proxy.sh",
        "--version",
        hub_proxy,
        tell_hub_proxy,
    ),
}
"""The proxies of the table, by name."""


def environment(at: Setting) -> dict[str, str]:
    """Return what a proxy's process finds: nothing of it may go to a user's folders."""
    home = str(at.folder)
    return os.environ | {"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}


def version_of(kind: Kind) -> str:
    """Return the version that is installed here, as in 1.22.1."""
    asked = subprocess.run(
        [need(kind.program), kind.version], capture_output=True, text=True, timeout=30, check=True
    )
    found = re.search(r"\d+\.\d+\.\d+", asked.stdout + asked.stderr)
    assert found, asked
    return found[0]


@contextmanager
def running_proxy(name: str, folder: Path, upstream: int) -> Iterator[RunningProxy]:
    """Start a proxy in front of a Jupyter server and stop it at the end.

    Args:
        name: A key of `PROXIES`.
        folder: Where its files go.
        upstream: The port on loopback of the Jupyter server.
    """
    kind = PROXIES[name]
    program, version = need(kind.program), version_of(kind)
    folder.mkdir(parents=True, exist_ok=True)
    at = Setting(folder, upstream, free_port(), *make_certificate(folder, HOST))
    arguments = kind.write((EXAMPLES / kind.example).read_text(), at)
    log_path = folder / "proxy.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [program, *arguments],
            cwd=folder,
            env=environment(at),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    proxy = RunningProxy(name, version, at, process, log_path)

    def up() -> bool:
        assert process.poll() is None, f"{kind.title} ended at once:\n{proxy.log_text()}"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", at.port)) == 0

    try:
        wait_for(up, 30, f"the port of {kind.title}")
        yield proxy
    finally:
        end(process)
