"""Read the source of callback modules: always the file itself, and remember what was read.

Python takes cached bytecode for current where the source has the same size and the same second
of change, as after a quick repair. So the folders of the config files get a finder of their own
(a path hook, as in the reference of `importlib`), whose modules neither read bytecode nor leave
any. It also knows what a reload depends on: which files were read, and which names were asked
for that did not exist.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
)
from types import CodeType, ModuleType

Stamp = tuple[int, int, int, int, bool]
"""Time of change (ns), size, inode and device of a file, and whether it may be read; a folder has
zeros. Where a link is swapped for another one, the inode or the device tells."""

_roots: dict[str, int] = {}
"""Folders that are read this way, and how many use each."""

_read: dict[str, Stamp] = {}
"""What each source file was when it was read last."""

_readings: list[Reading] = []

_origins: dict[str, str] = {}
"""Where the module of a name was read from, whatever it says of itself since."""

_open = open


class Reading:
    """What imports depend on, collected while `recorded` has it.

    Attributes:
        files: The files that were read, as they were then.
        found: The files of modules that were found, as they were then, read or not.
        asked: Folder and name of each module that was looked for, by full name.
    """

    def __init__(self) -> None:
        self.files: dict[str, Stamp] = {}
        self.found: dict[str, Stamp] = {}
        self.asked: dict[tuple[str, str], str] = {}

    def expected(self) -> dict[str, Stamp | None]:
        """Return what a later look at the disk finds if nothing has changed: None is no file."""
        expected: dict[str, Stamp | None] = dict(self.files)
        for (folder, tail), name in self.asked.items():
            path = os.path.join(folder, tail)
            candidates = (f"{path}.py", os.path.join(path, "__init__.py"), path)
            if any(candidate in self.files for candidate in candidates):
                continue
            module = sys.modules.get(name)
            if module is None:
                for candidate in candidates:
                    expected[candidate] = self.found.get(candidate)
            elif path in paths_of(module):
                expected[path] = stamp_of(path)
        return expected


def paths_of(module: object) -> list[str]:
    """Return where the modules of a package are looked for; nothing for what is none."""
    try:
        return [path for path in getattr(module, "__path__", None) or () if isinstance(path, str)]
    except Exception:  # a lazy module of somebody else's, or one that says nonsense of itself
        return []


@contextmanager
def recorded(reading: Reading) -> Iterator[Reading]:
    """Let a `Reading` collect what is imported from the folders inside the block."""
    _readings.append(reading)
    try:
        yield reading
    finally:
        _readings.remove(reading)


def stamp_of(path: str) -> Stamp | None:
    """Return what a file is now; None where there is none that can be looked at."""
    try:
        # Permissions that are given back change neither time nor size.
        return _stamp(os.stat(path), os.access(path, os.R_OK))
    except (OSError, ValueError):
        return None


def read_stamp(path: str) -> Stamp | None:
    """Return what a file was when it was read as source; None if it never was."""
    return _read.get(path)


def origin_of(name: str) -> str | None:
    """Return the file that the module of a name was read from; None if none was, or it is gone."""
    path = _origins.get(name)
    return path if path is not None and name in sys.modules else None


def read_from(name: str) -> str | None:
    """Return the file from which the module of a name was read last, imported or not."""
    return _origins.get(name)


def being_read() -> list[str]:
    """Return the files that imports which run now have read."""
    return [path for reading in list(_readings) for path in reading.files.copy()]


def is_root(folder: str) -> bool:
    """Say whether a folder is read this way."""
    return folder in _roots


def saved_since() -> bool:
    """Say whether a file that is being imported now has changed since it was read."""
    return any(
        stamp_of(path) != stamp
        for reading in list(_readings)
        for path, stamp in reading.files.copy().items()
    )


def _stamp(status: os.stat_result, readable: bool) -> Stamp:
    if stat.S_ISDIR(status.st_mode):  # what happens in it is seen in its files
        return (0, 0, 0, 0, True)
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev, readable)


def register(folders: Sequence[str]) -> None:
    """Read modules below folders from their source, until as many calls of `release`."""
    for folder in folders:
        _roots[folder] = _roots.get(folder, 0) + 1
        _forget_finders(folder)
    if folders and _hook not in sys.path_hooks:
        sys.path_hooks.insert(0, _hook)


def release(folders: Sequence[str]) -> None:
    """End what `register` began."""
    for folder in folders:
        _roots[folder] -= 1
        if not _roots[folder]:
            del _roots[folder]
            _forget_finders(folder)
            for name in [name for name, path in _origins.items() if _is_below(path, folder)]:
                del _origins[name]
    if not _roots and _hook in sys.path_hooks:
        sys.path_hooks.remove(_hook)


def _forget_finders(folder: str) -> None:
    for path in list(sys.path_importer_cache):
        if _is_below(path, folder):
            sys.path_importer_cache.pop(path, None)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _hook(path: str) -> FileFinder:
    mine = any(_is_below(path, folder) for folder in _roots)
    if not mine or "site-packages" in path.split(os.sep) or not os.path.isdir(path):
        raise ImportError("not a folder of callback modules", path=path)
    return _Finder(
        path,
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (_Source, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )


class _Finder(FileFinder):
    """A finder that finds modules as Python does, and notes what was asked for."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        try:
            spec = super().find_spec(fullname, target)
        except OSError:
            # A folder that cannot be listed must not keep the server from importing its own
            # modules: Python asks every folder of `sys.path`.
            spec = None
        for reading in _readings:
            reading.asked[self.path, fullname.rpartition(".")[2]] = fullname
            if spec is not None and spec.origin is not None:
                stamp = stamp_of(spec.origin)
                if stamp is not None:
                    reading.found[spec.origin] = stamp
        return spec


class _Source(SourceFileLoader):
    """A loader that compiles a module from its source, whatever bytecode there is."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        _origins[fullname] = path
        with _open(path, "rb") as file:
            stamp = _stamp(os.fstat(file.fileno()), True)
            data = file.read()
        _read[path] = stamp
        for reading in _readings:
            reading.files[path] = stamp
        code: CodeType = self.source_to_code(data, path)
        return code
