"""``jupyter wshandler about``: what to put into a report of a fault; holds no secret."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import __version__
from ..client.running import running_servers, runtime_dir
from ..config.printing import printable
from ..errors import ConnectError, RequestRefused, ServerNotFound
from .asking import Asking, print_json
from .words import of_the_command_line

PACKAGES = (
    *("jupyter_server", "tornado", "msgspec", "traitlets", "websockets", "watchfiles"),
    *("ipykernel", "jupyterlab", "notebook", "jupyterhub", "redis"),
)
"""Packages whose versions tell something, where they are installed."""

VARIABLES = ("WSHANDLER_", "JUPYTER", "JPY_")
"""How environment variables begin that are named; their values are not told."""


def about(*, as_json: bool = False, url: str = "", token: str | None = None) -> int:
    """Print versions, paths and the configuration of the running server.

    Args:
        as_json: Print it for programs.
        url: Base URL of the server; the one that runs here where empty.
        token: What to log in with, "" for nothing; found as `client.connect` does where None.

    Returns:
        0; 1 where a server that was named is not there, or refuses.
    """
    ask = Asking("about", "", url, token)
    code = 0

    def work() -> None:
        nonlocal code
        found = here()
        try:
            found["server"] = {"url": ask.server.url, **ask("GET", "config")}
        except ServerNotFound:
            found["server"] = None
        except (ConnectError, RequestRefused) as error:
            found["server"] = {"problem": of_the_command_line(str(error))}
            code = 1 if url else 0
        if as_json:
            print_json(found)
        else:
            print("\n".join(printable(line) for line in lines_of(found)), flush=True)

    return ask.run(work) or code


def here() -> dict[str, Any]:
    """Return what is known without a server."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    servers = [
        {"url": server.url, "folder": server.root_dir, "pid": server.pid}
        for server in running_servers()
    ]
    return {
        "jupyter_wshandler": __version__,
        "package": str(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "versions": versions,
        "runtime_dir": str(runtime_dir()),
        "environment": sorted(name for name in os.environ if name.startswith(VARIABLES)),
        "servers": servers,
    }


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """Return what was found as lines of text.

    Args:
        found: What `here` has returned, and the server's answer under `server`.
    """
    lines = [
        f"jupyter_wshandler {found['jupyter_wshandler']} in {found['package']}",
        f"Python {found['python']}, {found['executable']}, {found['platform']}",
        ", ".join(f"{name} {number}" for name, number in found["versions"].items()),
        f"runtime folder: {found['runtime_dir']}",
        f"environment: {', '.join(found['environment']) or 'nothing of Jupyter'}",
    ]
    lines += [
        f"running: {one['url']} (folder {one['folder']}, process {one['pid']})"
        for one in found["servers"]
    ]
    server = found["server"]
    if server is None:
        which = "several run; name one with --url" if found["servers"] else "none runs here"
        return [*lines, "", f"server: {which}"]
    if "problem" in server:
        return [*lines, "", f"server: {server['problem']}"]
    numbers = ", ".join(f"{name} {number}" for name, number in server["versions"].items())
    lines += ["", f"server {server['url']}: {numbers}"]
    lines += [f"  file: {path}" for path in server["files"]]
    lines += [f"  problem: {problem}" for problem in server["problems"]]
    lines += [f"  c.WSHandlerApp.{name} = {value!r}" for name, value in server["settings"].items()]
    for name, route in server["routes"].items():
        lines.append(f"  route {name}: {route['pattern']} of a {route['host']}, {route['place']}")
        called = [f"{event}: {function}" for event, function in route["functions"].items()]
        options = [f"{key}: {value!r}" for key, value in route["options"].items()]
        lines += [f"    {line}" for line in (*called, *options)]
    return lines
