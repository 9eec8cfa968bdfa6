"""What every test has: hypothesis profiles, and failures instead of silent skips on CI."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.clusters import ClusterOf, Service, running_cluster, running_service
from support.memory import Gate, running_manager
from support.order import places

from jupyter_wshandler.manager import WebSocketManager

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

settings.register_profile(
    "quick", max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background so, and every child would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

FUZZ_SECONDS = 3600
"""Seconds that one property test may take under the profile `fuzz`, whatever its module says."""


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin what takes long first, and give the many examples of `make fuzz` the time for them."""
    place = places(Counter(map(_file, items)))
    items.sort(key=lambda item: place[_file(item)])
    if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz":
        for item in items:
            if item.get_closest_marker("hypothesis"):
                item.add_marker(pytest.mark.timeout(FUZZ_SECONDS), append=False)


@pytest.fixture
async def manager() -> AsyncIterator[WebSocketManager]:
    """Return a manager that runs; at the end it must leave no task behind."""
    async with running_manager(patience=5.0) as running:
        yield running


@pytest.fixture(scope="session")
def shared_service() -> Iterator[Service]:
    """Return a service with Sentinels; a test that has it fail over, mends it."""
    with running_service("redis") as service:
        yield service


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[ClusterOf]:
    """Return a cluster; a test that moves slots, moves them back."""
    with running_cluster("valkey") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Return a browser for the tests of a module."""
    from support.browser import running_chromium

    with running_chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[BrowserContext]:
    """Return a profile of the browser with no cookies."""
    from support.browser import profile

    with profile(chromium) as context:
        yield context


@pytest.fixture
def gate() -> Gate:
    """Return a gate that callbacks wait at."""
    return Gate()
