"""docs/rest.md: its table is the API, and what curl prints there is what a server answers.

`WSHANDLER_WRITE=1 pytest tests/docs/test_rest.py` writes the answers into the page.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import curls
from support.bots import bot_text
from support.need import need
from support.server import TOKEN, running_server

from jupyter_wshandler.server.api.openapi import document

PAGE = Path(__file__).parents[2] / "docs" / "rest.md"

CONFIG = """
url:
  chat: {pattern: "/chat/{room}", handler: WebSocketHandler,
         kwargs: {on_message: rest_page.chat, rooms: ["{room}"], presence: true,
                  history: {size: 100}}}
  divide: {pattern: /divide, handler: WebSocketHandler,
           kwargs: {on_message: rest_page.divide, on_error: {close: false}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rest")
    with running_server(
        CONFIG,
        folder=folder,
        modules={
            "rest_page.py": bot_text("rest_page"),
            "published.py": bot_text("published"),
        },
        extra_args=["--ServerApp.identity_provider_class=published.People"],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


def test_every_address_is_in_the_table_with_its_verbs():
    listed = {}
    for addresses, verbs in re.findall(
        r"^\| (`[a-z].*?`) \| ([A-Z, ]+) \|", PAGE.read_text(), re.M
    ):
        for address in re.findall(r"`([^`]+)`", addresses):
            path = re.sub(r"[A-Z]+", "{}", address)
            listed[path] = set(verbs.lower().split(", "))
    described = {}
    for path, item in document("/")["paths"].items():
        verbs = {*item} - {"parameters", "options"}
        described[re.sub(r"\{\w+\}", "{}", path.removeprefix("/"))] = verbs
    # Two addresses that share a row have the verbs of both.
    both = described["shares"] | described["shares/{}"]
    described["shares"] = described["shares/{}"] = both
    assert listed == described


def test_what_curl_prints_on_the_page_is_what_a_server_answers(server):
    need("curl")
    page = PAGE.read_text()
    commands = curls.commands_of(page)
    assert len(commands) > 15
    with ExitStack() as stack:
        people = [
            stack.enter_context(
                server.connect_sync(path, token=f"person-{name}", user_agent_header=None)
            )
            for name, path in (("ada", "/chat/blue"), ("bob", "/chat/blue"), ("bob", "/divide"))
        ]
        people[2].send("1/0")
        assert "internal error" in people[2].recv(timeout=5)
        status, _, body = server.fetch("/wshandler/api/connections?user=bob&route=chat")
        assert status == 200
        bob = json.loads(body)["connections"][0]["id"]
        answers = curls.answers_to(
            commands,
            {"TOKEN": TOKEN, "BOB": bob},
            API=f"http://127.0.0.1:{server.port}/wshandler/api",
        )
    secrets = {
        str(server.folder): "/home/ada/bots",
        f"127.0.0.1:{server.port}": "localhost:8888",
        TOKEN: "...",
    }
    found = curls.with_answers(page, answers, secrets)
    if os.environ.get("WSHANDLER_WRITE"):
        PAGE.write_text(found)
    assert found == page, "run WSHANDLER_WRITE=1 pytest tests/docs/test_rest.py"
    assert TOKEN not in found
