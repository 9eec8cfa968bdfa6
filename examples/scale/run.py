"""Three servers whose rooms are one: nginx in front of them, and one Redis or Valkey behind.

    python run.py

prints an address to open in several tabs. Enter restarts the servers one after another, as an
update does; the page says to which one it goes, and misses nothing. Ctrl-C ends all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("red", "green", "blue")
START = 120.0  # seconds for something to be up


class NotThere(Exception):
    """A program that this needs is not there, or does not come up."""


class Deployment:
    """Three servers, what joins them, and what stands before them.

    Everything is on this machine, on loopback; in earnest, each has a machine of its own.

    Args:
        folder: Where sockets, logs and secrets are; short, as it is in the name of a socket.
        ports: That of nginx, and those of the three servers.
        store: The program redis-server or valkey-server; looked for where None.
        token: What to log in with on all servers; a random one where empty.
    """

    def __init__(
        self, folder: Path, ports: Sequence[int], *, store: Path | None = None, token: str = ""
    ) -> None:
        self.folder = folder
        self.port, *self.node_ports = ports
        self.token = token or secrets.token_hex(16)
        self.url = f"http://127.0.0.1:{self.port}/"
        self.backplane = f"unix://{folder}/store"
        self.store = store or found("redis-server", "valkey-server")
        self.names = NAMES[: len(self.node_ports)]
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start everything, and wait until it answers."""
        secret = os.open(self.folder / "cookie-secret", os.O_WRONLY | os.O_CREAT, 0o600)
        with open(secret, "w") as file:
            file.write(secrets.token_hex(32))
        options = ("--port", "0", "--unixsocket", f"{self.folder}/store", "--unixsocketperm", "700")
        kept = ("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
        self._run("store", [self.store, *options, *kept, "--dir", self.folder])
        self._until(lambda: (self.folder / "store").exists(), "store")
        self.nodes = [self._start_node(number) for number in range(len(self.node_ports))]
        for number in range(len(self.nodes)):
            self._until(lambda number=number: self.health(number) == "ok", NAMES[number])
        self._run("nginx", [found("nginx"), "-p", self.folder, "-c", self._nginx_conf()])
        self._until(lambda: get(f"{self.url}wshandler/api/health") is not None, "nginx")

    def _start_node(self, number: int) -> subprocess.Popen[bytes]:
        name = NAMES[number]
        command = [sys.executable, "-m", "jupyter_wshandler", "serve", HERE / "wshandler.yaml"]
        options = [
            "--bots-only",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.node_ports[number]}",
            "--ServerApp.port_retries=0",
            "--ServerApp.open_browser=False",
            # Whoever has logged in on one server is logged in on all.
            f"--ServerApp.cookie_secret_file={self.folder}/cookie-secret",
            # The address and the scheme of who asks are those that nginx says.
            "--ServerApp.trust_xheaders=True",
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--ServerApp.allow_root=True")
        # No secret stands on a command line, where other users of the machine could read it.
        environment = {
            **os.environ,
            "NODE": name,
            "JUPYTER_TOKEN": self.token,
            "WSHANDLER_BACKPLANE": self.backplane,
            "JUPYTER_CONFIG_DIR": f"{self.folder}/config",
            "JUPYTER_DATA_DIR": f"{self.folder}/data",
            "JUPYTER_RUNTIME_DIR": f"{self.folder}/{name}",
        }
        return self._run(name, [*command, *options], environment)

    def _run(
        self, name: str, command: Sequence[object], environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this program alone
            )
        self._running[name] = process
        return process

    def _nginx_conf(self) -> Path:
        text = (HERE / "nginx.conf").read_text()
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        values: dict[str, object] = {"FOLDER": self.folder, "PORT": self.port}
        values["USER"] = "user root root;" if is_root else ""
        values |= {f"NODE{n}": port for n, port in enumerate(self.node_ports, 1)}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        path = self.folder / "nginx.conf"
        path.write_text(text)
        return path

    def health(self, number: int) -> str:
        """Return what a server says of itself: "ok", "degraded", "draining"; empty for nothing."""
        answer = get(f"http://127.0.0.1:{self.node_ports[number]}/wshandler/api/health")
        return str(answer["status"]) if answer else ""

    def restart(self, number: int) -> None:
        """Restart one server, and wait until it answers."""
        self.nodes[number].send_signal(signal.SIGTERM)  # its clients go to the others
        self.nodes[number].wait(START)
        del self._running[self.names[number]]
        self.nodes[number] = self._start_node(number)
        self._until(lambda: self.health(number) == "ok", NAMES[number])

    def roll(self) -> Iterator[str]:
        """Restart all servers, one after another; yield the name of each that is about to be."""
        for number in range(len(self.nodes)):
            yield self.names[number]
            self.restart(number)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START
        while not condition():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                name = (ended or [what])[0]
                said = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
                how = "has ended" if ended else f"is not up after {START:g} s"
                lines = [f"{name} {how}; it has said last:", *said[-8:]]
                raise NotThere("\n  ".join(lines))
            time.sleep(0.05)

    def stop(self) -> None:
        """End everything: first those who talk to others."""
        running = [*reversed(self._running.values())]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def found(*names: str) -> Path:
    """Return where the first of some programs is that is there."""
    for name in names:
        # Debian has nginx where only root looks.
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
        if path:
            return Path(path)
    raise NotThere(
        f"there is no {' and no '.join(names)} here; on Debian: apt-get install {names[0]}"
    )


def get(url: str) -> dict[str, object] | None:
    """Return the JSON at an address, whatever its status; None where nothing is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            found: dict[str, object] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error, contextlib.suppress(ValueError):
            refused: dict[str, object] = json.load(error)
            return refused
        return None
    except (OSError, ValueError):
        return None
    return found


def main() -> int:
    """Start everything, and restart the servers at each Enter until Ctrl-C."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--port", type=int, default=8080, help="of nginx; the servers' follow")
    port = options.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends all, as Ctrl-C does
    with tempfile.TemporaryDirectory(prefix="wsh-scale-") as folder:
        try:
            deployment = Deployment(Path(folder), range(port, port + 1 + len(NAMES)))
            try:
                deployment.start()
                print(f"Open it in some tabs: {deployment.url}hall?token={deployment.token}")
                print(
                    f"Publish from outside: jupyter wshandler send --backplane "
                    f"{deployment.backplane} --space hall --room hall Hello"
                )
                print("Enter: restart the servers, one after another. Ctrl-C: end.", flush=True)
                for _ in sys.stdin:
                    for name in deployment.roll():
                        print(f"  {name} is restarted", flush=True)
                    print("All are up again.", flush=True)
                signal.pause()
            finally:
                deployment.stop()
        except NotThere as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
