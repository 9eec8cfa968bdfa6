"""Where a module stands: its file and its folder, whatever it says of itself."""

from __future__ import annotations

import os
import pkgutil
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from . import sources


def path_of(module: ModuleType, function: str = "") -> str:
    """Return where a module comes from, for a message.

    Args:
        module: The module, or what it has put in its place.
        function: The dotted name of a function in it.
    """
    parts = function.split(".")[:-1]
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    known = next((path for path in map(sources.origin_of, names) if path is not None), None)
    return known or path_of_module("", module) or "built into Python"


def submodules(module: ModuleType) -> Iterable[str]:
    """Return the names of the modules in a package; none if it is no package."""
    return {found.name for found in pkgutil.iter_modules(sources.paths_of(module))}


def loaded() -> list[tuple[str, ModuleType | None]]:
    """Return what `sys.modules` holds, but for keys that are no names."""
    return [entry for entry in sys.modules.copy().items() if isinstance(entry[0], str)]


def top_of(name: str) -> str:
    """Return the top-level module or package of a dotted name."""
    return name.partition(".")[0]


def namespace_of(module: object) -> dict[str, Any]:
    """Return what is in a module, whatever its class makes of looking at it."""
    try:
        found = _dict_of_module(module)
    except TypeError:  # something else, in the place of a module
        try:
            found = vars(module)
        except Exception:
            found = {}
    return found if isinstance(found, dict) else {}


_dict_of_module: Any = vars(ModuleType)["__dict__"].__get__


def file_of(name: str, module: object) -> str | None:
    """Return the file of a module, and not what it says of itself where we know."""
    file = sources.origin_of(name) or namespace_of(module).get("__file__")
    return file if isinstance(file, str) else None


def path_of_module(name: str, module: object) -> str | None:
    """Return the file or folder of a module."""
    file = file_of(name, module)
    if file is not None:
        return file
    paths = sources.paths_of(module)
    return paths[0] if paths else None


def folder_of(name: str, module: object) -> str | None:
    """Return the folder in which a top-level module or package stands."""
    origin = sources.origin_of(name)
    if origin is not None:
        folder, file = os.path.split(origin)
        return os.path.dirname(folder) if file == "__init__.py" else folder
    namespace = namespace_of(module)
    paths = sources.paths_of(module) if "__path__" in namespace else []
    path = paths[0] if paths else namespace.get("__file__")
    return os.path.dirname(path) if isinstance(path, str) else None


def folder_of_spec(spec: ModuleSpec) -> str | None:
    """Return the folder in which a module stands that was found, and not imported."""
    paths = list(spec.submodule_search_locations or ())
    path = paths[0] if paths else spec.origin
    return os.path.dirname(path) if path else None


def path_of_spec(spec: ModuleSpec) -> str:
    """Return the file or folder of a module that was found, for a message."""
    if spec.has_location or not spec.submodule_search_locations:
        return spec.origin or spec.name
    return next(iter(spec.submodule_search_locations))


def portion_has(spec: ModuleSpec, name: str) -> bool:
    """Say whether a folder without __init__.py holds a module."""
    return PathFinder.find_spec(name, list(spec.submodule_search_locations or ())) is not None
