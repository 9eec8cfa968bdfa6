"""What a function's annotations say of the messages that it takes, and of what it answers.

``def on_message(handler, message: Ask)`` gets an `Ask`: the JSON text of a message is decoded and
checked before the function is called. A function without such an annotation is called as ever, with
nothing in between.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..config.model import Variable
from ..errors import CallbackError
from .decoders import UNUSABLE, Shape, shape_of
from .faults import first_line
from .unfit import no_binary

TYPED = ("on_message", "types")
"""Events whose function gets a message."""

_UNWRITTEN = inspect.Parameter.empty

_STREAMS = (
    typing.get_origin(typing.Iterator[int]),
    typing.get_origin(typing.Iterable[int]),
    typing.get_origin(typing.Generator[int, None, None]),
    typing.get_origin(typing.AsyncIterator[int]),
    typing.get_origin(typing.AsyncIterable[int]),
    typing.get_origin(typing.AsyncGenerator[int, None]),
)
"""What a generator is annotated with."""


def taken_by(
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    where: str,
) -> Shape | None:
    """Return what the messages of a function have to be; None where it takes them as they come.

    Args:
        name: What the configuration calls the function.
        function: The function.
        args: What it gets by position; the message is a `Variable` of that name.
        kwargs: What it gets by name.
        where: Its file and line.

    Raises:
        CallbackError: Its annotation cannot be used; says where, why, and what to do.
    """
    parameter = _parameter(function, args, kwargs)
    if parameter is None or parameter.annotation is _UNWRITTEN:
        return None
    written = _as_written(parameter.annotation)
    words = f"{name}: the annotation of {parameter.name}, {written}, in {where},"
    try:
        annotation = _evaluated(function, parameter.annotation)
    except Exception as error:
        raise CallbackError(
            f"{words} cannot be read: {type(error).__name__}: {first_line(error)}; import what it "
            "names outside of `if TYPE_CHECKING`, or leave it out"
        ) from None
    try:
        return shape_of(annotation)
    except Exception as error:
        raise CallbackError(
            f"{words} is no type of a message: {first_line(error)}; write a msgspec.Struct, a "
            "dataclass, a TypedDict or a model of pydantic, or leave it out to get the text"
        ) from None


def answered_by(function: Callable[..., Any]) -> tuple[Any, bool] | None:
    """Return the type of what a function answers, and whether it is a stream of such.

    Args:
        function: The function.

    Returns:
        None where nothing is written, or nothing that can be read: what is answered is sent
        whatever it is, so that a mistake here costs only the description.
    """
    try:
        written = inspect.signature(_inner(function)).return_annotation
        if written is _UNWRITTEN:
            return None
        annotation = _evaluated(function, written)
    except Exception:
        return None
    if typing.get_origin(annotation) in _STREAMS:
        return typing.get_args(annotation)[0], True
    return annotation, False


def decoding(call: Callable[..., Any], shape: Shape) -> Callable[..., Any]:
    """Return a function that gets a message as it came, and calls another with it decoded.

    Args:
        call: Takes the handler and the decoded message.
        shape: What the message has to be.

    Returns:
        A function of the handler and a message; it raises `MessageRefused` where that does not fit.
    """
    decode, refusal, takes_bytes = shape.decode, shape.refusal, shape.takes_bytes

    def typed(handler: Any, message: Any) -> Any:
        if type(message) is bytes:
            if not takes_bytes:
                raise no_binary()
            return call(handler, message)
        try:
            decoded = decode(message)
        except UNUSABLE as error:
            raise refusal(error, message) from None
        return call(handler, decoded)

    typed.__wrapped__ = call  # type: ignore[attr-defined]  # bound.py looks at its module
    return typed


def _parameter(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.Parameter | None:
    """Return the parameter of a function that gets the message."""
    try:
        signature = inspect.signature(_inner(function))
        bound = signature.bind(*args, **kwargs)
    except (TypeError, ValueError):  # one that is written in C may have no signature
        return None
    for name, value in bound.arguments.items():
        if isinstance(value, Variable) and value.name == "message":
            return signature.parameters[name]
    return None


def _inner(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what carries the annotations of something that may be called."""
    if isinstance(function, functools.partial) or inspect.isroutine(function):
        return function
    inner: Callable[..., Any] = function.__call__  # type: ignore[operator] # it is an object's own
    return inner


def _evaluated(function: Callable[..., Any], annotation: Any) -> Any:
    """Return an annotation, which may be text, as the function's module means it.

    Raises:
        Exception: Whatever evaluating it raises.
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    own: Any = inspect.unwrap(_inner(inner))
    own = getattr(own, "__func__", own)
    names = dict(getattr(own, "__globals__", {}))
    code = getattr(own, "__code__", None)
    for name, cell in zip(code.co_freevars if code else (), own.__closure__ or (), strict=False):
        names[name] = cell.cell_contents
    holder = SimpleNamespace(__annotations__={"it": annotation})
    return typing.get_type_hints(holder, names, names, include_extras=True)["it"]


def _as_written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
