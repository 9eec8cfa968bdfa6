"""Find what a connection keeps that may be used in one thread only, as `sqlite3`'s connections.

A connection that keeps such a thing waits for its thread, however long that is held by another's
call; one that does not may go on in another thread. See `pool.ThreadPool`.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from types import CodeType, FunctionType, GeneratorType, ModuleType
from typing import TYPE_CHECKING, Any

from ..advice import WRONG_THREAD

if TYPE_CHECKING:
    from ..connection import Connection

LOOKED_AT = 500
"""Objects that are looked at, at most; it is done only where a thread is held by another's call."""

_LEAVES = (str, bytes, bytearray, int, float, complex, type(None), range, memoryview)
_CONTAINERS = (list, tuple, set, frozenset, deque)
_CODE = (type, ModuleType, FunctionType, CodeType)


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
        if type(thing) is GeneratorType and thing.gi_frame is not None:
            waiting.extend(thing.gi_frame.f_locals.values())
    seen: set[int] = set()
    while waiting and len(seen) < LOOKED_AT:
        thing = waiting.popleft()
        kind = type(thing)  # not isinstance(), which asks an object for its `__class__`
        if issubclass(kind, _LEAVES) or id(thing) in seen:
            continue
        seen.add(id(thing))
        if thing is connection or issubclass(kind, _CODE):
            continue
        yield thing
        if issubclass(kind, dict):
            waiting.extend(islice(dict.values(thing), LOOKED_AT))
        elif kind in _CONTAINERS:
            waiting.extend(islice(thing, LOOKED_AT))
        elif kind.__dictoffset__:
            inside = object.__getattribute__(thing, "__dict__")
            if type(inside) is dict:
                waiting.extend(islice(inside.values(), LOOKED_AT))


def _kept_by(connection: Connection) -> Iterator[Any]:
    yield from islice(dict.values(connection.__dict__), LOOKED_AT)
    for callback in tuple(connection._route.callbacks.values()):
        names = getattr(inspect.unwrap(callback.call), "__globals__", None)
        if type(names) is not dict:
            continue
        for kept in tuple(names.values()):
            if issubclass(type(kept), dict) and kept is not names:
                for key in (connection, connection.id):
                    if (found := dict.get(kept, key)) is not None:
                        yield found
