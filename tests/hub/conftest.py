"""What the tests with a JupyterHub have in common: time."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent

SECONDS = 300
"""Seconds for a test, its fixtures included: on a busy machine a Hub, its proxy and the servers of
its users have taken two minutes to start, and all tests of a module fail with that."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test with a Hub the time for it, if it does not say itself what it takes."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))
