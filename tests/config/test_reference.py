"""The reference and the schema come from the structs, and the structs are complete."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from jupyter_wshandler.config import reference
from jupyter_wshandler.config.described import key_names, keys_of
from jupyter_wshandler.config.entries import AuthEntry, ErrorEntry, FunctionEntry, QueueEntry
from jupyter_wshandler.config.functions import VARIABLES
from jupyter_wshandler.config.gramex import MEANINGLESS, UNSUPPORTED
from jupyter_wshandler.config.keys import KwargsEntry, RouteEntry
from jupyter_wshandler.config.model import EVENTS, QueueConfig, RouteConfig
from jupyter_wshandler.config.values import READERS

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_reference_in_the_docs_is_current() -> None:
    assert DOCS.read_text(encoding="utf-8") == reference.reference(), (
        "run python -m jupyter_wshandler.config.reference"
    )


def test_to_ask_for_help_writes_no_file(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for argument in ("--help", "--schemas"):
        with pytest.raises(SystemExit):
            reference.main([argument])
    assert "--schema" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("struct", [RouteEntry, KwargsEntry, FunctionEntry, AuthEntry, QueueEntry])
def test_every_key_is_described_with_what_it_takes_and_its_default(
    struct: type[msgspec.Struct],
) -> None:
    for key in keys_of(struct).values():
        assert key.description.endswith(".")
        assert key.takes
        assert f"| `{key.name}` | {key.takes} |" in reference.reference()
    assert "|  |" not in reference.reference()


def test_every_kwarg_is_read_by_exactly_one_converter() -> None:
    assert set(READERS) == set(key_names(KwargsEntry)) - {"on_open"}
    assert set(EVENTS) < set(READERS)
    functions = {"condition", "every", "may_join", "card", "on_join", "on_leave", "types"}
    filters = {"filters", "incoming", "outgoing"}
    assert set(VARIABLES) == {*EVENTS, *functions, *filters}


def test_every_option_of_a_route_can_be_configured() -> None:
    set_by_loader = {
        "name",
        "place",
        "kwargs",
        "callbacks",
        "on_error_close",
        "pattern",
        "priority",
        "guest_ratelimit",  # what `ratelimit` says, or what holds for guests where it is not there
    }
    fields = {field.name for field in msgspec.structs.fields(RouteConfig)} - set_by_loader
    assert fields == set(key_names(KwargsEntry)) - {"on_open", *EVENTS}
    assert {field.name for field in msgspec.structs.fields(QueueConfig)} == set(
        key_names(QueueEntry)
    )


def test_no_refused_key_is_a_valid_one() -> None:
    valid = {*key_names(RouteEntry), *key_names(KwargsEntry), *key_names(ErrorEntry)}
    assert not valid & {*MEANINGLESS, *UNSUPPORTED}


def test_the_schema_names_every_key_and_forbids_others() -> None:
    schema = reference.json_schema()
    definitions = schema["$defs"]
    assert set(definitions["KwargsEntry"]["properties"]) == set(key_names(KwargsEntry))
    assert definitions["KwargsEntry"]["additionalProperties"] is False
    assert definitions["RouteEntry"]["required"] == ["pattern"]
    assert json.loads(json.dumps(schema)) == schema


def test_the_command_writes_the_reference_and_prints_the_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "reference.md"
    assert reference.main([str(target)]) == 0
    assert target.read_text(encoding="utf-8") == reference.reference()
    assert reference.main(["--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == reference.json_schema()
