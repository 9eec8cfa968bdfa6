"""Rates: the bucket never gives more than it should, never less, and forgets in time."""

from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.config.model import Rate, Ratelimit
from jupyter_wshandler.engine.protocol import Close, Pong
from jupyter_wshandler.limits import rates
from jupyter_wshandler.limits.rates import Meter, RateLimiter, TokenBucket

MIB = 1024 * 1024
RATES = st.floats(0.001, 1e6)
CAPACITIES = st.floats(1.0, 1e6)
STEPS = st.lists(
    st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 2.0) | st.just(1.0)), min_size=1, max_size=80
)


# ---- the bucket --------------------------------------------------------------------------------


@given(rate=RATES, capacity=CAPACITIES, steps=STEPS, start=st.floats(0.0, 1e7))
def test_never_more_is_taken_than_the_rate_times_the_time_and_the_burst(
    rate, capacity, steps, start
) -> None:
    bucket, now = TokenBucket(rate, capacity, start), start
    taken: list[tuple[float, float]] = []
    for pause, part in steps:
        now += pause
        amount = part * capacity
        if not bucket.take(now, amount):
            taken.append((now, amount))
        # It holds from every moment on, not only from the first.
        total = 0.0
        for when, amount in reversed(taken):
            total += amount
            assert total <= (rate * (now - when) + capacity) * (1 + 1e-6)


@given(rate=RATES, capacity=CAPACITIES, steps=STEPS)
def test_what_was_refused_is_there_after_the_wait_and_not_much_earlier(
    rate, capacity, steps
) -> None:
    bucket, now = TokenBucket(rate, capacity, 0.0), 0.0
    for pause, part in steps:
        now += pause
        amount = min(1.0, part) * capacity
        wait = bucket.take(now, amount)
        assert wait >= 0.0
        assert wait <= capacity / rate * (1 + 1e-9)
        if wait > 1e-3:
            assert bucket.take(now + wait * 0.9, amount) > 0.0
            now += wait * 1.0001 + 1e-9
            assert bucket.take(now, amount) == 0.0


@pytest.mark.parametrize("start", [0.0, 1e5, 1e9])
def test_a_full_bucket_gives_exactly_its_capacity_at_once(start: float) -> None:
    bucket = TokenBucket(100.0, 200.0, start)
    assert [bucket.take(start) for _ in range(200)] == [0.0] * 200
    assert bucket.take(start) == pytest.approx(0.01)


def test_refused_amounts_cost_nothing() -> None:
    bucket = TokenBucket(10.0, 10.0, 0.0)
    assert bucket.take(0.0, 10.0) == 0.0
    for _ in range(1000):
        assert bucket.take(0.0) == pytest.approx(0.1)
    assert bucket.take(0.1001) == 0.0


def test_a_steady_sender_at_the_rate_is_never_refused() -> None:
    bucket = TokenBucket(100.0, 1.0 + 1e-6, 0.0)
    assert not any(bucket.take(1e6 + step / 100) for step in range(10_000))


def test_an_eager_sender_still_gets_the_whole_rate() -> None:
    bucket = TokenBucket(100.0, 10.0, 0.0)
    passed = sum(not bucket.take(step / 10_000) for step in range(100_001))
    assert passed == pytest.approx(10 + 100 * 10, abs=1)


def test_a_bucket_is_full_again_after_the_time_its_capacity_takes() -> None:
    bucket = TokenBucket(2.0, 10.0, 0.0)
    assert bucket.full(0.0)
    bucket.take(0.0, 10.0)
    assert not bucket.full(4.9)
    assert bucket.full(5.1)


def test_a_hit_costs_well_under_a_microsecond() -> None:
    bucket = TokenBucket(1e9, 1e9, 0.0)
    seconds = min(timeit.repeat(lambda: bucket.take(5.0), number=20_000, repeat=7)) / 20_000
    # Measured 0.16 us on a busy machine; the bound leaves room for a much slower one.
    assert seconds < 1e-6


# ---- the meter ---------------------------------------------------------------------------------


def meter(messages: float | None, size: float | None, *, closes: bool = False) -> Meter:
    """Return a meter whose buckets hold this much and gain nothing worth mentioning."""
    buckets = [None if n is None else TokenBucket(1e-9, n, 0.0) for n in (messages, size)]
    return Meter(buckets[0], buckets[1], closes)


def test_bytes_of_text_are_those_of_utf_8() -> None:
    one = meter(None, 12)
    assert not one.take("ä€😀", 0.0)  # 2 + 3 + 4
    assert not one.take(b"abc", 0.0)
    assert one.take("a", 0.0) > 0.0
    assert not one.take("", 0.0)


def test_both_rates_must_allow_a_message() -> None:
    assert meter(1, 100).sift(["a", "b"], 0.0)[0] == ["a"]
    assert meter(9, 1).sift(["a", "b"], 0.0)[0] == ["a"]


def test_control_events_pass_and_the_order_stays() -> None:
    pong, close = Pong(b""), Close(1000, "")
    kept, refused = meter(2, None).sift(["a", pong, b"b", "c", pong, "d", close], 0.0)
    assert kept == ["a", pong, b"b", pong, close]
    assert [event for event, wait in refused if wait] == ["c", "d"]


def test_where_too_much_closes_the_first_excess_is_reported_and_the_rest_is_not_weighed() -> None:
    kept, refused = meter(1, None, closes=True).sift(["a", "b", "c", "d"], 0.0)
    assert [event for event, wait in refused if wait] == ["b"]
    assert kept == ["a", "c", "d"]  # the connection discards what follows its close


# ---- who shares a bucket -----------------------------------------------------------------------


def count(one: Meter, now: float = 0.0, tries: int = 1000) -> int:
    return sum(not one.take("x", now) for _ in range(tries))


TEN = Rate(10.0)


def limiter(per: str = "connection", messages: Rate = TEN, **more) -> RateLimiter:
    return RateLimiter(Ratelimit(messages=messages, per=per, **more), MIB)


def test_a_connection_that_floods_takes_nothing_from_another() -> None:
    shared = limiter()
    flood, _ = shared.enter("user:a", "1.1.1.1", 0.0)
    other, _ = shared.enter("user:a", "1.1.1.1", 0.0)
    assert count(flood, tries=100_000) == 20
    assert count(other) == 20
    assert len(shared) == 0


@pytest.mark.parametrize("per", ["user", "address"])
def test_connections_of_one_user_or_address_share_and_those_of_others_do_not(per: str) -> None:
    shared = limiter(per)
    first, _ = shared.enter("user:a", "1.1.1.1", 0.0)
    second, _ = shared.enter("user:a", "1.1.1.1", 0.0)
    other, _ = shared.enter("user:b", "2.2.2.2", 0.0)
    assert count(first) == 20
    assert count(second) == 0
    assert count(other) == 20


def test_reconnecting_gains_nothing() -> None:
    shared = limiter("user")
    for _ in range(5):
        one, key = shared.enter("user:a", "1.1.1.1", 0.0)
        used = count(one)
        shared.leave(key, 0.0)
    assert used == 0
    one, _ = shared.enter("user:a", "1.1.1.1", 0.5)
    assert count(one, 0.5) == 5


def test_row_ratelimit_2_a_day_is_two_at_once_and_one_more_after_half_a_day() -> None:
    one, _ = limiter(messages=Rate(2.0, 86400.0)).enter("user:a", "1.1.1.1", 100.0)
    assert count(one, 100.0) == 2
    assert one.take("x", 100.0) == pytest.approx(43200)
    assert count(one, 100.0 + 43201) == 1


@pytest.mark.parametrize(
    ("rate", "burst", "expected"),
    [
        (Rate(100.0), None, 200),
        (Rate(600.0, 60.0), None, 600),
        (Rate(100.0), 5.0, 500),
        (Rate(100.0), 0.001, 1),
        (Rate(1.0, 86400.0), 1.0, 1),
    ],
)
def test_the_burst_is_the_time_given_or_the_unit_and_never_under_one_message(
    rate: Rate, burst: float | None, expected: int
) -> None:
    one, _ = limiter(messages=rate, burst=burst).enter("user:a", "1.1.1.1", 0.0)
    assert count(one) == expected


def test_one_message_of_the_largest_size_always_fits() -> None:
    one, _ = RateLimiter(Ratelimit(bytes=Rate(1000.0)), MIB).enter("user:a", "1.1.1.1", 0.0)
    assert one.take(b"x" * MIB, 0.0) == 0.0
    assert one.take(b"x", 0.0) == pytest.approx(0.001)


# ---- bounded memory ----------------------------------------------------------------------------


def test_a_user_is_forgotten_who_has_no_connection_and_full_buckets() -> None:
    shared = limiter("user")
    one, key = shared.enter("user:a", "1.1.1.1", 0.0)
    count(one)
    shared.leave(key, 0.0)
    assert len(shared) == 1  # what was used up is remembered
    _, other = shared.enter("user:b", "1.1.1.1", 60.0)
    assert len(shared) == 1  # and forgotten once it does not matter any more
    shared.leave(other, 60.0)
    assert len(shared) == 0


def test_a_user_with_a_connection_is_never_forgotten() -> None:
    shared = limiter("user")
    one, _ = shared.enter("user:a", "1.1.1.1", 0.0)
    _, key = shared.enter("user:a", "1.1.1.1", 0.0)
    shared.leave(key, 1000.0)
    for number in range(100):
        _, key = shared.enter(f"user:{number}", "1.1.1.1", 1000.0)
        shared.leave(key, 1000.0)
    assert count(one, 1000.0) == 20
    assert count(shared.enter("user:a", "1.1.1.1", 1000.0)[0], 1000.0) == 0


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 9), st.booleans(), st.floats(0.0, 3.0)), min_size=1, max_size=120
    )
)
def test_memory_follows_the_connections_whoever_comes_and_goes(steps) -> None:
    shared, now = limiter("address"), 0.0
    there: list[str] = []
    for number, comes, pause in steps:
        now += pause
        if comes or not there:
            one, key = shared.enter("user:a", f"10.0.0.{number}", now)
            count(one, now, tries=3)
            there.append(key)
        else:
            shared.leave(there.pop(number % len(there)), now)
        assert set(there) <= set(shared._shared)
        assert set(shared._shared) - set(there) == set(shared._idle)
    for key in there:
        shared.leave(key, now)
    for _ in range(10):
        _, key = shared.enter("user:a", "10.0.0.99", now + 100)
        shared.leave(key, now + 100)
    assert len(shared) == 0


def test_many_addresses_with_used_up_days_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MAX_IDLE", 50)
    shared = limiter("address", messages=Rate(2.0, 86400.0))
    for number in range(500):
        one, key = shared.enter("user:a", f"address {number}", float(number))
        count(one, float(number))
        shared.leave(key, float(number))
    assert len(shared) <= 50
