"""Turn the functions that the configuration names into callbacks that can be called."""

from __future__ import annotations

import copy
import functools
import inspect
import os
import types
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Literal

from ..config.functions import VARIABLES
from ..config.model import FunctionSpec, Variable
from ..config.nodes import shorten, suggest
from ..errors import CallbackError
from ..guard import is_interrupt, place_of
from ..guard import kind_of as name_of_kind
from .decoders import Shape
from .faults import first_line
from .modules import CallbackModules
from .places import path_of, submodules
from .shadows import calls_of_open
from .typed import TYPED, decoding, taken_by

Kind = Literal["async", "asyncgen", "gen", "plain"]

_ANSWERS = ("select_subprotocol", "get_compression_options", "condition", "may_join", "card")
"""Events whose function answers a question of the handshake, with one value."""


class BoundCallback:
    """One function of the user's, ready to be called for one event.

    Attributes:
        name: The function's dotted name.
        event: The event it is for, a key of `config.functions.VARIABLES`.
        inline: Whether it runs on the event loop; False means in a thread.
        kind: What it is: "async", "asyncgen", "gen" or "plain".
        call: Takes what the event gives. The function itself, unless the configuration says
            which arguments it gets, or its annotation what its messages have to be.
        function: The function, as its author has written it.
        takes: What its messages have to be; None where it gets them as they come.
        spec: What the configuration says.
    """

    __slots__ = ("call", "event", "function", "inline", "kind", "name", "spec", "takes")

    name: str
    event: str
    inline: bool
    kind: Kind
    call: Callable[..., Any]
    function: Callable[..., Any]
    takes: Shape | None
    spec: FunctionSpec

    def __init__(
        self, spec: FunctionSpec, event: str, function: Callable[..., Any], default_run: str
    ) -> None:
        self.name = spec.function
        self.event = event
        self.kind = kind_of(function)
        self.inline = self.kind in ("async", "asyncgen") or (spec.run or default_run) == "loop"
        self.call = _with_arguments(function, spec, event)
        self.function = function
        self.takes = None
        if event in TYPED:
            args = _positional(spec, event)
            self.takes = taken_by(self.name, function, args, spec.kwargs, _file_of(function))
        if self.takes is not None:
            self.call = decoding(self.call, self.takes)
        self.spec = spec

    def __repr__(self) -> str:
        where = "on the loop" if self.inline else "in a thread"
        return f"<BoundCallback {self.name} for {self.event}, {where}>"


class AdHoc:
    """A function that a callback hands over, rather than one that the configuration names.

    Args:
        name: What to call it in log lines.
        function: The function.
        on_loop: Whether a ``def`` runs on the event loop.
    """

    __slots__ = ("call", "event", "inline", "name")

    def __init__(self, name: str, function: Callable[..., Any], on_loop: bool) -> None:
        self.name = name
        self.event = "every"
        self.call = function
        self.inline = on_loop or kind_of(function) in ("async", "asyncgen")


class Resolver:
    """What finds the functions that a configuration names.

    Args:
        folders: Folders of the config files, in which callback modules may stand. They are
            appended to `sys.path` until `close`.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._modules = CallbackModules(folders)
        self.warnings: list[str] = []

    def resolve(self, spec: FunctionSpec, event: str, default_run: str = "thread") -> BoundCallback:
        """Find one function and check that the event can call it.

        A module that is imported stays as it is, whatever becomes of its file, until `set_aside`:
        so that all functions are of one version.

        Args:
            spec: What the configuration says.
            event: The event it is for, a key of `config.functions.VARIABLES`.
            default_run: Where a ``def`` runs if the configuration says nothing: "thread" or
                "loop".

        Raises:
            CallbackError: The function cannot be used; says why and what to do.
        """
        event = event.partition(" ")[0]  # "every 30" is one of several
        try:
            module, path = self._modules.load(spec.function, home_of(spec))
            function = _look_up(spec.function, module, path)
            check_function(spec, event, function)
            bound = BoundCallback(spec, event, function, default_run)
        except CallbackError:
            raise
        except BaseException as error:
            # An object's own code was asked for its attributes; its sys.exit() is not ours.
            if is_interrupt(error):
                raise
            raise CallbackError(
                f"{spec.function}: looking at it raises {name_of_kind(error)}, at {place_of(error)}"
            ) from None
        if path == ("open",):
            self._warn_of_open(spec.function, module)
        return bound

    def named(self, spec: FunctionSpec) -> Any:
        """Return what a name in the configuration names: a module, or anything in one.

        Args:
            spec: What the configuration says.

        Raises:
            CallbackError: There is no such thing; says why and what to do.
        """
        module, path = self._modules.load(spec.function, home_of(spec), whole=True)
        return reach(spec.function, module, path, classes=True)

    def modules(self) -> dict[str, ModuleType]:
        """Return the modules of the folders that were imported, by name."""
        return self._modules.modules()

    def set_aside(self) -> dict[str, ModuleType]:
        """Make the next imports from the folders fresh ones; see `CallbackModules.set_aside`."""
        return self._modules.set_aside()

    def put_back(self, modules: dict[str, ModuleType]) -> None:
        """Go on with the modules that `set_aside` returned."""
        self._modules.put_back(modules)

    def close(self) -> None:
        """Take the folders off `sys.path` and forget their modules, unless others use them."""
        self._modules.close()

    def _warn_of_open(self, name: str, module: ModuleType) -> None:
        lines = calls_of_open(module)
        if not lines:
            return
        where = ", ".join(f"{path_of(module)}:{line}" for line in lines[:3])
        warning = (
            f"{name}: the callback has the name of Python's open() and hides it in its module, so "
            f"the call of open() in {where} calls the callback; rename the callback to on_open"
        )
        if warning not in self.warnings:
            self.warnings.append(warning)


def home_of(spec: FunctionSpec) -> str:
    """Return the folder of the file that names a function; "" where no file does."""
    source = spec.place.source
    return os.path.dirname(os.path.abspath(source)) if spec.place.line is not None else ""


def kind_of(function: Callable[..., Any]) -> Kind:
    """Say what calling a function gives: an awaitable, a generator of a kind, or a value.

    Args:
        function: A function, a method, a partial or an object with ``__call__``.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    if inspect.isasyncgenfunction(function):
        return "asyncgen"
    if inspect.iscoroutinefunction(function) or _is_tornado_coroutine(function):
        return "async"
    return "gen" if inspect.isgeneratorfunction(function) else "plain"


def _is_tornado_coroutine(function: Callable[..., Any]) -> bool:
    # functools.wraps copies the mark to a wrapper, which need not be a coroutine itself.
    return bool(getattr(function, "__tornado_coroutine__", False)) and not getattr(
        getattr(function, "__wrapped__", None), "__tornado_coroutine__", False
    )


def _written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what ``@tornado.gen.coroutine`` passes a call on to, which is what its author wrote.

    The decorator's own function takes any arguments, and fails once it hands them on. What other
    decorators make is returned as it is: they may change the arguments.
    """
    if isinstance(function, functools.partial):
        inner = _written(function.func)
        if inner is function.func:
            return function
        return functools.partial(inner, *function.args, **function.keywords)
    if inspect.ismethod(function):
        inner = _written(function.__func__)
        return (
            function if inner is function.__func__ else types.MethodType(inner, function.__self__)
        )
    if not inspect.isroutine(function):
        bound: Any = function.__call__  # type: ignore[operator]
        coroutine = _is_tornado_coroutine(type(function).__call__)
        return _written(bound) if coroutine else function
    decorated: Any = getattr(function, "__wrapped__", None)
    return decorated if _is_tornado_coroutine(function) and callable(decorated) else function


# ---- from a module to a function -----------------------------------------------------------


def reach(name: str, module: ModuleType, path: Sequence[str], *, classes: bool = False) -> Any:
    """Return what a dotted name names.

    Args:
        name: The whole name.
        module: The module that it begins with.
        path: The attributes behind that.
        classes: Whether classes are among what there is to choose from.

    Raises:
        CallbackError: There is no such thing; says what there is.
    """
    found: Any = module
    for index, part in enumerate(path):
        try:
            found = getattr(found, part)
        except AttributeError:
            why = _missing(name, module, found, path[:index], part, classes=classes)
            raise CallbackError(why) from None
        except BaseException as error:
            if is_interrupt(error):
                raise
            what = f"{type(error).__name__}: {first_line(error)}"
            line = place_of(error)
            raise CallbackError(f"{name}: reading {part} raises {what}, at {line}") from None
    return found


def _look_up(name: str, module: ModuleType, path: Sequence[str]) -> Callable[..., Any]:
    found = reach(name, module, path)
    if inspect.ismodule(found):
        functions = ", ".join(_functions_in(found)) or "none so far"
        message = f"{name} is a module; name one of its functions ({functions})"
    elif inspect.isclass(found):
        message = (
            f"{name} is a class, in {path_of(module, name)}; name a function, or a method of it"
        )
    elif not callable(found):
        message = (
            f"expected a function, but {name} is {_a(type(found).__name__)}, "
            f"in {path_of(module, name)}"
        )
    else:
        function: Callable[..., Any] = found
        return function
    raise CallbackError(message)


def _missing(
    name: str,
    module: ModuleType,
    owner: Any,
    above: Sequence[str],
    wanted: str,
    *,
    classes: bool,
) -> str:
    inside = f"{'.'.join(above)} of " if above else ""
    names = _functions_in(owner, classes=classes)
    if owner is module:
        names = [*names, *submodules(module)]
    hint = suggest(wanted, names) if names else "there is no function in it"
    return f"{name}: there is no {wanted} in {inside}{path_of(module, name)}; {hint}"


def _functions_in(owner: Any, *, classes: bool = False) -> list[str]:
    """Return the names of the functions to choose from, without reading any property."""
    names = vars(owner) if hasattr(owner, "__dict__") else {}
    if not inspect.ismodule(owner) and not inspect.isclass(owner):
        names = {**vars(type(owner)), **names}
    plain = {
        name
        for name, value in names.items()
        if name[:1] != "_" and (_is_choice(value) or (classes and inspect.isclass(value)))
    }
    return sorted(plain)


def _is_choice(value: object) -> bool:
    if isinstance(value, (staticmethod, classmethod)):
        return True
    return callable(value) and not inspect.isclass(value)


def _a(noun: str) -> str:
    return f"an {noun}" if noun[:1] in "aeiouAEIOU" else f"a {noun}"


# ---- what the event and the function agree on ------------------------------------------------


def check_function(spec: FunctionSpec, event: str, function: Callable[..., Any]) -> None:
    """Check that an event can call a function.

    Args:
        spec: The name of the function, and what it is to be called with.
        event: The event, a key of `config.functions.VARIABLES`.
        function: The function.

    Raises:
        CallbackError: It cannot; says what was expected and what was found.
    """
    _check_kind(spec.function, function, event)
    _check_signature(spec, event, function)


def _check_kind(name: str, function: Callable[..., Any], event: str) -> None:
    if event in _ANSWERS and kind_of(function) in ("gen", "asyncgen"):
        # A generator is true whatever it would have said.
        raise CallbackError(
            f"{name} is a generator, but {event} needs one answer; return it instead of yielding"
        )


def _check_signature(spec: FunctionSpec, event: str, function: Callable[..., Any]) -> None:
    function = _written(function)
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # a function written in C may have none
        return
    args = _positional(spec, event)
    try:
        signature.bind(*args, **spec.kwargs)
    except TypeError as error:
        short = spec.function.rpartition(".")[2]
        given = [_show(value) for value in args]
        given += [f"{key}={_show(value)}" for key, value in spec.kwargs.items()]
        taken = ", ".join(_parameters(signature))
        raise CallbackError(
            f"{spec.function}: expected {short}({', '.join(given)}), found {short}({taken}), "
            f"in {_file_of(function)}: {first_line(error)}"
        ) from None


def _positional(spec: FunctionSpec, event: str) -> tuple[Any, ...]:
    if spec.args is not None:
        return spec.args
    return tuple(Variable(name) for name in VARIABLES[event])


def _show(value: Any) -> str:
    if isinstance(value, Variable):
        return value.name
    text = repr(value)
    return text if len(text) <= 30 else shorten(text, 30)[1:-1]


def _parameters(signature: inspect.Signature) -> list[str]:
    shown = []
    starred = False
    for parameter in signature.parameters.values():
        name = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            name, starred = f"*{name}", True
        elif parameter.kind is parameter.VAR_KEYWORD:
            name = f"**{name}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        if parameter.default is not parameter.empty:
            name += "=..."
        shown.append(name)
    return shown


def _file_of(function: Callable[..., Any]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "a module written in C"


def _with_arguments(
    function: Callable[..., Any], spec: FunctionSpec, event: str
) -> Callable[..., Any]:
    """Return what the event calls: the function, or one that fills in its arguments."""
    if spec.args is None and not spec.kwargs:
        return function
    order = {name: index for index, name in enumerate(VARIABLES[event])}
    args = [_filler(value, order) for value in _positional(spec, event)]
    kwargs = {key: _filler(value, order) for key, value in spec.kwargs.items()}

    def call(*given: Any) -> Any:
        return function(
            *[fill(given) for fill in args], **{key: fill(given) for key, fill in kwargs.items()}
        )

    call.__wrapped__ = function  # type: ignore[attr-defined]  # bound.py looks at its module
    return call


def _filler(value: Any, order: dict[str, int]) -> Callable[[tuple[Any, ...]], Any]:
    if isinstance(value, Variable):
        index = order[value.name]
        return lambda given: given[index]
    if isinstance(value, (list, dict, set, tuple)):
        # Each call gets its own: a callback may change what it is given.
        return lambda given: copy.deepcopy(value)
    return lambda given: value
