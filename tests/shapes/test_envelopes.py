"""The types of the frames of `wsh.v1` are what docs/protocol.md shows, and what the codec reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jupyter_wshandler.engine.envelope import Incoming
from jupyter_wshandler.functions.schemas import schema_of
from jupyter_wshandler.shapes.closecodes import MEANINGS, PASSING
from jupyter_wshandler.shapes.envelopes import OF_CLIENT, OF_SERVER, WshAck

DOCS = Path(__file__).parents[2] / "docs"
LINES = re.findall(r"^([<>]) (\{.*\})$", (DOCS / "protocol.md").read_text(), re.MULTILINE)


def validators(types) -> dict[str, jsonschema.Draft7Validator]:
    found = {}
    for kind in types:
        schema, named = schema_of(kind)
        found[kind.__name__] = jsonschema.Draft7Validator({**schema, "definitions": named})
    return found


CLIENT, SERVER = validators(OF_CLIENT), validators(OF_SERVER)


def filled(value: Any) -> Any:
    """Return a frame with what stands for any text, or any number, in an example."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize(("side", "line"), LINES, ids=str)
def test_each_example_of_the_page_is_of_one_of_the_types(side, line):
    frame = filled(json.loads(line))
    fitting = [
        name
        for name, one in (CLIENT if side == ">" else SERVER).items()
        if next(one.iter_errors(frame), None) is None
    ]
    if line == '{"message": "hello", "ask": 2}' or len(fitting) == 1:
        return
    # A frame of rooms that has a message, and one whose number comes alone, fit two.
    assert fitting, line


def test_each_type_of_the_servers_is_shown_by_an_example_or_named_by_the_page():
    shown = set()
    for side, line in LINES:
        table = CLIENT if side == ">" else SERVER
        frame = json.loads(line)
        shown |= {name for name, one in table.items() if next(one.iter_errors(frame), None) is None}
    assert {*CLIENT, *SERVER} - shown <= {"WshDropped", "WshAck"}


def test_the_members_of_a_clients_frames_are_those_that_the_codec_reads():
    members = {name for kind in OF_CLIENT for name in kind.__struct_fields__}
    assert members == set(Incoming.__struct_fields__)


def test_what_a_client_must_not_write_is_of_no_type():
    for wrong in ({}, {"message": 1}, {"message": "x", "more": 1}, {"stop": "x"}, {"ask": 1}):
        assert all(next(one.iter_errors(wrong), None) for one in CLIENT.values()), wrong


def test_both_ends_acknowledge_by_the_same_frame():
    assert WshAck in OF_CLIENT
    assert WshAck in OF_SERVER


def test_the_close_codes_are_those_of_the_page_and_what_they_mean():
    text = (DOCS / "pages.md").read_text().partition("## Close codes")[2].partition("| `cause`")[0]
    rows = dict(re.findall(r"^\| (\d{4}) \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE))
    assert set(rows) == {str(int(code)) for code in MEANINGS}
    again = set(re.findall(r"^\| (\d{4}) \|.*\| tries again", text, re.MULTILINE))
    assert again == {str(int(code)) for code in PASSING}
    for code, words in MEANINGS.items():
        written = rows[str(int(code))].partition(";")[0].partition(":")[0]
        assert words.startswith(written.strip()), code
