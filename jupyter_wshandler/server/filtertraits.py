"""What an administrator may say about the messages of all routes: filters, and whether to count."""

from __future__ import annotations

import inspect
from typing import Any

from traitlets import List

from ..config.filters import EXPECTED, MAX_FILTERS, why_no_filter
from ..config.model import FunctionSpec, Place
from ..errors import CallbackError
from ..functions.filters import Filter, filter_of
from .traffic import TrafficTraits

KEY = "c.WSHandlerApp.filters"


class FilterTraits(TrafficTraits):
    """What an administrator may say about the messages of all routes."""

    misconfigured = ""
    """Why no routes may be served, where none may."""

    filters: List[Any] = List(
        help="""What looks at every message of every route, in and out, and may change it: names of
        modules and classes, or in a Python file these themselves, or functions of the handler, the
        message and the way ("in" or "out"). They stand around the `filters` of a route. Where one
        cannot be used, no route is served."""
    ).tag(config=True)

    def filters_of_all(self) -> tuple[FunctionSpec | Filter, ...]:
        """Return the filters; none, and no routes are served, where the setting is wrong."""
        found: list[FunctionSpec | Filter] = []
        problem = ""
        if len(self.filters) > MAX_FILTERS:
            problem = f"expected at most {MAX_FILTERS} filters, found {len(self.filters)}"
        for number, given in enumerate(self.filters):
            try:
                found.append(_filter(given, f"[{number}]"))
            except (CallbackError, ValueError) as error:
                problem = problem or str(error)
        if problem:
            self.misconfigured = self.misconfigured or f"{KEY}: {problem}"
            return ()
        return tuple(found)


def _filter(given: Any, key: str) -> FunctionSpec | Filter:
    if not isinstance(given, str):
        name = getattr(given, "__qualname__", None) or getattr(given, "__name__", None)
        return filter_of(str(name or type(given).__qualname__), given)
    why = why_no_filter(given.strip())
    if why is not None:
        raise ValueError(f"{EXPECTED}; {why}")
    return FunctionSpec(function=given.strip(), place=Place(KEY, key=key))


def shown_filter(value: Any) -> str | None:
    """Return what a filter that stands in the configuration is called where settings are told.

    Args:
        value: A value of a setting; what is no module, class or function has no name.
    """
    named = inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value)
    return f"{value.__name__}" if named else None
