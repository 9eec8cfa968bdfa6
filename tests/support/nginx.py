"""A real nginx with the configuration of examples/nginx, on ports and in folders of its own."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.need import need
from support.processes import end
from support.server import free_port, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "nginx"
HOST = "jupyter.example.org"
HUB_HOST = "jupyterhub.example.org"

MAIN = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/jupyter.conf;
}}
"""


@dataclass
class RunningNginx:
    """What a test knows of a running nginx."""

    plain_port: int
    tls_port: int
    certificate: Path
    log_path: Path
    host: str = HOST

    def origin(self, tls: bool) -> str:
        """Return the origin of a page that a browser got through this proxy."""
        scheme = "https" if tls else "http"
        return f"{scheme}://{self.host}:{self.port(tls)}"

    def port(self, tls: bool) -> int:
        return self.tls_port if tls else self.plain_port

    def tls_context(self) -> ssl.SSLContext:
        """Return a context that trusts this nginx's certificate, and no other."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        # The synchronous client reads in a thread while it writes in another, which OpenSSL does
        # not promise to bear. With TLS 1.3 the server's tickets arrive just then; a request got
        # lost once, probably so.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return context

    def log_text(self) -> str:
        return self.log_path.read_text(errors="replace")


def make_certificate(folder: Path, host: str = HOST) -> tuple[Path, Path]:
    """Make a self-signed certificate for a host; return its path and its key's."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(need("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={host}"),
            *("-addext", f"subjectAltName=DNS:{host},DNS:localhost,IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return certificate, key


def write_configuration(
    folder: Path, upstream_port: int, plain: int, tls: int, host: str = HOST, http2: bool = False
) -> Path:
    """Write the example's files with ports and paths replaced; return the main file."""
    certificate, key = make_certificate(folder, host)
    changes = [
        ("listen 80;", f"listen 127.0.0.1:{plain};", 1),
        ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl{' http2' * http2};", 1),
        (f"/etc/ssl/certs/{host}.pem", str(certificate), 1),
        (f"/etc/ssl/private/{host}.key", str(key), 1),
    ]
    if host == HUB_HOST:
        text = (EXAMPLE / "jupyterhub.conf").read_text()
        changes += [
            ("server 127.0.0.1:8000;", f"server 127.0.0.1:{upstream_port};", 1),
            ("/var/log/nginx/jupyterhub.log", str(folder / "access.log"), 1),
        ]
    else:
        text = (EXAMPLE / "jupyter.conf").read_text()
        location = folder / "jupyter-location.conf"
        inner = (EXAMPLE / location.name).read_text()
        log = "/var/log/nginx/jupyter.log"
        assert inner.count(log) == 1
        location.write_text(inner.replace(log, str(folder / "jupyter.log")))
        changes += [
            ("server 127.0.0.1:8888;", f"server 127.0.0.1:{upstream_port};", 1),
            ("/etc/nginx/jupyter-location.conf", str(location), 2),
            ("client_header_timeout 10s;", "client_header_timeout 1s;", 2),
        ]
    for old, new, times in changes:
        assert text.count(old) == times, f"the example has {old!r} not {times} times"
        text = text.replace(old, new)
    (folder / "jupyter.conf").write_text(text)
    main = folder / "nginx.conf"
    # A worker of root's nginx becomes nobody, and could not use the folders of a test.
    user = "user root root;" if os.geteuid() == 0 else ""
    main.write_text(MAIN.format(folder=folder, user=user))
    return main


@contextmanager
def running_nginx(
    folder: Path, upstream_port: int, host: str = HOST, *, http2: bool = False
) -> Iterator[RunningNginx]:
    """Start an nginx in front of a server and stop it at the end.

    Args:
        folder: Where its files go.
        upstream_port: The port on loopback of the Jupyter server, or of the Hub's proxy.
        host: `HOST`, or `HUB_HOST` for the configuration in front of a Hub.
        http2: Whether it speaks HTTP/2 to its clients, where there is TLS.
    """
    program = need("nginx")
    folder.mkdir(parents=True, exist_ok=True)
    plain, tls = free_port(), free_port()
    main = write_configuration(folder, upstream_port, plain, tls, host, http2)
    nginx = RunningNginx(plain, tls, folder / "certificate.pem", folder / "nginx.log", host)
    with nginx.log_path.open("wb") as log:
        process = subprocess.Popen(
            [program, "-p", folder, "-c", main],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def up() -> bool:
        assert process.poll() is None, f"nginx ended at once:\n{nginx.log_text()}"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", tls)) == 0

    try:
        wait_for(up, 20, "nginx's port")
        yield nginx
    finally:
        end(process)
