"""docs/commands.md is what the parsers of the command line say."""

from __future__ import annotations

from pathlib import Path

from jupyter_wshandler.cli import parser, reference

DOCS = Path(__file__).parents[2] / "docs" / "commands.md"


def test_the_reference_in_the_docs_is_current():
    assert DOCS.read_text(encoding="utf-8") == reference.reference(), (
        "run python -m jupyter_wshandler.cli.reference"
    )


def test_it_has_each_command_with_all_of_its_options_and_what_they_do():
    commands = next(a for a in parser()._actions if a.dest == "command").choices
    sections = reference.reference().split("\n## `")[1:]
    assert [section.partition("`")[0] for section in sections] == [*commands]
    for section, command in zip(sections, commands.values(), strict=True):
        for action in command._actions:
            for name in action.option_strings:
                assert f"`{name}" in section or action.dest == "help"
        assert "|  |" not in section
        assert "%(" not in section


def test_the_command_writes_the_reference(tmp_path):
    target = tmp_path / "new" / "commands.md"
    assert reference.main([str(target)]) == 0
    assert target.read_text(encoding="utf-8") == reference.reference()
