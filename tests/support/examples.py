"""How many examples a property test tries: more than the profile's where it is cheap."""

from __future__ import annotations

from hypothesis import settings


def at_least(count: int) -> settings:
    """Return settings with so many examples, or the loaded profile's where they are more.

    A plain ``settings(max_examples=...)`` would also hold under `make fuzz`, and make it small.
    """
    return settings(max_examples=max(count, settings().max_examples))
