"""Places for connections: counted as they open, and given back once."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.config.model import MaxConnections, Place, Rate, Ratelimit, RouteConfig
from jupyter_wshandler.errors import HandshakeError, LimitReached
from jupyter_wshandler.limits.connections import LINGERING, ConnectionCounter, Limits
from jupyter_wshandler.limits.descriptors import DescriptorGuard

LOG = logging.getLogger("test.limits")
NOBODY = DescriptorGuard(count=lambda: None)


def config(name: str = "bot", **fields) -> RouteConfig:
    return RouteConfig(name=name, pattern="/bot", place=Place("test"), **fields)


def limits(guard: DescriptorGuard = NOBODY) -> Limits:
    return Limits(LOG, guard)


def admitted(all_: Limits, route: RouteConfig, user: str = "user:a", address: str = "1.1.1.1"):
    """Return the place of one more connection, or None where it is refused."""
    try:
        return all_.admit(route, user, address, 0.0)
    except LimitReached as error:
        return None if error.status == 429 else pytest.fail(f"refused with {error.status}")


# ---- places ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "third", "other_user", "other_address"),
    [
        (MaxConnections(user=2), False, True, False),
        (MaxConnections(address=2), False, False, True),
        (MaxConnections(route=2), False, False, False),
        (MaxConnections(), True, True, True),
    ],
)
def test_the_third_of_two_is_refused_for_whom_the_limit_counts(
    bound: MaxConnections, third: bool, other_user: bool, other_address: bool
) -> None:
    for who, expected in (
        (("user:a", "1.1.1.1"), third),
        (("user:b", "1.1.1.1"), other_user),
        (("user:a", "2.2.2.2"), other_address),
    ):
        all_, route = limits(), config(max_connections=bound)
        assert admitted(all_, route)
        assert admitted(all_, route)
        assert (admitted(all_, route, *who) is not None) is expected


def test_a_place_is_given_back_exactly_once() -> None:
    all_, route = limits(), config(max_connections=MaxConnections(user=2))
    first, second = admitted(all_, route), admitted(all_, route)
    for _ in range(3):
        first.leave(1.0)
    assert admitted(all_, route)
    assert admitted(all_, route) is None
    second.leave(2.0)
    assert admitted(all_, route)


def test_a_connection_that_only_ends_gives_its_place_back_unless_many_do() -> None:
    """Otherwise a client could hold any number of sockets by breaking the protocol on each."""
    all_, route = limits(), config(max_connections=MaxConnections(user=1))
    ending = []
    for _ in range(LINGERING):
        seat = all_.admit(route, "user:a", "1.1.1.1", 0.0)
        seat.linger(0.0)
        seat.linger(1.0)
        ending.append(seat)
    last = all_.admit(route, "user:a", "1.1.1.1", 0.0)
    last.linger(0.0)
    with pytest.raises(LimitReached):
        all_.admit(route, "user:a", "1.1.1.1", 0.0)
    for _ in range(2):
        ending[0].leave(2.0)
    last.linger(2.0)
    next_ = all_.admit(route, "user:a", "1.1.1.1", 2.0)
    next_.linger(2.0)
    with pytest.raises(LimitReached):
        all_.admit(route, "user:a", "1.1.1.1", 2.0)
    for seat in [*ending, last, next_]:
        seat.leave(3.0)
    assert all_.lingering == 0


def test_routes_are_counted_apart_and_by_name_so_that_a_reload_forgets_nobody() -> None:
    all_, bound = limits(), MaxConnections(user=1)
    seat = admitted(all_, config(max_connections=bound))
    assert admitted(all_, config("other", max_connections=bound))
    changed = config(max_connections=bound, max_message=5)
    assert admitted(all_, changed) is None
    seat.leave(1.0)
    assert admitted(all_, changed)


def test_connections_are_counted_before_there_is_a_limit() -> None:
    all_ = limits()
    assert all(admitted(all_, config()) for _ in range(5))
    assert admitted(all_, config(max_connections=MaxConnections(user=5))) is None


def test_row_ratelimit_a_refusal_is_429_with_retry_after() -> None:
    all_, route = limits(), config(max_connections=MaxConnections(user=1))
    admitted(all_, route)
    with pytest.raises(LimitReached) as refused:
        all_.admit(route, "user:a", "1.1.1.1", 0.0)
    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) > 0


def test_a_refused_connection_is_not_counted() -> None:
    all_, route = limits(), config(max_connections=MaxConnections(user=1))
    seat = admitted(all_, route)
    assert [admitted(all_, route) for _ in range(10)] == [None] * 10
    seat.leave(1.0)
    assert admitted(all_, route)


@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), max_size=80),
    bound=st.builds(
        MaxConnections, user=st.integers(0, 3), address=st.integers(0, 3), route=st.integers(0, 5)
    ),
)
def test_the_counts_are_those_of_a_plain_list_of_who_is_there(steps, bound) -> None:
    counter, there = ConnectionCounter(), []
    for comes, user, address in steps:
        who = (f"user:{user}", f"address {address}")
        if comes or not there:
            by_user = sum(u == who[0] for u, _ in there)
            by_address = sum(a == who[1] for _, a in there)
            pairs = (bound.user, by_user), (bound.address, by_address), (bound.route, len(there))
            full = any(most and now >= most for most, now in pairs)
            assert bool(counter.reached(bound, *who)) is full
            if not full:
                counter.add(*who)
                there.append(who)
        else:
            counter.remove(*there.pop(user % len(there)))
        assert counter.total == len(there)
        assert counter.users == Counter(u for u, _ in there)
        assert counter.addresses == Counter(a for _, a in there)


# ---- the meter of a place ----------------------------------------------------------------------


def test_a_place_has_a_meter_where_the_route_has_a_rate_and_only_there() -> None:
    all_ = limits()
    assert all_.admit(config(), "user:a", "1.1.1.1", 0.0).meter is None
    limited = config(ratelimit=Ratelimit(messages=Rate(1.0)))
    assert all_.admit(limited, "user:a", "1.1.1.1", 0.0).meter is not None


def test_a_changed_rate_reaches_open_connections_and_an_unchanged_one_disturbs_none() -> None:
    all_ = limits()
    rate = Ratelimit(messages=Rate(1.0), per="user", burst=1.0)
    seat = all_.admit(config(ratelimit=rate), "user:a", "1.1.1.1", 0.0)
    meter = seat.meter
    assert meter.take("x", 0.0) == 0.0
    assert meter.take("x", 0.0) > 0.0
    assert seat.adopt(config(ratelimit=rate, priority=5), 0.0) is meter
    faster = seat.adopt(config(ratelimit=Ratelimit(messages=Rate(5.0), per="user")), 0.0)
    assert faster.take("x", 0.0) == 0.0
    assert seat.adopt(config(), 0.0) is None
    seat.leave(0.0)
    assert seat.adopt(config(ratelimit=rate), 0.0) is None


def test_a_place_that_is_given_back_gives_its_share_of_the_rate_back() -> None:
    all_, route = limits(), config(ratelimit=Ratelimit(messages=Rate(1.0), per="user"))
    seats = [all_.admit(route, f"user:{n}", "1.1.1.1", 0.0) for n in range(20)]
    limiter = all_.limiter(route)
    assert len(limiter) == 20
    for seat in seats:
        seat.leave(0.0)
        seat.leave(0.0)
    assert len(limiter) == 0


# ---- the log -----------------------------------------------------------------------------------


def test_a_limit_is_told_once_a_minute_with_how_often_it_was_met(caplog) -> None:
    all_, route = limits(), config(max_connections=MaxConnections(user=1))
    all_.admit(route, "user:a", "1.1.1.1", 0.0)
    for second in range(100):
        with pytest.raises(LimitReached):
            all_.admit(route, "user:a", "1.1.1.1", float(second))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith("Route bot: 429 for a: you have 1 open here already")
    assert lines[1].endswith("; 59 more before")


def test_no_digest_of_a_token_stands_in_the_log(caplog) -> None:
    all_, route = limits(), config(max_connections=MaxConnections(user=1))
    all_.admit(route, "token:0123abc", "1.1.1.1", 0.0)
    with pytest.raises(HandshakeError):
        all_.admit(route, "token:0123abc", "1.1.1.1", 0.0)
    assert "429 for a token" in caplog.text
    assert "0123abc" not in caplog.text
