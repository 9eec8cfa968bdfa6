"""Config folders that are links: what they lead to is served, as soon as they lead elsewhere."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.server import WITHOUT_LAB, running_server, wait_for

from jupyter_wshandler.config.logicalpath import absolute
from jupyter_wshandler.functions.watch import places_of

KINDS = ["link", "above", "relative", "map", "files"]

YAML = """
url:
  {kind}:
    pattern: /{kind}
    handler: WebSocketHandler
    kwargs: {{on_message: "{kind}_bot.answer(handler, message, '{version}')"}}
"""

BOT = """
import {kind}_helper
def answer(handler, message, version):
    return version + " {version} " + {kind}_helper.VERSION
"""


class Folder:
    """The config folder of one bot, in three versions, behind a link of some kind.

    All files of all versions have the same size and the same time of change.
    """

    def __init__(self, base: Path, kind: str) -> None:
        self.kind, self.base, self.files = kind, base / kind, {}
        for version in ("v1", "v2", "v3"):
            self.files = {
                f"{kind}.yaml": YAML,
                f"{kind}_bot.py": BOT,
                f"{kind}_helper.py": 'VERSION = "{version}"\n',
            }
            folder = self.version(version)
            folder.mkdir(parents=True)
            for name, text in self.files.items():
                (folder / name).write_text(text.format(kind=kind, version=version))
                os.utime(folder / name, (1_000_000_000, 1_000_000_000))
        self.config = self._config()
        self.point("v1")

    def version(self, version: str) -> Path:
        if self.kind == "map":
            return self.base / "map" / f"..{version}"
        return self.base / "releases" / version / "config"

    def _config(self) -> Path:
        if self.kind == "map":
            for name in self.files:
                (self.base / "map" / name).symlink_to(f"..data/{name}")
        folder = {
            "link": "config",
            "above": "current/config",
            "relative": "current/config",
            "map": "map",
            "files": "own",
        }[self.kind]
        return self.base / folder / f"{self.kind}.yaml"

    def point(self, version: str) -> None:
        if self.kind == "link":
            swap(self.base / "config", self.version(version))
        elif self.kind == "above":
            swap(self.base / "current", self.version(version).parent)
        elif self.kind == "relative":
            swap(self.base / "current", f"releases/{version}")
        elif self.kind == "map":
            swap(self.base / "map" / "..data", f"..{version}")
        else:
            (self.base / "own").mkdir(exist_ok=True)
            for name in self.files:
                swap(self.base / "own" / name, self.version(version) / name)


def swap(link: Path, target) -> None:
    """Make a link lead elsewhere at one moment, as Kubernetes and `ln -sfT` do."""
    new = link.with_name(f".new-{link.name}")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture(scope="module", params=["auto", "poll"])
def served(request, tmp_path_factory):
    """Return a server of config folders behind links of all kinds, with a socket for each."""
    base = tmp_path_factory.mktemp(f"links-{request.param}")
    folders = {kind: Folder(base, kind) for kind in KINDS}
    files = [str(folder.config) for folder in folders.values()]
    (base / "config.py").write_text(f"c.WSHandlerApp.config_file = {files!r}\n")
    with (
        running_server(
            folder=base / "server",
            extra_args=[f"--config={base / 'config.py'}", f"--WSHandlerApp.reload={request.param}"],
        ) as server,
        ExitStack() as sockets,
    ):
        for kind, folder in folders.items():
            folder.socket = sockets.enter_context(server.connect_sync(f"/{kind}"))
        yield server, folders


def answer(folder: Folder) -> str:
    folder.socket.send("?")
    return folder.socket.recv(timeout=10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_link_that_is_swapped_is_served_as_it_leads_now_again_and_again(served, kind):
    server, folders = served
    folder = folders[kind]
    assert answer(folder) == "v1 v1 v1"
    for version, old in (("v2", "v1"), ("v3", "v2")):
        folder.point(version)
        if kind == "map":
            shutil.rmtree(folder.version(old))  # as Kubernetes does
        expected = " ".join([version] * 3)
        wait_for(lambda expected=expected: answer(folder) == expected, 20, expected)
    assert "Traceback" not in server.log_text()


def test_a_folder_that_is_gone_says_so_once_and_is_served_again_when_it_is_back(served):
    server, folders = served
    folder = folders["above"]
    for target in (folder.base / "nowhere", "current"):  # no folder, and a link to itself
        before, mark = answer(folder), len(server.log_text())
        swap(folder.base / "current", target)
        line = f"Not reloaded, the last good version goes on: {folder.config}:1:1: "
        wait_for(lambda line=line, mark=mark: line in server.log_text()[mark:], 20, line)
        assert answer(folder) == before
        folder.point("v2" if target == "current" else "v1")
        version = "v2" if target == "current" else "v1"
        expected = " ".join([version] * 3)
        wait_for(lambda expected=expected: answer(folder) == expected, 20, expected)
        assert server.log_text()[mark:].count(line) == 1
    assert "Traceback" not in server.log_text()


def test_serve_keeps_the_links_of_the_path_that_it_is_given(tmp_path):
    folder = Folder(tmp_path, "above")
    # The working directory stands behind the link, too.
    here = folder.config.parent
    with (
        running_server(
            folder=tmp_path / "server",
            command=[
                sys.executable,
                "-P",  # as `jupyter wshandler serve`: not with the working directory first of all
                "-c",
                "import os, runpy, sys; os.chdir(os.environ['PWD']);"
                "sys.argv = ['wshandler', 'serve', 'above.yaml', *sys.argv[1:]];"
                "runpy.run_module('jupyter_wshandler', run_name='__main__')",
            ],
            extra_args=["--WSHandlerApp.reload=poll", WITHOUT_LAB],
            env={"PWD": str(here)},
        ) as server,
        server.connect_sync("/above") as folder.socket,
    ):
        assert answer(folder) == "v1 v1 v1"
        folder.point("v2")
        wait_for(lambda: answer(folder) == "v2 v2 v2", 20, "v2")


# ---- without a server ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_folders_of_all_links_to_a_file_are_watched(tmp_path, kind):
    folder = Folder(tmp_path.resolve(), kind)
    places = places_of([str(folder.config)])
    swapped = {
        "link": (folder.base, "config"),
        "above": (folder.base, "current"),
        "relative": (folder.base, "current"),
        "map": (folder.base / "map", "..data"),
        "files": (folder.base / "own", "files.yaml"),
    }[kind]
    assert str(swapped[0]) in places.folders
    assert swapped[1] in places.names
    assert str(folder.version("v1")) in places.folders
    assert folder.config.name in places.names
    folder.point("v2")
    assert str(folder.version("v2")) in places_of([str(folder.config)]).folders


def test_links_that_lead_nowhere_or_in_a_circle_are_watched_where_they_stand(tmp_path):
    for name, target in (("circle", "circle"), ("nowhere", "none/x"), ("to", "fro"), ("fro", "to")):
        (tmp_path / name).symlink_to(target)
        places = places_of([str(tmp_path / name / "bot.yaml")])
        assert str(tmp_path) in places.folders
        assert name in places.names


def test_an_absolute_path_keeps_the_links_by_which_one_came(tmp_path, monkeypatch):
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path / "link")
    monkeypatch.setenv("PWD", str(tmp_path / "link"))
    assert absolute("a.yaml") == str(tmp_path / "link" / "a.yaml")
    assert absolute("./inner/a.yaml") == str(tmp_path / "link" / "inner" / "a.yaml")
    assert absolute("/x/./a.yaml") == "/x/a.yaml"
    assert absolute("../a.yaml") == str(tmp_path.resolve() / "a.yaml")
    monkeypatch.setenv("PWD", str(tmp_path))  # somebody else's
    assert absolute("a.yaml") == str((tmp_path / "real").resolve() / "a.yaml")
    monkeypatch.delenv("PWD")
    assert absolute("a.yaml") == str((tmp_path / "real").resolve() / "a.yaml")
