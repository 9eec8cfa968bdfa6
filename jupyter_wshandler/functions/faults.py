"""What is said of a module that cannot be imported: what is wrong, and in which line."""

from __future__ import annotations

import os
import pkgutil
import traceback
from collections.abc import Callable, Iterator, Sequence

from ..config.nodes import suggest
from . import sources
from .machinery import MachineryBroken, line_of

_SUSPECT = ("modules", "settrace", "setprofile", "meta_path", "path_hooks", "__import__")
"""What a module has in hand that makes its import fail outside of it."""


def what_broke_imports(dotted: str, error: MachineryBroken) -> str:
    """Say which line of the user's has made unusable what imports need.

    Args:
        dotted: The module that was imported.
        error: What it has broken.
    """
    words = [one.word for one in error.broken]
    first = sources.read_from(dotted)
    files = [first, *sources.being_read()] if first else sources.being_read()
    places = ((file, line_of(file, words)) for file in files)
    file, line = next(((f, n) for f, n in places if n), (first or dotted, None))
    return (
        f"{file}:{line or 1}: it breaks {error}, which every import in the server needs; that was "
        "put back"
    )


def why_missing(name: str, top: str, folders: Sequence[str]) -> str:
    """Say where a module was looked for in vain, and which name may be meant.

    Args:
        name: The dotted name of a function.
        top: The module that there is not.
        folders: The folders of the config files.
    """
    if not folders:
        return f"{name}: there is no module {top} among the installed ones"
    names = {module.name for module in pkgutil.iter_modules(folders)}
    hint = f"; {suggest(top, names)}" if names else ""
    unreadable = list(filter(None, map(_why_unreadable, folders)))
    if unreadable:
        return f"{name}: the module {top} cannot be looked for: {'; '.join(unreadable)}"
    where = " and ".join(folders)
    return f"{name}: there is no module {top} in {where}, nor among the installed ones{hint}"


def why_failed(error: BaseException, dotted: str, is_mine: Callable[[str], bool]) -> str:
    """Say what went wrong in a module, and in which of the user's lines.

    Args:
        error: What its import raised.
        dotted: The module.
        is_mine: Says of a file whether it stands in a folder of a config file.
    """
    # Where a source cannot be read, the last frame is the one that reads it.
    lines = [(file, line) for file, line in _lines_of(error) if file != sources.__file__]
    mine = [(file, line) for file, line in lines if is_mine(file)]
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{error.filename}:{error.lineno}: {kind}: {error.msg}"
    file = sources.read_from(dotted)
    if mine or file is None:
        seen = mine or [(file, line) for file, line in lines if not file.startswith("<frozen")]
        place = "{}:{}: ".format(*seen[-1]) if seen else ""
    else:  # it has no line of its own in it: what it has done to Python shows later
        line = line_of(file, _SUSPECT)
        place = f"{file}:{line}: " if line else f"{file}: "
    text = first_line(error)
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = "; install it in the environment of the server, or mend the import"
    return f"{place}{kind}{': ' if text else ''}{text}{hint}"


def users_files(error: BaseException, is_mine: Callable[[str], bool]) -> Iterator[str]:
    """Return the user's files through which an exception came; see `why_failed`."""
    for file, _ in _lines_of(error):
        if is_mine(file):
            yield file


def _lines_of(error: BaseException) -> Iterator[tuple[str, int | None]]:
    """Return the files and lines through which an exception came.

    Python's own `traceback.extract_tb` asks each module's `__spec__` for its loader (from 3.13 on
    with `getattr`), and that may be the user's code.
    """
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield frame.f_code.co_filename, line


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of what an exception says.

    Args:
        error: Any exception, also one that cannot be printed.
        limit: Most characters.
    """
    try:
        lines = str(error).strip().splitlines()
    except BaseException:  # sys.exit() in it, too
        return ""
    return lines[0][:limit] if lines else ""


def _why_unreadable(folder: str) -> str:
    """Return why a folder cannot be listed; nothing where it can."""
    try:
        with os.scandir(folder):
            return ""
    except OSError as error:
        return f"the folder {folder} cannot be read: {error.strerror}"
