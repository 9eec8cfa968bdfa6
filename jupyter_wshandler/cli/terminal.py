"""Where a conversation is typed and printed: a terminal, or pipes."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

YOU, BOT = "you > ", "bot < "

MORE = "... > "
"""The prompt of a line that goes on: as wide as `YOU`, so that lines stand below each other."""

_CLEAR = "\r\x1b[K"
"""Back to the line's beginning, and nothing stands in it."""


class Terminal:
    """The standard streams of this process.

    Attributes:
        typing: Whether somebody types what is to be said.
        shown: Whether that somebody also sees what is printed, and so a prompt.
    """

    def __init__(self) -> None:
        self.typing = sys.stdin is not None and sys.stdin.isatty()
        self.shown = self.typing and sys.stdout.isatty()
        self._prompt = YOU

    def write(self, text: str) -> None:
        """Write a text, at once.

        Raises:
            OSError: Nobody reads it any more.
        """
        sys.stdout.write(text)
        sys.stdout.flush()

    def edit_lines(self) -> None:
        """Give `input` a history and a line to edit, where the system has that."""
        with contextlib.suppress(ImportError):
            import readline

            if "libedit" not in (readline.__doc__ or ""):
                # Lines that are pasted are one message. Python turns that off for its own prompt.
                readline.parse_and_bind("set enable-bracketed-paste on")

    def read_line(self) -> str:
        """Wait for what is said next and return it, without its end.

        Where somebody types, a line that ends with a backslash goes on with the next one, as in a
        shell. Ctrl-C there leaves what was begun, and Ctrl-D ends it.

        Raises:
            EOFError: There is none.
            UnicodeError: It is no UTF-8.
            KeyboardInterrupt: Ctrl-C, or the connection is closed.
        """
        if self.typing:
            return self._typed()
        raw = sys.stdin.buffer.readline() if sys.stdin is not None else b""
        if not raw:
            raise EOFError
        return raw.decode().rstrip("\r\n")

    def _typed(self) -> str:
        """Return what somebody types: a line, or several."""
        lines: list[str] = []
        try:
            while True:
                lines.append(input(self._prompt))
                lines[-1].encode()  # a terminal of another encoding may leave half a character
                if not lines[-1].endswith("\\"):
                    break
                lines[-1] = lines[-1][:-1]
                self._prompt = MORE
        except (EOFError, KeyboardInterrupt) as end:
            if self._prompt == YOU:
                raise
            self.write("\n")
            if isinstance(end, KeyboardInterrupt):
                return ""  # nothing is said; if the connection is closed, who asks knows
        finally:
            self._prompt = YOU
        return "\n".join(lines)

    def at_end(self) -> bool:
        """Return whether nothing is left to say; only asked where the bot has hung up."""
        stdin: Any = sys.stdin
        if stdin is None:
            return True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            # A pipe that stands open with nothing in it has nothing to say now.
            os.set_blocking(stdin.fileno(), False)
            try:
                return not stdin.buffer.peek(1)
            finally:
                os.set_blocking(stdin.fileno(), True)
        return True

    def leave_prompt(self) -> None:
        """Make room for an answer where a line is being typed."""
        self.write(_CLEAR if os.environ.get("TERM", "dumb") != "dumb" else "\n")

    def prompt_again(self) -> None:
        """Write the prompt with what was typed behind it already."""
        readline: Any = sys.modules.get("readline")
        self.write(self._prompt + (str(readline.get_line_buffer()) if readline is not None else ""))

    def let_go(self) -> int:
        """Write no more, as nobody reads it, and return the exit code for that."""
        # Whoever read our output has left, as `head` does; the interpreter must not flush again.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
