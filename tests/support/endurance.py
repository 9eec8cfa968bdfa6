"""Sizes of a test: a short one for `make test`, and the full one for `make endurance`."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

FULL_SECONDS = 900
"""Seconds that one test of full size may take."""


class Size(NamedTuple):
    """Say whether a test runs in full size, and hold its number."""

    full: bool
    number: int

    def bound(self, full: float, short: float) -> float:
        """Return what to compare a measurement with: a machine that runs all tests is not quiet."""
        return full if self.full else short


def sizes(*, short: int, full: int, seconds: float = 0) -> pytest.MarkDecorator:
    """Run a test twice, as `size`: in short, and marked `endurance` in full.

    Args:
        short: Its number in short.
        full: Its number in full.
        seconds: That it may take in short; as any test where 0.
    """
    short_marks: list[Any] = [pytest.mark.timeout(seconds)] if seconds else []
    marks: list[Any] = [pytest.mark.endurance, pytest.mark.timeout(FULL_SECONDS)]
    return pytest.mark.parametrize(
        "size",
        [
            pytest.param(Size(False, short), id="short", marks=short_marks),
            pytest.param(Size(True, full), id="full", marks=marks),
        ],
    )
