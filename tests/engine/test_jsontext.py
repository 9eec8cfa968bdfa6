"""JSON text of whatever a bot wants to send."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import subprocess
import sys
import types
import uuid
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest

from jupyter_wshandler.engine.jsontext import to_json


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "shown to people"


class Whole(int):
    def __repr__(self) -> str:
        return "shown to people"


class Real(float):
    def __repr__(self) -> str:
        return "shown to people"


class Colour(enum.Enum):
    RED = "red"
    PATH = pathlib.PurePosixPath("/red")


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Row:
    when: Any = None


class Struct(msgspec.Struct, rename="camel", tag=True):
    first_name: Any = None


class Model(pydantic.BaseModel):
    when: dt.datetime
    size: float = 1.5


Pair = collections.namedtuple("Pair", "a b")

LIKE_JSON_DUMPS = [
    Text("x"),
    Whole(3),
    Real(1.5),
    collections.OrderedDict(a=[1]),
    np.float64(1.5),
    np.str_("a"),
    Level.HIGH,
    Pair(1, 2),
    10**30,
    {None: 1, True: 2, False: 3, 1.5: 4, 7: 5, Text("t"): 6, np.float64(2.5): 7},
    {"lone": "\ud800", "more": [Text("\udfff")]},
    {"nested": ({"deep": [Whole(1), (Real(2.5), Text("é"))]},)},
]


@pytest.mark.parametrize("value", LIKE_JSON_DUMPS, ids=repr)
def test_what_json_dumps_takes_means_the_same(value: object) -> None:
    assert json.loads(to_json(value)) == json.loads(json.dumps(value))
    assert json.loads(to_json([value])) == json.loads(json.dumps([value]))


BEYOND = [
    (np.int64(3), 3),
    (np.float32(1.5), 1.5),
    (np.float16(2), 2.0),
    (np.longdouble(1.5), 1.5),
    (np.bool_(True), True),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(5), 5),
    (np.array([1.5, np.nan, np.inf]), [1.5, None, None]),
    (np.array([np.longdouble(2)]), [2.0]),
    (np.array([(1, "a")], dtype=[("x", "i4"), ("y", "U2")]), [[1, "a"]]),
    (np.array([dt.date(2026, 1, 2), Row(1)], dtype=object), ["2026-01-02", {"when": 1}]),
    (np.datetime64("2026-01-02T03:04:05.5", "ns"), "2026-01-02T03:04:05.500000"),
    (np.array(["2026-01-02", "NaT"], "M8[ns]"), ["2026-01-02T00:00:00", None]),
    (np.timedelta64(90, "s"), "PT90S"),
    (pd.Timestamp("2026-01-02", tz="UTC"), "2026-01-02T00:00:00Z"),
    (pd.Timestamp("2026-01-02T03:04:05.123456789"), "2026-01-02T03:04:05.123456789"),
    (pd.NaT, None),
    (pd.NA, None),
    (pd.Timedelta("90s"), "PT90S"),
    (pd.Period("2026-01"), "2026-01"),
    (pd.Series([1, 2]), [1, 2]),
    (pd.Index(["a"]), ["a"]),
    (pd.Categorical(["a", "b"]), ["a", "b"]),
    (
        pd.DataFrame({"a": [1.5, np.nan], "t": pd.to_datetime(["2026", "2027"])}),
        [{"a": 1.5, "t": "2026-01-01T00:00:00"}, {"a": None, "t": "2027-01-01T00:00:00"}],
    ),
    (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "2026-01-02T00:00:00Z"),
    (dt.date(2026, 1, 2), "2026-01-02"),
    (dt.time(1, 2), "01:02:00"),
    (decimal.Decimal("1.10"), "1.10"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/x/y"), "/x/y"),
    (Colour.RED, "red"),
    (Colour.PATH, "/red"),
    (Row(Row(np.int8(1))), {"when": {"when": 1}}),
    (Struct(np.int8(1)), {"type": "Struct", "firstName": 1}),
    (Struct({None: Row(np.array([1]))}), {"type": "Struct", "firstName": {"null": {"when": [1]}}}),
    (
        Model(when=dt.datetime(2026, 1, 2, tzinfo=dt.UTC)),
        {"when": "2026-01-02T00:00:00Z", "size": 1.5},
    ),
    ({1, 2}, [1, 2]),
    (collections.deque([1]), [1]),
    (range(3), [0, 1, 2]),
    ({"a": 1}.keys(), ["a"]),
    (collections.ChainMap({"a": 1}), {"a": 1}),
    (types.MappingProxyType({"a": np.int8(1)}), {"a": 1}),
    ([b"abc", bytearray(b"abc"), memoryview(b"abc")], ["YWJj"] * 3),
    (float("nan"), None),
    ({Colour.RED: 1, np.int64(3): 2, dt.date(2026, 1, 2): 3}, {"red": 1, "3": 2, "2026-01-02": 3}),
    ({uuid.UUID(int=1): 1}, {"00000000-0000-0000-0000-000000000001": 1}),
]


@pytest.mark.parametrize(("value", "expected"), BEYOND, ids=lambda value: repr(value)[:40])
def test_a_value_of_the_field_has_a_json_form_alone_and_inside_of_others(
    value: object, expected: object
) -> None:
    assert json.loads(to_json(value)) == expected
    assert json.loads(to_json({"rows": [value]})) == {"rows": [expected]}
    # One odd key makes the whole message go the careful way, which has to mean the same.
    assert json.loads(to_json({None: Row((value,))})) == {"null": {"when": [expected]}}


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("must not be asked")

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"rows": [1, 2, 3, {"when": 1j}]}, "$.rows[3].when is of type complex"),
        ({"rows": [Row(Row([Hostile()]))]}, "$.rows[0].when.when[0] is of type"),
        ({"two words": {7: Hostile}}, "$['two words']['7'] is of type type"),
        ([Struct(print)], "$[0].firstName is of type builtin_function_or_method"),
        ({"f": lambda: 1}, "$.f is of type function"),
        ((x for x in "ab"), "the value is of type generator"),
        (np.complex64(1), "the value is of type complex"),
        (pd.DataFrame({"a": [1j]}), "$[0].a is of type complex"),
        ({"x": {(1, 2): 3}}, "$.x has a key of type tuple; the keys of a JSON object are text"),
        ({"x": [{(): 1}]}, "$.x[0] has a key of type tuple"),
        ({"k y" * 5000: 1j}, "$['k yk"),
    ],
    ids=lambda value: None if isinstance(value, str) else "value",
)
def test_what_has_no_json_form_is_named_by_path_and_type(value: object, words: str) -> None:
    with pytest.raises(TypeError) as caught:
        to_json(value)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "turn it into" in str(caught.value) or "use str keys" in str(caught.value)


class Figure:
    def savefig(self, file: object, **options: object) -> None: ...


class Axes:
    def get_figure(self) -> Figure: ...

    def plot(self) -> None: ...


class Image:
    def save(self, file: object, **options: object) -> None: ...

    def thumbnail(self, size: object) -> None: ...


@pytest.mark.parametrize(
    ("picture", "call"),
    [
        (Figure(), "fig.savefig(buffer, format='png')"),
        (Axes(), "ax.figure.savefig(buffer, format='png')"),
        (Image(), "picture.save(buffer, format='PNG')"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_a_picture_is_refused_with_how_its_bytes_are_made(
    picture: object, call: str, inside: bool
) -> None:
    with pytest.raises(TypeError) as caught:
        to_json({"plot": picture} if inside else picture)
    words = str(caught.value)
    assert words.startswith("$.plot is of type" if inside else "the value is of type")
    assert f"a picture is sent as PNG bytes: buffer = io.BytesIO(), {call}" in words


@dataclasses.dataclass
class Node:
    name: str
    next: Any = None
    more: Any = None


def _cycles() -> list[tuple[object, str]]:
    around: list[object] = []
    around.append({"again": around})
    table: dict[object, object] = {None: 1}
    table["again"] = table
    inner: dict[str, object] = {"a": 1}
    inner["rows"] = [0, inner]
    node = Node("x", next=Node("y"))
    node.next.more = [node]
    one, two = {}, {}
    one["two"], two["one"] = two, one
    frame = pd.DataFrame({"a": [1]}, dtype=object)
    array = np.array([None, 1], dtype=object)
    array[0] = {"array": array}
    frame.at[0, "a"] = frame
    return [
        (around, "$[0].again is $ again"),
        (table, "$.again is $ again"),
        ({"deep": inner}, "$.deep.rows[1] is $.deep again"),
        ({"list": node}, "$.list.next.more[0] is $.list again"),
        (one, "$.two.one is $ again"),
        (array, "$[0].array is $ again"),
        (frame, "$[0].a is $ again"),
    ]


@pytest.mark.parametrize(("value", "words"), _cycles(), ids=lambda v: v if type(v) is str else "v")
def test_what_contains_itself_is_refused_with_the_path_to_it(value: object, words: str) -> None:
    with pytest.raises(ValueError, match="a message that contains itself has no end") as caught:
        to_json(value)
    assert str(caught.value).startswith(words)


def test_one_object_at_two_places_is_no_cycle() -> None:
    shared = {"a": [1]}
    value = {None: [shared, shared, Row(shared)]}
    assert json.loads(to_json(value))["null"] == [{"a": [1]}, {"a": [1]}, {"when": {"a": [1]}}]


def test_a_range_of_any_length_takes_no_memory() -> None:
    assert to_json(range(0, 8, 4)) == "[0,4]"
    for value in (range(10**12), {"a": [range(10**8)]}, {range(10**12): 1}):
        with pytest.raises((ValueError, TypeError), match="range of more than 1000000 numbers"):
            to_json(value)


def test_what_is_nested_too_deeply_is_told_with_the_beginning_of_its_path() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    nodes = Node("end")
    for _ in range(20_000):
        nodes = Node("x", next=nodes)
    for value, start in ((deep, "$[0][0]"), ({"n": nodes}, "$.n.next.next")):
        with pytest.raises(ValueError, match="is nested over 200 levels deep") as caught:
            to_json(value)
        assert str(caught.value).startswith(start)
        assert len(str(caught.value)) < 300


class Linked(pydantic.BaseModel):
    next: "Linked | None" = None


class Refusing:
    dtype = None

    def __array__(self) -> None: ...

    def tolist(self) -> None:
        raise KeyError("no")


def test_what_refuses_itself_is_named_by_its_path() -> None:
    model = Linked()
    model.next = model
    for value, words in (
        ({"m": [model]}, "$.m[0] is of type"),
        ({"m": Refusing()}, "$.m is of type"),
    ):
        with pytest.raises(ValueError, match="which cannot be turned into JSON: ") as caught:
            to_json(value)
        assert str(caught.value).startswith(words)
        assert caught.value.__cause__ is not None


HUGE = 10**5000


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (HUGE, "the value is"),
        (-HUGE, "the value is"),
        ({"rows": [1, HUGE]}, "$.rows[1] is"),
        ([Row(HUGE)], "$[0].when is"),
        ({"x": Whole(HUGE)}, "$.x is"),
        (np.array([HUGE], dtype=object), "$[0] is"),
        ({"x": {HUGE: 1}}, "a key of $.x is"),
        ({None: HUGE}, "$.null is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_a_whole_number_that_python_does_not_write_is_named_by_its_path(value, place) -> None:
    with pytest.raises(ValueError, match="digits, of 4300 at most") as caught:
        to_json(value)
    assert str(caught.value).startswith(place)
    assert "about 5001 digits" in str(caught.value)
    assert len(str(caught.value)) < 300


BIG = {"text": "x" * 10_000}


@pytest.mark.parametrize("more", [{}, BIG], ids=["small", "big"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1: 2, "1": 3}, "$.v has two keys that are the same in JSON, 1 and '1'"),
        ({"1.5": 2, 1.5: 3}, "'1.5' and 1.5: both are '1.5'"),
        ({None: 2, "null": 3}, "None and 'null': both are 'null'"),
        ({True: 2, "true": 3}, "True and 'true': both are 'true'"),
        ([0, {"a": {7: 1, "7": 2}}], "$.v[1].a has two keys"),
        (Row({1: 2, "1": 3}), "$.v.when has two keys"),
        (Struct([{-1: 2, "-1": 3}]), "$.v.firstName[0] has two keys"),
        ({np.int64(1): 1, "1": 3}, "one of type numpy.int64 and '1'"),
        ({dt.date(2026, 1, 2): 1, "2026-01-02": 3}, "one of type datetime.date and '2026-01-02'"),
        (types.MappingProxyType({1: 2, "1": 3}), "1 and '1'"),
        (pd.Series([{1: 2, "1": 3}]), "$.v[0] has two keys"),
        (pd.DataFrame({"a": [{1: 2, "1": 3}]}), "$.v[0].a has two keys"),
        ({uuid.UUID(int=1): 1, str(uuid.UUID(int=1)): 2}, "one of type uuid.UUID and"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
def test_keys_that_become_the_same_in_json_are_refused_and_none_is_lost(value, words, more) -> None:
    with pytest.raises(ValueError, match="leave one out, or name it differently") as caught:
        to_json({"v": value, **more})
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


def test_keys_of_one_kind_stay_what_they_are() -> None:
    value = {"ints": {n: n for n in range(2000)}, "dates": {dt.date(2026, 1, 2): 1, "x": 2}}
    assert json.loads(to_json(value)) == json.loads(
        json.dumps({"ints": value["ints"], "dates": {"2026-01-02": 1, "x": 2}})
    )


@pytest.mark.parametrize("columns", [["a", "a"], ["a", "b", "a"], [1, "1"], [None, "null"]])
def test_a_table_with_two_columns_of_one_name_is_refused_with_its_path(columns: list) -> None:
    frame = pd.DataFrame([range(len(columns))] * 2, columns=pd.Index(columns, dtype=object))
    name = json.loads(json.dumps({columns[0]: 0})).popitem()[0]
    for value, place in (
        (frame, "$"),
        ({"tables": [0, frame]}, "$.tables[1]"),
        ([Row(frame)], "$[0].when"),
    ):
        with pytest.raises(ValueError, match=f"two columns that are '{name}' in JSON") as caught:
            to_json(value)
        assert str(caught.value).startswith(f"{place} is a table")


def test_none_of_the_libraries_is_loaded_for_values_that_are_not_theirs() -> None:
    program = (
        "import sys, decimal\n"
        "from jupyter_wshandler.engine.jsontext import to_json\n"
        "to_json({None: [decimal.Decimal(1), {1, 2}]})\n"
        "print([n for n in ('numpy', 'pandas', 'pydantic', 'attr') if n in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == "[]\n"
