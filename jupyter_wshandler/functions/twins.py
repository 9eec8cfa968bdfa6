"""Modules of one name in several config folders, of which Python holds one at a time."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import PathFinder


def in_the_way(name: str, home: str, found: Sequence[tuple[str, str]]) -> str | None:
    """Return why a module cannot be imported, where several config folders have one of its name.

    The first folder's is served to the routes of that folder's config file, so that a folder that
    is added later breaks none that was there before.

    Args:
        name: The dotted name of a function.
        home: The folder of the file that names it; "" where no file does.
        found: Each folder that has such a module, and where it stands; the first is Python's.
    """
    (first, path), *others = found
    if not others or home == first:
        return None
    own = next((where for folder, where in others if folder == home), None)
    if own is None:
        return (
            f"{name}: {path} has the same name as {others[0][1]}, and Python would take one for "
            "the other; rename the first and use its new name here"
        )
    return (
        f"{name}: {own} has the same name as {path}, which stands in the folder of another config "
        "file, and Python holds one module of a name; rename it and use its new name here"
    )


def imports_of_twins(home: str, folders: Iterable[str], sources: Iterable[str]) -> str | None:
    """Return where a module imports one that its own folder has, and gets another folder's.

    Args:
        home: The folder of the config file.
        folders: All config folders, in Python's order.
        sources: The files that were imported from them.
    """
    before = list(folders)
    before = before[: before.index(home)] if home in before else []
    if not before:
        return None
    for path in sources:
        if not path.startswith(os.path.join(home, "")):
            continue
        for top, line in _imported(path):
            mine = PathFinder.find_spec(top, [home])
            other = PathFinder.find_spec(top, before)
            if mine and other and mine.origin and other.origin:
                return (
                    f"{path}:{line} imports {top} and would get {other.origin}, which stands in "
                    f"the folder of another config file; rename {mine.origin}"
                )
    return None


def _imported(path: str) -> Iterator[tuple[str, int]]:
    """Yield the top-level modules that a source imports, with the line."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno
