"""The process's descriptors: part of them stays free, whoever connects."""

from __future__ import annotations

import os

import pytest
from limits.test_limits import config, limits

from jupyter_wshandler.config.model import MaxConnections
from jupyter_wshandler.errors import LimitReached
from jupyter_wshandler.limits.descriptors import DescriptorGuard, descriptor_limit, open_descriptors


class System:
    """A system with a number of open descriptors and a limit, that counts the questions."""

    def __init__(self, open_: int | None, limit: int | None) -> None:
        self.open, self.limit, self.asked = open_, limit, 0

    def count(self) -> int | None:
        self.asked += 1
        return self.open

    def guard(self) -> DescriptorGuard:
        return DescriptorGuard(self.count, lambda: self.limit)


def test_over_four_fifths_of_the_descriptors_new_connections_get_503(caplog) -> None:
    system = System(79, 100)
    all_, route = limits(system.guard()), config()
    all_.admit(route, "user:a", "1.1.1.1", 0.0)
    with pytest.raises(LimitReached) as refused:
        all_.admit(route, "user:a", "1.1.1.1", 0.0)
    assert refused.value.status == 503
    assert refused.value.headers["Retry-After"].isdigit()
    system.open = 50
    all_.admit(route, "user:a", "1.1.1.1", 1.0)
    assert "80 descriptors are open, and 80 (80 % of the limit)" in caplog.text


def test_a_connection_that_was_refused_for_descriptors_is_not_counted() -> None:
    system = System(80, 100)
    all_, route = limits(system.guard()), config(max_connections=MaxConnections(user=1))
    with pytest.raises(LimitReached):
        all_.admit(route, "user:a", "1.1.1.1", 0.0)
    system.open = 10
    assert all_.admit(route, "user:a", "1.1.1.1", 1.0)


def test_descriptors_are_counted_once_in_a_while_and_not_for_each_connection() -> None:
    system = System(10, 1_000_000)
    guard = system.guard()
    assert not any(guard.reached(100.0 + step / 1000) for step in range(900))
    assert system.asked == 1
    guard.reached(102.0)
    assert system.asked == 2


def test_a_burst_between_two_counts_cannot_pass_the_limit() -> None:
    system = System(10, 1000)
    guard = system.guard()
    assert [guard.reached(5.0) for _ in range(1000)].count(False) == 790


def test_a_full_server_counts_again_soon_but_not_at_every_refusal() -> None:
    system = System(80, 100)
    guard = system.guard()
    assert all(guard.reached(10.0) for _ in range(1000))
    assert system.asked == 1
    system.open = 20
    assert not guard.reached(10.5)


@pytest.mark.parametrize(("open_", "limit"), [(None, 100), (10_000, None)])
def test_without_a_limit_or_a_count_nobody_is_refused(open_, limit) -> None:
    guard = System(open_, limit).guard()
    assert not any(guard.reached(float(step)) for step in range(100))


def test_the_descriptors_of_this_process_are_counted() -> None:
    before = open_descriptors()
    assert before is not None
    pipes = [os.pipe() for _ in range(10)]
    try:
        assert open_descriptors() == before + 20
    finally:
        for pair in pipes:
            for descriptor in pair:
                os.close(descriptor)
    limit = descriptor_limit()
    assert limit is None or limit > before
