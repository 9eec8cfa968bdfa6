"""The addresses that Jupyter Server answers itself, before any route of ours."""

from __future__ import annotations

import re

from jupyter_wshandler.config.model import Config, Problem
from jupyter_wshandler.config.patterns import PatternError, analyse_pattern

_UUID = r"\w+-\w+-\w+-\w+-\w+"

RESERVED: dict[str, tuple[str, ...]] = {
    "Jupyter Server": (
        r"/",
        r"/.*/",
        r"/(?:robots\.txt|favicon\.ico)",
        r"/static/.*",
        r"/files/.*",
        r"/view(?:/.*)?",
        r"/login",
        r"/logout",
        r"/metrics",
        r"/kernelspecs/[\w.%-]+/.*",
        r"/nbconvert/\w+(?:/.*)?",
        r"/api",
        r"/api/(?:spec.yaml|status|me|resolvePath|shutdown|nbconvert|security/csp-report)",
        r"/api/config/\w+",
        r"/api/contents(?:/.*)?",
        r"/api/notebooks.*",
        rf"/api/kernels(?:/{_UUID}(?:/(?:restart|interrupt|channels))?)?",
        r"/api/kernelspecs(?:/[\w.%-]+)?",
        rf"/api/sessions(?:/{_UUID})?",
        r"/api/events(?:/subscribe)?",
    ),
    "the terminals extension": (r"/terminals/websocket/\w+", r"/api/terminals(?:/\w+)?"),
    "JupyterLab": (r"/lab(?:/.*)?", r"/doc(?:/.*)?"),
    "Jupyter Notebook": (r"/(?:tree|notebooks|edit|consoles)(?:/.*)?",),
    "this extension": (r"/wshandler(?:/.*)?",),
}
"""Regular expressions of whole paths, by who answers them."""

_COMPILED = [(re.compile(regex), owner) for owner, regexes in RESERVED.items() for regex in regexes]


def reserved_by(path: str) -> str | None:
    """Return who answers a path relative to base_url before any route does, or None."""
    for regex, owner in _COMPILED:
        if regex.fullmatch(path):
            return owner
    return None


def unreachable(config: Config) -> list[Problem]:
    """Return a problem for every route that Jupyter answers itself.

    Args:
        config: What `load` returned.
    """
    found = []
    for route in config.routes:
        try:
            sample = analyse_pattern(route.pattern).sample
        except PatternError:
            continue
        owner = reserved_by(sample)
        if owner is not None:
            hint = " (every path that ends with a slash is)" if sample.endswith("/") else ""
            message = f"never reached: {sample} is answered by {owner}{hint}"
            found.append(Problem(route.place, f"{message}; choose another pattern", route.name))
    return found
