"""``%%websocket /pingbot``: a cell whose functions are a live bot."""

from __future__ import annotations

import argparse
import ast
import contextlib
import dis
import inspect
import shlex
from collections.abc import Iterator
from typing import Any

import yaml
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand

from ..callbacks.namespace import EVENTS
from .bot import Bot
from .serve import serve

_NAMES = frozenset({*EVENTS, "on_open"})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise UsageError(f"%%websocket: {message}\n{self.format_usage()}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="%%websocket", add_help=False)
    parser.add_argument("pattern", help="path below the server's base URL")
    parser.add_argument("options", nargs="*", metavar="option=value")
    parser.add_argument("--name", default="", help="the route's name")
    parser.add_argument("--bot", default="bot", help="variable that gets the bot")
    parser.add_argument("--replace", action="store_true", help="take it over from another kernel")
    return parser


@magics_class
class WebSocketMagics(Magics):
    """Serve the functions of a cell."""

    # Braces are part of a pattern, not the name of a variable to put there.
    @no_var_expand
    @cell_magic
    def websocket(self, line: str, cell: str) -> Bot | None:
        """Run a cell and serve the callbacks that it defines as a WebSocket.

        ``%%websocket /pingbot [option=value ...] [--name NAME] [--bot VARIABLE] [--replace]``

        The callbacks are `open`, `on_message`, `on_close`, `on_error` and `on_pong`. The bot is
        shown below the cell, and kept in the variable `bot`. Running the cell again swaps the
        functions; connections stay open. Options are those of a route: ``max_message=64KiB``.
        """
        arguments = _parser().parse_intermixed_args(_split(line))
        options = dict(_option(text) for text in arguments.options)
        shell: Any = self.shell
        names = _defined(shell.transform_cell(cell))
        before = {name: shell.user_ns.get(name) for name in names}
        with _number_of_the_cell(shell):
            ended = shell.run_cell(cell, store_history=False)
        if not ended.success:
            return None  # the cell's own error is shown already
        found = {name: shell.user_ns[name] for name in names if name in shell.user_ns}
        if "open" in found:
            # In the rest of the notebook, open() is Python's again.
            del shell.user_ns["open"]
            if before["open"] is not None and before["open"] is not found["open"]:
                shell.user_ns["open"] = before["open"]
        if not found:
            raise UsageError(
                "%%websocket: this cell defines no callback; expected a function named "
                f"{', '.join(EVENTS)}"
            )
        bot = serve(
            arguments.pattern, found, name=arguments.name, replace=arguments.replace, **options
        )
        shell.user_ns[arguments.bot] = bot
        return bot


@contextlib.contextmanager
def _number_of_the_cell(shell: Any) -> Iterator[None]:
    """Let tracebacks name the cell by its own number; IPython 9 has counted on already."""
    names = getattr(shell.compile, "_filename_map", {})
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename not in names:
        frame = frame.f_back
    count = shell.execution_count
    if frame is not None:
        shell.execution_count = names[frame.f_code.co_filename]
    try:
        yield
    finally:
        shell.execution_count = count


def _split(line: str) -> list[str]:
    """Split a line as a shell does, but keep its backslashes: a pattern may have them."""
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.commenters = words.escape = ""
    try:
        return list(words)
    except ValueError as error:
        raise UsageError(f"%%websocket: {error}") from None


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"%%websocket: expected option=value, found {text!r}")
    if key in ("name", "replace", "bot"):
        raise UsageError(f"%%websocket: write --{key} in place of {text!r}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UsageError(
            f"%%websocket: {key}: expected a value as in YAML, found {value!r}"
        ) from None


def _defined(cell: str) -> list[str]:
    """Return the names of callbacks that a cell binds outside its functions and classes."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        code = compile(cell, "<cell>", "exec", flags)
    except SyntaxError:  # running it will show it
        return []
    if code.co_flags & inspect.CO_COROUTINE:
        raise UsageError(
            "%%websocket: a cell that is served cannot await at its top level; "
            "await in another cell, or call wsh.serve()"
        )
    stored = {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
    return sorted(stored & _NAMES)
