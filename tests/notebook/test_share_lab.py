"""A person's way in browsers: a cell in JupyterLab shares a bot, a stranger comes by its link."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from support.browser import errors_of, profile, screenshot
from support.chatpage import answers, reason, say, state
from support.jupyterlab import LabNotebook, running_lab

SERVE = """
import jupyter_wshandler as wsh

def on_message(handler, message):
    return f"{handler.current_user.display_name} says: {message}"

bot = wsh.serve("/pingbot", on_message=on_message)
"""
SHARE = """
share = bot.share(label="Tuesday's class", expires="2h", uses=30)
share
"""
WHO = """
print(len(share.connections), share.uses_left, share.connections[0].current_user.kind)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_lab(tmp_path_factory.mktemp("lab"), base_url="/user/ann@example.org/") as running:
        yield running


@pytest.fixture(scope="module")
def author(chromium):
    # One profile for all: Lab's scripts are fetched and compiled once.
    with profile(
        chromium,
        viewport={"width": 1100, "height": 800},
        permissions=["clipboard-read", "clipboard-write"],
    ) as opened:
        yield opened


@pytest.fixture
def stranger(chromium):
    with profile(chromium, viewport={"width": 420, "height": 760}) as opened:
        yield opened


def test_a_stranger_comes_by_a_link_from_a_cell_is_seen_there_and_reads_why_it_has_ended(
    author, stranger, server
):
    notebook = LabNotebook(author, server, [SERVE, SHARE, WHO])
    try:
        notebook.run(0)
        notebook.run(1)
        card = notebook.output(1).locator(".wshandler-share")
        expect(card.locator(".title")).to_have_text("Tuesday's class")
        expect(card.locator(".words")).to_have_text("shared (pingbot)")
        expect(card.locator(".left")).to_have_text(re.compile(r"^(2 h|1 h 59 min) left$"))
        expect(card.locator(".note")).to_have_text("nobody is in · 30 of 30 uses left")
        card.get_by_role("button", name="Copy").click()
        expect(card.get_by_role("button", name="Copied")).to_be_visible()
        url = notebook.page.evaluate("navigator.clipboard.readText()")
        assert re.fullmatch(
            re.escape(server.url) + r"pingbot\?share_token=[A-Za-z0-9_-]{22}", url
        ), url
        screenshot(notebook.page, "share-lab")

        page = stranger.new_page()
        errors = errors_of(page)
        page.goto(url)
        assert "share_token" not in page.url
        chat = page.locator(".wshandler-chat")
        expect(state(chat)).to_have_text("connected")
        say(chat, "hello")
        expect(answers(chat).last).to_have_text("Tuesday's class says: hello")
        screenshot(page, "share-stranger")

        expect(card.locator(".note")).to_have_text(
            re.compile(r"^1 in: guest [0-9a-f]{4} · 29 of 30 uses left$")
        )
        assert notebook.run(2).inner_text().strip() == "1 29 guest"
        screenshot(notebook.page, "share-lab-in")

        card.get_by_role("button", name="Revoke").click()
        expect(card.locator(".words")).to_have_text("shared no longer")
        expect(card.locator(".note")).to_have_text("This link has been revoked.")
        expect(card.get_by_role("button")).to_have_count(0)
        expect(reason(chat)).to_contain_text("has been revoked")
        screenshot(notebook.page, "share-lab-revoked")
        screenshot(page, "share-stranger-revoked")
        assert page.goto(url).status == 403
        expect(page.locator("body")).to_contain_text("link has been revoked")
        screenshot(page, "share-stranger-refused")
        assert errors == []
        # What is saved holds no link any more.
        notebook.save()
        assert "share_token" not in (server.folder / notebook.name).read_text()
        assert notebook.problems == []
    finally:
        notebook.close()


def test_the_card_stays_the_same_while_people_come_and_go_and_a_cell_is_run_again(
    author, stranger, server
):
    notebook = LabNotebook(author, server, [SERVE.replace("/pingbot", "/again"), SHARE])
    try:
        notebook.run(0)
        notebook.run(1)
        card = notebook.output(1).locator(".wshandler-share")
        expect(card.locator(".note")).to_contain_text("nobody is in")
        url = card.locator(".link").input_value()
        card.evaluate("(host) => { host.mark = 'the same'; }")

        page = stranger.new_page()
        page.goto(url)
        expect(card.locator(".note")).to_contain_text("1 in: guest")
        assert card.evaluate("(host) => host.mark") == "the same"
        # Only now: after a cell has run, JupyterLab moves the focus once more.
        card.get_by_role("button", name="Copy").focus()
        focused = "(host) => host.shadowRoot.activeElement?.textContent"
        # A key that is pressed on a button is not a command of the notebook's.
        cells = notebook.panel.locator(".jp-Cell").count()
        notebook.page.keyboard.press("a")
        notebook.page.keyboard.press("d")
        notebook.page.keyboard.press("d")
        assert card.evaluate(focused) == "Copy"
        expect(notebook.panel.locator(".jp-Cell")).to_have_count(cells)
        page.close()
        expect(card.locator(".note")).to_contain_text("nobody is in")
        assert card.evaluate(focused) == "Copy"

        notebook.run(0)
        notebook.run(1)
        again = notebook.output(1).locator(".wshandler-share")
        expect(again.locator(".link")).to_have_value(url)
        assert notebook.problems == []
    finally:
        notebook.close()


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("http://127.0.0.1:1/pingbot?share_token=abc", "{here}/pingbot?share_token=abc"),
        ("http://localhost:1/services/bots/x", "{here}/services/bots/x"),
        ("http://[::1]:1/pingbot", "{here}/pingbot"),
        ("https://hub.example.org/pingbot", "https://hub.example.org/pingbot"),
        ("http://127.0.0.1.example.org/pingbot", "http://127.0.0.1.example.org/pingbot"),
    ],
)
def test_the_link_of_a_card_is_none_to_a_machines_own_address_where_the_page_knows_a_better_one(
    stranger, server, link, shown
):
    here = f"http://localhost:{server.port}"
    page = stranger.new_page()
    empty = "<!doctype html><p id=place></p>"
    page.route(f"{here}/empty", lambda route: route.fulfill(body=empty, content_type="text/html"))
    page.goto(f"{here}/empty")
    state = {"key": "one", "id": "share-one", "bot": "pingbot", "label": "", "state": "open"}
    state |= {"reason": "", "url": link, "expires": None, "uses": None, "usesLeft": None}
    state |= {"people": [], "count": 0, "for": []}
    page.evaluate(
        """async ([script, state]) => {
          (await import(script)).mount(document.querySelector('#place'), state);
        }""",
        [f"{here}/user/ann@example.org/static/wshandler/share.js", state],
    )
    expect(page.locator(".wshandler-share .link")).to_have_value(shown.format(here=here))
