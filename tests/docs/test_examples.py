"""The example bots: their configuration, their functions and their page."""

from __future__ import annotations

import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.server import running_server, wait_for

from jupyter_wshandler.cli import main

PINGBOT = Path(__file__).parents[2] / "examples" / "pingbot"
PAGE = (PINGBOT / "chat.html").read_text(encoding="utf-8")


class Handler:
    """Stand in for a connection: remember what a bot sends."""

    def __init__(self):
        self.session = {"id": "a-session"}
        self.sent = []

    def write_message(self, message):
        self.sent.append(message)


def bot(name):
    """Import a bot of the examples without touching sys.path."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", PINGBOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    with running_server(PINGBOT / "wshandler.yaml", folder=folder) as running:
        yield running


def test_check_finds_nothing_wrong_in_the_example(capsys):
    assert main(["check", str(PINGBOT / "wshandler.yaml")]) == 0
    printed = capsys.readouterr()
    assert "warning" not in (printed.out + printed.err).lower()


@pytest.mark.parametrize(
    ("message", "answer"), [("Hello", "Got message: Hello"), (b"\xff", b"Got message: \xff")]
)
def test_pingbot_answers_text_with_text_and_bytes_with_bytes(message, answer):
    handler = Handler()
    bot("pingbot").on_message(handler, message)
    assert handler.sent == [answer]


def test_pingbot_prints_its_session_when_it_opens_and_closes(capsys):
    pingbot = bot("pingbot")
    pingbot.on_open(Handler())
    pingbot.on_close(Handler())
    assert capsys.readouterr().out == (
        "Chatbot opened for a-session\nChatbot closed for a-session\n"
    )


@pytest.mark.parametrize(("message", "quoted"), [("{braces}", "{braces}"), (b"abc", "3 bytes")])
async def test_storybot_yields_its_answer_in_words_and_says_when_it_is_done(
    monkeypatch, message, quoted
):
    storybot = bot("storybot")
    monkeypatch.setattr(storybot, "PAUSE", 0)
    pieces = [piece async for piece in storybot.on_message(Handler(), message)]
    assert pieces[-1] == {"done": True}
    assert all(set(piece) == {"token"} for piece in pieces[:-1])
    assert len(pieces) > 50
    assert f"“{quoted}”" in "".join(piece["token"] for piece in pieces[:-1])


def test_both_bots_answer_in_a_real_server_and_pingbot_logs_one_session(server):
    with server.connect_sync("/pingbot") as client:
        client.send("Hello world")
        assert client.recv(timeout=10) == "Got message: Hello world"
    with server.connect_sync("/storybot") as client:
        client.send("ping")
        pieces = [json.loads(client.recv(timeout=10))]
        while not pieces[-1].get("done"):
            pieces.append(json.loads(client.recv(timeout=10)))
    assert "“ping”" in "".join(piece.get("token", "") for piece in pieces)
    wait_for(lambda: "Chatbot closed" in server.log_text(), what="the bot's second print")
    opened = re.findall(r"Chatbot opened for (\S+)", server.log_text())
    assert len(opened) == 1
    assert opened == re.findall(r"Chatbot closed for (\S+)", server.log_text())


def test_the_page_is_served_to_a_login_and_redirects_everybody_else(server):
    status, headers, body = server.fetch("/pingbot")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert body.decode() == PAGE
    status, headers, _ = server.fetch("/pingbot", token=False)
    assert status == 302
    assert headers["Location"] == "/login?next=%2Fpingbot"


class Elements(HTMLParser):
    """Collect the tags of a page with their attributes."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_loads_nothing_from_elsewhere():
    for tag, attributes in Elements(PAGE).found:
        for name in ("src", "href", "action"):
            if name in attributes:
                assert attributes[name].startswith("data:"), (tag, attributes)
    assert "@import" not in PAGE
    assert "url(" not in PAGE


def test_every_field_of_the_page_has_a_label_and_every_id_is_unique():
    elements = Elements(PAGE).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {attributes["for"] for tag, attributes in elements if tag == "label"}
    fields = [attributes["id"] for tag, attributes in elements if tag in ("input", "textarea")]
    assert fields
    assert set(fields) <= labels


def test_the_page_never_writes_markup_from_a_message():
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert sink not in PAGE
