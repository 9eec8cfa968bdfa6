"""``jupyter wshandler serve``: a Jupyter server with the routes of one file."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.logicalpath import absolute
from ..server.hubservice import service_name

PACKAGE = "jupyter_wshandler"


def serve(file: str, options: Sequence[str], *, bots_only: bool = False) -> int:
    """Start a Jupyter server that serves the routes of a file, until it is stopped.

    As the command of a service of JupyterHub it is a server with the Hub's login.

    Args:
        file: Path of a YAML file.
        options: Any options of `jupyter server`.
        bots_only: Serve these routes and nothing else of Jupyter's.

    Returns:
        2 if there is no such file, or an option cannot be meant; else 0.
    """
    problem = _problem(file, options)
    if problem:
        print(problem, file=sys.stderr)
        return 2
    from ..server.app import WSHandlerApp

    app: Any = WSHandlerApp
    if service_name():
        app = _hub_app(bots_only)
    else:
        WSHandlerApp.announces = True
    return _start(app, [f"--WSHandlerApp.config_file={absolute(Path(file))}", *options], bots_only)


def _start(app: Any, arguments: list[str], bots_only: bool) -> int:
    if not bots_only:
        app.launch_instance(arguments)
        return 0
    from jupyter_core.application import NoStart

    from ..server.app import WSHandlerApp
    from ..server.routing import ONLY

    WSHandlerApp.bots_only_by_command = True
    # Who is not loaded has nothing to be kept away from.
    app.load_other_extensions = False
    serverapp = app.initialize_server(argv=arguments)
    # Jupyter goes on where an extension is not there, with all that it has itself.
    if serverapp.web_app.settings.get(ONLY) is None:
        print("The extension was not loaded, so that nothing is served; see above", file=sys.stderr)
        return 1
    with suppress(NoStart):
        serverapp.start()
    return 0


def _hub_app(bots_only: bool) -> Any:
    """Return the application with the Hub's login, which `jupyterhub-singleuser` starts, too."""
    from jupyterhub.singleuser.extension import JupyterHubSingleUser

    if bots_only:  # no other extension is looked for then
        JupyterHubSingleUser.serverapp_config = {"jpserver_extensions": {PACKAGE: True}}
    return JupyterHubSingleUser


def _problem(file: str, options: Sequence[str]) -> str:
    """Return what is wrong with the arguments, "" if nothing is."""
    path = Path(file)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        return f"{file}: expected a YAML file with routes, found {found}; give the file's path"
    for option in options:
        name = option.partition("=")[0].lstrip("-").lower()
        # Jupyter passes over what it does not know, and would serve all that it has.
        if option.startswith("-") and "." not in name and "bot" in name:
            return f"{option}: no such option; expected --bots-only, without a value"
    service = service_name()
    if service and not os.environ.get("JUPYTERHUB_SERVICE_URL"):
        return (
            f"the service {service} of JupyterHub has no address to serve at; give it one in "
            "c.JupyterHub.services: 'url': 'http://127.0.0.1:10101'"
        )
    return ""
