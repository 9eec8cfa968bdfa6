"""What `jupyter wshandler types` prints: valid by the reference parser, and what bots really do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from support.bots import bot_text
from support.frontend import PARSER, installed
from support.need import need

from jupyter_wshandler.cli import main
from jupyter_wshandler.config.loader import load
from jupyter_wshandler.functions.reload import RouteLoader
from jupyter_wshandler.routes import Route
from jupyter_wshandler.shapes.asyncapi import asyncapi
from jupyter_wshandler.shapes.document import Document
from jupyter_wshandler.shapes.told import told_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "typed" / "wshandler.yaml"

YAML = """
url:
  the typed/one:
    pattern: /rooms/{room}
    handler: WebSocketHandler
    kwargs: {on_message: typed.on_message, on_error: {close: false}}
  kinds:
    pattern: /kinds
    handler: WebSocketHandler
    kwargs:
      types: {ask: typed.ask, vote: typed.vote, other: typed.other}
      ratelimit: {messages: 10/s, then: error}
  plain:
    pattern: /pl(ai|ei)n
    handler: WebSocketHandler
    kwargs: {on_message: more.untyped, auth: false}
  every:
    pattern: /every
    handler: WebSocketHandler
    kwargs: {on_message: more.every}
"""

MORE = '''
"""More of what a type can be."""
import datetime, decimal, enum, uuid
from typing import Annotated, Any, NamedTuple
import msgspec, pydantic

print("an import that prints")

class Ask(msgspec.Struct):
    "Another one of that name."
    number: int

class Pair(NamedTuple):
    name: str
    ask: Ask | None

class Level(enum.IntEnum):
    LOW = 1

class Every(msgspec.Struct, rename="camel"):
    """Says */ every thing."""
    the_pair: tuple[int, Pair]
    decimals: list[decimal.Decimal] = []
    anything: Any = None
    by_name: dict[str, int | None] = {}
    when: datetime.datetime | None = None
    who: uuid.UUID | None = None
    level: Level = Level.LOW
    nested: "Every | None" = None
    bounded: Annotated[str, msgspec.Meta(max_length=3, description="short")] = ""

class Model(pydantic.BaseModel):
    text: str
    tags: tuple[str, int] = ("a", 1)

def untyped(handler, message): ...
async def every(handler, message: Every | bytes) -> Model | str | bytes | None: ...
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("types")
    (folder / "wshandler.yaml").write_text(YAML)
    (folder / "typed.py").write_text(bot_text("typed"))
    (folder / "more.py").write_text(MORE)
    return folder


def printed(capsys, *arguments: object) -> str:
    assert main(["types", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def document(capsys, folder: Path, *more: str) -> dict:
    return json.loads(printed(capsys, folder / "wshandler.yaml", "--allow-public-routes", *more))


@pytest.mark.timeout(300)
def test_the_reference_parser_finds_nothing_wrong(capsys, folder, tmp_path):
    packages = installed(PARSER)
    script = packages.parent / "parse.mjs"
    script.write_text((PARSER / "parse.mjs").read_text())
    made = {
        "all.json": document(capsys, folder),
        "example.json": json.loads(printed(capsys, EXAMPLE)),
    }
    loader = RouteLoader()
    routes = loader.load(load(files=[str(folder / "wshandler.yaml")], allow_public_routes=True))
    told = [Route(route.config, shapes=told_of(route)) for route in routes]
    loader.close()
    capsys.readouterr()  # a module prints as it is imported
    made["told.json"] = asyncapi(Document(told, "the bots of a kernel"))
    wrong = document(capsys, folder)
    wrong["components"]["schemas"]["Ask"]["discriminator"] = {"mapping": {}}
    made["wrong.json"] = wrong
    for name, text in made.items():
        (tmp_path / name).write_text(json.dumps(text))
    done = subprocess.run(
        [str(need("node")), str(script), *(str(tmp_path / name) for name in made)],
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    every, example, kernels, broken = json.loads(done.stdout)
    assert every["errors"] == []
    assert kernels["errors"] == []
    assert example["errors"] == []
    assert broken["errors"] != []
    assert set(every["channels"]) == set(made["all.json"]["channels"])
    assert set(every["operations"]) == set(made["all.json"]["operations"])
    assert {"polls", "polls.wsh.v1"} == set(example["channels"])


def test_each_route_is_a_channel_with_its_address_and_one_in_envelopes(capsys, folder):
    channels = document(capsys, folder)["channels"]
    assert {name for name in channels if not name.endswith(".wsh.v1")} == {
        "the-typed-one", "kinds", "plain", "every",
    }  # fmt: skip
    assert channels["the-typed-one"]["address"] == "/rooms/{room}"
    assert set(channels["the-typed-one"]["parameters"]) == {"room"}
    assert channels["plain"]["address"] is None
    assert channels["plain"]["x-pattern"] == "/pl(ai|ei)n"
    headers = channels["kinds.wsh.v1"]["bindings"]["ws"]["headers"]
    assert headers["properties"]["Sec-WebSocket-Protocol"]["const"] == "wsh.v1"


def test_operations_say_what_is_taken_what_is_answered_and_who_may(capsys, folder):
    found = document(capsys, folder)
    operation = found["operations"]["kinds.typed.ask"]
    assert operation["action"] == "receive"
    prefix = "#/channels/kinds/messages/"
    assert [one["$ref"] for one in operation["messages"]] == [f"{prefix}ask"]
    replies = [one["$ref"].removeprefix(prefix) for one in operation["reply"]["messages"]]
    assert replies == ["Answer", "MessageError", "RateError"]
    assert {one["$ref"].rpartition("/")[2] for one in operation["security"]} == set(
        found["components"]["securitySchemes"]
    )
    assert "security" not in found["operations"]["plain.more.untyped"]  # it is public
    taken = found["operations"]["the-typed-one.typed.on_message"]["messages"]
    assert [one["$ref"].rpartition("/")[2] for one in taken] == ["Ask", "Vote", "Leave"]
    codes = {one["code"] for one in found["x-close-codes"] if "code" in one}
    assert {1000, 1008, 1011, 4401, 4403} <= codes


def test_types_of_one_name_stay_apart(capsys, folder):
    schemas = document(capsys, folder)["components"]["schemas"]
    assert schemas["Ask"]["required"] == ["type", "text"]
    assert schemas["Ask2"]["required"] == ["number"]
    assert schemas["Ask2"]["description"] == "Another one of that name."
    assert {"$ref": "#/components/schemas/Ask2"} in schemas["Pair"]["items"][1]["anyOf"]


@pytest.mark.parametrize(
    ("route", "good", "bad"),
    [
        ("the typed/one", {"type": "vote", "colour": "red"}, {"type": "vote", "colour": "green"}),
        ("kinds", {"type": "other", "x": 1}, {"type": "another"}),
        ("kinds", {"type": "ask", "text": "hi"}, {"type": "ask"}),
        ("every", {"thePair": [1, ["a", {"number": 1}]]}, {"thePair": [1, ["a", {"number": "1"}]]}),
        ("every", {"thePair": [1, ["a", None]], "decimals": ["0.1", 2]}, {"the_pair": []}),
    ],
    ids=str,
)
def test_the_json_schema_tells_messages_that_a_bot_takes_from_others(
    capsys, folder, route, good, bad
):
    whole = document(capsys, folder, "--schema")
    jsonschema.Draft7Validator.check_schema(whole)
    part = whole["properties"][route]["properties"]["takes"]
    validator = jsonschema.Draft7Validator({**part, "definitions": whole["definitions"]})
    assert list(validator.iter_errors(good)) == []
    assert list(validator.iter_errors(bad)) != []


def test_what_a_bot_answers_is_in_the_schema_where_an_annotation_says_it(capsys, folder):
    routes = document(capsys, folder, "--schema")["properties"]
    assert "answers" in routes["the typed/one"]["properties"]
    assert "answers" not in routes["kinds"]["properties"]  # `other` does not say it
    assert "answers" not in routes["plain"]["properties"]


def test_what_a_module_prints_is_not_among_it_and_only_named_routes_are(capsys, folder):
    found = document(capsys, folder, "--route", "kinds")
    assert set(found["channels"]) == {"kinds", "kinds.wsh.v1"}
    assert main(["types", str(folder / "wshandler.yaml"), "--allow-public-routes"]) == 0
    assert "an import that prints" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--route", "nothing"], "there is no route 'nothing'; there are the typed/one, kinds,"),
        ([], "plain: "),
    ],
    ids=["no such route", "a broken one"],
)
def test_what_cannot_be_described_is_told_and_nothing_is_printed(capsys, folder, arguments, words):
    assert main(["types", str(folder / "wshandler.yaml"), *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert "`jupyter wshandler check` says more." in said.err


CONSUMER = """
import type {CloseCode, Routes, WshClientFrame} from './bots';

const ask: Routes['the typed/one']['takes'] = {type: 'ask', text: 'hi'};
const vote: Routes['kinds']['takes'] = {type: 'vote', colour: 'blue'};
const every: Routes['every']['takes'] = {thePair: [1, ['a', {number: 1}]], byName: {a: null}};
const bytes: Routes['every']['takes'] = new ArrayBuffer(1);
const text: Routes['every']['answers'] = 'text';
const frame: WshClientFrame = {message: 'hi', ask: 1};
const code: CloseCode = 4403;
function told(error: Routes['kinds']['errors']): string {
  return error.error === 'message' ? error.path : String(error.retry_after);
}
export {ask, bytes, code, every, frame, text, told, vote};
"""

WRONG = """
import type {CloseCode, Routes, WshClientFrame} from './bots';

const ask: Routes['the typed/one']['takes'] = {type: 'ask'};
const vote: Routes['kinds']['takes'] = {type: 'vote', colour: 'green'};
const every: Routes['every']['takes'] = {thePair: [1, ['a', {number: 'one'}]]};
const frame: WshClientFrame = {message: 'hi', ask: 'one'};
const code: CloseCode = 4404;
export {ask, code, every, frame, vote};
"""


@pytest.mark.timeout(300)
def test_the_declaration_is_typescript_and_tells_right_from_wrong(capsys, folder, tmp_path):
    compiler = installed() / ".bin" / "tsc"
    made = printed(capsys, folder / "wshandler.yaml", "--allow-public-routes", "--ts")
    (tmp_path / "bots.ts").write_text(made)
    (tmp_path / "right.ts").write_text(CONSUMER)
    (tmp_path / "wrong.ts").write_text(WRONG)
    done = subprocess.run(
        [str(compiler), "--noEmit", "--strict", "--target", "es2022", "right.ts", "wrong.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
    )
    wrong = [line.partition("(")[0] for line in done.stdout.splitlines() if "error TS" in line]
    assert wrong == ["wrong.ts"] * 5, done.stdout


def test_the_declaration_carries_the_words_of_the_types(capsys, folder):
    made = printed(capsys, folder / "wshandler.yaml", "--allow-public-routes", "--ts")
    assert "/** A question. */\nexport interface Ask {" in made
    assert "/** Says * / every thing. */" in made
    assert "  /** short */\n  bounded?: string;" in made
