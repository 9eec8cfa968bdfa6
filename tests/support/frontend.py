"""The example for Vite, with its packages installed once for a virtual environment.

``python -m support.frontend`` installs them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.need import need

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "vite"

MANIFESTS = (".npmrc", "package.json", "package-lock.json")

INSTALL_SECONDS = 300


class NotInstalled(Exception):
    """npm could not install the packages; its words are the message."""


def packages(npm: Path) -> Path:
    """Return the folder with the packages of the example, installed for what its lock file says.

    Args:
        npm: The program.

    Raises:
        NotInstalled: npm cannot, as without a network.
    """
    lock = hashlib.sha256(b"".join((EXAMPLE / name).read_bytes() for name in MANIFESTS))
    folder = Path(sys.prefix) / "frontend" / lock.hexdigest()[:16]
    done = folder / "installed"
    if done.exists():
        return folder / "node_modules"
    folder.mkdir(parents=True, exist_ok=True)
    for name in MANIFESTS:
        shutil.copy(EXAMPLE / name, folder)
    # Not `ci`: it refuses a lock file that leaves out an optional package of another system's.
    command = [str(npm), "install", "--no-audit", "--no-fund", "--no-update-notifier"]
    try:
        subprocess.run(
            command,
            cwd=folder,
            check=True,
            timeout=INSTALL_SECONDS,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        raise NotInstalled(error.stdout[-2000:]) from None
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"npm took over {INSTALL_SECONDS} s") from None
    done.touch()
    return folder / "node_modules"


def copied_to(folder: Path) -> Path:
    """Copy the example, with its packages; skip the test where they cannot be had.

    Args:
        folder: Where to.

    Returns:
        The copy.
    """
    try:
        installed = packages(need("npm"))
    except NotInstalled as error:
        sentence = f"npm cannot install the packages of {EXAMPLE}: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)
    copy = folder / "vite"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(installed)
    return copy


def run(folder: Path, *command: str) -> str:
    """Run a command of the example's to its end; return what it says.

    Args:
        folder: The example.
        command: Such as "vite", "build".
    """
    done = subprocess.run(
        [str(folder / "node_modules" / ".bin" / command[0]), *command[1:]],
        cwd=folder,
        timeout=250,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


if __name__ == "__main__":
    found = shutil.which("npm")
    if found is None:
        sys.exit("There is no npm here.")
    try:
        print(packages(Path(found)))
    except NotInstalled as error:
        sys.exit(str(error))
