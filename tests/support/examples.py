"""How many examples a property test tries: more than the profile's where it is cheap, or fewer."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

FUZZ = 10_000
"""Examples of the profile `fuzz`, which no test makes fewer."""


def at_least(count: int) -> settings:
    """Return settings with so many examples, or the loaded profile's where they are more.

    A plain ``settings(max_examples=...)`` would also hold under `make fuzz`, and make it small.
    """
    return settings(max_examples=max(count, settings().max_examples))


def few(count: int, **more: Any) -> settings:
    """Return settings with so many examples, as they are dear; under `make fuzz` all the same.

    Args:
        count: How many.
        more: Other settings.
    """
    profile = settings().max_examples
    return settings(max_examples=profile if profile >= FUZZ else count, **more)
