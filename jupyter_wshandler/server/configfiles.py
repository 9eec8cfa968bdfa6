"""Config files that Jupyter could not load and went on without, the administrator's word with them.

traitlets drops the whole of a file in which anything fails, says so in the log, and goes on. What
an ``enforce`` in it was meant to forbid would be allowed then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from traitlets.config.loader import JSONFileConfigLoader, PyFileConfigLoader

OURS = b"wshandler"
"""What a file that is about this extension mentions, in some case."""

INCLUDES = (b"load_subconfig", b"exec", b"runpy", b"import_module", b"__import__")
"""What a file that takes in others may use; what those say is lost with it."""

LOADERS = ((".py", PyFileConfigLoader), (".json", JSONFileConfigLoader))


def unloaded(serverapp: Any, apps: Iterable[Any], own: str) -> list[str]:
    """Return a sentence for each config file that may be about routes and was not loaded.

    Args:
        serverapp: Jupyter's server application, which has loaded its files.
        apps: The applications of extensions, each of which has files of its own.
        own: Name, without its ending, of the file that is about this extension only.
    """
    found = [
        f"{path} could not be loaded, and all that it says is lost: {reason}"
        for path, reason in _unloaded(serverapp, apps, own)
    ]
    return list(dict.fromkeys(found))


def lost(serverapp: Any, apps: Iterable[Any], own: str) -> Iterator[bytes]:
    """Yield the text of each such file that can be read, without the zeros of UTF-16.

    Args:
        serverapp: As for `unloaded`.
        apps: The same.
        own: The same.
    """
    for path, _ in _unloaded(serverapp, apps, own):
        with suppress(OSError):
            yield _read(path).replace(b"\0", b"")


def _unloaded(serverapp: Any, apps: Iterable[Any], own: str) -> Iterator[tuple[str, str]]:
    """Yield the path of each such file, and why it was not loaded."""
    apps = list(apps)
    loaded = {
        os.path.realpath(path)
        for app in (serverapp, *apps)
        for path in getattr(app, "loaded_config_files", ())
    }
    names = ["jupyter_config", serverapp.config_file_name, own]
    names += [getattr(app, "config_file_name", "") for app in apps]
    for path, loader in _candidates(serverapp, dict.fromkeys(names)):
        if os.path.realpath(path) in loaded:
            continue
        folder, name = os.path.split(path)
        reason = _why_not(path, loader(name, path=folder), os.path.splitext(name)[0] == own)
        if reason:
            yield path, reason


def _candidates(serverapp: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield the files that Jupyter looks for, whether they are there or not."""
    places = [
        (folder, os.path.splitext(name)[0])
        for name in names
        if name
        for folder in serverapp.config_file_paths
    ]
    for app_file in (serverapp.config_file,):
        if app_file:
            folder, name = os.path.split(os.path.abspath(app_file))
            places.append((folder, os.path.splitext(name)[0]))
    for folder, name in places:
        for ending, loader in LOADERS:
            yield os.path.join(folder, name + ending), loader


def _why_not(path: str, loader: Any, is_own: bool) -> str:
    """Return why a file is not loaded; empty where it is, or where it is not about routes."""
    try:
        text = _read(path)
    except FileNotFoundError:
        return "it is a link to a file that is not there" if os.path.islink(path) else ""
    except (IsADirectoryError, NotADirectoryError):
        return ""  # Jupyter does not take it for a file either
    except OSError as error:
        # What it says is not known: it may be what holds for everybody.
        return f"it cannot be read ({error.strerror or type(error).__name__})"
    if not is_own and not _is_about_routes(text):
        return ""
    try:
        loader.load_config()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return _words(error)
    return ""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _is_about_routes(text: bytes) -> bool:
    # Saved as UTF-16 it is no Python, and every other byte is a zero.
    text = text.replace(b"\0", b"")
    return OURS in text.lower() or any(word in text for word in INCLUDES)


def _words(error: BaseException) -> str:
    hint = ""
    if "LazyConfigValue" in str(error):
        hint = (
            " (write c.ServerApp.jpserver_extensions.update({'x': True}) in place of "
            "c.ServerApp.jpserver_extensions['x'] = True)"
        )
    line = error.__traceback__
    number = None
    while line is not None:
        if line.tb_frame.f_code.co_name == "<module>":
            number = line.tb_lineno
        line = line.tb_next
    where = "" if number is None else f" at line {number}"
    return f"{type(error).__name__}{where}: {str(error)[:300]}{hint}"
