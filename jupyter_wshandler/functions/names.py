"""Names of modules that are taken: a callback module must not have that of another module."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Container, Sequence
from importlib.machinery import PathFinder

from ..errors import CallbackError
from . import twins
from .places import folder_of, folder_of_spec, path_of_module, path_of_spec, portion_has


def check_name(name: str, home: str, folders: Sequence[str], places: Container[str]) -> None:
    """Check that a callback's module is the only one of its name, wherever Python looks.

    Python takes the first of a name that it finds. Which that is depends on what happens to be
    installed, so a later `pip install` would replace a bot; it is refused from the beginning.

    Args:
        name: The dotted name of a function.
        home: The folder of the config file that names it; "" where no file does.
        folders: The folders of all config files, in Python's order.
        places: The same, with links followed too.

    Raises:
        CallbackError: There are two modules of the name; says where.
    """
    parts = name.split(".")
    top = parts[0]
    mine = []
    for folder in folders:
        spec = PathFinder.find_spec(top, [folder])
        if spec is None:
            continue
        if spec.origin is not None or (len(parts) > 1 and portion_has(spec, parts[1])):
            mine.append((folder, spec))
    if not mine:
        return
    wrong = twins.in_the_way(name, home, [(folder, path_of_spec(spec)) for folder, spec in mine])
    if wrong is not None:
        raise CallbackError(wrong)
    other = _elsewhere(top, places)
    if other is not None:
        raise CallbackError(
            f"{name}: {path_of_spec(mine[0][1])} has the same name as {other}, and Python would "
            f"take one for the other; rename the first and use its new name here"
        )


def _elsewhere(top: str, places: Container[str]) -> str | None:
    """Say where another module of the same name is, or None."""
    if top in sys.builtin_module_names:
        return f"the module {top} built into Python"
    loaded = sys.modules.get(top)
    if loaded is not None and folder_of(top, loaded) not in places:
        return path_of_module(top, loaded) or f"the module {top} that is already imported"
    others = [
        path for path in sys.path if isinstance(path, str) and os.path.realpath(path) not in places
    ]
    for finder in sys.meta_path:
        spec = None
        if finder is PathFinder:
            spec = PathFinder.find_spec(top, others)
        else:
            with contextlib.suppress(Exception):  # somebody else's import hook
                spec = finder.find_spec(top, None)
        # A folder without __init__.py has no origin, and gives way to a module.
        if spec is None or spec.origin is None or folder_of_spec(spec) in places:
            continue
        return path_of_spec(spec) if spec.has_location else f"the module {top} built into Python"
    return None
