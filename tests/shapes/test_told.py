"""What a kernel tells its server of the types of its bots, and what is made of it there."""

from __future__ import annotations

import json

import msgspec
import pytest
from support.bots import bot_text

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.functions.reload import RouteLoader
from jupyter_wshandler.kernels.batches import MAX_SHAPES, read_claim
from jupyter_wshandler.routes import Route
from jupyter_wshandler.shapes.asyncapi import asyncapi
from jupyter_wshandler.shapes.definitions import Definitions
from jupyter_wshandler.shapes.document import Document
from jupyter_wshandler.shapes.told import MOST, described_anywhere, told_of
from jupyter_wshandler.shapes.typescript import typescript

YAML = """
url:
  asked: {pattern: /asked, handler: WebSocketHandler, kwargs: {on_message: typed.on_message}}
  tagged: {pattern: "/tagged/{room}", handler: WebSocketHandler,
           kwargs: {types: {ask: typed.ask, vote: typed.vote}}}
  plain: {pattern: /plain, handler: WebSocketHandler, kwargs: {on_message: other.plain}}
  named: {pattern: /named, handler: WebSocketHandler, kwargs: {on_message: other.named}}
"""

OTHER = '''
import msgspec

class Ask(msgspec.Struct, tag="ask"):
    """Another one of the same name."""
    how: float
    then: "Ask | None" = None

def plain(handler, message): ...
def named(handler, message: Ask) -> list[Ask]: ...
'''


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    (folder / "wshandler.yaml").write_text(YAML)
    (folder / "typed.py").write_text(bot_text("typed"))
    (folder / "other.py").write_text(OTHER)
    loader = RouteLoader()
    found = loader.load(load(files=[str(folder / "wshandler.yaml")]))
    assert [route.error for route in found] == [""] * 4
    yield found
    loader.close()


def elsewhere(route: Route, shapes: bytes) -> Route:
    """Return a route as a server has it whose functions live in a kernel."""
    return Route(route.config, shapes=shapes)


def test_what_is_told_makes_the_same_document_as_the_functions_themselves(routes):
    there = [elsewhere(route, told_of(route)) for route in routes]
    assert asyncapi(Document(there, "bots")) == asyncapi(Document(routes, "bots"))
    assert typescript(Document(there, "bots")) == typescript(Document(routes, "bots"))
    # Of two types of one name both are there.
    assert {"Ask", "Ask2"} <= set(Document(there, "bots").definitions.all)


@pytest.mark.parametrize(
    "said",
    [
        b"no JSON",
        b"[]",
        b'{"typed": 1, "exchanges": [], "definitions": {}}',
        b'{"typed": true, "exchanges": [{"function": "f"}], "definitions": {}}',
        b'{"typed": true, "exchanges": [], "definitions": {"A": [[[[]]]]}}',
        b'{"typed":true,"exchanges":[],"definitions":{"A":' + b'{"a":' * 5000 + b"1" + b"}" * 5002,
        msgspec.json.encode(
            {"typed": True, "exchanges": [], "definitions": {f"A{n}": {} for n in range(MOST + 1)}}
        ),
    ],
)
def test_of_what_is_nothing_of_the_kind_nothing_is_known(routes, said):
    found = described_anywhere(elsewhere(routes[0], said), Definitions())
    assert (found.name, found.exchanges, found.typed) == ("asked", (), False)


def told_with(**definitions: object) -> bytes:
    """Return what a kernel tells of a function that takes the type `A`."""
    kind = {"name": "k", "form": "json", "schema": {"$ref": "#/definitions/A"}}
    exchange = {"function": "f", "takes": [kind], "answers": None, "streams": False}
    told = {"typed": True, "exchanges": [exchange], "definitions": definitions}
    return json.dumps(told).encode()


def to(name: str) -> dict:
    return {"$ref": f"#/definitions/{name}"}


def nested(levels: int) -> dict:
    return {"items": nested(levels - 1)} if levels else {}


def test_a_type_may_hold_itself_and_be_one_of_many(routes):
    holds = {"type": "object", "properties": {"next": to("A"), "all": {"items": to("B")}}}
    said = told_with(A=holds, B={"anyOf": [to("A"), {"type": "null"}]})
    definitions = Definitions()
    found = described_anywhere(elsewhere(routes[0], said), definitions)
    assert found.exchanges[0].takes[0].schema == to("A")
    assert definitions.all == {"A": holds, "B": {"anyOf": [to("A"), {"type": "null"}]}}


def test_types_of_which_each_leads_twice_to_the_next_are_read_in_time(routes):
    """Whoever tries all ways never ends."""
    names = ["A", *(f"A{number}" for number in range(1, MOST - 1))]
    pairs = zip(names, [*names[1:], "End"], strict=True)
    chain = {name: {"anyOf": [to(following), to(following)]} for name, following in pairs}
    said = told_with(**chain, End={"type": "null"})
    definitions = Definitions()
    assert described_anywhere(elsewhere(routes[0], said), definitions).exchanges
    assert len(definitions.all) == MOST


@pytest.mark.parametrize(
    "definitions",
    [
        {},  # there is no A
        {"A": to("B")},
        {"A": to("A")},
        {"A": {"anyOf": [{"allOf": [to("B")]}]}, "B": {"oneOf": [to("A")]}},
        {"A": {"$ref": 7}},
        {"A": {"type": "thing"}},
        {"A": {"type": [["string"]]}},
        {"A": {"properties": ["a"]}},
        {"A": {"required": 5}},
        {"A": {"enum": 5}},
        {"A": nested(60)},
    ],
    ids=lambda definitions: json.dumps(definitions)[:60],
)
def test_what_is_no_schema_or_has_no_end_spoils_no_document(routes, definitions):
    wrong = elsewhere(routes[0], told_with(**definitions))
    assert described_anywhere(wrong, Definitions()).exchanges == ()
    document = Document([wrong, *routes[1:]], "bots")
    assert set(asyncapi(document)["channels"]) >= {"asked", "tagged", "plain", "named"}
    assert "export interface Vote" in typescript(document)


def test_a_claim_with_too_much_of_it_is_read_without(routes):
    claim = {"pattern": "/bot", "shapes": json.loads(told_of(routes[0]))}
    read = read_claim(msgspec.Raw(msgspec.json.encode(claim)))
    assert msgspec.json.decode(read["shapes"]) == claim["shapes"]
    claim["shapes"]["definitions"]["Long"] = {"description": "x" * MAX_SHAPES}
    read = read_claim(msgspec.Raw(msgspec.json.encode(claim)))
    assert (read["pattern"], read["shapes"]) == ("/bot", b"")
    assert read_claim(msgspec.Raw(b'{"pattern": "/bot"}'))["shapes"] == b""
