"""Parts that a test needs and a machine may lack: a skip at home, a failure on CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {
    "chromium": "chromium",
    "gcc": "gcc libc6-dev zlib1g-dev",
    "nginx": "nginx-light",
    "openssl": "openssl",
}
"""The Debian packages of each program."""

# A user's PATH often lacks the folders of daemons.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def need(program: str) -> Path:
    """Return where a program is; skip the test if it is nowhere, and fail it where CI=true.

    Args:
        program: A key of `PACKAGES`.
    """
    found = shutil.which(program, path=SEARCH)
    if found is not None:
        return Path(found)
    sentence = f"{program} is not installed; on Debian: apt-get install {PACKAGES[program]}"
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
