"""Callbacks that are at hand as functions, rather than named in a file: a cell, a test."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import Any

from ..config.loader import load_route
from ..config.model import FunctionSpec, Place, Problem, RouteConfig
from ..config.nodes import suggest
from ..config.units import parse_duration
from ..config.values import MIN_TURN
from ..errors import CallbackError, ConfigError
from ..routes import Route
from ..types import Callback
from .dispatch import with_types
from .filtering import filters_of, with_filters
from .filters import Filter, filter_of
from .resolve import BoundCallback, check_function
from .roomoptions import take_room_functions

EVENTS = ("open", "on_message", "on_close", "on_error", "on_pong", "on_away", "on_resume")
"""What a bot may have; `on_open` is another spelling of `open`."""

Functions = dict[str, Callable[..., Any]]

SHELLS = frozenset({"IPython", "ipykernel", "xpython", "xeus_python_shell"})
"""Packages that put an `open` of their own into every notebook's globals."""


def collect(source: object = None, /, *, needed: bool = True, **given: object) -> Functions:
    """Return the callbacks of a bot by event.

    Args:
        source: A module, a mapping (such as ``globals()``), an object whose attributes are the
            callbacks, or one function, which is taken for `on_message`.
        needed: Whether there has to be one.
        given: Callbacks by event; they win, and None takes one away.

    The `open` of Python and IPython is no callback: it is in every notebook's ``globals()``, and a
    module may have imported one.

    Raises:
        CallbackError: There is none, or one is no function.
    """
    found: dict[str, object] = {}
    if inspect.isroutine(source) or (callable(source) and not _has_callbacks(source)):
        found["on_message"] = source
    elif source is not None:
        for name in (*EVENTS, "on_open"):
            value = _own(source, name)
            # A class body or globals() may hold anything under these names but a function.
            if value is not None:
                found["open" if name == "on_open" else name] = value
    for name, value in given.items():
        event = "open" if name == "on_open" else name
        if event not in EVENTS:
            raise CallbackError(f"unknown callback {name!r}; {suggest(name, EVENTS)}")
        if event == "open" and is_pythons_open(value):
            raise CallbackError(
                "open: expected a function of your own, found the one that opens files; has the "
                "cell that defines yours been run?"
            )
        if value is None:
            found.pop(event, None)
        else:
            found[event] = value
    functions: Functions = {}
    for event in EVENTS:
        value = found.get(event)
        if value is None:
            continue
        if not callable(value) or inspect.isclass(value):
            kind = "a class" if inspect.isclass(value) else f"a {type(value).__name__}"
            raise CallbackError(f"{event}: expected a function, found {kind}")
        functions[event] = value
    if not functions and needed:
        where = f" in {_name(source)}" if source is not None else ""
        raise CallbackError(
            f"expected at least one callback{where}, found none; "
            + (
                misspelt(_names(source))
                or f"define on_message(handler, message), or another of {', '.join(EVENTS)}"
            )
        )
    return functions


def misspelt(names: Iterable[str]) -> str:
    """Return which of some names is meant to be a callback's and is not, in words; or nothing.

    Args:
        names: What somebody has defined.
    """
    for name in sorted(names):
        if name in (*EVENTS, "on_open") or not name.lower().startswith("on"):
            continue
        near = difflib.get_close_matches(name.lower(), EVENTS[1:], n=1, cutoff=0.8)
        if near:
            return f"found {name}; did you mean {near[0]}?"
    return ""


def _names(source: object) -> list[str]:
    if source is None or inspect.isroutine(source):
        return []
    names = source if isinstance(source, Mapping) else getattr(source, "__dict__", {})
    return [name for name in names if isinstance(name, str)]


def _has_callbacks(source: object) -> bool:
    return any(_own(source, name) is not None for name in (*EVENTS, "on_open"))


def _own(source: object, name: str) -> object:
    """Return what a source has under a callback's name; None for Python's or IPython's `open`."""
    if isinstance(source, Mapping):
        value, home = source.get(name), source.get("__name__")
    else:
        value, home = getattr(source, name, None), getattr(source, "__name__", None)
    foreign = name == "open" and (is_pythons_open(value) or _opens_files(value, home))
    return None if foreign else value


def is_pythons_open(value: object) -> bool:
    """Return whether this is a function to open files with, of Python's library or of a shell."""
    while isinstance(value, functools.partial):
        value = value.func
    if not inspect.isroutine(value) or "open" not in getattr(value, "__name__", ""):
        return False
    module = getattr(value, "__module__", None)
    if module is None:
        return inspect.isbuiltin(value)  # a method of an object that is not written in Python
    package = str(module).partition(".")[0]
    return package in SHELLS or package in sys.stdlib_module_names


def _opens_files(value: object, home: object) -> bool:
    """Return whether an imported `open` is of another library's kind: all have a `mode`."""
    if not inspect.isfunction(value) or home is None or value.__module__ == home:
        return False
    try:
        return "mode" in inspect.signature(value).parameters
    except (ValueError, TypeError):
        return False


def _name(source: object) -> str:
    return getattr(source, "__name__", None) or f"this {type(source).__name__}"


def name_of(pattern: str) -> str:
    """Return the name that a pattern gives to a route: its path without the slashes around it."""
    return pattern.strip("/").replace("/", "-") or "root"


def take_timers(
    options: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], list[tuple[float, Callable[..., Any]]]]:
    """Return the options without `every`, and the functions that it calls, each with its period.

    Args:
        options: The options of a route; here `every` has functions in place of names.
        source: What the errors call the place of the options.

    Raises:
        ConfigError: `every` is no mapping of durations to functions.
    """
    rest = dict(options)
    every = rest.pop("every", None)
    timers: list[tuple[float, Callable[..., Any]]] = []
    problem = ""
    if every is not None and not isinstance(every, Mapping):
        problem = f"expected a mapping of durations to functions, found {every!r}"
    for period, function in every.items() if isinstance(every, Mapping) else ():
        if not callable(function):
            problem = f"{period}: expected a function, found {function!r}"
            break
        try:
            seconds = parse_duration(period)
        except ValueError as error:
            problem = str(error)
            break
        if seconds < MIN_TURN:
            problem = f"the time {period!r} is under {MIN_TURN} s"
            break
        timers.append((seconds, function))
    if problem:
        raise ConfigError([Problem(Place(f"{source}: every"), problem)])
    return rest, timers


def take_types(
    options: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, Callable[..., Any]]]:
    """Return the options without `types`, and its functions by the tags that they are for.

    Args:
        options: The options of a route; here `types` has functions in place of names.
        source: What the errors call the place of the options.

    Raises:
        ConfigError: `types` is no mapping of tags to functions.
    """
    rest = dict(options)
    types = rest.pop("types", None)
    if types is None:
        return rest, {}
    problem = ""
    if not isinstance(types, Mapping) or not types:
        problem = f"expected a mapping of tags to functions, found {types!r:.60}"
    else:
        wrong = [tag for tag in types if not callable(types[tag]) or inspect.isclass(types[tag])]
        if wrong:
            problem = f"{wrong[0]}: expected a function, found {types[wrong[0]]!r:.60}"
    if problem:
        raise ConfigError([Problem(Place(f"{source}: types"), problem)])
    return rest, {str(tag): function for tag, function in types.items()}


def take_filters(options: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[Filter]]:
    """Return the options without `filters`, and the filters.

    Args:
        options: The options of a route; here `filters` has modules, classes, objects or functions
            in place of names.
        source: What the errors call the place of the options.

    Raises:
        CallbackError: One of them is no filter.
        ConfigError: One of them is a name.
    """
    rest = dict(options)
    given = rest.pop("filters", None)
    if given is None:
        return rest, []
    return rest, filters_at_hand(given, f"{source}: filters")


def filters_at_hand(given: Any, source: str) -> list[Filter]:
    """Return filters that are at hand, rather than named.

    Args:
        given: One, or a list of them.
        source: What the errors call the place where they stand.

    Raises:
        CallbackError: One of them is no filter.
        ConfigError: One of them is a name.
    """
    found = []
    for one in given if isinstance(given, (list, tuple)) else (given,):
        if isinstance(one, str):
            problem = f"expected a module, a class, an object or a function, found the text {one!r}"
            raise ConfigError([Problem(Place(source), problem)])
        name = getattr(one, "__qualname__", None) or getattr(one, "__name__", None)
        found.append(filter_of(str(name or type(one).__qualname__), one))
    return found


def bind(functions: Functions, run: str = "thread") -> dict[str, BoundCallback]:
    """Return functions as callbacks, after a check that their events can call them.

    Args:
        functions: What `collect` returned.
        run: Where a ``def`` runs: "thread" or "loop".

    Raises:
        CallbackError: One takes other arguments than its event gives.
    """
    return {event: _bound(event, function, run) for event, function in functions.items()}


def _bound(event: str, function: Callable[..., Any], run: str) -> BoundCallback:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    spec = FunctionSpec(function=name, place=Place(name))
    check_function(spec, event, function)
    return BoundCallback(spec, event, function, run)


def route_at_hand(
    pattern: str,
    functions: Functions,
    options: Mapping[str, Any],
    *,
    name: str = "",
    source: str = "",
    context: Context | None = None,
) -> Route:
    """Return a route of functions that are at hand.

    Args:
        pattern: The route's pattern.
        functions: What `collect` returned.
        options: The options of a route, as below ``kwargs:`` in a file, but `every`, `types` and
            `filters` with functions in place of names.
        name: The route's name; the pattern's own where empty.
        source: What the errors call the place of the options.
        context: What the functions run in; it names the manager.

    Raises:
        CallbackError: A function takes other arguments than its event gives.
        ConfigError: The pattern or an option cannot be used.
    """
    options, timers = take_timers(options, source)
    options, of_rooms = take_room_functions(options, source)
    options, of_types = take_types(options, source)
    options, filters = take_filters(options, source)
    if of_types and "on_message" in functions:
        problem = "types and on_message exclude each other; leave one of the two out"
        raise ConfigError([Problem(Place(f"{source}: types"), problem)])
    # Whether a route may be public is for the server to say, not for who offers the functions.
    loaded = load_route(
        name or name_of(pattern), pattern, options, source=source, allow_public_routes=True
    )
    if not isinstance(loaded, RouteConfig):
        raise ConfigError([_shorten(problem, loaded.name, source) for problem in loaded.problems])
    callbacks: dict[str, Callback] = {**bind(functions, loaded.run)}
    for seconds, function in timers:
        callbacks[f"every {seconds:g}"] = _bound("every", function, loaded.run)
    for event, function in of_rooms.items():
        callbacks[event] = _bound(event, function, loaded.run)
    for tag, function in of_types.items():
        callbacks[f"types {tag}"] = _bound("types", function, loaded.run)
    found = filters_of(filters)
    callbacks = with_filters(with_types(callbacks), found, loaded.run)
    route = Route(loaded, callbacks, context=context)
    route.filters = found
    return route


def _shorten(problem: Problem, name: str, source: str) -> Problem:
    """Name an option as it was passed: without the keys of a file around it."""
    key = problem.place.key.removeprefix(f"[{name!r}]").removeprefix(".").removeprefix("kwargs.")
    return Problem(Place(f"{source}: {key}" if key else source), problem.message, name)
