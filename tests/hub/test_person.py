"""A person's way under a real JupyterHub, in a real browser: sign in, talk, sign out, come back."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect
from support.browser import errors_of, screenshot, sign_in_at_hub
from support.hub import running_hub

RECHECK = 1

PAGE = Path(__file__).parents[2] / "examples" / "pingbot" / "chat.html"

CONFIG = f"""
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs:
      on_message: pingbot.on_message
      page: {PAGE}
      xsrf: ticket
      auth: {{recheck: {RECHECK}s}}
  sleepy:
    pattern: /sleepy
    handler: WebSocketHandler
    kwargs:
      on_message: pingbot.on_message
      page: {PAGE}
      xsrf: ticket
      idle_timeout: 1s
"""

BOT = """
def on_message(handler, message):
    return f"{handler.current_user.name}: {message}"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-person") / "hub",
        CONFIG,
        modules={"pingbot.py": BOT},
        users=["ada", "zoë b"],
        extra_config='c.Spawner.default_url = "/pingbot"',
    ) as running:
        yield running


def open_chat(browser: BrowserContext, hub, user: str = "ada") -> Page:
    """Go to the Hub, sign in, and wait until the chat is connected."""
    page = browser.new_page()
    page.goto(hub.door.url("/"))
    sign_in_at_hub(page, user, hub.password_of(user))
    expect(page.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    return page


def say(page: Page, text: str, user: str = "ada") -> None:
    page.get_by_label("Your message").fill(text)
    page.get_by_label("Your message").press("Enter")
    expect(page.locator(".message.bot .bubble").last).to_have_text(f"{user}: {text}")


def notice(page: Page) -> Locator:
    """Return the last thing that the page itself has said."""
    return page.locator(".notice").last


def test_a_person_signs_in_talks_signs_out_in_another_tab_and_comes_back(hub, browser):
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(hub.door.url("/"))
    screenshot(page, "hub-1-sign-in")
    sign_in_at_hub(page, "ada", hub.password_of("ada"))
    expect(page.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    say(page, "hello")
    screenshot(page, "hub-2-chat")

    other = browser.new_page()
    other.goto(hub.door.url(hub.path("logout")))
    other.close()
    expect(page.get_by_role("status")).to_have_text("Signed out")
    expect(notice(page)).to_have_text("You are signed out.")
    screenshot(page, "hub-3-signed-out")

    page.get_by_role("link", name="Sign in").click()
    sign_in_at_hub(page, "ada", hub.password_of("ada"))
    expect(page.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    say(page, "here I am again")
    assert errors == []


def test_a_server_that_is_stopped_says_so_and_the_page_connects_when_it_is_back(hub, browser):
    page = open_chat(browser, hub)
    say(page, "before")
    hub.stop("ada")
    expect(notice(page)).to_have_text("The server is stopped.")
    link = page.get_by_role("link", name="Start it at the Hub")
    expect(link).to_be_visible()
    screenshot(page, "hub-4-stopped")
    with browser.expect_page() as opened:
        link.click(modifiers=["Control"])
    launch = opened.value
    expect(launch.locator("body")).to_contain_text("Server not running")
    screenshot(launch, "hub-4-launch")
    launch.get_by_role("button", name="Launch Server").click()
    # The new tab comes back to the chat, and the old one connects by itself.
    expect(launch.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    expect(page.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    say(page, "after")


def test_a_server_that_somebody_else_has_started_again_is_no_sign_out(hub, browser):
    """The Hub forgets a server's logins with the server, and its users have not signed out."""
    page = open_chat(browser, hub)
    say(page, "before")
    hub.stop("ada")
    expect(notice(page)).to_have_text("The server is stopped.")
    hub.start("ada")
    words = "The server was started again, and does not know this page yet."
    expect(notice(page)).to_have_text(words, timeout=60_000)
    expect(page.get_by_role("status")).to_have_text("Reconnecting")
    screenshot(page, "hub-4-renewed")
    with browser.expect_page() as opened:
        page.get_by_role("link", name="Sign in").click()
    # The Hub asks nothing of somebody who is signed in there; the page notices by itself.
    expect(opened.value.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    expect(page.get_by_role("status")).to_have_text("Connected", timeout=60_000)
    say(page, "after")


def test_a_silent_chat_is_closed_and_opens_again_when_somebody_writes(hub, browser):
    page = open_chat(browser, hub)
    page.goto(hub.door.url(hub.start("ada").at("sleepy")))
    expect(notice(page)).to_contain_text("nobody said anything for a while")
    screenshot(page, "hub-5-idle")
    say(page, "awake")


def test_the_page_works_for_a_name_with_a_space_and_an_accent(hub, browser):
    page = open_chat(browser, hub, "zoë b")
    say(page, "bonjour", "zoë b")
    screenshot(page, "hub-6-name")


def test_the_console_is_shown_in_a_tab_and_may_be_in_no_frame(hub, browser):
    """JupyterLab's panel finds that in the answer to its first question: routes."""
    page = open_chat(browser, hub)
    with page.expect_response(lambda it: "/wshandler/api/routes" in it.url) as asked:
        answer = page.goto(hub.door.url(hub.start("ada").at("wshandler/")))
    expect(page.get_by_role("heading", name="Console", exact=True)).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="/pingbot")).to_be_visible()
    for each in (answer, asked.value):
        assert "frame-ancestors 'none'" in each.headers["content-security-policy"]
