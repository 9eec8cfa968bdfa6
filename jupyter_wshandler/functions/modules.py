"""Import the modules of callbacks from the folders of the config files.

The folders stand at the end of `sys.path`, so nothing in them replaces an installed module. A
callback module that has the name of another one is refused, whichever of the two would win.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import invalidate_caches
from importlib.util import cache_from_source, find_spec
from types import ModuleType

from ..errors import CallbackError
from . import sources, twins
from .faults import users_files, what_broke_imports, why_failed, why_missing
from .machinery import MachineryBroken
from .names import check_name
from .patience import AFTER_ONE, IMPORT_LIMIT, ImportAbandoned, import_within
from .places import folder_of, loaded, namespace_of, top_of

_users: dict[str, int] = {}
"""How many open `CallbackModules` use a folder that was appended to `sys.path` here."""

_preloaded: dict[str, frozenset[str]] = {}
"""Top-level modules of a folder that somebody else had imported before: not ours to forget."""


class CallbackModules:
    """The modules in the folders of the config files: found, imported and forgotten.

    Args:
        folders: Paths of folders; they are appended to `sys.path`.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(dict.fromkeys(os.path.abspath(folder) for folder in folders if folder))
        self._places = {*self.folders, *map(os.path.realpath, self.folders)}
        self._closed = False
        self._gave_up = False  # an import since `set_aside`; the next ones get less time
        self._served: dict[str, ModuleType] = {}
        for folder in self.folders:
            if folder in _users:
                _users[folder] += 1
            elif folder not in sys.path:
                sys.path.append(folder)
                _users[folder] = 1
            if folder not in _preloaded:
                _preloaded[folder] = frozenset(self._tops())
        sources.register(self.folders)

    def close(self) -> None:
        """Take folders that nobody else uses off `sys.path`, and forget their modules."""
        if self._closed:
            return
        self._closed = True
        sources.release(self.folders)
        # Before any is forgotten: a package's folder is asked for each of its modules.
        homes = {
            name: folder_of(top_of(name), sys.modules.get(top_of(name))) for name in self.modules()
        }
        for folder in self.folders:
            if folder not in _users:
                continue
            _users[folder] -= 1
            if _users[folder]:
                continue
            del _users[folder], _preloaded[folder]
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)
            places = {folder, os.path.realpath(folder)}
            gone = [name for name, home in homes.items() if home in places]
            for name in sorted(gone, reverse=True):
                _forget(name)

    def modules(self) -> dict[str, ModuleType]:
        """Return the modules of the folders that were imported, by name."""
        kept = frozenset().union(*(_preloaded.get(folder, ()) for folder in self.folders))
        tops = self._tops() - kept
        return {
            name: module for name, module in loaded() if top_of(name) in tops and module is not None
        }

    def load(
        self, name: str, home: str = "", *, whole: bool = False
    ) -> tuple[ModuleType, tuple[str, ...]]:
        """Import the module that a dotted name begins with.

        Args:
            name: ``module.function``, or deeper.
            home: The folder of the config file that names it; "" where no file does.
            whole: Whether all of it may be the name of a module.

        Returns:
            The module, and the rest of the name: attributes, at least one unless `whole`.

        Raises:
            CallbackError: There is no such module, it raises, or its name is taken.
        """
        invalidate_caches()
        parts = [*name.split("."), ""] if whole else name.split(".")
        check_name(name, home, self.folders, self._places)
        before = set(self.modules())
        try:
            found = self._import(name, parts)
            wrong = twins.imports_of_twins(
                home, self.folders, filter(None, map(sources.origin_of, self.modules()))
            )
            if wrong is not None:
                raise CallbackError(f"{name}: {wrong}")
        except BaseException:
            for new in sorted(set(self.modules()) - before, reverse=True):
                _forget(new)
            raise
        self._served = self.modules()
        module, path = found
        return module, tuple(filter(None, path))

    def set_aside(self) -> dict[str, ModuleType]:
        """Make the next imports from the folders fresh ones; the modules themselves stay whole.

        They are only taken out of `sys.modules`, and nothing in them is changed: their callbacks
        run while the fresh ones are imported, and go on for good where a fresh one fails.

        Returns:
            The modules that were imported, for `put_back`.
        """
        mine = self.modules()
        self._gave_up = False
        self._served = {}
        for name in mine:
            sys.modules.pop(name, None)
        invalidate_caches()
        return mine

    def put_back(self, modules: dict[str, ModuleType]) -> None:
        """Replace what was imported since `set_aside` with what was there before."""
        self.set_aside()
        sys.modules.update(modules)
        self._served = dict(modules)

    def _tops(self) -> set[str]:
        return {
            name
            for name, module in loaded()
            if "." not in name and module is not None and folder_of(name, module) in self._places
        }

    # ---- importing -------------------------------------------------------------------------

    def _import(self, name: str, parts: Sequence[str]) -> tuple[ModuleType, tuple[str, ...]]:
        if not _exists(parts[0]):
            raise CallbackError(why_missing(name, parts[0], self.folders))
        module = self._import_one(name, parts[0])
        done = 1
        while done < len(parts) - 1 and sources.paths_of(module):
            dotted = ".".join(parts[: done + 1])
            if not _exists(dotted):
                break
            module = self._import_one(name, dotted)
            done += 1
        return module, tuple(parts[done:])

    def _import_one(self, name: str, dotted: str) -> ModuleType:
        try:
            return import_within(
                dotted,
                min(AFTER_ONE, IMPORT_LIMIT) if self._gave_up else IMPORT_LIMIT,
                is_mine=self._is_mine,
                is_stale=sources.saved_since,
                late=self._came_late,
            )
        except ImportAbandoned as error:
            self._gave_up = True
            message = f"{name}: the import of the module {dotted} was given up: {error}"
        except MachineryBroken as error:
            why = what_broke_imports(dotted, error)
            message = f"{name}: the module {dotted} cannot be used: {why}"
        except BaseException as error:
            files = [*users_files(error, self._is_mine)]
            if isinstance(error, KeyboardInterrupt) and not files:
                raise  # somebody at the keyboard
            for file in files:
                _drop_bytecode(file)
            why = why_failed(error, dotted, self._is_mine)
            message = f"{name}: the module {dotted} cannot be imported: {why}"
        raise CallbackError(message)

    def _came_late(self, dotted: str) -> None:
        """Keep what an abandoned import leaves behind from replacing the version that is served.

        Python forgets the name of a module whose import fails, whoever has it by then.
        """
        module = self._served.get(dotted)
        if module is not None and not self._closed:
            sys.modules[dotted] = module

    def _is_mine(self, filename: str) -> bool:
        return any(filename.startswith(os.path.join(place, "")) for place in self._places)


def _exists(dotted: str) -> bool:
    if dotted in sys.modules:
        return True
    try:
        return find_spec(dotted) is not None
    except (ImportError, AttributeError, ValueError):
        return False


def _forget(name: str) -> None:
    """Drop a module so that the next import reads its source again."""
    module = sys.modules.pop(name, None)
    # `from package import name` would find the old module as an attribute of its package.
    parent, _, child = name.rpartition(".")
    package = sys.modules.get(parent)
    if module is not None and namespace_of(package).get(child) is module:
        with contextlib.suppress(Exception):
            delattr(package, child)
    file = sources.read_from(name) or namespace_of(module).get("__file__")
    if isinstance(file, str):
        _drop_bytecode(file)


def _drop_bytecode(file: str) -> None:
    # Python takes cached bytecode for current if the source has the same size and the same
    # second of change, as after a quick repair.
    with contextlib.suppress(OSError, NotImplementedError, ValueError):
        os.unlink(cache_from_source(file))
