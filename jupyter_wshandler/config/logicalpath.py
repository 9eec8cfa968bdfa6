"""Paths as they were written: a link stays in them, so that it can be swapped."""

from __future__ import annotations

import os


def absolute(path: str | os.PathLike[str]) -> str:
    """Return an absolute path with its links, also with those that led to the working directory.

    Where a release is put in place by swapping a link (``/srv/bots/current``), the path with the
    link leads to the new one, and the resolved path to the old one for ever.

    Args:
        path: A path, absolute or relative to the working directory.
    """
    given = os.fspath(path)
    if os.path.isabs(given):
        return os.path.normpath(given)
    # A shell keeps the path by which it came here; the system only knows where it ended.
    folder = os.environ.get("PWD", "")
    if not os.path.isabs(folder) or not _is_here(folder):
        folder = os.getcwd()
    if ".." in given.split(os.sep):
        # Behind a link it means the folder above the link's target.
        folder = os.getcwd()
    return os.path.normpath(os.path.join(folder, given))


def _is_here(folder: str) -> bool:
    try:
        return os.path.samefile(folder, ".")
    except OSError:
        return False
