"""Find the calls of ``open`` that a callback of that name takes away from the builtin."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def calls_of_open(module: ModuleType) -> list[int]:
    """Return the lines in which a module calls its own global name ``open``.

    Calls in the module's body before the name is bound still reach the builtin, as do calls
    in a function that binds the name itself.

    Args:
        module: A module whose source can be read; for others the answer is no line.
    """
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return []
    bound = [getattr(node, "lineno", 0) for node in _own_nodes(tree) if _binds_open(node)]
    first = min(bound, default=0)
    lines = set()
    for node, in_function in _calls(tree, in_function=False):
        if in_function or node.lineno > first:
            lines.add(node.lineno)
    return sorted(lines)


def _calls(scope: ast.AST, *, in_function: bool) -> Iterator[tuple[ast.Call, bool]]:
    """Yield the calls of the global `open` in a scope and in those inside it."""
    for node in _own_nodes(scope):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "open"
        ):
            yield node, in_function
        if isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS)):
            if not _hides_open(node):
                inner = in_function or isinstance(node, _FUNCTIONS)
                yield from _calls(node, in_function=inner)
        elif isinstance(node, ast.ClassDef):
            # What a class binds is not seen by its methods.
            yield from _calls(node, in_function=in_function)


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield what is in a scope, with the scopes inside it but not their content."""
    waiting = list(_inside(scope))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)):
            waiting.extend(_outside(node))
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the children of a scope that belong to it."""
    outside = {id(node) for node in _outside(scope)}
    for child in ast.iter_child_nodes(scope):
        if id(child) in outside:
            continue
        if isinstance(child, ast.arguments):
            yield from _arguments(child)
        else:
            yield child


def _outside(scope: ast.AST) -> list[ast.AST]:
    """Return the children of a scope that are evaluated around it."""
    outside: list[ast.AST] = list(getattr(scope, "decorator_list", ()))
    if isinstance(scope, _FUNCTIONS):
        arguments = scope.args
        outside += [*arguments.defaults, *(d for d in arguments.kw_defaults if d is not None)]
    elif isinstance(scope, ast.ClassDef):
        outside += [*scope.bases, *scope.keywords]
    return outside


def _arguments(arguments: ast.arguments) -> Iterator[ast.arg]:
    yield from (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    yield from (arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None)


def _hides_open(scope: ast.AST) -> bool:
    nodes = list(_own_nodes(scope))
    if any(isinstance(node, ast.Global) and "open" in node.names for node in nodes):
        return False
    return any(_binds_open(node) for node in nodes)


def _binds_open(node: ast.AST) -> bool:
    """Say whether a node gives the name ``open`` a value in its scope."""
    match node:
        case ast.Name(id="open", ctx=ast.Store() | ast.Del()):
            return True
        case ast.FunctionDef(name="open") | ast.AsyncFunctionDef(name="open"):
            return True
        case ast.ClassDef(name="open") | ast.ExceptHandler(name="open") | ast.arg(arg="open"):
            return True
        case ast.MatchAs(name="open") | ast.MatchStar(name="open"):
            return True
        case ast.Import() | ast.ImportFrom():
            return any((alias.asname or alias.name) == "open" for alias in node.names)
    return False
