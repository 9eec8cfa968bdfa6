"""Settings of Jupyter's own sockets that somebody may take for settings of routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OURS = {
    "websocket_ping_interval": ("ping_interval", "in seconds; Jupyter's is in milliseconds"),
    "websocket_ping_timeout": ("ping_timeout", "in seconds; Jupyter's is in milliseconds"),
    "websocket_max_message_size": ("max_message", "in bytes, or as 10MB"),
    "websocket_compression_options": ("compression", "true, or a mapping of the same options"),
}
"""A setting of Jupyter's or Tornado's, the key of a route that means it, and what that takes."""


def without_effect(config: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each setting that is given and changes no route.

    Args:
        config: The configuration of Jupyter's applications, by class.
    """
    sentences = []
    for section in sorted(config):
        values = config[section]
        if not isinstance(values, Mapping):
            continue
        inner = values.get("tornado_settings")
        given = {name: f"{section}.{name}" for name in OURS if name in values}
        if isinstance(inner, Mapping):
            given |= {
                name: f"{section}.tornado_settings[{name!r}]" for name in OURS if name in inner
            }
        for name, shown in given.items():
            key, takes = OURS[name]
            sentences.append(
                f"{shown} has no effect on the routes of this extension, only on Jupyter's own "
                f"sockets; write {key} in a route's kwargs, or in c.WSHandlerApp.defaults for all "
                f"({takes})"
            )
    return sentences


def plain(value: Any) -> Any:
    """Turn traitlets' config objects into plain dicts."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return value
