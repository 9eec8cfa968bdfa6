"""What a function's annotation makes of a message, or says of one that does not fit."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from functions.test_resolve import HANDLER, Bots

from jupyter_wshandler.errors import MessageRefused
from jupyter_wshandler.functions.decoders import shape_of
from jupyter_wshandler.functions.typed import answered_by, decoding


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Ask(msgspec.Struct, tag="ask"):
    text: str


class Vote(msgspec.Struct, tag="vote"):
    poll: Annotated[int, msgspec.Meta(ge=0)]


class Plain(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    colour: Colour = Colour.RED
    prices: dict[str, float] = {}
    rows: list[Plain] = []
    when: datetime | None = None


class Numbered(msgspec.Struct, tag=1):
    text: str


class Row(msgspec.Struct, tag="row", array_like=True):
    text: str


class Span(msgspec.Struct):
    first: int
    last: int

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError("last is before first")


@dataclass
class Say:
    type: Literal["say"]
    text: str


@dataclass
class Point:
    x: float
    y: float = 0.0


class Leave(TypedDict):
    type: Literal["leave", "go"]
    why: NotRequired[str]


class Pair(NamedTuple):
    name: str
    count: int


class Model(pydantic.BaseModel):
    text: str
    size: int = 1


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: Annotated[str, pydantic.Field(min_length=2)]


class Keyed(pydantic.BaseModel):
    votes: dict[Colour, int]


class Wordless(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        raise ValueError


class Silent(pydantic.BaseModel):
    number: int

    @pydantic.field_validator("number")
    @classmethod
    def refuse(cls, number: int) -> int:
        raise ValueError


Text = NewType("Text", str)

Asked = NewType("Asked", Ask)

Short = Annotated[str, msgspec.Meta(max_length=3)]


class Note(msgspec.Struct, tag="note"):
    text: int


class Held(msgspec.Struct):
    one: Ask | Note
    several: list[Ask | Note] = []


class Stranger:
    pass


class Holds(msgspec.Struct):
    stranger: Stranger


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


def given(annotation: Any, message: str | bytes) -> Any:
    """Return what a function gets whose message has an annotation."""
    shape = shape_of(annotation)
    assert shape is not None
    return decoding(lambda handler, decoded: decoded, shape)(None, message)


def refused(annotation: Any, message: str | bytes) -> tuple[str, str, str]:
    with pytest.raises(MessageRefused) as caught:
        given(annotation, message)
    return caught.value.path, caught.value.expected, caught.value.found


@pytest.mark.parametrize(
    "annotation",
    [
        *(str, bytes, str | bytes, object, Any, str | None, None, bytes | str | None),
        *(Text, Text | bytes, Annotated[str, "what somebody says"]),
        Annotated[str | None, msgspec.Meta(description="what somebody says")],
    ],
    ids=str,
)
def test_an_annotation_of_what_comes_anyway_is_none(annotation):
    assert shape_of(annotation) is None


@pytest.mark.parametrize(
    ("annotation", "message", "value"),
    [
        (Plain, '{"text": "hi", "colour": "blue"}', Plain("hi", Colour.BLUE)),
        (Point, '{"x": 1.5}', Point(1.5)),
        (Leave, '{"type": "go"}', {"type": "go"}),
        (Pair, '["a", 2]', Pair("a", 2)),
        (Ask, '{"type": "ask", "text": "hi"}', Ask("hi")),
        (Ask | None, "null", None),
        (Ask | bytes, b"\xff", b"\xff"),
        (Ask | bytes, '{"type": "ask", "text": "hi"}', Ask("hi")),
        (Row, '["row", "hi"]', Row("hi")),
        (Numbered, '{"type": 1, "text": "hi"}', Numbered("hi")),
        (Ask | Vote, '{"poll": 3, "type": "vote"}', Vote(3)),
        (Ask | Say | Leave, '{"type": "ask", "text": "hi"}', Ask("hi")),
        (Ask | Say | Leave, '{"type": "say", "text": "hi"}', Say("say", "hi")),
        (Ask | Say | Leave, '{"type": "go", "why": "x"}', {"type": "go", "why": "x"}),
        (Asked, '{"type": "ask", "text": "hi"}', Ask("hi")),
        (Annotated[Ask | Say, "either"], '{"type": "say", "text": "hi"}', Say("say", "hi")),
        (Annotated[Ask | None, "or nothing"], "null", None),
        (Short, '"abc"', "abc"),
        (int, "21", 21),
        (dict, '{"a": [1]}', {"a": [1]}),
        (dict[str, Any], "{}", {}),
        (list[int], "[1, 2]", [1, 2]),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (set[int], "[1, 1]", {1}),
        (bool | None, "true", True),
        (Colour, '"red"', Colour.RED),
        (Level, "2", Level.HIGH),
        (Literal["a", "b"], '"b"', "b"),
        (date, '"2026-01-02"', date(2026, 1, 2)),
        (Decimal, '"0.10"', Decimal("0.10")),
        (Decimal, "0.5", Decimal("0.5")),
        (
            UUID,
            '"12345678-1234-5678-1234-567812345678"',
            UUID(int=0x12345678123456781234567812345678),
        ),
        (Annotated[int, msgspec.Meta(ge=3)], "3", 3),
        (int | str, '"5"', "5"),
        (Model, '{"text": "hi", "size": "3"}', Model(text="hi", size=3)),
        (list[Model], '[{"text": "hi"}]', [Model(text="hi")]),
        (Pet, '{"kind": "dog", "name": "Rex"}', Dog(kind="dog", name="Rex")),
        (Cat | Dog, '{"kind": "cat", "lives": 9}', Cat(kind="cat", lives=9)),
        (Model | bytes, b"\x00", b"\x00"),
    ],
    ids=str,
)
def test_a_message_that_fits_is_given_as_the_annotation_says(annotation, message, value):
    found = given(annotation, message)
    assert (type(found), found) == (type(value), value)


NO_JSON = "invalid character (byte 0)"


@pytest.mark.parametrize(
    ("annotation", "message", "path", "expected", "found"),
    [
        (Plain, '{"text": 5}', "$.text", "str", "5"),
        (Plain, "{}", "$.text", "str", "nothing"),
        (Plain, '{"text": "a", "colour": "green"}', "$.colour", '"blue" or "red"', '"green"'),
        (
            Plain,
            '{"text": "a", "other": [1, 2]}',
            "$.other",
            "no field of this name",
            "array with 2 items",
        ),
        (
            Plain,
            '{"text": "a", "when": "soon"}',
            "$.when",
            "a valid RFC3339 encoded datetime",
            '"soon"',
        ),
        (
            Plain,
            '{"text": "a", "rows": [{"text": "b"}, {"text": null}]}',
            "$.rows[1].text",
            "str",
            "null",
        ),
        (
            Plain,
            '{"text": "a", "prices": {"x": 1, "the y": "2"}}',
            "$.prices['the y']",
            "float",
            '"2"',
        ),
        (dict[str, list[int]], '{"a": [1], "b": [2, "x"]}', "$.b[1]", "int", '"x"'),
        (set[int], '[1, "x"]', "$[1]", "int", '"x"'),
        (dict[int, int], '{"1": 1, "x": 2}', "$", "keys as int", '"x"'),
        (dict[Colour, int], '{"red": 1, "pink": 2}', "$", 'keys as "blue" or "red"', '"pink"'),
        (
            dict[str, dict[Colour, int]],
            '{"a": {"red": 1}, "b": {"pink": 2}}',
            "$.b",
            'keys as "blue" or "red"',
            '"pink"',
        ),
        (
            dict[int, int],
            '{"1": 1, "x": 2%s}' % (" " * 16_384),
            "$",
            "keys as int",
            "another key",
        ),
        (Literal[1, 2], "true", "$", "1 or 2", "true"),
        (float, "1e400", "$", "a number in range", "one out of range"),
        (int, "9" * 5000, "$", "a number in range", "one out of range"),
        (Plain, '{"text": ["%s"]}' % ("x" * 100), "$.text", "str", "array with 1 item"),
        (int, '"%s"' % ("x" * 100), "$", "int", "text of 100 characters"),
        (Plain, "hello", "$", "JSON", f'"hello": {NO_JSON}'),
        (Plain, "", "$", "JSON", '"": Input data was truncated'),
        (Plain, "[]", "$", "object", "array with 0 items"),
        (Plain, "[}", "$", "object", "no JSON"),
        (
            list,
            "[" * 100_000,
            "$",
            "JSON that is not nested so deeply",
            "text of 100000 characters",
        ),
        (Plain, b"{}", "$", "JSON, as text", "a binary message"),
        (Ask, '{"text": "hi"}', "$.type", '"ask"', "nothing"),
        (Ask, '{"type": "vote", "text": "hi"}', "$.type", '"ask"', '"vote"'),
        (Ask | None, '{"text": "hi"}', "$.type", '"ask"', "nothing"),
        (Ask, '{"type": 5, "text": "hi"}', "$.type", '"ask"', "5"),
        (Held, '{"one": {"type": "note"}}', "$.one.text", "int", "nothing"),
        (
            Held,
            '{"one": {"type": "ask", "text": "hi"}, "several": [{"type": "ask"}]}',
            "$.several[0].text",
            "str",
            "nothing",
        ),
        (Held, '{"one": {"type": "vote"}}', "$.one.type", '"ask" or "note"', '"vote"'),
        (Asked, '{"text": "hi"}', "$.type", '"ask"', "nothing"),
        (Annotated[Ask, "a question"], '{"text": "hi"}', "$.type", '"ask"', "nothing"),
        (Annotated[Ask | None, "or nothing"], '{"text": "hi"}', "$.type", '"ask"', "nothing"),
        (
            Annotated[Ask, msgspec.Meta(description="a question")] | bytes,
            '{"text": "hi"}',
            "$.type",
            '"ask"',
            "nothing",
        ),
        (Numbered, '{"text": "hi"}', "$.type", "1", "nothing"),
        (Ask | Vote, '{"poll": 1}', "$.type", '"ask" or "vote"', "nothing"),
        (Vote, '{"type": "vote", "poll": -1}', "$.poll", "int >= 0", "-1"),
        (
            Ask | Say | Leave,
            '{"type": "stay"}',
            "$.type",
            '"ask", "say", "go" or "leave"',
            '"stay"',
        ),
        (Ask | Say | Leave, '{"text": "hi"}', "$.type", '"ask", "say", "go" or "leave"', "nothing"),
        (Ask | Say | Leave, '"hi"', "$", "object", '"hi"'),
        (Ask | Say | Leave, "hi", "$", "JSON", f'"hi": {NO_JSON}'),
        (Ask | Say | Leave, '{"type": "say"}', "$.text", "str", "nothing"),
        (Span, '{"first": 2, "last": 1}', "$", "last is before first", "object with 2 members"),
        (Wordless, '{"number": 1}', "$", "another value", "object with 1 member"),
        (Silent, '{"number": 1}', "$.number", "another value", "1"),
        (Keyed, '{"votes": {"pink": 2}}', "$.votes", "keys as 'red' or 'blue'", '"pink"'),
        (Short, '"abcd"', "$", "str of length <= 3", '"abcd"'),
        (Literal["a", "b"], '"c"', "$", '"a" or "b"', '"c"'),
        (tuple[int, int], "[1]", "$", "array of length 2", "array with 1 item"),
        (Model, '{"text": 5}', "$.text", "a valid string", "5"),
        (Model, "{}", "$.text", "a value", "nothing"),
        (
            list[Model],
            '[{"text": "a"}, {"text": "b", "size": []}]',
            "$[1].size",
            "a valid integer",
            "array with 0 items",
        ),
        (
            Pet,
            '{"kind": "dog", "name": "R"}',
            "$.name",
            "String should have at least 2 characters",
            '"R"',
        ),
        (Model, b"{}", "$", "JSON, as text", "a binary message"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_told_with_its_path(annotation, message, path, expected, found):
    assert refused(annotation, message) == (path, expected, found)


def test_what_pydantic_cannot_read_is_no_json():
    path, expected, found = refused(Model, "hello")
    assert (path, expected) == ("$", "JSON")
    assert found.startswith('"hello": ')


def test_what_is_wrong_is_found_in_a_large_mapping_without_being_looked_for():
    message = json.dumps({f"key {n}": n for n in range(5000)} | {"last": "x"})
    assert refused(dict[str, int], message) == ("$[...]", "int", "nothing")


def test_the_error_is_what_a_client_is_told():
    error = MessageRefused("$.a", "int", '"x"')
    assert str(error) == '$.a: expected int, found "x"'
    assert error.problem() == {"error": "message", "path": "$.a", "expected": "int", "found": '"x"'}


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (Stranger, "Stranger"),
        (Holds, "Stranger"),
        (Point | Plain, "nothing tells Point and Plain apart"),
        (Say | Leave | int, "int cannot stand in a union with several dataclasses"),
        (list[Say | Leave], "more than one"),
        (Model | Ask, "Ask"),
    ],
    ids=str,
)
def test_a_type_that_no_message_can_have_is_refused(annotation, why):
    with pytest.raises(Exception, match=why):
        shape_of(annotation)


# ---- which annotation it is ------------------------------------------------------------------

MODULE = """
    from __future__ import annotations
    import functools
    from dataclasses import dataclass
    from typing import TYPE_CHECKING, Iterator
    if TYPE_CHECKING:
        from nowhere import Missing

    @dataclass
    class Ask:
        text: str

    def typed(handler: Missing, message: Ask) -> Iterator[Ask]: ...
    def untyped(handler, message): ...
    def named(handler: Missing, message: str) -> Missing: ...
    def swapped(message: Ask, handler=None): ...
    def missing(handler, message: Missing): ...
    def wrong(handler, message: Ask | Other): ...
    class Stranger: ...
    def stranger(handler, message: Stranger): ...
    def nothing(handler): ...

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)
        return wrapper

    wrapped = logged(typed)

    class Bot:
        def method(self, handler, message: Ask): ...
        def __call__(self, handler, message: Ask): ...

    bot = Bot()
    partial = functools.partial(typed)
"""


@pytest.mark.parametrize("name", ["typed", "wrapped", "bot.method", "bot", "partial"])
def test_the_annotation_of_the_message_is_read_and_no_other(bots: Bots, name):
    bots.write("wsbot.py", MODULE)
    callback = bots.find(f"wsbot.{name}")
    assert callback.takes is not None
    assert callback.takes.annotation.__name__ == "Ask"


@pytest.mark.parametrize("name", ["untyped", "named"])
def test_a_function_without_a_type_is_called_with_nothing_in_between(bots: Bots, name):
    bots.write("wsbot.py", MODULE)
    callback = bots.find(f"wsbot.{name}")
    assert callback.takes is None
    assert callback.call is callback.function


def test_the_parameter_that_gets_the_message_counts_wherever_it_stands(bots: Bots):
    from jupyter_wshandler.config.model import Variable

    bots.write("wsbot.py", MODULE)
    callback = bots.find("wsbot.swapped", args=(Variable("message"), HANDLER))
    assert callback.takes is not None
    assert bots.find("wsbot.nothing", args=(HANDLER,)).takes is None
    by_name = bots.find("wsbot.swapped", args=(), kwargs={"message": Variable("message")})
    assert by_name.takes is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing", "Missing, in wsbot.py:17, cannot be read: NameError: "),
        ("wrong", "Ask | Other, in wsbot.py:18, cannot be read: NameError"),
        ("stranger", "Stranger, in wsbot.py:20, is no type of a message: "),
    ],
)
def test_a_broken_annotation_is_told_with_its_line_and_what_to_do(bots: Bots, name, words):
    bots.write("wsbot.py", MODULE)
    refusal = bots.refusal(f"wsbot.{name}")
    assert refusal.startswith(f"wsbot.{name}: the annotation of message, {words}")
    assert "; import what it names" in refusal or "; write a msgspec.Struct" in refusal


def test_what_a_function_answers_is_read_where_it_can_be(bots: Bots):
    bots.write("wsbot.py", MODULE)
    annotation, is_stream = answered_by(bots.find("wsbot.typed").function)
    assert (annotation.__name__, is_stream) == ("Ask", True)
    assert answered_by(bots.find("wsbot.named").function) is None
    assert answered_by(bots.find("wsbot.untyped").function) is None


def test_a_type_that_is_local_to_a_cell_or_a_test_is_found():
    class Local(msgspec.Struct):
        text: str

    from jupyter_wshandler.config.model import Variable
    from jupyter_wshandler.functions.typed import taken_by

    def callback(handler, message: Local):
        return Local

    arguments = (HANDLER, Variable("message"))
    shape = taken_by("callback", callback, arguments, {}, "here:1")
    assert shape is not None
    assert shape.annotation is Local
    assert taken_by("partial", functools.partial(callback), arguments, {}, "here:1")
