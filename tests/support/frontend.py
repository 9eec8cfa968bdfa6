"""Packages of npm, installed once for a virtual environment: the example for Vite, and two tools.

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

PARSER = Path(__file__).parent / "asyncapi"
"""AsyncAPI's reference parser, which is no example."""

AXE = PARSER.with_name("axe")
"""Rules of accessibility, and what tries them on a page."""

MANIFESTS = (".npmrc", "package.json", "package-lock.json")

INSTALL_SECONDS = 300


class NotInstalled(Exception):
    """npm could not install the packages; its words are the message."""


def packages(npm: Path, example: Path = EXAMPLE) -> Path:
    """Return the folder with the packages of the example, installed for what its lock file says.

    Args:
        npm: The program.
        example: The folder with its manifests.

    Raises:
        NotInstalled: npm cannot, as without a network.
    """
    lock = hashlib.sha256(b"".join((example / name).read_bytes() for name in MANIFESTS))
    folder = Path(sys.prefix) / "frontend" / lock.hexdigest()[:16]
    done = folder / "installed"
    if done.exists():
        return folder / "node_modules"
    folder.mkdir(parents=True, exist_ok=True)
    for name in MANIFESTS:
        shutil.copy(example / name, folder)
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


def installed(example: Path = EXAMPLE) -> Path:
    """Return the folder with the packages of an example; skip the test where there can be none.

    Args:
        example: The folder with its manifests.
    """
    try:
        return packages(need("npm"), example)
    except NotInstalled as error:
        sentence = f"npm cannot install the packages of {example}: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(sentence)
        pytest.skip(sentence)


def copied_to(folder: Path) -> Path:
    """Copy the example, with its packages; skip the test where they cannot be had.

    Args:
        folder: Where to.

    Returns:
        The copy.
    """
    there = installed()
    copy = folder / "vite"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "node_modules").symlink_to(there)
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
        for folder in (EXAMPLE, PARSER, AXE):
            print(packages(Path(found), folder))
    except NotInstalled as error:
        sys.exit(str(error))
