"""The page of the service under a real JupyterHub: its own bots, and what users share."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from support.bots import bot_text
from support.browser import errors_of, profile, screenshot, sign_in_at_hub
from support.directory import hub_with_directory
from support.hubnotebook import kernel_of
from support.server import wait_for

ROUTES = """
url:
  Help desk: {pattern: "/help desk/zoë", handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message, auth: {recheck: 1s}}}
  staff: {pattern: /staff, handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message, auth: {groups: [staff], recheck: 1s}}}
  for bob: {pattern: /for-bob, handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message, auth: {users: [bob]}}}
  refused: {pattern: /refused, handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message}}
  no page: {pattern: /no-page, handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message, page: false}}
  rooms: {pattern: "/room/{room}", handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message}}
  broken: {pattern: /broken, handler: WebSocketHandler,
    kwargs: {on_message: service_bots.nothing_of_this_name}}
  unreadable: {pattern: /unreadable, handler: WebSocketHandler,
    kwargs: {on_message: service_bots.on_message, auth: {group: [staff]}}}
"""

CELL = """
import jupyter_wshandler as wsh


def on_message(handler, message):
    return f"{message} yourself, {handler.current_user.name}"


bot = wsh.serve("/tuesdaybot", on_message=on_message, auth={"recheck": "1s"})
share = bot.share("Tuesday's bot", users=["bob"], expires="2h")
"""

SECONDS = 60_000
"""Milliseconds that anything may take on a busy machine."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    routes = tmp_path_factory.mktemp("routes")
    (routes / "wshandler.yaml").write_text(ROUTES, encoding="utf-8")
    (routes / "service_bots.py").write_text(bot_text("service_bots"), encoding="utf-8")
    with hub_with_directory(
        tmp_path_factory.mktemp("hub-directory-own") / "hub",
        "url: {}",
        users=["ada", "bob"],
        groups={"staff": ["ada"]},
        service_args=[
            "--WSHandlerApp.bots_only=True",
            f"--WSHandlerApp.config_file={routes / 'wshandler.yaml'}",
            "--ServerApp.authorizer_class=service_bots.Authorizer",
        ],
        service_env={"PYTHONPATH": str(routes)},
    ) as running:
        yield running


@pytest.fixture
def phone(chromium):
    size = {"width": 390, "height": 800}
    with profile(chromium, viewport=size, is_mobile=True, color_scheme="dark") as context:
        yield context


def here(service, browser) -> dict[str, str]:
    """Return the state of each of the service's bots that are listed for a browser."""
    return {bot["route"]: bot["state"] for bot in service.listed(browser)["here"]}


def signed_in(context: BrowserContext, service, user: str) -> Page:
    """Follow the Hub's menu to the service, sign in, and wait for the list."""
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.goto(service.hub.door.url(service.at("")))
    sign_in_at_hub(page, user, service.hub.password_of(user))
    expect(page.get_by_role("heading", name="Bots", exact=True)).to_be_visible(timeout=SECONDS)
    return page


def say(page: Page, text: str, answer: str) -> None:
    """Say something to the bot of a page, and wait for what it answers."""
    field = page.get_by_label("Your message")
    field.fill(text)
    field.press("Enter")
    expect(page.get_by_text(answer)).to_be_visible(timeout=SECONDS)


def test_each_sees_the_bots_of_the_service_that_they_may_use_and_can_open(service):
    hub = service.hub
    ada, bob = service.person("ada"), service.person("bob")
    assert here(service, bob) == {"Help desk": "running", "for bob": "running", "broken": "broken"}
    assert here(service, ada) == {"Help desk": "running", "staff": "running", "broken": "broken"}
    for bot in service.listed(ada)["here"]:
        answer = ada.fetch(bot["open"], headers={"Accept": "text/html"})
        assert answer.status == (503 if bot["state"] == "broken" else 200), bot
    hub.remove_from_group("staff", "ada")
    try:
        wait_for(lambda: "staff" not in here(service, ada), 30, "the end of ada's membership")
    finally:
        hub.add_to_group("staff", "ada")
    assert hub.browser().fetch(service.at("wshandler/api/directory")).status == 403


def test_the_root_leads_to_the_list_and_from_there_to_a_bot_of_the_service(service, phone):
    page = signed_in(phone, service, "bob")
    errors = errors_of(page)
    assert page.url == service.hub.door.url(service.page)
    broken = page.locator(".here .card").filter(has_text="broken")
    expect(broken).to_contain_text("out of order")
    expect(broken.get_by_role("link")).to_have_count(0)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    screenshot(page, "service-1-list-phone-dark")
    page.get_by_role("link", name="Open Help desk").click()
    expect(page.get_by_role("status").first).to_have_text("connected", timeout=SECONDS)
    say(page, "hello", "bob: hello")
    assert errors == []


def test_who_logs_out_at_the_hub_reads_so_on_the_chat_that_is_open_and_comes_back(service, browser):
    page = signed_in(browser, service, "bob")
    errors = errors_of(page)
    page.get_by_role("link", name="Open Help desk").click()
    expect(page.get_by_role("status").first).to_have_text("connected", timeout=SECONDS)
    say(page, "hello", "bob: hello")
    other = browser.new_page()
    listed = browser.new_page()
    listed.goto(service.hub.door.url(service.page))
    expect(listed.get_by_role("heading", name="Help desk")).to_be_visible(timeout=SECONDS)
    other.goto(service.hub.door.url(service.hub.path("logout")))
    other.close()
    expect(page.get_by_text("You are signed out")).to_be_visible(timeout=SECONDS)
    # As soon as somebody is signed in again, it may be gone.
    link = page.get_by_role("link", name="Sign in").evaluate("(link) => link.href")
    screenshot(page, "service-2-signed-out")
    listed.bring_to_front()
    expect(listed.get_by_text("You are not signed in any more.")).to_be_visible(timeout=SECONDS)
    screenshot(listed, "service-3-list-signed-out")
    listed.get_by_role("link", name="Sign in").click()
    sign_in_at_hub(listed, "bob", service.hub.password_of("bob"))
    expect(listed.get_by_role("heading", name="Help desk")).to_be_visible(timeout=SECONDS)
    # Signed in again in one tab, the other one goes on with the link that it has shown.
    page.bring_to_front()
    page.goto(link)
    expect(page.get_by_role("status").first).to_have_text("connected", timeout=SECONDS)
    say(page, "here I am again", "bob: here I am again")
    assert errors == []


def test_ada_shares_a_bot_of_a_cell_with_bob_who_finds_it_talks_and_reads_why_it_ends(
    service, browser
):
    hub = service.hub
    server = hub.start("ada")
    bob = signed_in(browser, service, "bob")
    errors = errors_of(bob)
    with kernel_of(hub, server, hub.token("ada")) as book:
        book.run(CELL)
        # The page notices by itself.
        expect(bob.get_by_role("heading", name="Tuesday's bot")).to_be_visible(timeout=SECONDS)
        expect(bob.get_by_text("From ada, until")).to_be_visible()
        screenshot(bob, "service-4-shared-with-bob")
        bob.get_by_role("link", name="Open Tuesday's bot").click()
        expect(bob.get_by_role("status").first).to_have_text("connected", timeout=SECONDS)
        assert bob.url == hub.door.url("/user/ada/tuesdaybot")
        say(bob, "Hello", "Hello yourself, bob")
        screenshot(bob, "service-5-bob-talks")
        who = book.run("[(c.current_user.name, c.current_user.kind) for c in share.connections]")
        assert who.result == "[('bob', 'guest')]"
        book.run("share.revoke()")
        expect(bob.get_by_text("This is not shared any more.")).to_be_visible(timeout=SECONDS)
        screenshot(bob, "service-6-bob-reads-why")
        wait_for(lambda: book.run("len(share.connections)").result == "0", 30, "bob's leaving")
        assert book.run("share.state").result == "'ended'"
        # Whoever comes again reads the same.
        bob.goto(hub.door.url("/user/ada/tuesdaybot"))
        expect(bob.get_by_role("heading")).to_have_text("This is not shared any more.")
        screenshot(bob, "service-7-bob-comes-again")
        bob.goto(hub.door.url(service.page))
        expect(bob.get_by_text("Nobody has shared a bot with you yet.")).to_be_visible(
            timeout=SECONDS
        )
    assert errors == []


def test_bob_reads_on_both_pages_that_are_open_that_adas_server_is_stopped(service, browser):
    hub = service.hub
    server = hub.start("ada")
    bob = signed_in(browser, service, "bob")
    errors = errors_of(bob)
    listed = browser.new_page()
    listed.goto(hub.door.url(service.page))
    with kernel_of(hub, server, hub.token("ada")) as book:
        book.run(CELL)
        bob.get_by_role("link", name="Open Tuesday's bot").click()
        expect(bob.get_by_role("status").first).to_have_text("connected", timeout=SECONDS)
        say(bob, "Hello", "Hello yourself, bob")
        hub.stop("ada")
        expect(bob.get_by_text("The server has stopped.")).to_be_visible(timeout=SECONDS)
        screenshot(bob, "service-8-stopped")
    listed.bring_to_front()
    card = listed.locator(".with-me .card")
    expect(card).to_contain_text("ada’s server is stopped", timeout=SECONDS)  # noqa: RUF001
    expect(card.get_by_role("link")).to_have_count(0)
    screenshot(listed, "service-9-listed-as-stopped")
    owner = service.person("ada")
    for share in service.listed(owner)["by_me"]:
        assert service.stop_sharing(owner, share["id"]) == 204
    expect(listed.get_by_text("Nobody has shared a bot with you yet.")).to_be_visible(
        timeout=SECONDS
    )
    assert errors == []
