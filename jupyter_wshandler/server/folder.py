"""A page that is a folder: what is served of it, and under which name and type.

A path leads to a file by its segments alone: none is empty, a dot, or begins with one, once it is
unescaped. Whatever links there are, the file itself lies in the folder.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote

INDEX = "index.html"
"""What is served of a folder where the path names no file."""

PIECE = 256 * 1024
"""Bytes of a file that are read and sent at a time."""

_TYPES = {
    ".avif": "image/avif",
    ".glb": "model/gltf-binary",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Types that browsers insist on, and that not every version of Python or machine names so."""

# Without the tables of the machine: browsers refuse a script that its registry calls text/plain.
_GUESS = mimetypes.MimeTypes()

_TEXT = frozenset({"application/json", "application/manifest+json", "image/svg+xml"})


class PageFile(NamedTuple):
    """A file of a page's folder, open for reading."""

    stream: BinaryIO
    size: int
    kind: str
    tag: str


class Elsewhere(NamedTuple):
    """A relative URL that has the path's page: that of a folder ends with a slash."""

    location: str


def content_type(name: str) -> str:
    """Return the Content-Type for a file's name; bytes of no known type are `octet-stream`.

    Args:
        name: The name.
    """
    kind = _TYPES.get(os.path.splitext(name)[1].lower())
    if kind is None:
        kind, encoding = _GUESS.guess_type(name)
        if kind is None or encoding is not None:
            return {"gzip": "application/gzip"}.get(encoding or "", "application/octet-stream")
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in _TEXT else kind


def find(folder: str, rest: str) -> PageFile | Elsewhere | None:
    """Open what a path names in a folder.

    Args:
        folder: The folder.
        rest: The path within it, still escaped; "" and one that ends with a slash name the
            `index.html` there.

    Returns:
        The file, to be closed by the caller; where it is, if it is the folder that is named; None
        where there is nothing to serve.

    Raises:
        OSError: It cannot be read.
    """
    names = _names(rest)
    if names is None:
        return None
    try:
        root = Path(folder).resolve(strict=True)
        path = root.joinpath(*names).resolve(strict=True)
        if not _lies_in(root, path):
            return None
        if path.is_dir():
            index = (path / INDEX).resolve(strict=True)
            if not _lies_in(root, index) or not index.is_file():
                return None
            if rest and not rest.endswith("/"):
                return Elsewhere(f"./{rest.rpartition('/')[2]}/")
            path = index
        elif rest.endswith("/") or not path.is_file():
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:
        # A link that leads to itself; before Python 3.13 that is a RuntimeError.
        if isinstance(error, OSError) and error.errno != errno.ELOOP:
            raise
        return None
    return opened(path, content_type(path.name))


def _names(rest: str) -> list[str] | None:
    """Return the segments of a path, or None where one is no name of a file to serve."""
    names = []
    for segment in rest.removesuffix("/").split("/") if rest else []:
        try:
            name = unquote(segment, errors="strict")
        except UnicodeDecodeError:
            return None
        if not name or name.startswith(".") or any(c in '/\\:"' or c < " " for c in name):
            return None
        if len(name.encode()) > 255:
            return None
        names.append(name)
    return names


def _lies_in(root: Path, path: Path) -> bool:
    return path.is_relative_to(root) and not any(
        part.startswith(".") for part in path.relative_to(root).parts
    )


def opened(path: Path, kind: str) -> PageFile | None:
    """Open a file; None where it is none, such as a pipe.

    Args:
        path: The file.
        kind: Its Content-Type.

    Raises:
        OSError: It cannot be opened.
    """
    # A pipe that takes a file's place in this moment must not hold up the server.
    stream = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    found = os.fstat(stream.fileno())
    if not stat.S_ISREG(found.st_mode):
        stream.close()
        return None
    tag = f'"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"'
    return PageFile(stream, found.st_size, kind, tag)
