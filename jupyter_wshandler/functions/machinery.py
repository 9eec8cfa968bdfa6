"""What Python needs to import modules, kept whole: a module can break it for the whole server.

A callback module runs in the server's process as it is imported. One that puts None in the place of
``builtins.__import__`` or empties ``sys.modules`` breaks every later import, and the reload that
would mend it. What such a module has made unusable is put back at once, and named with its line.
Changes that work are left alone: import hooks, lazy imports, more folders in `sys.path` are in use.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.machinery
import importlib.util
import io
import linecache
import os
import sys
import threading
import time
import traceback
import types
import warnings
import weakref
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from typing import Any, NamedTuple

import msgspec

from . import sources

_open, _callable, _namespace = open, callable, vars(builtins)

_VITAL: tuple[Any, ...] = (
    builtins,
    importlib,
    importlib.util,
    importlib.machinery,
    importlib._bootstrap,
    importlib._bootstrap_external,
    PathFinder,
    importlib.machinery.FileFinder,
    importlib.machinery.SourceFileLoader,
    io,
    linecache,
    os,
    os.path,
    threading,
    threading.Thread,
    time,
    traceback,
    types,
    warnings,
    weakref,
)
"""Modules and classes without which nothing is imported, and nobody is told why."""

_OURS = frozenset({"jupyter_wshandler", "jupyter_server", "msgspec", "tornado", "traitlets", "zmq"})
"""Packages that the server runs with; so are the modules of Python itself."""

_CORE = _OURS | {
    *("sys", "builtins", "os", "io", "threading", "time", "types", "traceback", "linecache"),
    *("warnings", "weakref", "importlib", "asyncio", "contextvars", "logging", "functools", "ast"),
}
"""Modules among them of which none may be missing; others are taken out for reasons."""

_PLACES = frozenset(
    {os.path.dirname(os.__file__), os.path.dirname(os.path.dirname(msgspec.__file__))}
)
"""Folders that have to stand in `sys.path`, where they did."""

_FINDERS = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, PathFinder)

_NOBODY = "_wshandler_no_such_module"


class Broken(NamedTuple):
    """One thing that a module has made unusable.

    Attributes:
        what: Its name, for people.
        word: A word that is in the line which did it.
    """

    what: str
    word: str


class MachineryBroken(Exception):
    """The end of an import that has made unusable what Python needs to import modules.

    Attributes:
        broken: What.
    """

    def __init__(self, broken: list[Broken]) -> None:
        super().__init__(", ".join(one.what for one in broken))
        self.broken = broken


class Machinery:
    """How things are before an import, remembered to put back what it makes unusable."""

    def __init__(self) -> None:
        self._attributes = [(owner, dict(vars(owner))) for owner in _VITAL]
        self._modules = sys.modules
        self._loaded = {
            name: module for name, module in sys.modules.copy().items() if _is_vital(name)
        }
        self._lists = {
            name: (getattr(sys, name), list(getattr(sys, name)))
            for name in ("path", "meta_path", "path_hooks")
        }
        self._cache = sys.path_importer_cache
        self._depth = sys.getrecursionlimit()

    def mend(self) -> list[Broken]:
        """Put back what has become unusable since, and return it; nothing in the common case."""
        broken: list[Broken] = []
        for name, value in self._attributes[0][1].items():
            # First, and without any of them: what follows calls them.
            if _callable(value) and not _callable(_namespace.get(name)):
                _namespace[name] = value
                broken.append(Broken("builtins." + name, name))
        for owner, before in self._attributes:
            _mend_attributes(owner, before, broken)
        self._mend_modules(broken)
        self._mend_lists(broken)
        self._mend_functions(broken)
        if sys.getrecursionlimit() < self._depth:
            sys.setrecursionlimit(self._depth)
            broken.append(Broken("the recursion limit (which it lowers)", "setrecursionlimit"))
        return broken

    def _mend_modules(self, broken: list[Broken]) -> None:
        if sys.modules is not self._modules:
            sys.modules = self._modules
            broken.append(Broken("sys.modules", "modules"))
        lost = [
            name
            for name, module in self._loaded.items()
            if not isinstance(sys.modules.get(name), types.ModuleType)
            and isinstance(module, types.ModuleType)
        ]
        core = [name for name in lost if name.partition(".")[0] in _CORE]
        if core:
            for name in lost:
                sys.modules[name] = self._loaded[name]
            more = f" and {len(lost) - 1} more" if lost[1:] else ""
            broken.append(Broken(f"sys.modules[{core[0]!r}]{more}", "modules"))
        wrong = [name for name in sys.modules.copy() if not isinstance(name, str)]
        for name in wrong:
            del sys.modules[name]
        if wrong:
            broken.append(Broken("sys.modules (with a name that is no text)", "modules"))

    def _mend_lists(self, broken: list[Broken]) -> None:
        needed: dict[str, Callable[[list[Any]], Iterable[Any]]] = {
            "path": lambda before: [
                p for p in before if isinstance(p, str) and (p in _PLACES or sources.is_root(p))
            ],
            "meta_path": lambda before: [f for f in before if any(f is one for one in _FINDERS)],
            "path_hooks": lambda before: before,
        }
        for name, (kept, before) in self._lists.items():
            now = getattr(sys, name, None)
            if isinstance(now, list):
                there = {one if isinstance(one, str) else id(one) for one in now}
                if all((p if isinstance(p, str) else id(p)) in there for p in needed[name](before)):
                    continue
            kept[:] = before
            setattr(sys, name, kept)
            broken.append(Broken(f"sys.{name}", name))
        if sys.path_importer_cache is not self._cache:
            sys.path_importer_cache = self._cache
            broken.append(Broken("sys.path_importer_cache", "path_importer_cache"))
        known = {id(finder) for finder in self._lists["meta_path"][1]}
        wrong = {id(f) for f in sys.meta_path if id(f) not in known and not _finds(f)}
        if wrong:
            sys.meta_path[:] = [finder for finder in sys.meta_path if id(finder) not in wrong]
            broken.append(Broken("sys.meta_path (with a finder that fails)", "meta_path"))

    def _mend_functions(self, broken: list[Broken]) -> None:
        """Try the functions that others may replace for good reasons, where they were."""
        tries: tuple[tuple[Any, str, Callable[[Any], bool]], ...] = (
            (builtins, "__import__", lambda function: function("sys") is sys),
            (importlib, "import_module", lambda function: function("sys") is sys),
            (importlib.util, "find_spec", lambda function: function("sys") is not None),
            (importlib.util, "cache_from_source", lambda function: bool(function("x.py"))),
        )
        before = {id(owner): attributes for owner, attributes in self._attributes}
        for owner, name, works in tries:
            real = before[id(owner)][name]
            now = getattr(owner, name)
            if now is real:
                continue
            try:
                is_good = works(now)
            except BaseException:
                is_good = False
            if not is_good:
                setattr(owner, name, real)
                broken.append(Broken(f"{owner.__name__}.{name}", name))


def _mend_attributes(owner: Any, before: dict[str, Any], broken: list[Broken]) -> None:
    now = vars(owner)
    for name, value in before.items():
        found = now.get(name)
        if found is value or (name.startswith("__") and name != "__import__"):
            continue
        if _may_be_called(value) and not _may_be_called(found):
            setattr(owner, name, value)
            broken.append(Broken(f"{owner.__name__}.{name}", name))


def _may_be_called(value: Any) -> bool:
    return callable(value) or isinstance(value, (classmethod, staticmethod))


def _is_vital(name: object) -> bool:
    if not isinstance(name, str) or name == "__main__":
        return False
    top = name.partition(".")[0]
    return top in _OURS or top in sys.stdlib_module_names


def _finds(finder: Any) -> bool:
    """Say whether a finder can be asked for a module that is nowhere."""
    try:
        finder.find_spec(_NOBODY, None, None)
    except BaseException:
        return False
    return True


def line_of(file: str, words: Iterable[str]) -> int | None:
    """Return the first line of a file in which something is done to one of some names.

    Args:
        file: A file with Python source.
        words: Names of attributes, functions or variables.
    """
    wanted = set(words)
    try:
        with _open(file, "rb") as source:
            tree = ast.parse(source.read())
    except Exception:
        return None
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in wanted)
        or (isinstance(node, ast.Name) and node.id in wanted)
        or (isinstance(node, ast.Constant) and node.value in wanted)
    ]
    return min(lines, default=None)
