"""The functions among the options of rooms, where a route's functions are at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..config.model import Place, Problem
from ..errors import ConfigError

OF_PRESENCE = ("card", "on_join", "on_leave")
"""The functions that `presence` may have."""


def take_room_functions(
    options: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, Callable[..., Any]]]:
    """Return the options without the functions of rooms, and these by their names.

    Args:
        options: The options of a route; `may_join`, and `card`, `on_join` and `on_leave` below
            `presence`, are functions here in place of names.
        source: What the errors call the place of the options.

    Raises:
        ConfigError: One of them is no function.
    """
    rest = dict(options)
    found: dict[str, Callable[..., Any]] = {}
    if rest.get("may_join") is not None:
        found["may_join"] = _checked("may_join", rest.pop("may_join"), source)
    presence = rest.get("presence")
    if isinstance(presence, Mapping):
        rest["presence"] = {key: value for key, value in presence.items() if key not in OF_PRESENCE}
        for name in OF_PRESENCE:
            if presence.get(name) is not None:
                found[name] = _checked(f"presence: {name}", presence[name], source)
    return rest, found


def _checked(name: str, value: Any, source: str) -> Callable[..., Any]:
    if not callable(value):
        problem = f"expected a function, found {value!r:.60}"
        raise ConfigError([Problem(Place(f"{source}: {name}"), problem)])
    function: Callable[..., Any] = value
    return function
