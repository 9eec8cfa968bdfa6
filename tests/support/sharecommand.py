"""`jupyter wshandler share`, run as a person runs it beside a server of theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from support.server import RunningServer

SECONDS = 60
TOKEN_IN_LINK = re.compile(r"share_token=([A-Za-z0-9_-]{22})(?![A-Za-z0-9_-])")


@dataclass
class Ended:
    """What a command has left behind."""

    code: int
    out: str
    said: str

    @property
    def link(self) -> str:
        """The link that was put out, which is all that was."""
        (link,) = self.out.splitlines()
        assert TOKEN_IN_LINK.search(link), link
        return link

    @property
    def share_id(self) -> str:
        """The id that the words about a new share name."""
        found = re.search(r"--revoke (\S+)", self.said)
        assert found, self.said
        return found[1]


@dataclass
class Started:
    """A command that has said its first line, and may not have ended yet."""

    process: subprocess.Popen[str]
    first: str

    def end(self) -> Ended:
        """Wait for its end."""
        out, said = self.process.communicate(timeout=SECONDS)
        assert "Traceback" not in said
        return Ended(self.process.returncode, out, self.first + said)


def own_terminal(runtime: Path | str, **more: str) -> dict[str, str]:
    """Return the environment of a terminal of the person whose runtime folder this is."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("JUPYTER", "JPY_"))}
    return {**kept, "JUPYTER_RUNTIME_DIR": str(runtime), **more}


def runtime_of(server: RunningServer) -> Path:
    """Return the folder in which a server leaves its runtime file."""
    return server.folder / ".jupyter-state" / "runtime"


def command(runtime: Path | str, *arguments: str, said: str = "", **more: str) -> Ended:
    """Run `jupyter wshandler` to its end.

    Args:
        runtime: The runtime folder of who runs it.
        arguments: The command and its options.
        said: What stands in its standard input.
        more: More environment variables.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "jupyter_wshandler", *arguments],
        input=said,
        capture_output=True,
        text=True,
        env=own_terminal(runtime, **more),
        timeout=SECONDS,
    )
    assert "Traceback" not in ended.stderr
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def until_it_says(runtime: Path | str, *arguments: str) -> Started:
    """Run `jupyter wshandler` until a person reads its first line: it takes a while to end then.

    Args:
        runtime: The runtime folder of who runs it.
        arguments: The command and its options.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyter_wshandler", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=own_terminal(runtime),
    )
    return Started(process, process.stderr.readline())
