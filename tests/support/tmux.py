"""A terminal as a person sees it: tmux runs a command, takes keys, and tells what it shows."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from support.need import need

SECONDS = 30
WIDTH, HEIGHT = 160, 40


class Screen:
    """One terminal, with a command in it.

    Args:
        socket: A path for tmux's socket, which is of one server of tmux only.
        command: The command's words.
        env: Its environment.
        cwd: Its working directory.
    """

    def __init__(
        self, socket: Path, command: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> None:
        self._tmux = [str(need("tmux")), "-S", str(socket), "-f", "/dev/null", "-u"]
        # The terminal stays when the command has ended, with its exit code as the last line.
        # Ctrl-C is the command's; the shell around it goes on.
        run = f"{shlex.join(command)}; echo ended with $?; exec cat"
        words = f"trap : INT; cd {shlex.quote(str(cwd))}; {run}"
        self._run(
            "new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "sh", "-c", words, env=env
        )

    def keys(self, *keys: str) -> None:
        """Press keys, as tmux names them: ``Enter``, ``C-c``, ``Up``, or a letter."""
        self._run("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text, letter by letter."""
        self._run("send-keys", "-l", text)

    def paste(self, text: str) -> None:
        """Paste a text, as a terminal does it that was told to say what is pasted."""
        self._run("load-buffer", "-", said=text)
        self._run("paste-buffer", "-p")

    def lines(self) -> list[str]:
        """Return what is on the screen, without empty lines at its end."""
        return self._run("capture-pane", "-p").rstrip().splitlines()

    def until(self, pattern: str) -> list[str]:
        """Wait until what is on the screen matches to its end; return its lines."""
        deadline = time.monotonic() + SECONDS
        while True:
            lines = self.lines()
            if re.search(f"(?:{pattern})\\Z", "\n".join(lines)):
                return lines
            shown = "\n".join(lines)
            assert time.monotonic() < deadline, f"{pattern!r} did not come; on screen:\n{shown}"
            time.sleep(0.05)

    def close(self) -> None:
        """End the terminal and what runs in it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("kill-server")

    def _run(self, *words: str, said: str = "", env: Mapping[str, str] | None = None) -> str:
        ran = subprocess.run(
            [*self._tmux, *words],
            input=said,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
            env=None if env is None else dict(env),
        )
        return ran.stdout


@contextlib.contextmanager
def screen(
    socket: Path, command: Sequence[str], *, env: Mapping[str, str], cwd: Path
) -> Iterator[Screen]:
    """Run a command in a terminal, and end both; arguments as of `Screen`."""
    opened = Screen(socket, command, env, cwd)
    try:
        yield opened
    finally:
        opened.close()
