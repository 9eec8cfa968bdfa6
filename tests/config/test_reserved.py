"""The list of Jupyter's own addresses, against a real server's rules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid

import pytest
from support.bots import bot_text

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.patterns import analyse_pattern
from jupyter_wshandler.config.reserved import RESERVED, reserved_by, unreachable

UUID = str(uuid.uuid4())


LIST_RULES = bot_text("server_rules")


@pytest.fixture(scope="module")
def server_rules(tmp_path_factory: pytest.TempPathFactory) -> list[re.Pattern[str]]:
    """Return the rules of a real server without extensions, except the last one, the 404."""
    folder = str(tmp_path_factory.mktemp("server"))
    names = ("HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    environment = {**os.environ, **dict.fromkeys(names, folder), "JUPYTER_NO_CONFIG": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LIST_RULES],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    rules = [re.compile(regex) for regex in json.loads(done.stdout.partition("RULES")[2])]
    assert rules[-1].pattern == "(.*)$"
    return rules[:-1]


def sample_of(rule: re.Pattern[str]) -> str:
    """Return a path that a rule answers."""
    pattern = rule.pattern.removesuffix("$").replace(r"\w+-\w+-\w+-\w+-\w+", UUID)
    return analyse_pattern(pattern.replace("(?:(?:/[^/]+)+|/?)", "/x")).sample


def test_every_rule_of_a_real_server_is_in_the_list(server_rules: list[re.Pattern[str]]) -> None:
    missing = []
    for rule in server_rules:
        path = sample_of(rule)
        assert rule.match(path), (rule.pattern, path)
        if reserved_by(path) is None:
            missing.append(path)
    assert len(server_rules) > 30
    assert missing == []


def test_nothing_in_the_list_for_the_core_is_free_on_a_real_server(
    server_rules: list[re.Pattern[str]],
) -> None:
    free = []
    for regex in RESERVED["Jupyter Server"]:
        path = analyse_pattern(regex.replace(r"\w+-\w+-\w+-\w+-\w+", UUID)).sample
        if not any(rule.match(path) for rule in server_rules):
            free.append(path)
    assert free == []


@pytest.mark.parametrize(
    ("pattern", "owner"),
    [
        ("/login", "Jupyter Server"),
        ("/api/contents/{x}", "Jupyter Server"),
        ("/files/(.*)", "Jupyter Server"),
        ("/echo/", "every path that ends with a slash"),
        ("/lab/{x}", "JupyterLab"),
        ("/tree", "Jupyter Notebook"),
    ],
)
def test_a_pattern_that_jupyter_answers_is_named_with_who_answers_it(
    pattern: str, owner: str
) -> None:
    url = {"bot": {"pattern": pattern, "handler": "WebSocketHandler"}}
    (found,) = unreachable(load(url=url))
    assert (found.route, found.place.key) == ("bot", "['bot']")
    assert "never reached" in found.message
    assert owner in found.message


@pytest.mark.parametrize("pattern", ["/pingbot", "/{room}", "/api/bot", "/(.*)", "/labs"])
def test_a_free_pattern_is_not_named(pattern: str) -> None:
    url = {"bot": {"pattern": pattern, "handler": "WebSocketHandler"}}
    assert unreachable(load(url=url)) == []
