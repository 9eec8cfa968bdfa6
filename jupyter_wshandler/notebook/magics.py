"""``%%websocket /pingbot``: a cell whose functions are a live bot."""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import dis
import inspect
import re
import shlex
from collections.abc import Iterator
from typing import Any

import yaml
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand

from ..errors import WSHandlerError
from ..functions.namespace import EVENTS, misspelt
from .bot import Bot
from .kernel import kernel_at_hand
from .output import write_below
from .serve import serve

_NAMES = frozenset({*EVENTS, "on_open"})


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        if "required: pattern" in message:
            message = "expected an address (a pattern), as in: %%websocket /mybot"
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
    """The magic that serves the functions of a cell."""

    # Braces are part of a pattern, not the name of a variable to put there.
    @no_var_expand
    @cell_magic
    def websocket(self, line: str, cell: str) -> Bot | None:
        """Run a cell and serve the callbacks that it defines as a WebSocket.

        ``%%websocket /pingbot [option=value ...] [--name NAME] [--bot VARIABLE] [--replace]``

        The callbacks are `open`, `on_message`, `on_close`, `on_error` and `on_pong`. The bot is
        shown below the cell, and kept in the variable `bot`. Running the cell again swaps the
        functions; connections stay open. Options are those of a route: ``max_message=64KiB``.
        ``every=30s:tick`` calls the function `tick` of the notebook for each connection.
        ``types=ask:on_ask`` gives it the messages of one kind.
        """
        try:
            kernel_at_hand()
        except RuntimeError as error:
            raise UsageError(f"%%websocket: {error}") from None
        arguments = _parser().parse_intermixed_args(_split(line))
        options, named = _options(arguments.options)
        shell: Any = self.shell
        defined = _defined(shell.transform_cell(cell))
        names = sorted(defined & _NAMES)
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
        odd = misspelt(defined)
        if not found and "types" not in named:
            raise UsageError(
                "%%websocket: this cell defines no callback; "
                + (odd or f"expected a function named {', '.join(EVENTS)}")
            )
        if odd:
            write_below(f"%%websocket: never called: {odd}\n")
        for key, functions in named.items():
            options[key] = {what: _function(shell, key, name) for what, name in functions.items()}
        try:
            bot = serve(
                arguments.pattern, found, name=arguments.name, replace=arguments.replace, **options
            )
        except (WSHandlerError, ValueError, TypeError) as error:
            # Where in this package that is raised helps nobody.
            raise UsageError(f"%%websocket: {_of_the_magic(error)}") from None
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


_NAMED = {"every": ("a duration", "30s:tick"), "types": ("a tag", "ask:on_ask")}
"""Options that name functions, each by what it is for; what that is, and an example."""


def _options(texts: list[str]) -> tuple[dict[str, Any], dict[str, dict[Any, str]]]:
    """Return the options of a line, and the names of the functions of those that name some."""
    options: dict[str, Any] = {}
    named: dict[str, dict[Any, str]] = {}
    for key, value in map(_option, texts):
        if key not in _NAMED:
            options[key] = value
            continue
        if isinstance(value, str) and ":" in value:
            what, _, name = value.partition(":")
            value = {what.strip(): name.strip()}
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
            kind, example = _NAMED[key]
            raise UsageError(
                f"%%websocket: {key}: expected {kind} and a function of this notebook, as in "
                f"{key}={example}, found {value!r}"
            )
        named[key] = named.get(key, {}) | value
    return options, named


def _function(shell: Any, key: str, name: str) -> Any:
    """Return a function of the notebook for an option that names it."""
    function = shell.user_ns.get(name, getattr(builtins, name, None))
    if not callable(function):
        what = "nothing" if function is None else f"a {type(function).__name__}"
        raise UsageError(
            f"%%websocket: {key}: expected a function named {name!r} in this notebook, found {what}"
        )
    return function


def _of_the_magic(error: Exception) -> str:
    """Return what an error says, with the words of the magic's line in place of a call's."""
    text = str(error)
    text = re.sub(r"wsh\.serve\(('[^']*'|\"[^\"]*\")\): ", "", text)
    text = text.replace("pass replace=True", "add --replace")
    return text.replace("pass name=...", "add --name NAME")


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


def _defined(cell: str) -> set[str]:
    """Return the names that a cell binds outside its functions and classes."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        code = compile(cell, "<cell>", "exec", flags)
    except SyntaxError:  # running it will show it
        return set()
    if code.co_flags & inspect.CO_COROUTINE:
        raise UsageError(
            "%%websocket: a cell that is served cannot await at its top level; "
            "await in another cell, or call wsh.serve()"
        )
    return {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"}
