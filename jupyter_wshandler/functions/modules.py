"""Import the modules of callbacks from the folders of the config files.

The folders stand at the end of `sys.path`, so nothing in them replaces an installed module. A
callback module that has the name of another one is refused, whichever of the two would win.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import cache_from_source, find_spec
from types import ModuleType
from typing import Any

from ..config.nodes import suggest
from ..errors import CallbackError
from . import sources, twins
from .machinery import MachineryBroken, line_of
from .patience import AFTER_ONE, IMPORT_LIMIT, ImportAbandoned, import_within

Stamp = tuple[str, int, int]
"""A file, when it was changed (ns), and its size."""

_stamps: dict[str, Stamp] = {}
"""What each module imported here was read from."""

_users: dict[str, int] = {}
"""How many open `CallbackModules` use a folder that was appended to `sys.path` here."""

_preloaded: dict[str, frozenset[str]] = {}
"""Top-level modules of a folder that somebody else had imported before: not ours to forget."""


class CallbackModules:
    """Find, import and forget the modules in the folders of the config files.

    Args:
        folders: Paths of folders; they are appended to `sys.path`.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.folders = tuple(dict.fromkeys(os.path.abspath(folder) for folder in folders if folder))
        self._places = {*self.folders, *map(os.path.realpath, self.folders)}
        self._closed = False
        self._gave_up = False
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
            name: _folder_of(_top(name), sys.modules.get(_top(name))) for name in self.modules()
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
            name: module for name, module in _loaded() if _top(name) in tops and module is not None
        }

    def load(self, name: str, home: str = "") -> tuple[ModuleType, tuple[str, ...]]:
        """Import the module that a dotted name begins with.

        Args:
            name: ``module.function``, or deeper.
            home: The folder of the config file that names it; "" where no file does.

        Returns:
            The module, and the rest of the name: attributes, at least one.

        Raises:
            CallbackError: There is no such module, it raises, or its name is taken.
        """
        invalidate_caches()
        parts = name.split(".")
        self._check_name(name, parts, home)
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
        self._stamp()
        self._served = self.modules()
        return found

    def refresh(self) -> bool:
        """Forget all modules of the folders if the file of any has changed since its import.

        They are imported again together, as fresh objects, when they are needed.

        Returns:
            Whether they were forgotten.
        """
        mine = self.modules()
        changed = any(
            name in _stamps and _stamps[name] != _stamp_of(name, m) for name, m in mine.items()
        )
        if changed:
            for name in sorted(mine, reverse=True):
                _forget(name)
        return changed

    def set_aside(self) -> dict[str, ModuleType]:
        """Make the next imports from the folders fresh ones; the modules themselves stay whole.

        Returns:
            The modules that were imported, for `put_back`.
        """
        mine = self.modules()
        self._gave_up = False
        self._served = {}
        for name in mine:
            sys.modules.pop(name, None)
            _stamps.pop(name, None)
        invalidate_caches()
        return mine

    def put_back(self, modules: dict[str, ModuleType]) -> None:
        """Replace what was imported since `set_aside` with what was there before."""
        self.set_aside()
        sys.modules.update(modules)
        self._served = dict(modules)

    def _stamp(self) -> None:
        for name, module in self.modules().items():
            if name not in _stamps:
                stamp = _stamp_of(name, module)
                if stamp is not None:
                    _stamps[name] = stamp

    def _tops(self) -> set[str]:
        return {
            name
            for name, module in _loaded()
            if "." not in name and module is not None and _folder_of(name, module) in self._places
        }

    # ---- names that are taken --------------------------------------------------------------

    def _check_name(self, name: str, parts: Sequence[str], home: str) -> None:
        top = parts[0]
        mine = []
        for folder in self.folders:
            spec = PathFinder.find_spec(top, [folder])
            if spec is not None and (spec.origin is not None or _portion_has(spec, parts[1])):
                mine.append((folder, spec))
        if not mine:
            return
        wrong = twins.in_the_way(name, home, [(folder, _where(spec)) for folder, spec in mine])
        if wrong is not None:
            raise CallbackError(wrong)
        other = self._elsewhere(top, mine[0][1])
        if other is not None:
            raise CallbackError(
                f"{name}: {_where(mine[0][1])} has the same name as {other}, and Python would "
                f"take one for the other; rename the first and use its new name here"
            )

    def _elsewhere(self, top: str, mine: ModuleSpec) -> str | None:
        """Say where another module of the same name is, or None."""
        if top in sys.builtin_module_names:
            return f"the module {top} built into Python"
        loaded = sys.modules.get(top)
        if loaded is not None and _folder_of(top, loaded) not in self._places:
            return _path_of(top, loaded) or f"the module {top} that is already imported"
        others = [
            path
            for path in sys.path
            if isinstance(path, str) and os.path.realpath(path) not in self._places
        ]
        for finder in sys.meta_path:
            spec = None
            if finder is PathFinder:
                spec = PathFinder.find_spec(top, others)
            else:
                with contextlib.suppress(Exception):  # somebody else's import hook
                    spec = finder.find_spec(top, None)
            # A folder without __init__.py has no origin, and gives way to a module.
            if spec is None or spec.origin is None or _base(spec) in self._places:
                continue
            return _where(spec) if spec.has_location else f"the module {top} built into Python"
        return None

    # ---- importing -------------------------------------------------------------------------

    def _import(self, name: str, parts: Sequence[str]) -> tuple[ModuleType, tuple[str, ...]]:
        if not _exists(parts[0]):
            raise CallbackError(self._missing(name, parts[0]))
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
            message = f"{name}: the module {dotted} cannot be used: {_blame(dotted, error)}"
        except KeyboardInterrupt as error:
            if not any(
                self._is_mine(f.filename) for f in traceback.extract_tb(error.__traceback__)
            ):
                raise  # somebody at the keyboard
            message = (
                f"{name}: the module {dotted} cannot be imported: {self._failure(error, dotted)}"
            )
        except BaseException as error:
            message = (
                f"{name}: the module {dotted} cannot be imported: {self._failure(error, dotted)}"
            )
        raise CallbackError(message)

    def _came_late(self, dotted: str) -> None:
        """Keep what an abandoned import leaves behind from replacing the version that is served.

        Python forgets the name of a module whose import fails, whoever has it by then.
        """
        module = self._served.get(dotted)
        if module is not None and not self._closed:
            sys.modules[dotted] = module

    def _missing(self, name: str, top: str) -> str:
        if not self.folders:
            return f"{name}: there is no module {top} among the installed ones"
        names = {module.name for module in pkgutil.iter_modules(self.folders)}
        hint = f"; {suggest(top, names)}" if names else ""
        unreadable = list(filter(None, map(_why_unreadable, self.folders)))
        if unreadable:
            return f"{name}: the module {top} cannot be looked for: {'; '.join(unreadable)}"
        where = " and ".join(self.folders)
        return f"{name}: there is no module {top} in {where}, nor among the installed ones{hint}"

    def _failure(self, error: BaseException, dotted: str) -> str:
        """Say what went wrong in a module, and in which of the user's lines."""
        # Where a source cannot be read, the last frame is the one that reads it.
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename != sources.__file__
        ]
        mine = [frame for frame in frames if self._is_mine(frame.filename)]
        for frame in mine:
            _drop_bytecode(frame.filename)
        kind = type(error).__name__
        if isinstance(error, SyntaxError) and error.filename and error.lineno:
            return f"{error.filename}:{error.lineno}: {kind}: {error.msg}"
        file = sources.read_from(dotted)
        if mine or file is None:
            seen = mine or [frame for frame in frames if not frame.filename.startswith("<frozen")]
            place = f"{seen[-1].filename}:{seen[-1].lineno}: " if seen else ""
        else:  # it has no line of its own in it: what it has done to Python shows later
            line = line_of(file, _SUSPECT)
            place = f"{file}:{line}: " if line else f"{file}: "
        text = first_line(error)
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = "; install it in the environment of the server, or mend the import"
        return f"{place}{kind}{': ' if text else ''}{text}{hint}"

    def _is_mine(self, filename: str) -> bool:
        return any(filename.startswith(os.path.join(place, "")) for place in self._places)


_SUSPECT = ("modules", "settrace", "setprofile", "meta_path", "path_hooks", "__import__")
"""What a module has in hand that makes its import fail outside of it."""


def _blame(dotted: str, error: MachineryBroken) -> str:
    """Say which line of the user's has made unusable what imports need."""
    words = [one.word for one in error.broken]
    first = sources.read_from(dotted)
    files = [first, *sources.being_read()] if first else sources.being_read()
    places = ((file, line_of(file, words)) for file in files)
    file, line = next(((f, n) for f, n in places if n), (first or dotted, None))
    return (
        f"{file}:{line or 1}: it breaks {error}, which every import in the server needs; that was "
        "put back"
    )


def path_of(module: ModuleType, function: str = "") -> str:
    """Return where a module comes from, for a message.

    Args:
        module: The module, or what it has put in its place.
        function: The dotted name of a function in it.
    """
    parts = function.split(".")[:-1]
    names = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    known = next((path for path in map(sources.origin_of, names) if path is not None), None)
    return known or _path_of("", module) or "built into Python"


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


def submodules(module: ModuleType) -> Iterable[str]:
    """Return the names of the modules in a package; none if it is no package."""
    return {found.name for found in pkgutil.iter_modules(sources.paths_of(module))}


def _why_unreadable(folder: str) -> str:
    """Return why a folder cannot be listed; nothing where it can."""
    try:
        with os.scandir(folder):
            return ""
    except OSError as error:
        return f"the folder {folder} cannot be read: {error.strerror}"


def _loaded() -> list[tuple[str, ModuleType | None]]:
    return [entry for entry in sys.modules.copy().items() if isinstance(entry[0], str)]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _namespace(module: object) -> dict[str, Any]:
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
    file = sources.origin_of(name) or _namespace(module).get("__file__")
    return file if isinstance(file, str) else None


def _path_of(name: str, module: object) -> str | None:
    """Return the file or folder of a module."""
    file = file_of(name, module)
    if file is not None:
        return file
    paths = sources.paths_of(module)
    return paths[0] if paths else None


def _folder_of(name: str, module: object) -> str | None:
    """Return the folder in which a top-level module or package stands."""
    origin = sources.origin_of(name)
    if origin is not None:
        folder, file = os.path.split(origin)
        return os.path.dirname(folder) if file == "__init__.py" else folder
    namespace = _namespace(module)
    paths = sources.paths_of(module) if "__path__" in namespace else []
    path = paths[0] if paths else namespace.get("__file__")
    return os.path.dirname(path) if isinstance(path, str) else None


def _base(spec: ModuleSpec) -> str | None:
    paths = list(spec.submodule_search_locations or ())
    path = paths[0] if paths else spec.origin
    return os.path.dirname(path) if path else None


def _where(spec: ModuleSpec) -> str:
    if spec.has_location or not spec.submodule_search_locations:
        return spec.origin or spec.name
    return next(iter(spec.submodule_search_locations))


def _portion_has(spec: ModuleSpec, name: str) -> bool:
    """Say whether a folder without __init__.py holds a module."""
    return PathFinder.find_spec(name, list(spec.submodule_search_locations or ())) is not None


def _exists(dotted: str) -> bool:
    if dotted in sys.modules:
        return True
    try:
        return find_spec(dotted) is not None
    except (ImportError, AttributeError, ValueError):
        return False


def _stamp_of(name: str, module: ModuleType) -> Stamp | None:
    file = file_of(name, module)
    if file is None:
        return None
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return (file, 0, 0)
    return (file, status.st_mtime_ns, status.st_size)


def _forget(name: str) -> None:
    """Drop a module so that the next import reads its source again."""
    module = sys.modules.pop(name, None)
    _stamps.pop(name, None)
    # `from package import name` would find the old module as an attribute of its package.
    parent, _, child = name.rpartition(".")
    package = sys.modules.get(parent)
    if module is not None and _namespace(package).get(child) is module:
        with contextlib.suppress(Exception):
            delattr(package, child)
    file = sources.read_from(name) or _namespace(module).get("__file__")
    if isinstance(file, str):
        _drop_bytecode(file)


def _drop_bytecode(file: str) -> None:
    # Python takes cached bytecode for current if the source has the same size and the same
    # second of change, as after a quick repair.
    with contextlib.suppress(OSError, NotImplementedError, ValueError):
        os.unlink(cache_from_source(file))
