"""The JSON schemas of types, in draft 07: each accepts what our decoders accept."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pydantic
import pytest
from functions import test_typed as types

from jupyter_wshandler.errors import MessageRefused
from jupyter_wshandler.functions.decoders import shape_of
from jupyter_wshandler.functions.schemas import DIALECT, fixed_in, refuses, schema_of


class Rate(msgspec.Struct, frozen=True):
    most: float = float("inf")


class Rates(msgspec.Struct):
    least: float = float("-inf")
    all: Rate = Rate()
    many: tuple[float, ...] = (1.0, float("nan"))
    known: float = 0.5


CASES = [
    (types.Plain, {"text": "a", "prices": {"x": 1.5}, "rows": [{"text": "b"}]}, {"text": 1}),
    (types.Ask, {"type": "ask", "text": "hi"}, {"text": "hi"}),
    (types.Ask | types.Vote, {"type": "vote", "poll": 1}, {"type": "leave"}),
    (types.Ask | types.Say | types.Leave, {"type": "go"}, {"type": "stay"}),
    (tuple[int, str], [1, "a"], [1, "a", 2]),
    (tuple[int, str], [1, "a"], ["a", 1]),
    (types.Pair, ["a", 2], ["a"]),
    (types.Row, ["row", "hi"], ["ask", "hi"]),
    (types.Colour, "red", "green"),
    (types.Level, 1, 3),
    (list[int] | None, None, ["a"]),
    (types.Leave, {"type": "go"}, {"why": "x"}),
    (dict[str, float], {"a": 1}, {"a": "1"}),
    (types.Model, {"text": "a"}, {"text": 1}),
    (types.Pet, {"kind": "dog", "name": "Rex"}, {"kind": "cow"}),
    (tuple[types.Model, int], [{"text": "a"}, 1], [{"text": "a"}]),
]


def validator(annotation: Any) -> jsonschema.Draft7Validator:
    shape = shape_of(annotation)
    assert shape is not None
    whole = {"$schema": DIALECT, **shape.schema, "definitions": shape.named}
    jsonschema.Draft7Validator.check_schema(whole)
    return jsonschema.Draft7Validator(whole)


@pytest.mark.parametrize(("annotation", "good", "bad"), CASES, ids=str)
def test_a_schema_accepts_what_is_given_to_the_function_and_nothing_else(annotation, good, bad):
    schema = validator(annotation)
    assert list(schema.iter_errors(good)) == []
    types.given(annotation, json.dumps(good))
    assert list(schema.iter_errors(bad)) != []
    with pytest.raises(MessageRefused):
        types.given(annotation, json.dumps(bad))


def test_a_decimal_is_text_or_a_number_as_it_is_for_the_decoder():
    schema = validator(types.Decimal)
    for value in ("0.10", 0.5, 7):
        assert list(schema.iter_errors(value)) == []
        types.given(types.Decimal, json.dumps(value))


def test_no_keyword_is_left_that_draft_07_does_not_know():
    shape = shape_of(types.Ask | types.Vote | None)
    assert shape is not None
    text = json.dumps([shape.schema, shape.named, schema_of(types.Pet, by_pydantic=True)])
    for word in ("discriminator", "prefixItems", "$defs"):
        assert word not in text


def test_a_default_that_json_does_not_have_is_left_out():
    _, named = schema_of(Rates)
    json.dumps(named, allow_nan=False)
    properties = named["Rates"]["properties"]
    assert [name for name, one in properties.items() if "default" in one] == ["known"]


def test_a_field_may_have_the_name_of_a_keyword():
    class Odd(msgspec.Struct):
        discriminator: str
        items: tuple[int, int]
        prefixItems: int

    _, named = schema_of(Odd)
    assert [*named["Odd"]["properties"]] == ["discriminator", "items", "prefixItems"]


def test_the_fields_with_listed_values_are_found_whatever_kind_of_type_it_is():
    assert fixed_in(*schema_of(types.Ask)) == {"type": ("ask",)}
    assert fixed_in(*schema_of(types.Say)) == {"type": ("say",)}
    assert fixed_in(*schema_of(types.Leave)) == {"type": ("go", "leave")}
    assert fixed_in(*schema_of(types.Cat, by_pydantic=True)) == {"kind": ("cat",)}
    assert fixed_in(*schema_of(types.Ask | types.Vote)) == {}


def test_a_type_that_takes_no_other_fields_is_known():
    class Model(pydantic.BaseModel, extra="forbid"):
        text: str

    assert refuses(*schema_of(types.Plain), "type")
    assert not refuses(*schema_of(types.Plain), "text")
    assert not refuses(*schema_of(types.Point), "type")
    assert refuses(*schema_of(Model, by_pydantic=True), "type")
