"""Find what a connection keeps that may be used in one thread only, as `sqlite3`'s connections.

A connection that keeps such a thing waits for its thread, however long that is held by another's
call; one that does not may go on in another thread. See `pool.ThreadPool`.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from types import (
    BuiltinMethodType,
    CodeType,
    FunctionType,
    GeneratorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import TYPE_CHECKING, Any

from .advice import WRONG_THREAD

if TYPE_CHECKING:
    from ..connection.connection import Connection

LOOKED_AT = 250
"""Objects that are looked at, at most; it is done only where a thread is held by another's call."""

OF_ONE = 100
"""Objects that are looked at in one container, at most."""

_LEAVES = frozenset((str, bytes, bytearray, int, float, bool, complex, type(None)))
_CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset, deque)
_CODE = (type, ModuleType, CodeType)


def is_bound(connection: Connection, args: Iterable[Any] = ()) -> bool:
    """Say whether a connection keeps what only the thread that made it can use.

    Looked at are its state, what dicts of the callback's module have under the connection or its
    id, and the variables of a generator that is suspended.

    Args:
        connection: Whose turn it is; none of its callbacks runs.
        args: What the next call gets: a generator may be among it.
    """
    sqlite3: Any = sys.modules.get("sqlite3")
    if sqlite3 is None:
        return False
    try:
        return any(_is_of_one_thread(thing, sqlite3) for thing in _reach(connection, args))
    except Exception:  # it is changed while we look, by another thread that has it, too
        return True


def _is_of_one_thread(thing: Any, sqlite3: Any) -> bool:
    if issubclass(type(thing), sqlite3.Cursor):
        thing = sqlite3.Cursor.connection.__get__(thing)
    if not issubclass(type(thing), sqlite3.Connection):
        return False
    try:
        # It looks where it is called, and costs nothing. With check_same_thread=False it may be
        # called from here, and so from any thread.
        sqlite3.Connection.cursor(thing)
    except sqlite3.ProgrammingError as error:
        return WRONG_THREAD in str(error)
    return False


def _reach(connection: Connection, args: Iterable[Any]) -> Iterator[Any]:
    """Return what can be reached, near things first; no code of the user's is run."""
    waiting: deque[Any] = deque(_kept_by(connection))
    for thing in args:
        if type(thing) is GeneratorType:
            waiting.append(thing)
    seen: set[int] = set()
    while waiting and len(seen) < LOOKED_AT:
        thing = waiting.popleft()
        kind = type(thing)  # not isinstance(), which asks an object for its `__class__`
        if kind in _LEAVES or id(thing) in seen:
            continue
        seen.add(id(thing))
        if thing is connection or issubclass(kind, _CODE):
            continue
        # Histories are long lists of dicts of texts: the common case, made short.
        if kind is dict:
            inside: Iterator[Any] = iter(thing.values())
        elif kind is list or kind is tuple:
            inside = iter(thing)
        else:
            yield thing
            inside = _inside(thing, kind)
        waiting.extend([one for one in islice(inside, OF_ONE) if type(one) not in _LEAVES])


def _inside(thing: Any, kind: type[Any]) -> Iterator[Any]:
    """Return what an object refers to, as its class says and no code of the user's."""
    if kind is FunctionType:
        for cell in thing.__closure__ or ():
            with suppress(ValueError):  # it is empty
                yield cell.cell_contents
    elif kind in (MethodType, BuiltinMethodType):
        yield thing.__self__
    elif kind is GeneratorType:
        yield from thing.gi_frame.f_locals.values() if thing.gi_frame is not None else ()
    elif kind is partial:
        yield from (thing.func, thing.args, thing.keywords)
    if issubclass(kind, dict):
        yield from dict.values(thing)
    for container in _CONTAINERS:
        if issubclass(kind, container):
            yield from container.__iter__(thing)
    for base in kind.__mro__:
        if "__slots__" in base.__dict__:
            for member in base.__dict__.values():
                if type(member) is MemberDescriptorType:
                    with suppress(AttributeError):  # it has not been set
                        yield member.__get__(thing)
    if kind.__dictoffset__:
        inside = object.__getattribute__(thing, "__dict__")
        if type(inside) is dict:
            yield from inside.values()


def _kept_by(connection: Connection) -> Iterator[Any]:
    yield from islice(dict.values(connection.__dict__), LOOKED_AT)
    for callback in tuple(connection.entry.callbacks.values()):
        names = getattr(inspect.unwrap(callback.call), "__globals__", None)
        if type(names) is not dict:
            continue
        for kept in tuple(names.values()):
            if issubclass(type(kept), dict) and kept is not names:
                for key in (connection, connection.id):
                    if (found := dict.get(kept, key)) is not None:
                        yield found
