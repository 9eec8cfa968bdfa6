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


def sizes(*, short: int, full: int) -> pytest.MarkDecorator:
    """Run a test twice, as `size`: in short, and marked `endurance` in full."""
    marks: list[Any] = [pytest.mark.endurance, pytest.mark.timeout(FULL_SECONDS)]
    return pytest.mark.parametrize(
        "size",
        [
            pytest.param(Size(False, short), id="short"),
            pytest.param(Size(True, full), id="full", marks=marks),
        ],
    )
