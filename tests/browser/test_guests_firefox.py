"""A stranger with a link, in Firefox."""

from __future__ import annotations

import pytest
from browser.test_guests import OWN, YAML, fill
from support.bots import bot_text
from support.firefox import running_firefox
from support.server import running_server
from support.sharing import share


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guests-firefox")
    fill(folder)
    modules = {"guestpage.py": bot_text("guestpage"), "own.html": OWN}
    with running_server(YAML, folder=folder, modules=modules, base_url="/user/ada/") as running:
        yield running


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    with running_firefox(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_built_in_chat_and_pages_of_the_authors_own_work_for_a_guest(firefox, server):
    firefox.goto(share(server, route="chat")["url"])
    firefox.until(
        "document.querySelector('.wshandler-chat')?.shadowRoot.querySelector('.words')"
        ".textContent === 'connected'"
    )
    assert firefox.evaluate("origin") == "null"
    firefox.goto(share(server, path="/own/blue")["url"])
    firefox.until("document.querySelector('output').value === 'Guest (guest) says hello'")
    firefox.goto(share(server, route="folder")["url"])
    said = "Guest (guest) says hello json and wasm"
    firefox.until(f"document.querySelector('output').value === '{said}'")
    assert firefox.evaluate("origin") == "null"
    assert firefox.evaluate("location.pathname") == "/user/ada/folder/"
