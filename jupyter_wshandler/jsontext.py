"""JSON text of whatever a bot wants to send: numbers of NumPy, dates, dataclasses, models.

Nothing here imports the libraries whose values it knows: who has one of their objects has
imported them already.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections import deque
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

import msgspec

DEPTH = 200
"""Levels of nesting that a message may have where it is not made of plain dicts and lists."""

ADVICE = "turn it into str, a number, a list or a dict first"


class _Unknown(Exception):
    """Say that an object is none of those that have a JSON form."""


def to_json(value: object) -> str:
    """Return a value as compact JSON text (RFC 8259).

    Takes what `json.dumps` takes, subclasses and the keys None, True and 1.5 included, and also
    NumPy's scalars and arrays, pandas' values, series and tables, dates and times (ISO 8601),
    Decimal and UUID (as text), Path, Enum (its value), bytes (base64), sets, dataclasses, and
    objects of attrs, msgspec and pydantic. NaN and the infinities, which JSON does not have,
    become null.

    Args:
        value: What to encode.

    Raises:
        TypeError: Something in it has no JSON form; says where (``$.rows[3].when``), its type,
            and what to do.
        ValueError: It contains itself, or is nested too deeply.
    """
    try:
        return _ENCODER.encode(value).decode()
    except (_Unknown, TypeError, UnicodeEncodeError, RecursionError):
        # The careful way, which knows more kinds of keys, and can say where it is stuck.
        return json.dumps(_plain(value, "$", 0), separators=(",", ":"))


def _plain(value: Any, path: str, depth: int) -> Any:
    """Return a value as `json.dumps` takes it; raise with the path to what has no JSON form."""
    if depth > DEPTH:
        raise ValueError(
            f"a message that contains itself, or is nested over {DEPTH} levels deep"
        ) from None
    kind = type(value)
    if value is None or kind is str or kind is bool or kind is int:
        return value
    if kind is float:
        return value if value - value == 0.0 else None
    if isinstance(value, Mapping):
        return {
            _key(key, path): _plain(entry, f"{path}{_step(key)}", depth + 1)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(entry, f"{path}[{index}]", depth + 1) for index, entry in enumerate(value)]
    try:
        simpler = _simpler(value)
    except _Unknown:
        simpler = _by_msgspec(value, path)
    return _plain(simpler, path, depth + 1)


def _by_msgspec(value: Any, path: str) -> Any:
    """Return one level of what msgspec knows: dataclasses, attrs, structs, dates, bytes."""
    strangers = _Strangers(value)
    try:
        found = msgspec.to_builtins(value, enc_hook=strangers.mark, str_keys=False)
    except (_Unknown, TypeError):
        raise TypeError(
            f"{path} is of type {_name(type(value))}, which has no JSON form; {ADVICE}"
        ) from None
    return strangers.put_back(found) if strangers.found else found


class _Strangers:
    """Keep the objects that msgspec does not know inside one that it does, until the path to
    them is known.

    msgspec encodes again what its hook returns, so a mark of plain text stands for each.

    Args:
        outer: The object that they are in.
    """

    def __init__(self, outer: object) -> None:
        self._outer = outer
        self._prefix = f"\0{secrets.token_hex(8)}:"
        self.found: dict[str, Any] = {}

    def mark(self, value: Any) -> str:
        """Return the mark of an object."""
        if value is self._outer:
            raise _Unknown
        mark = f"{self._prefix}{len(self.found)}"
        self.found[mark] = value
        return mark

    def put_back(self, value: Any) -> Any:
        """Return what msgspec made, with the objects where their marks were."""
        if isinstance(value, str):
            return self.found.get(value, value)
        if isinstance(value, (list, tuple, Set)):
            return [self.put_back(entry) for entry in value]
        if isinstance(value, dict):
            return {self.put_back(key): self.put_back(entry) for key, entry in value.items()}
        return value


def _key(key: Any, path: str) -> Any:
    """Return a key as `json.dumps` takes it."""
    if isinstance(key, Enum):
        key = key.value
    for kind in (str, bool, int, float):
        if isinstance(key, kind):
            return kind.__str__(key) if kind is str else kind(key)
    if key is None:
        return None
    try:
        simpler = _simpler(key)
    except _Unknown:
        try:
            simpler = msgspec.to_builtins(key)
        except TypeError:
            simpler = None
    if type(simpler) in (str, bool, int, float):
        return simpler
    raise TypeError(
        f"{path} has a key of type {_name(type(key))}; the keys of a JSON object are text: "
        "use str keys"
    ) from None


def _step(key: Any) -> str:
    """Return how a path goes on to what is under a key, without giving long keys away whole."""
    if key is None or isinstance(key, bool):
        return f".{json.dumps(key)}"
    text = str(key) if isinstance(key, (str, int, float)) else type(key).__name__
    text = text if len(text) <= 40 else text[:39] + "…"
    return f".{text}" if text.isidentifier() else f"[{text!r}]"


def _name(kind: type) -> str:
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


# ---- one step towards what JSON has ------------------------------------------------------------


def _simpler(value: Any) -> Any:
    """Return what stands for an object that msgspec does not know; called by its encoder, too.

    Raises:
        _Unknown: Nothing does.
    """
    if value is None or isinstance(value, bool):  # as a key; what it is called there is not 0 or 1
        raise _Unknown
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str.__str__(value)
    found = _of_libraries(value)
    if found is not None:
        return found[0]
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (datetime, date, time)):  # of a subclass, such as pandas.Timestamp
        # NaT is a datetime that is not equal to itself.
        return value.isoformat().replace("+00:00", "Z") if value == value else None
    if isinstance(value, timedelta) and type(value) is not timedelta:
        return timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, (PurePath, Decimal, UUID)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value.items())
    if isinstance(value, (deque, range, Set)):
        return list(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    raise _Unknown


def _of_libraries(value: Any) -> tuple[Any] | None:
    """Return in a tuple what stands for an object of NumPy, pandas, pydantic or their like."""
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(value, (numpy.generic, numpy.ndarray)):
        return (_of_numpy(numpy, value),)
    if pandas is not None:
        if value is pandas.NA or value is pandas.NaT:
            return (None,)
        if isinstance(value, pandas.DataFrame):
            return (value.to_dict("records"),)
        if isinstance(value, (pandas.Period, pandas.Interval)):
            return (str(value),)
    kind = type(value)
    dump = getattr(kind, "model_dump", None)  # pydantic
    if callable(dump) and hasattr(kind, "model_fields"):
        return (value.model_dump(),)
    # Series and indexes of pandas and polars, tensors of torch and jax.
    for name in ("tolist", "to_list"):
        if hasattr(kind, name) and (hasattr(kind, "__array__") or hasattr(kind, "__dlpack__")):
            return (getattr(value, name)(),)
    return None


def _of_numpy(numpy: Any, value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "mM":  # nanoseconds would become bare numbers
        value = value.astype(f"{'datetime' if kind == 'M' else 'timedelta'}64[us]")
    elif value.dtype == numpy.longdouble:  # its `item` is itself
        value = value.astype(float)
    return value.tolist()


_ENCODER = msgspec.json.Encoder(enc_hook=_simpler)
