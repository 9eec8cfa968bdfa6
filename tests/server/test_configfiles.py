"""A config file that Jupyter could not load: what it enforces is lost, and nothing is served."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.notebook import notebook
from support.server import running_server

from jupyter_wshandler.server import configfiles
from jupyter_wshandler.server.configfiles import unloaded

YAML = "url: {bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}}\n"
BOT = "def echo(handler, message):\n    return message\n"

ENFORCE = "c.WSHandlerApp.enforce = {'max_message': '1KiB'}\n"
EXTENSIONS = "c.ServerApp.jpserver_extensions['x'] = True\n"

SERVER = "jupyter_server_config"
BROKEN = {
    "an extension that is switched on": (SERVER + ".py", ENFORCE + EXTENSIONS, "at line 2"),
    "a syntax error": (SERVER + ".py", ENFORCE + "if\n", "SyntaxError"),
    "half way through": ("jupyter_config.py", ENFORCE + "1 / 0\n", "ZeroDivisionError at line 2"),
    "an exit": (SERVER + ".py", ENFORCE + "undefined()\n", "NameError"),
    "JSON": (SERVER + ".json", '{"WSHandlerApp": {"enforce": {}},}', "JSONDecodeError"),
    "a version": ("jupyter_config.json", '{"version": 7, "WSHandlerApp": {}}', "ValueError"),
    "its own": ("jupyter_wshandler_config.py", "1 / 0", "ZeroDivisionError"),
    "its own JSON": ("jupyter_wshandler_config.json", "{", "JSONDecodeError"),
    "UTF-16": (SERVER + ".py", ENFORCE.encode("utf-16"), "jupyter_server_config.py"),
    "not UTF-8": (SERVER + ".py", b"x = '\xff'\n" + ENFORCE.encode(), "SyntaxError"),
    "another file that it takes in": (
        SERVER + ".py",
        "load_subconfig('more.py')\n" + EXTENSIONS,
        "LazyConfigValue",
    ),
}


def write(folder: Path, name: str, text: str | bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def why_nothing_is_served(server) -> str:
    assert server.fetch("api/status")[0] == 200
    assert server.fetch("bot")[0] == 404
    (line,) = [line for line in server.log_text().splitlines() if "No routes are served" in line]
    assert " E " in line.replace("[E ", " E ") or "ERROR" in line
    return line


@pytest.mark.parametrize(("name", "text", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_no_route_is_served_where_a_file_about_routes_was_lost(tmp_path, name, text, words):
    write(tmp_path / ".jupyter-state" / "config", name, text)
    with running_server(YAML, folder=tmp_path, modules={"bot.py": BOT}) as server:
        line = why_nothing_is_served(server)
    assert name in line
    assert words in line
    assert ("jpserver_extensions.update(" in line) is ("LazyConfigValue" in line)


@pytest.mark.parametrize("where", ["path", "named", "relative", "without ending"])
def test_the_file_may_be_in_any_folder_that_jupyter_reads(tmp_path, where):
    elsewhere = tmp_path / "elsewhere"
    name = SERVER + ".py" if where == "path" else "mine.py"
    write(elsewhere, name, ENFORCE + EXTENSIONS)
    arguments, env = [], {}
    if where == "path":
        env["JUPYTER_CONFIG_PATH"] = f"{tmp_path / 'nothing'}{os.pathsep}{elsewhere}"
    else:
        given = {"named": elsewhere / name, "relative": Path("elsewhere") / name}
        arguments.append(f"--config={given.get(where, elsewhere / 'mine')}")
    with running_server(
        YAML, folder=tmp_path, modules={"bot.py": BOT}, extra_args=arguments, env=env
    ) as server:
        assert f"{elsewhere / name} could not be loaded" in why_nothing_is_served(server)


def test_nor_is_one_of_a_notebook(tmp_path):
    write(tmp_path / ".jupyter-state" / "config", SERVER + ".py", ENFORCE + EXTENSIONS)
    with running_server(YAML, folder=tmp_path, modules={"bot.py": BOT}) as server:
        with notebook(server) as book:
            cell = book.run(
                "import jupyter_wshandler as wsh\nwsh.serve('/mine', lambda h, m: m)", fails=True
            )
        assert "RouteRefused" in cell.error
        assert "kernel_routes" in cell.error
        why_nothing_is_served(server)


def test_jupyterlab_has_a_file_of_its_own(tmp_path):
    write(tmp_path / ".jupyter-state" / "config", "jupyter_lab_config.py", ENFORCE + EXTENSIONS)
    with running_server(
        YAML,
        folder=tmp_path,
        modules={"bot.py": BOT},
        command=[sys.executable, "-m", "jupyterlab"],
    ) as server:
        assert "jupyter_lab_config.py" in why_nothing_is_served(server)


def test_a_file_that_is_not_about_routes_costs_none_and_one_that_works_counts(tmp_path):
    config = tmp_path / ".jupyter-state" / "config"
    write(config, "jupyter_config.py", "c = get_config()\n" + EXTENSIONS)
    write(config, "jupyter_config.json", "{")
    write(config, SERVER + ".py", "# c.WSHandlerApp.enforce = {}\n")  # nothing but a comment
    write(config, SERVER + ".json", '{"WSHandlerApp": {"enforce": {"max_message": "1KiB"}}}')
    with running_server(YAML, folder=tmp_path, modules={"bot.py": BOT}) as server:
        with server.connect_sync("/bot") as socket:
            socket.send("x")
            assert socket.recv(timeout=20) == "x"
        assert "No routes are served" not in server.log_text()


# ---- what a real server cannot be made to meet -----------------------------------------------


def app(folder: Path, **given) -> SimpleNamespace:
    known = {
        "config_file_name": "jupyter_server_config",
        "config_file": "",
        "config_file_paths": [str(folder)],
        "loaded_config_files": [],
    }
    return SimpleNamespace(**{**known, **given})


def test_a_file_that_may_not_be_read_may_say_anything(tmp_path, monkeypatch):
    def read(path: str) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(configfiles, "_read", read)
    (found, *_) = unloaded(app(tmp_path), [], "own")
    assert "it cannot be read (Permission denied)" in found


def test_a_link_to_nowhere_may_have_said_anything(tmp_path):
    (tmp_path / "jupyter_config.json").symlink_to(tmp_path / "not mounted")
    (found,) = unloaded(app(tmp_path), [], "own")
    assert "jupyter_config.json" in found
    assert "link to a file that is not there" in found


def test_a_folder_that_is_called_so_is_no_file(tmp_path):
    (tmp_path / "jupyter_config.py").mkdir()
    assert unloaded(app(tmp_path), [], "own") == []


def test_a_file_that_was_loaded_is_not_run_again(tmp_path):
    write(tmp_path, "jupyter_config.py", ENFORCE + "1 / 0\n")
    loaded = [str(tmp_path / "jupyter_config.py")]
    assert unloaded(app(tmp_path, loaded_config_files=loaded), [], "own") == []
    assert unloaded(app(tmp_path), [app(tmp_path, loaded_config_files=loaded)], "own") == []
    assert len(unloaded(app(tmp_path), [app(tmp_path, config_file_name="x")], "own")) == 1
