"""Durations and sizes as people write them."""

from __future__ import annotations

import math
import re

DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
"""Seconds in each unit of time."""
SIZE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
"""Bytes in each unit of size."""

RATE_UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "day": 86400.0, "d": 86400.0}
"""Seconds in each unit of time that a rate may have."""

MAX_DURATION = 365 * 86400.0
MAX_SIZE = 2**30
MAX_RATE = 10**9

_QUANTITY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*")


def parse_duration(value: int | float | str) -> float:
    """Return a duration in seconds.

    Args:
        value: A number of seconds, or a text with a unit such as ``500ms``, ``30s``, ``5m``.

    Raises:
        ValueError: If the value is negative, not finite, too long or has no known unit.
    """
    seconds = _quantity(value, DURATION_UNITS, "a duration such as 30s, 5m or a number of seconds")
    if seconds > MAX_DURATION:
        raise ValueError("the duration is over 365 days; write off to have none")
    return seconds


def parse_size(value: int | float | str) -> int:
    """Return a size in bytes.

    Args:
        value: A number of bytes, or a text with a unit such as ``64KiB`` or ``1MiB``.

    Raises:
        ValueError: If the value is negative, no whole number of bytes, over 1 GiB or has no
            known unit.
    """
    size = _quantity(value, SIZE_UNITS, "a size such as 64KiB, 1MiB or a number of bytes")
    if size > MAX_SIZE:
        raise ValueError("the size is over 1GiB, which is the most that is allowed")
    if size != int(size):
        raise ValueError(f"expected a whole number of bytes, found {value!r}")
    return int(size)


def parse_rate(value: int | float | str, *, of_bytes: bool = False) -> tuple[float, float]:
    """Return a rate as an amount and the seconds that it is for.

    Args:
        value: An amount per second, or a text such as ``100/s``, ``600/min``, ``2/day``.
        of_bytes: Whether the amount is a size, such as the ``1MiB`` of ``1MiB/s``.

    Raises:
        ValueError: If the amount is not positive or too large, or the unit of time not known.
    """
    what = "1MiB/s or 10MiB/min" if of_bytes else "100/s, 600/min or 2/day"
    expected = f"a rate such as {what}, or a number per second"
    seconds = 1.0
    amount: int | float | str = value
    if isinstance(value, str):
        amount, slash, unit = value.partition("/")
        unit = unit.strip() if slash else "s"
        if unit not in RATE_UNITS:
            found = f"the unit of time {_shown(unit)}"
            raise ValueError(f"expected {expected}, found {found}; valid: {', '.join(RATE_UNITS)}")
        seconds = RATE_UNITS[unit]
    units = {"": 1, **SIZE_UNITS} if of_bytes else {"": 1}
    number = _quantity(amount, units, expected)
    if not 0 < number <= MAX_RATE:
        raise ValueError(f"expected {expected}, found {_shown(value)}, not in 0 to {MAX_RATE}")
    return number, seconds


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 42 else text[:38] + "...'"


def _quantity(
    value: int | float | str, units: dict[str, float] | dict[str, int], expected: str
) -> float:
    if isinstance(value, bool):
        raise ValueError(f"expected {expected}, found {str(value).lower()}")
    if isinstance(value, (int, float)):
        # Compared before any conversion: float() of a huge int overflows.
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"expected {expected}, found {value!r}, which is not finite")
        if value < 0:
            raise ValueError(f"expected {expected}, found a negative number")
        return float(min(value, 2**63))
    match = _QUANTITY.fullmatch(value)
    names = ", ".join(unit for unit in units if unit)
    known = f"; the units are {names}" if names else ""
    shown = repr(value if len(value) <= 40 else value[:37] + "...")
    if match is None:
        negative = ", which is negative" if value.lstrip().startswith("-") else ""
        raise ValueError(f"expected {expected}, found {shown}{negative}{known}")
    number, unit = match.groups()
    if unit not in units:
        what = f"the unit {unit!r}" if unit else "no unit"
        raise ValueError(f"expected {expected}, found {what} in {shown}{known}")
    return float(number) * units[unit]


def format_duration(seconds: float) -> str:
    """Return a duration as it would be written in the configuration."""
    for unit in ("d", "h", "m", "s"):
        count = seconds / DURATION_UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return "off" if not seconds else f"{seconds:g}s"


def format_size(size: int) -> str:
    """Return a size as it would be written in the configuration."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return str(size)
