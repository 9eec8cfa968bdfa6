"""Whether this process is a service of JupyterHub, by what the Hub has put into its environment."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from typing import Any

from .access.identity import hub_auth_of


def service_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of the service that the server of this process is, "" where it is none.

    A service that the Hub starts is told its name; of one that runs elsewhere its prefix says it.

    Args:
        environment: The environment variables.
    """
    name = environment.get("JUPYTERHUB_SERVICE_NAME", "")
    prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX", "")
    # Also a user may be called "services".
    found = re.search(r"(?<!/user)/services/([^/]+)/?$", prefix)
    return name or (found[1] if found else "")


def account() -> str:
    """Return the account of the system that this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for it, as in some containers
        return f"user {os.getuid()}"


def is_classic_hub_app(serverapp: Any, provider: Any) -> bool:
    """Return whether JupyterHub's login is there, and not as Jupyter's identity provider.

    Args:
        serverapp: The server.
        provider: Its identity provider.
    """
    if hub_auth_of(provider) is not None:
        return False
    classes = type(serverapp).__mro__
    return any(cls.__module__.startswith("jupyterhub.singleuser") for cls in classes)
