"""``jupyter wshandler serve``: a Jupyter server with the routes of one file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..config.logicalpath import absolute


def serve(file: str, options: Sequence[str]) -> int:
    """Start a Jupyter server that serves the routes of a file, until it is stopped.

    Args:
        file: Path of a YAML file.
        options: Any options of `jupyter server`.

    Returns:
        2 if there is no such file, else 0.
    """
    path = Path(file)
    if not path.is_file():
        print(
            f"{file}: expected a YAML file with routes, found "
            f"{'a folder' if path.is_dir() else 'nothing'}; give the file's path",
            file=sys.stderr,
        )
        return 2
    from ..server.app import WSHandlerApp

    WSHandlerApp.announces = True
    WSHandlerApp.launch_instance(  # type: ignore[no-untyped-call]
        [f"--WSHandlerApp.config_file={absolute(path)}", *options]
    )
    return 0
