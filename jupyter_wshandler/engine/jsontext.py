"""JSON text of whatever a bot wants to send: numbers of NumPy, dates, dataclasses, models.

Nothing here imports the libraries whose values it knows: who has one of their objects has
imported them already.
"""

from __future__ import annotations

import dataclasses
import json
import re
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

from .jsonwords import advice_for, cut, shown, step_to, subject, type_name

DEPTH = 200
"""Levels of nesting that a message may have where it is not made of plain dicts and lists."""

RANGE = 1_000_000
"""Numbers of a range that are sent: it holds none of them, and could be of any length."""

SMALL = 4096
"""Bytes of a message up to which looking at every key in it costs less than sending it."""

_SCALARS = frozenset({str, int, float, bool, type(None)})

_DISTINCT = frozenset({str, int, float, date, datetime, UUID})
"""Kinds of keys of which two different ones are different in JSON, too."""

_key_like_a_number = re.compile(rb'"[-\d][^"\\]*":').search
"""Finds a key in JSON text that may be a number, a date or the like of the value's."""


class _Unknown(Exception):
    """An object that is none of those that have a JSON form."""


class _Unfit(ValueError):
    """The reason why an object of a kind with a JSON form has none; the path goes before."""


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
        ValueError: It contains itself or is nested too deeply, two keys of it are the same in JSON
            (1 and "1"), or a whole number has more digits than Python writes; says where.
    """
    try:
        text = _ENCODER.encode(value)
    except Exception:  # noqa: S110 - whatever it is comes again, and with its path
        pass
    else:
        # Of two keys that are the same in JSON one would be lost. To look at each costs several
        # times what encoding does, so the keys of large messages are looked at in the text.
        if not (len(text) <= SMALL or _key_like_a_number(text)) or _keeps_its_keys(value):
            return text.decode()
    # The careful way, which knows more kinds of keys, and can say where it is stuck.
    return json.dumps(_plain(value, "$", {}), separators=(",", ":"))


def _keeps_its_keys(value: Any) -> bool:
    """Say whether no two keys can become the same: in each dict all are of one kind."""
    waiting = [value]
    for one in waiting:  # which grows meanwhile
        kind = type(one)
        if kind is dict or isinstance(one, Mapping):
            kinds = set(map(type, one))
            if len(kinds) > 1 or not kinds <= _DISTINCT:
                return False
            parts = one.values()
        elif kind is list or kind is tuple:
            parts = one
        else:
            parts = [part for _, part in _parts(one)]
        if not _SCALARS.issuperset(map(type, parts)):
            waiting += [part for part in parts if type(part) not in _SCALARS]
    return True


def _parts(value: Any) -> list[tuple[str, Any]]:
    """Return what is in an object, each with its step in a path; nothing of what has no parts."""
    if isinstance(value, Mapping):
        return [(step_to(key), entry) for key, entry in value.items()]
    if isinstance(value, (list, tuple, Set, deque)):
        return [(f"[{index}]", entry) for index, entry in enumerate(value)]
    kind = type(value)
    names: list[str] = []
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    elif isinstance(value, msgspec.Struct):
        names = list(value.__struct_fields__)
    elif hasattr(kind, "__attrs_attrs__"):
        names = [field.name for field in kind.__attrs_attrs__]
    elif hasattr(kind, "model_fields"):
        names = list(kind.model_fields)
    elif hasattr(kind, "tolist") and _holds_objects(value):
        return [("", value.tolist())]
    elif hasattr(kind, "to_dict") and hasattr(kind, "items"):  # a table of pandas
        return [("", column.tolist()) for _, column in value.items() if _holds_objects(column)]
    return [(f".{name}", getattr(value, name, None)) for name in names]


def _holds_objects(value: Any) -> bool:
    return bool(getattr(getattr(value, "dtype", None), "hasobject", False))


def _plain(value: Any, path: str, above: dict[int, str]) -> Any:
    """Return a value as `json.dumps` takes it; raise with the path to what has no JSON form.

    Args:
        value: What to return.
        path: Where it is in the message.
        above: The paths of the objects that it is in, by their `id`.
    """
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        _check_digits(value, path)
        return value
    if kind is float:
        return value if value - value == 0.0 else None
    _check_nesting(value, path, above)
    above[id(value)] = path
    try:
        if isinstance(value, Mapping):
            return _plain_mapping(value, path, above)
        if isinstance(value, (list, tuple)):
            return [_plain(entry, f"{path}[{i}]", above) for i, entry in enumerate(value)]
        try:
            simpler = _simpler(value)
        except _Unknown:
            simpler = _by_msgspec(value, path, above)
        except _Unfit as error:
            raise ValueError(f"{path} {error}") from None
        except Exception as error:
            # Its own code has said no: a model of pydantic that contains itself, say.
            why = cut(f"{type(error).__name__}: {error}", 100)
            raise ValueError(
                f"{subject(path)} is of type {type_name(type(value))}, which cannot be turned into "
                f"JSON: {why}"
            ) from error
        return _plain(simpler, path, above)
    finally:
        above.pop(id(value), None)


def _plain_mapping(value: Mapping[Any, Any], path: str, above: dict[int, str]) -> dict[Any, Any]:
    plain: dict[Any, Any] = {}
    texts: dict[str, Any] = {}
    for key, entry in value.items():
        simple = _key(key, path)
        text = _key_text(simple, path)
        if text in texts:
            raise ValueError(
                f"{subject(path)} has two keys that are the same in JSON, {shown(texts[text])} "
                f"and {shown(key)}: both are {cut(text)!r}; leave one out, or name it differently"
            )
        texts[text] = key
        plain[simple] = _plain(entry, f"{path}{step_to(key)}", above)
    return plain


def _check_nesting(value: Any, path: str, above: dict[int, str]) -> None:
    """Refuse what contains itself, and what is nested too deeply."""
    if id(value) in above:
        raise ValueError(
            f"{cut(path, 150)} is {cut(above[id(value)], 100)} again, and a message that "
            "contains itself has no end; leave it out"
        ) from None
    if len(above) > DEPTH:
        raise ValueError(
            f"{cut(path, 150)} is nested over {DEPTH} levels deep; send it in a flatter form"
        ) from None


def _check_digits(value: int, path: str) -> None:
    """Refuse a whole number that Python does not write."""
    try:
        int.__repr__(value)
    except ValueError:
        digits = int(value.bit_length() * 0.30103) + 1
        raise ValueError(
            f"{subject(path)} is a whole number of about {digits} digits, of "
            f"{sys.get_int_max_str_digits()} at most; send it as text (hex() writes it), or as a "
            "float"
        ) from None


def _key_text(key: Any, path: str) -> str:
    """Return a key as it is in JSON text."""
    if isinstance(key, str):
        return key
    if type(key) is int:
        _check_digits(key, f"a key of {path}")
    return json.dumps(key)


def _by_msgspec(value: Any, path: str, above: dict[int, str]) -> Any:
    """Return one level of what msgspec knows: dataclasses, attrs, structs, dates, bytes."""
    strangers = _Strangers(value)
    try:
        found = msgspec.to_builtins(value, enc_hook=strangers.mark, str_keys=False)
    except RecursionError:
        _find_the_depth(value, path, above)
        raise
    except (_Unknown, TypeError):
        raise TypeError(
            f"{subject(path)} is of type {type_name(type(value))}, which has no JSON form; "
            f"{advice_for(value)}"
        ) from None
    return strangers.put_back(found) if strangers.found else found


def _find_the_depth(value: Any, path: str, above: dict[int, str]) -> None:
    """Raise with the path to what contains itself or is nested too deeply in an object."""
    for step, part in _parts(value):
        if type(part) in _SCALARS:
            continue
        _check_nesting(part, path + step, above)
        above[id(part)] = path + step
        try:
            _find_the_depth(part, path + step, above)
        finally:
            above.pop(id(part), None)


class _Strangers:
    """The objects that msgspec does not know inside one that it does, until the path to
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
        f"{subject(path)} has a key of type {type_name(type(key))}; the keys of a JSON object are "
        "text: use str keys"
    ) from None


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
    if isinstance(value, range) and value[RANGE:]:
        raise _Unfit(
            f"is a range of more than {RANGE} numbers; send its start and stop, or parts of it"
        )
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
            return (_of_table(value),)
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


def _of_table(table: Any) -> Any:
    """Return the rows of a pandas table as dicts; of two columns of one name one would be lost."""
    names: set[str] = set()
    for column in table.columns:
        try:
            name = _key_text(_key(column, ""), "")
        except (TypeError, ValueError):  # the rows have the same keys, and their paths
            break
        if name in names:
            raise _Unfit(
                f"is a table with two columns that are {cut(name)!r} in JSON; name one of them "
                'differently, or send `table.to_dict("split")`'
            )
        names.add(name)
    return table.to_dict("records")


def _of_numpy(numpy: Any, value: Any) -> Any:
    kind = value.dtype.kind
    if kind in "mM":  # nanoseconds would become bare numbers
        value = value.astype(f"{'datetime' if kind == 'M' else 'timedelta'}64[us]")
    elif value.dtype == numpy.longdouble:  # its `item` is itself
        value = value.astype(float)
    return value.tolist()


_ENCODER = msgspec.json.Encoder(enc_hook=_simpler)
