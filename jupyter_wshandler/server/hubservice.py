"""Whether this process is a service of JupyterHub, by what the Hub has put into its environment."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping


def service_name(environment: Mapping[str, str] = os.environ) -> str:
    """Return the name of the service that the server of this process is, "" where it is none.

    A service that the Hub starts is told its name; of one that runs elsewhere its prefix says it.

    Args:
        environment: The environment variables.
    """
    name = environment.get("JUPYTERHUB_SERVICE_NAME", "")
    prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX", "")
    found = re.search(r"/services/([^/]+)/?$", prefix)
    return name or (found[1] if found else "")


def account() -> str:
    """Return the account of the system that this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for it, as in some containers
        return f"user {os.getuid()}"
