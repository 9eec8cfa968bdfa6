"""The ways to name a function: a dotted name, a call of one, or a mapping."""

from __future__ import annotations

import ast
import keyword
import warnings
from typing import Any, Literal, cast

from jupyter_wshandler.config.described import key_names
from jupyter_wshandler.config.entries import ErrorEntry, FunctionEntry
from jupyter_wshandler.config.model import FunctionSpec, Place, Variable
from jupyter_wshandler.config.nodes import Node, Report, describe, shorten, suggest

VARIABLES: dict[str, tuple[str, ...]] = {
    "open": ("handler",),
    "on_message": ("handler", "message"),
    "on_close": ("handler",),
    "on_error": ("handler", "exc"),
    "on_pong": ("handler", "data"),
    "on_away": ("handler",),
    "on_resume": ("handler",),
    "select_subprotocol": ("handler", "protocols"),
    "get_compression_options": ("handler",),
    "condition": ("handler",),
    "every": ("handler",),
    "may_join": ("handler", "room"),
    "card": ("handler",),
    "on_join": ("room", "member"),
    "on_leave": ("room", "member"),
    "types": ("handler", "message"),
    "incoming": ("handler", "message"),
    "outgoing": ("handler", "message"),
    "filters": ("handler", "message", "way"),
}
"""What each function may be given, in the order in which it is passed by position."""

_EXPECTED = "expected a function: a dotted name such as bots.chat.reply, or a call of one"
_MAX_TEXT = 2000


def parse_function(node: Node, event: str, report: Report) -> FunctionSpec | None:
    """Read one function in any of its forms.

    Args:
        node: The value as written.
        event: The name of the callback, a key of `VARIABLES`.
        report: Takes the problems.

    Returns:
        The specification, or None where a problem was reported.
    """
    value = node.value
    if isinstance(value, str):
        return _from_text(value, node.place, event, report)
    if isinstance(value, dict):
        return _from_mapping(node, event, report)
    if isinstance(value, list):
        report.problem(
            node.place,
            f"{_EXPECTED}, found a list; pipelines are not supported: "
            "call the functions one after the other in a function of your own",
        )
        return None
    report.problem(node.place, f"{_EXPECTED}, found {describe(node)}")
    return None


def is_dotted_name(text: str) -> bool:
    """Say whether a text is ``module.function``, with any number of packages in front."""
    parts = text.split(".")
    return len(parts) > 1 and all(
        part.isascii() and part.isidentifier() and not keyword.iskeyword(part) for part in parts
    )


def _from_mapping(node: Node, event: str, report: Report) -> FunctionSpec | None:
    children: dict[str, Node] = node.value
    before = len(report.problems)
    valid = key_names(ErrorEntry if event == "on_error" else FunctionEntry)
    for name in children:
        if name not in valid:
            hint = suggest(name, valid)
            report.problem(node.keys[name], f"unknown key {name!r}; {hint}")
    if "function" not in children:
        if len(report.problems) == before:
            message = "expected the key function with a dotted name, found a mapping without it"
            report.problem(node.place, message)
        return None
    target = children["function"]
    if not isinstance(target.value, str):
        hint = "; pipelines are not supported" if isinstance(target.value, list) else ""
        report.problem(target.place, f"{_EXPECTED}, found {describe(target)}{hint}")
        return None
    spec = _from_text(target.value, target.place, event, report)
    called = spec is not None and spec.args is not None
    args = _args(children["args"], event, report) if "args" in children else None
    kwargs = _kwargs(children["kwargs"], event, report) if "kwargs" in children else {}
    run = _run(children["run"], report) if "run" in children else None
    if called and ("args" in children or "kwargs" in children):
        place = node.keys["args" if "args" in children else "kwargs"]
        message = "the function is written as a call, which already says its arguments; remove one"
        report.problem(place, message)
    if spec is None or len(report.problems) > before:
        return None
    if called:
        args, kwargs = spec.args, spec.kwargs
    return FunctionSpec(function=spec.function, args=args, kwargs=kwargs, run=run, place=spec.place)


def _run(node: Node, report: Report) -> Literal["thread", "loop"] | None:
    if isinstance(node.value, str) and node.value in {"thread", "loop"}:
        return cast("Literal['thread', 'loop']", node.value)
    report.problem(node.place, f"expected loop or thread, found {describe(node)}")
    return None


def _args(node: Node, event: str, report: Report) -> tuple[Any, ...] | None:
    if isinstance(node.value, list):
        return tuple(_argument(item, event, report) for item in node.value)
    if isinstance(node.value, dict) or node.value is None:
        report.problem(node.place, f"expected a list of arguments, found {describe(node)}")
        return None
    return (_argument(node, event, report),)


def _kwargs(node: Node, event: str, report: Report) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        message = f"expected a mapping of argument names to values, found {describe(node)}"
        report.problem(node.place, message)
        return {}
    for name in node.value:
        if not name.isidentifier() or keyword.iskeyword(name):
            report.problem(node.keys[name], f"expected the name of an argument, found {name!r}")
    return {name: _argument(item, event, report) for name, item in node.value.items()}


def _argument(node: Node, event: str, report: Report) -> Any:
    value = node.value
    if not (isinstance(value, str) and value.startswith("=")):
        return node.plain()
    name = value[1:].strip()
    if name not in VARIABLES[event]:
        report.problem(node.place, _unknown_variable(name, event))
    return Variable(name)


def _unknown_variable(name: str, event: str) -> str:
    valid = " and ".join(VARIABLES[event])
    return f"{shorten(name)} is not available in {event}; the names there are {valid}"


def _from_text(text: str, place: Place, event: str, report: Report) -> FunctionSpec | None:
    text = text.strip()
    if is_dotted_name(text):
        return FunctionSpec(function=text, place=place)
    if text.isascii() and text.isidentifier():
        message = f"{_EXPECTED}, found {shorten(text)} without a module; write module.{text[:60]}"
        report.problem(place, message)
        return None
    try:
        function, args, kwargs = _parse_call(text, event)
    except _NotACall as error:
        names = " and ".join(VARIABLES[event])
        message = (
            f"expected a dotted name, or a call of one with literals and the names {names}; {error}"
        )
        report.problem(place, message)
        return None
    return FunctionSpec(function=function, args=args, kwargs=kwargs, place=place)


class _NotACall(Exception):
    """The reason why a text is not a call of a dotted name with literals."""


def _parse_call(text: str, event: str) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """Read ``module.function(handler, 'literal', name=1)`` without evaluating anything."""
    if len(text) > _MAX_TEXT:
        raise _NotACall(f"found a text of {len(text)} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _NotACall(f"found {shorten(text)}") from None
    if not isinstance(body, ast.Call):
        raise _NotACall(f"found the expression {shorten(text)}, which is never evaluated")
    function = _dotted(body.func)
    if function is None or not is_dotted_name(function):
        raise _NotACall(f"found {shorten(text)}, which calls something else")
    args = tuple(_literal(argument, event) for argument in body.args)
    kwargs: dict[str, Any] = {}
    for item in body.keywords:
        if item.arg is None:
            raise _NotACall("found ** in the call")
        if item.arg in kwargs:
            raise _NotACall(f"found the argument {item.arg!r} twice")
        kwargs[item.arg] = _literal(item.value, event)
    return function, args, kwargs


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _literal(node: ast.expr, event: str) -> Any:
    if isinstance(node, ast.Name):
        if node.id not in VARIABLES[event]:
            raise _NotACall(_unknown_variable(node.id, event))
        return Variable(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError):
        what = type(node).__name__
        raise _NotACall(f"found an argument that is no literal ({what})") from None
