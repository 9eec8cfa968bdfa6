"""Two config folders with modules of one name: the first works, the second is told what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.functions.reload import RouteLoader

YAML = """
url:
  {name}:
    pattern: /{name}
    handler: WebSocketHandler
    kwargs: {{on_message: {module}.on_message}}
"""


class Site:
    """Config folders, in the order in which the server reads them."""

    def __init__(self, base: Path) -> None:
        self.base, self.files, self.loader = base, [], RouteLoader()

    def folder(self, name: str, module: str = "wsbot", **modules: str) -> Path:
        folder = self.base / name
        folder.mkdir()
        for key, text in modules.items():
            (folder / f"{key}.py").write_text(text)
        self.files.append(str(folder / "w.yaml"))
        (folder / "w.yaml").write_text(YAML.format(name=name, module=module))
        return folder

    def routes(self) -> dict:
        return {route.name: route for route in self.loader.load(load(files=self.files))}


@pytest.fixture
def site(tmp_path):
    path, modules = [*sys.path], {*sys.modules}
    site = Site(tmp_path)
    yield site
    site.loader.close()
    assert sys.path == path
    assert [name for name in {*sys.modules} - modules if name.startswith("wsbot")] == []


def bot(answer: str, more: str = "") -> str:
    return f"{more}\ndef on_message(handler, message):\n    return {answer!r}\n"


def said(route) -> str:
    assert route.state == "ready", route.error
    return route.callbacks["on_message"].call(None, "?")


def test_the_first_folders_module_works_and_the_seconds_is_refused_with_both_paths(site):
    one = site.folder("one", wsbot=bot("one"))
    two = site.folder("two", wsbot=bot("two"))
    routes = site.routes()
    assert said(routes["one"]) == "one"
    assert routes["two"].state == "broken"
    assert f"{two / 'wsbot.py'} has the same name as {one / 'wsbot.py'}" in routes["two"].error
    assert "rename it and use its new name here" in routes["two"].error
    assert f"{two / 'w.yaml'}:6" in routes["two"].error


def test_a_first_module_that_fails_does_not_lend_its_words_to_the_second(site):
    site.folder("one", wsbot="1 / 0\n")
    site.folder("two", wsbot=bot("two"))
    routes = site.routes()
    assert "ZeroDivisionError" in routes["one"].error
    assert "has the same name as" in routes["two"].error
    assert "ZeroDivisionError" not in routes["two"].error


def test_a_helper_of_both_folders_is_never_taken_from_the_other(site):
    helper = "import wsbot_helper\n"
    site.folder("one", wsbot=bot("one", helper), wsbot_helper="")
    two = site.folder("two", "wsbot2", wsbot2=bot("two", helper), wsbot_helper="")
    routes = site.routes()
    assert said(routes["one"]) == "one"
    assert routes["two"].state == "broken"
    assert f"{two / 'wsbot2.py'}:1 imports wsbot_helper and would get" in routes["two"].error
    assert f"rename {two / 'wsbot_helper.py'}" in routes["two"].error


def test_folders_may_share_what_only_one_of_them_has(site):
    site.folder("one", wsbot=bot("one"), wsbot_helper="")
    site.folder("two", wsbot2=bot("two", "import wsbot_helper\n"))
    site.files.append(str(site.base / "two" / "v.yaml"))
    (site.base / "two" / "v.yaml").write_text(YAML.format(name="three", module="wsbot2"))
    routes = site.routes()
    assert said(routes["one"]) == said(routes["two"]) == "one"
    assert said(routes["three"]) == "two"


def test_check_says_it_too_and_the_first_is_no_problem(site):
    site.folder("one", wsbot=bot("one"))
    site.folder("two", wsbot=bot("two"))
    check = [sys.executable, "-m", "jupyter_wshandler", "check", *site.files]
    ended = subprocess.run(check, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    shown = " ".join(ended.stdout.split())
    assert "FAILED: 1 problem in 1 of 2 routes; the other routes work" in shown
    assert "has the same name as" in shown


def test_several_folders_are_all_given_back_at_the_end(site):
    for name in ("one", "two", "three"):
        site.folder(name, f"wsbot_{name}", **{f"wsbot_{name}": bot(name)})
    assert {said(route) for route in site.routes().values()} == {"one", "two", "three"}
