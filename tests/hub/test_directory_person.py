"""A person's way to a bot that is shared by name, in a real browser, and on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from support.browser import errors_of, profile, screenshot, sign_in_at_hub
from support.directory import hub_with_directory, share

CONFIG = """
url:
  pingbot:
    pattern: /pingbot
    handler: WebSocketHandler
    kwargs: {on_message: bot.who, auth: {recheck: 1s}}
"""

BOT = """
def who(handler, message):
    return f"{handler.current_user.name}: {message}"
"""

SECONDS = 90_000
"""Milliseconds that anything may take on a busy machine."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with hub_with_directory(
        tmp_path_factory.mktemp("hub-directory-person") / "hub",
        CONFIG,
        modules={"bot.py": BOT},
        users=["ada", "bob"],
    ) as running:
        yield running


@pytest.fixture
def another_browser(chromium):
    with profile(chromium) as context:
        yield context


@pytest.fixture
def phone(chromium):
    with profile(chromium, viewport={"width": 360, "height": 740}, is_mobile=True) as context:
        yield context


def signed_in(context: BrowserContext, service, user: str) -> Page:
    """Go to the service, sign in at the Hub, and wait for the list."""
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(service.hub.door.url(service.page))
    sign_in_at_hub(page, user, service.hub.password_of(user))
    expect(page.get_by_role("heading", name="Bots", exact=True)).to_be_visible(timeout=SECONDS)
    return page


def test_bob_finds_the_bot_talks_and_reads_why_it_ends(service, browser, another_browser):
    hub = service.hub
    server = hub.start("ada")
    bob = signed_in(browser, service, "bob")
    errors = errors_of(bob)
    expect(bob.get_by_text("Nobody has shared a bot with you yet.")).to_be_visible()
    screenshot(bob, "directory-1-empty")
    share(hub, server, route="pingbot", label="Ping of ada's", expires="2h", users=["bob"])
    # The page notices by itself.
    expect(bob.get_by_role("heading", name="Ping of ada's")).to_be_visible(timeout=SECONDS)
    expect(bob.get_by_text("From ada, until")).to_be_visible()
    screenshot(bob, "directory-2-shared-with-me")
    bob.get_by_role("link", name="Open Ping of ada's").click()
    expect(bob.get_by_role("status").first).to_have_text("connected", timeout=SECONDS)
    assert bob.url == hub.door.url("/user/ada/pingbot")
    bob.get_by_label("Your message").fill("hello")
    bob.get_by_label("Your message").press("Enter")
    expect(bob.get_by_text("bob: hello")).to_be_visible(timeout=SECONDS)
    screenshot(bob, "directory-3-bob-talks")
    ada = signed_in(another_browser, service, "ada")
    card = ada.locator(".by-me .card")
    expect(card).to_contain_text("With bob")
    screenshot(ada, "directory-4-shared-by-me")
    ada.once("dialog", lambda dialog: dialog.accept())
    card.get_by_role("button", name="Stop sharing").click()
    expect(ada.get_by_text("You share no bot by name.")).to_be_visible(timeout=SECONDS)
    expect(bob.get_by_text("not shared any more")).to_be_visible(timeout=SECONDS)
    screenshot(bob, "directory-5-bob-reads-why")
    assert errors == []


def test_the_page_on_a_phone_with_long_names_and_a_server_that_is_stopped(service, phone):
    hub = service.hub
    server = hub.start("ada")
    label = "A bot with a name so long that no phone in the world has a place for it in one line"
    users = ["bob", *(f"somebody.with.a.long.name.{number}@example.org" for number in range(5))]
    share(hub, server, route="pingbot", label=label, users=users)
    page = signed_in(phone, service, "bob")
    expect(page.get_by_role("heading", name=label)).to_be_visible(timeout=SECONDS)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    screenshot(page, "directory-6-phone")
    hub.stop("ada")
    expect(page.get_by_text("ada’s server is stopped").first).to_be_visible(timeout=SECONDS)  # noqa: RUF001
    expect(page.get_by_role("link", name="Open")).to_have_count(0)
    screenshot(page, "directory-7-stopped")
    page.goto(service.hub.door.url(service.at("wshandler/directory/open/no-such-share")))
    expect(page.get_by_role("alert")).to_contain_text("not shared with you")
    screenshot(page, "directory-8-words")
    assert page.evaluate(wide) <= 0
