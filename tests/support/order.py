"""The order in which test files begin: what takes long first, and not all of one kind at once."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import PurePosixPath

LONG = ("hub", "notebook", "browser", "server", "docs", "connection", "client", "deploy", "kernels")
"""Folders whose files start servers, kernels, browsers and Hubs, and wait for them."""


def places(files: Mapping[str, int]) -> dict[str, int]:
    """Return the place of each file in the order, from 0.

    One of each folder in `LONG` and one of the others take turns. So those that wait for a Hub
    run beside those that compute, and at the end no worker is left with a long one.

    Args:
        files: How many tests each file has, by its path as pytest names it.
    """
    kinds: dict[str, list[str]] = {folder: [] for folder in (*LONG, "others")}
    for file in sorted(files, key=lambda file: (-files[file], file)):
        folder = PurePosixPath(file).parent.name
        kinds[folder if folder in kinds else "others"].append(file)
    turns = itertools.zip_longest(*kinds.values())
    order = [file for turn in turns for file in turn if file is not None]
    return {file: place for place, file in enumerate(order)}
