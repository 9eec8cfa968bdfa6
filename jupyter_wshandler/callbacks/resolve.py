"""From the name of a function in the configuration to the function itself."""

from __future__ import annotations

import ast
import asyncio
import builtins
import difflib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config.model import FunctionSpec, Variable
from ..errors import CallbackError

PARAMETERS = {
    "open": ("handler",),
    "on_message": ("handler", "message"),
    "on_close": ("handler",),
    "on_error": ("handler", "exc"),
    "on_pong": ("handler", "data"),
    "select_subprotocol": ("handler", "protocols"),
    "get_compression_options": ("handler",),
    "condition": ("handler",),
}
"""What each event passes, by position and by name."""


class BoundCallback:
    """Be a function of the user's, ready to be called for one event.

    Attributes:
        name: As configured, such as "pingbot.on_message".
        event: One of `PARAMETERS`.
        inline: Whether `call` belongs on the event loop rather than in a thread.
        call: Takes what the event passes. It is the user's function itself unless the
            configuration gives arguments.
    """

    __slots__ = ("call", "event", "inline", "name", "spec")

    def __init__(
        self, spec: FunctionSpec, event: str, function: Callable[..., Any], inline: bool
    ) -> None:
        self.spec = spec
        self.name = spec.function
        self.event = event
        self.inline = inline
        self.call = function if _is_plain(spec) else _with_arguments(spec, event, function)

    def __repr__(self) -> str:
        return f"<BoundCallback {self.name} for {self.event}>"


def _is_plain(spec: FunctionSpec) -> bool:
    return spec.args is None and not spec.kwargs


def _with_arguments(
    spec: FunctionSpec, event: str, function: Callable[..., Any]
) -> Callable[..., Any]:
    names = PARAMETERS[event]
    if spec.args is None:
        arguments: tuple[Any, ...] = tuple(Variable(name) for name in names)
    else:
        arguments = spec.args

    def call(*values: Any) -> Any:
        known = dict(zip(names, values, strict=True))
        return function(
            *(known[a.name] if isinstance(a, Variable) else a for a in arguments),
            **{
                key: known[a.name] if isinstance(a, Variable) else a
                for key, a in spec.kwargs.items()
            },
        )

    return call


class Resolver:
    """Find functions by their dotted names, in installed modules and in the config's folders.

    Args:
        folders: Folders of the config files; they are appended to ``sys.path``, so an installed
            module of the same name comes first, and such a clash is refused.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = [str(Path(folder).resolve()) for folder in folders]
        self.warnings: list[str] = []
        for folder in self._folders:
            if folder not in sys.path:
                sys.path.append(folder)

    def resolve(self, spec: FunctionSpec, event: str, default_run: str = "thread") -> BoundCallback:
        """Return the function of a spec, ready to be called.

        Args:
            spec: Names the function and its arguments.
            event: What it is called for.
            default_run: "thread" or "loop", where the spec says nothing.

        Raises:
            CallbackError: There is no such function, or it cannot be called so.
        """
        function = self._find(spec.function)
        _check_signature(spec, event, function)
        inline = _is_async(function) or (spec.run or default_run) == "loop"
        return BoundCallback(spec, event, function, inline)

    def modules(self) -> dict[str, ModuleType]:
        """Return the imported modules that lie in the config's folders, by name."""
        return {
            name: module
            for name, module in list(sys.modules.items())
            if (origin := _origin(module)) and self._is_ours(origin)
        }

    # ---- modules ---------------------------------------------------------------------------

    def _find(self, dotted: str) -> Callable[..., Any]:
        parts = dotted.split(".")
        if len(parts) < 2:
            raise CallbackError(
                f"{dotted!r} names no module; write module.function, such as pingbot.{dotted}"
            )
        module, rest = self._import(parts)
        found: Any = module
        name = module.__name__
        for part in rest:
            try:
                found = getattr(found, part)
            except AttributeError:
                raise CallbackError(_missing(name, found, part)) from None
            name = f"{name}.{part}"
        if not callable(found):
            raise CallbackError(f"{dotted} is {_article(found)}, not a function")
        self._warn_of_hidden_open(module, rest)
        return found  # type: ignore[no-any-return]

    def _import(self, parts: list[str]) -> tuple[ModuleType, list[str]]:
        """Import as many leading parts as are modules; return the module and what is left."""
        importlib.invalidate_caches()
        module = self._import_one(parts[0])
        for count in range(2, len(parts)):
            name = ".".join(parts[:count])
            if hasattr(module, parts[count - 1]) and name not in sys.modules:
                return module, parts[count - 1 :]
            if not hasattr(module, "__path__") or importlib.util.find_spec(name) is None:
                return module, parts[count - 1 :]
            module = self._import_one(name)
        return module, parts[-1:]

    def _import_one(self, name: str) -> ModuleType:
        self._refuse_clash(name)
        before = set(sys.modules)
        try:
            return importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # A module that failed half-way must not be taken for a good one later.
            for new in set(sys.modules) - before:
                origin = _origin(sys.modules[new])
                if new == name or (origin and self._is_ours(origin)):
                    del sys.modules[new]
            raise CallbackError(self._why(name, error)) from None

    def _why(self, name: str, error: BaseException) -> str:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            places = ", ".join(self._folders) or "the installed packages"
            near = difflib.get_close_matches(name, self._names_nearby(), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return f"there is no module {name} (looked in Python's own path and {places}){hint}"
        if isinstance(error, SyntaxError):
            return f"{error.filename}:{error.lineno}: module {name} has a syntax error: {error.msg}"
        place = self._user_line(error)
        return f"{place}module {name} cannot be imported: {type(error).__name__}: {error}"

    def _user_line(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if self._is_ours(f.filename)]
        return f"{ours[-1].filename}:{ours[-1].lineno}: " if ours else ""

    def _names_nearby(self) -> list[str]:
        return [
            path.stem
            for folder in self._folders
            for path in Path(folder).glob("*")
            if path.suffix == ".py" or (path / "__init__.py").is_file()
        ]

    def _is_ours(self, path: str) -> bool:
        resolved = Path(path).resolve()
        return (
            any(resolved.is_relative_to(folder) for folder in self._folders)
            and "site-packages" not in resolved.parts
        )

    def _refuse_clash(self, name: str) -> None:
        """Refuse a top-level module that exists in a config folder and elsewhere, too."""
        if "." in name:
            return
        mine = [
            candidate
            for folder in self._folders
            for candidate in (Path(folder) / f"{name}.py", Path(folder) / name / "__init__.py")
            if candidate.is_file()
        ]
        if not mine:
            return
        if len(mine) > 1:
            raise CallbackError(
                f"module {name} exists twice: {mine[0]} and {mine[1]}; rename one of them"
            )
        other = _elsewhere(name, self._folders)
        if other is not None:
            raise CallbackError(
                f"module {name} exists twice: {mine[0]} and {other}; rename your own, "
                "or each would be taken for the other"
            )

    def _warn_of_hidden_open(self, module: ModuleType, rest: list[str]) -> None:
        """Warn where a callback named `open` hides the builtin from code that calls it."""
        if rest != ["open"] or getattr(module, "open", None) is builtins.open:
            return
        try:
            tree = ast.parse(inspect.getsource(module))
        except (OSError, TypeError, SyntaxError):
            return
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "open"
            ):
                warning = (
                    f"{module.__file__}:{node.lineno}: open() here calls the callback "
                    f"{module.__name__}.open, not Python's own; name the callback on_open"
                )
                if warning not in self.warnings:
                    self.warnings.append(warning)


def _origin(module: object) -> str | None:
    origin = getattr(module, "__file__", None)
    return origin if isinstance(origin, str) else None


def _elsewhere(name: str, folders: Sequence[str]) -> str | None:
    """Return where Python finds a top-level module outside the folders, or None."""
    if name in sys.builtin_module_names:
        return "Python itself"
    path = [p for p in sys.path if str(Path(p or ".").resolve()) not in folders]
    spec = importlib.machinery.PathFinder.find_spec(name, path)
    if spec is None or spec.origin is None:
        return None
    return spec.origin


def _is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling a function gives something that belongs on the event loop."""
    while isinstance(function, functools.partial):
        function = function.func
    candidates = [function]
    if not inspect.isroutine(function):
        candidates.append(getattr(type(function), "__call__", function))  # noqa: B004
    return any(
        inspect.iscoroutinefunction(candidate)
        or inspect.isasyncgenfunction(candidate)
        or asyncio.iscoroutinefunction(candidate)
        or getattr(candidate, "__tornado_coroutine__", False)
        for candidate in candidates
    )


def _check_signature(spec: FunctionSpec, event: str, function: Callable[..., Any]) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some builtins have none
    names = PARAMETERS[event]
    arguments = names if spec.args is None else spec.args
    try:
        signature.bind(*arguments, **spec.kwargs)
    except TypeError as error:
        if _is_plain(spec):
            expected = f"{spec.function}({', '.join(names)})"
        else:
            given = [*map(_shown, arguments), *(f"{k}={_shown(v)}" for k, v in spec.kwargs.items())]
            expected = f"{spec.function}({', '.join(given)})"
        raise CallbackError(
            f"{event} calls {expected}, but the function is "
            f"{spec.function.rpartition('.')[2]}{signature}: {error}"
        ) from None


def _shown(value: Any) -> str:
    return value.name if isinstance(value, Variable) else repr(value)


def _missing(name: str, owner: object, attribute: str) -> str:
    functions = [n for n in dir(owner) if not n.startswith("_") and callable(getattr(owner, n, 0))]
    near = difflib.get_close_matches(attribute, functions, 1)
    where = getattr(owner, "__file__", None)
    place = f" ({where})" if where else ""
    hint = f"; did you mean {near[0]}?" if near else ""
    if not near and functions:
        hint = f"; it has {', '.join(functions[:8])}"
    return f"{name}{place} has no {attribute}{hint}"


def _article(value: object) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
