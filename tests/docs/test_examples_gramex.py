"""The example for those who come from Gramex: its files as they are, on a real server."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.server import running_server

from jupyter_wshandler.cli import main
from jupyter_wshandler.client import connect

FOLDER = Path(__file__).parents[2] / "examples" / "gramex"
GUIDE = ast.parse((FOLDER / "guide.py").read_text(encoding="utf-8"))


def constant(name: str) -> object:
    """Return what the module assigns to a name, without running it."""
    (value,) = (
        node.value
        for node in GUIDE.body
        if isinstance(node, ast.Assign) and node.targets[0].id == name
    )
    return ast.literal_eval(value)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(FOLDER / "gramex.yaml", folder=tmp_path_factory.mktemp("guide")) as running:
        yield running


def test_check_says_what_it_skips_and_finds_nothing_wrong(capsys):
    assert main(["check", str(FOLDER / "gramex.yaml")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "skipped 1 entry of other handlers: FileHandler" in printed
    assert "skipped what is not about routes: app" in printed
    assert "OK: 1 route, no problems" in printed


def test_the_guide_answers_and_speaks_first_when_its_visitor_is_silent(server):
    address = {"server": server.url, "token": server.token, "timeout": 20}
    with connect("/guide", **address) as silent, connect("/guide", **address) as asking:
        for visitor in (silent, asking):
            assert visitor.recv() in constant("GREETINGS")
        asking.send("Where is the COFFEE, please?")
        assert asking.recv() == constant("PLACES")["coffee"]
        asking.send("And the moon?")
        assert asking.recv() == "I know the way to: coffee, exit, library."
        assert silent.recv() in constant("IDLE")
    assert "Traceback" not in server.log_text()


def test_two_tabs_of_a_browser_share_a_conversation_until_the_last_one_closes(server):
    with server.connect_sync("/guide") as first:
        assert first.recv(timeout=20) in constant("GREETINGS")
        fields = first.response.headers.get_all("Set-Cookie")
        cookies = "; ".join(field.partition(";")[0] for field in fields)
        with server.connect_sync("/guide", headers={"Cookie": cookies}) as second:
            assert second.recv(timeout=20) in constant("GREETINGS")
            assert not second.response.headers.get_all("Set-Cookie")  # it is the same session
        first.send("library?")
        assert first.recv(timeout=20) == constant("PLACES")["library"]
        assert first.recv(timeout=20) in constant("IDLE")
    with server.connect_sync("/guide", headers={"Cookie": cookies}) as again:
        assert again.recv(timeout=20) in constant("GREETINGS")
        again.send("exit")
        assert again.recv(timeout=20) == constant("PLACES")["exit"]
    assert "Traceback" not in server.log_text()


def test_the_guide_forgets_who_has_left_and_its_timer_ends(server):
    with connect("/guide", server=server.url, token=server.token, timeout=20) as visitor:
        assert visitor.recv() in constant("GREETINGS")
    with connect("/guide", server=server.url, token=server.token, timeout=20) as again:
        assert again.recv() in constant("GREETINGS")
    assert "Traceback" not in server.log_text()
