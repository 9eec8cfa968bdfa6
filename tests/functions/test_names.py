"""Names of modules that are taken: both paths are named, whichever of the two would win."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from functions.test_resolve import PLACE, SAMPLE, Bots

from jupyter_wshandler.config.model import FunctionSpec
from jupyter_wshandler.errors import CallbackError
from jupyter_wshandler.functions.resolve import Resolver


@pytest.mark.parametrize("name", ["random", "json", "yaml", "this", "tornado"])
def test_a_callback_module_with_the_name_of_another_is_refused_with_both_paths(
    bots: Bots, name: str
) -> None:
    path = bots.write(f"{name}.py", "def on_message(h, m): pass\n")
    imported = name in sys.modules
    with pytest.raises(CallbackError) as caught:
        bots.find(f"{name}.on_message")
    text = str(caught.value)
    assert text.startswith(f"{name}.on_message: {path} has the same name as ")
    other = text.partition("the same name as ")[2].partition(", and Python")[0]
    assert os.path.isfile(other)
    assert not other.startswith(str(bots.folder))
    assert Path(other).stem in (name, "__init__")
    assert (name in sys.modules) is imported


def test_a_callback_package_with_the_name_of_another_is_refused(bots: Bots) -> None:
    path = bots.write("email/__init__.py", "def on_message(h, m): pass\n")
    text = bots.refusal("email.on_message")
    assert f"email.on_message: {path.relative_to(bots.folder)} has the same name as " in text
    bots.write("html/chat.py", "def on_message(h, m): pass\n")
    assert "html has the same name as " in bots.refusal("html.chat.on_message")


def test_a_callback_module_with_the_name_of_a_built_in_one_is_refused(bots: Bots) -> None:
    bots.write("time.py", "def on_message(h, m): pass\n")
    assert "time.py has the same name as the module time built into Python" in bots.refusal(
        "time.on_message"
    )


def test_a_folder_of_data_with_the_name_of_a_module_is_in_nobodys_way(bots: Bots) -> None:
    bots.write("json/cities.json", "{}")
    assert bots.find("json.dumps", "open").call is json.dumps


def test_a_module_of_the_folder_imported_before_is_fine_and_not_ours_to_forget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "wsbot_early.py").write_text("def f(h, m): pass\n")
    monkeypatch.syspath_prepend(str(folder))
    import wsbot_early

    bots = Bots(folder)
    try:
        assert bots.find("wsbot_early.f").call is wsbot_early.f
        assert bots.resolver.modules() == {}
        bots.resolver.close()
        assert sys.modules["wsbot_early"] is wsbot_early
        assert str(folder) in sys.path
    finally:
        del sys.modules["wsbot_early"]


def test_two_config_folders_with_the_same_module_are_refused(bots: Bots, tmp_path: Path) -> None:
    other = Bots(tmp_path / "other")
    both = Resolver([str(bots.folder), str(other.folder)])
    first = bots.write("wsbot.py", SAMPLE)
    second = other.write("wsbot.py", SAMPLE)
    spec = FunctionSpec(function="wsbot.on_message", place=PLACE)
    try:
        with pytest.raises(CallbackError) as caught:
            both.resolve(spec, "on_message")
        assert f"{first} has the same name as {second}" in str(caught.value)
    finally:
        both.close()
        other.resolver.close()


def test_a_module_imported_from_somewhere_else_is_refused_with_both_paths(
    bots: Bots, tmp_path: Path
) -> None:
    other = Bots(tmp_path / "other")
    first = other.write("wsbot.py", SAMPLE)
    other.find("wsbot.on_message")
    second = bots.write("wsbot.py", SAMPLE)
    try:
        with pytest.raises(CallbackError) as caught:
            bots.find("wsbot.on_message")
        assert f"{second} has the same name as {first}" in str(caught.value)
    finally:
        other.resolver.close()
    assert bots.find("wsbot.on_message").kind == "plain"
