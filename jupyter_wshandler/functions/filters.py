"""Filters: what looks at every message of a route, in and out, and may change it.

A filter is a module, an object, or a class that is made once, with any of five functions, each with
the arguments in `FUNCTIONS`; or it is one function of the handler, the message and its way.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ..config.model import FunctionSpec, Place
from ..errors import CallbackError
from ..guard import is_interrupt, place_of
from ..types import FilterStep, Message
from .faults import first_line
from .resolve import check_function, kind_of

FUNCTIONS = {
    "on_open": "open",
    "incoming": "incoming",
    "outgoing": "outgoing",
    "on_error": "on_error",
    "on_close": "on_close",
}
"""The functions that a filter may have, and what each is called with: as the event of
`config.functions.VARIABLES` is."""

IN, OUT = "in", "out"
"""The ways of a message, as a filter that is one function is told them: from the client, to it."""


class Filter:
    """One filter, ready to be called.

    Args:
        name: What it is called in log lines and errors.
        functions: Its functions, by their names.
    """

    __slots__ = ("functions", "name")

    def __init__(self, name: str, functions: dict[str, Callable[..., Any]]) -> None:
        self.name = name
        self.functions = functions

    def __repr__(self) -> str:
        return f"<Filter {self.name}: {', '.join(self.functions)}>"


def filter_of(name: str, target: Any) -> Filter:
    """Return a filter, after a check that it can be called.

    Args:
        name: What it is called in log lines and errors.
        target: A module, a class, an object or a function.

    Raises:
        CallbackError: It is none; says what was expected, and what was found.
    """
    if inspect.isclass(target):
        target = _made(name, target)
    found = _functions_of(name, target)
    if not found and callable(target):
        return Filter(name, _both_ways(name, target))
    if not found:
        what = f"a {type(target).__name__}"
        raise CallbackError(
            f"{name}: expected a filter with at least one of {', '.join(FUNCTIONS)}, found {what} "
            "without any of them"
        )
    for function, event in FUNCTIONS.items():
        if function in found:
            _check(f"{name}.{function}", event, found[function])
    return Filter(name, found)


def _made(name: str, kind: type) -> Any:
    try:
        return kind()
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise CallbackError(
            f"{name}: the class is called without arguments to make the filter, and that raises "
            f"{type(error).__name__}: {first_line(error)}, at {place_of(error)}"
        ) from None


def _functions_of(name: str, target: Any) -> dict[str, Callable[..., Any]]:
    found = {}
    for function in FUNCTIONS:
        value = getattr(target, function, None)
        if value is None:
            continue
        if not callable(value) or inspect.isclass(value):
            kind = "a class" if inspect.isclass(value) else f"a {type(value).__name__}"
            raise CallbackError(f"{name}.{function}: expected a function, found {kind}")
        found[function] = value
    wrong = _misspelt(dir(target)) if found or not callable(target) else None
    if wrong is not None:
        # A redaction under a wrong name would let everything through.
        raise CallbackError(f"{name}: found {wrong[0]}; did you mean {wrong[1]}?")
    return found


def _misspelt(names: Iterable[str]) -> tuple[str, str] | None:
    """Return a name that is meant to be a filter's function, and which one."""
    for name in sorted(names):
        if name in FUNCTIONS or name.startswith("_"):
            continue
        near = difflib.get_close_matches(name.lower(), FUNCTIONS, n=1, cutoff=0.85)
        if near:
            return name, near[0]
    return None


def _both_ways(name: str, function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Return what one function of the handler, the message and its way does as a filter."""
    _check(name, "filters", function)
    if kind_of(function) == "async":
        raise CallbackError(
            f"{name} is an async def, and messages leave without waiting for one; make it a def, "
            "or a class with an async def incoming"
        )
    found: dict[str, Callable[..., Any]] = {}
    for event, way in (("incoming", IN), ("outgoing", OUT)):
        found[event] = functools.partial(_one_way, function, way)
    return found


def _one_way(function: Callable[..., Any], way: str, handler: Any, message: Message) -> Any:
    return function(handler, message, way)


def _check(name: str, event: str, function: Callable[..., Any]) -> None:
    check_function(FunctionSpec(function=name, place=Place(name)), event, function)
    kind = kind_of(function)
    if kind in ("gen", "asyncgen"):
        raise CallbackError(f"{name} is a generator, which a filter cannot be; return one message")
    if event == "outgoing" and kind == "async":
        raise CallbackError(
            f"{name} is an async def, and messages leave without waiting for one; make it a def "
            "that returns at once"
        )


# ---- one step of a message ------------------------------------------------------------------


def steps(filters: Iterable[Filter], function: str) -> tuple[FilterStep, ...]:
    """Return the functions of some filters that have one, each with its name.

    Args:
        filters: The filters, the outermost first.
        function: One of `FUNCTIONS`.
    """
    return tuple(
        (f"{one.name}.{function}", one.functions[function])
        for one in filters
        if function in one.functions
    )


_RAISED_BY = "_wshandler_raised_by"


def raised_by(error: BaseException, name: str) -> None:
    """Remember which function of a filter has raised an error, for `culprit`.

    Args:
        error: The error.
        name: What the function is called.
    """
    with suppress(Exception):  # a class may refuse attributes
        setattr(error, _RAISED_BY, name)


def culprit(error: BaseException, callback: str) -> str:
    """Return what is called what has raised an error within a callback with filters around it.

    Args:
        error: The error.
        callback: What the callback is called, whose it is otherwise.
    """
    return str(getattr(error, _RAISED_BY, callback))


def passed(name: str, message: Message, made: Any) -> Message:
    """Return what a filter has made of a message.

    Args:
        name: What the filter's function is called.
        message: What it got.
        made: What it has returned.

    Raises:
        TypeError: That is no message, or one of the other kind.
    """
    kind = type(message)
    if type(made) is kind:
        return made
    if kind is str and isinstance(made, str):
        return str.__str__(made)
    if made is None:
        raise TypeError(
            f"{name} returned None; return the message, or another one in its place. On the way in "
            "one that is not to pass is refused with `raise RefuseMessage(reason)`"
        )
    raise TypeError(f"{name} got a {kind.__name__} and returned a {type(made).__name__}")
