"""Durations and sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_wshandler.config.units import (
    DURATION_UNITS,
    SIZE_UNITS,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5 s", 1.5),
        (0, 0),
        (2.5, 2.5),
    ],
)
def test_durations_are_seconds(written: Any, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "size"),
    [("64KiB", 65536), ("1MiB", 2**20), ("10MB", 10**7), ("1GiB", 2**30), (7, 7), ("1.5KB", 1500)],
)
def test_sizes_are_bytes(written: Any, size: int) -> None:
    assert parse_size(written) == size
    assert isinstance(parse_size(written), int)


@pytest.mark.parametrize("bad", ["30", "30sec", "s", "", "1h30m", "\u0663s", "1e3s", "-5s", "5S"])
def test_a_wrong_unit_of_time_lists_the_right_ones(bad: str) -> None:
    with pytest.raises(ValueError, match="the units are ms, s, m, h, d"):
        parse_duration(bad)


@pytest.mark.parametrize("bad", ["64", "64kb", "64K", "1TB", "x", "-1KiB"])
def test_a_wrong_unit_of_size_lists_the_right_ones(bad: str) -> None:
    with pytest.raises(ValueError, match="the units are B, KB, MB, GB, KiB, MiB, GiB"):
        parse_size(bad)


@pytest.mark.parametrize("bad", [True, False, -1, -0.1, math.inf, -math.inf, math.nan, 10**400])
def test_bools_and_negative_and_endless_numbers_are_no_durations(bad: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(bad)


@pytest.mark.parametrize("bad", [True, -1, 0.5, "0.3B", math.nan, 10**400, 2**30 + 1])
def test_fractions_of_a_byte_and_too_many_bytes_are_no_sizes(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"size|bytes"):
        parse_size(bad)


@given(st.integers(1, 300), st.sampled_from(sorted(set(DURATION_UNITS) - {"ms"})))
def test_a_duration_survives_being_written_and_read(count: int, unit: str) -> None:
    seconds = count * DURATION_UNITS[unit]
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(1, 1000), st.sampled_from(["KiB", "MiB"]))
def test_a_size_survives_being_written_and_read(count: int, unit: str) -> None:
    size = count * SIZE_UNITS[unit]
    assert parse_size(format_size(size)) == size
