"""The demo's page is left and come back to: no refusal, no second socket, words that are true."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect
from support.browser import errors_of, profile, running_chromium, screenshot
from support.demo import Demo, running_demo
from support.server import wait_for


@pytest.fixture(scope="module")
def keeper():
    """Return a Chromium as people have it: it keeps pages that are left."""
    with running_chromium(keeps_pages=True) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
def page(keeper: Browser, demo: Demo):
    """Return the demo's page, as the link in the terminal opens it, in a profile of its own."""
    with profile(keeper) as context:
        yield opened(context, demo)


def opened(context, demo: Demo) -> Page:
    page = context.new_page()
    page.errors = errors_of(page)
    page.goto(demo.page)
    expect(status(page)).to_have_text("Connected")
    talk(page, "first")
    return page


def status(page: Page):
    return page.get_by_role("status")


def notices(page: Page):
    return page.locator(".notice")


def answers(page: Page):
    return page.locator(".message.bot .bubble")


def talk(page: Page, text: str) -> None:
    """Say something, and see it answered once."""
    before = answers(page).count()
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_count(before + 1)
    expect(answers(page).last).to_have_text(f"Got message: {text}")
    # Another socket of this page would have brought the answer again by now.
    page.wait_for_timeout(200)
    expect(answers(page)).to_have_count(before + 1)


def left(page: Page, demo: Demo) -> None:
    """Follow a link to the demo's other chat, and wait for the end of the connection."""
    page.evaluate(
        """where => {
          delete window.kept;
          window.onpageshow = ({persisted}) => { window.kept = persisted; };
          location.href = where;
        }""",
        demo.url("storybot"),
    )
    page.wait_for_url("**/storybot")
    wait_for(lambda: demo.counted("connections") == 0, 20, "the end of the connection")


def back(page: Page) -> None:
    """Go back to the page that the browser has kept."""
    page.go_back(wait_until="commit")
    page.wait_for_function("window.kept !== undefined")
    assert page.evaluate("window.kept") is True, "the browser has not kept the page"


def test_it_is_come_back_to_by_back(page, demo):
    refused = demo.counted("requests_refused")
    left(page, demo)
    back(page)
    expect(status(page)).to_have_text("Connected")
    expect(notices(page)).to_have_text(["This page was left. Connected again."])
    expect(page.locator(".notice.bad")).to_have_count(0)
    expect(answers(page)).to_have_text(["Got message: first"])
    screenshot(page, "demo-back")
    talk(page, "again")
    assert demo.counted("connections") == 1
    assert demo.counted("requests_refused") == refused
    assert page.errors == []


def test_it_is_come_back_to_again_and_again(page, demo):
    for number in range(4):
        left(page, demo)
        back(page)
        expect(status(page)).to_have_text("Connected")
        talk(page, f"number {number}")
        assert demo.counted("connections") == 1
    # Said each time, and not once for each attempt.
    expect(notices(page)).to_have_text(["This page was left. Connected again."] * 4)
    screenshot(page, "demo-back-often")


def test_a_draft_is_kept_and_is_not_sent(page, demo):
    page.get_by_label("Your message").fill("a draft")
    left(page, demo)
    back(page)
    expect(status(page)).to_have_text("Connected")
    expect(page.get_by_label("Your message")).to_have_value("a draft")
    expect(page.locator(".message.you .bubble")).to_have_text(["first"])
    page.get_by_role("button", name="Send").click()
    expect(answers(page)).to_have_text(["Got message: first", "Got message: a draft"])


@pytest.mark.parametrize("address", ["as printed", "without the token"])
def test_it_is_come_back_to_by_its_address(page, demo, address):
    refused = demo.counted("requests_refused")
    left(page, demo)
    page.goto(demo.page if address == "as printed" else demo.url("pingbot"))
    expect(status(page)).to_have_text("Connected")
    expect(notices(page)).to_have_count(0)
    assert "token" not in page.url
    talk(page, "a new page")
    screenshot(page, "demo-by-address")
    assert demo.counted("connections") == 1
    assert demo.counted("requests_refused") == refused


def test_it_is_come_back_to_after_a_sign_out_elsewhere(page, demo):
    left(page, demo)
    sign_out(page, demo)
    back(page)
    signed_out(page, "demo-signed-out")
    assert demo.counted("connections") == 0
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, demo)
    talk(page, "signed in")
    assert demo.counted("connections") == 1


def test_it_is_come_back_to_by_its_address_after_a_sign_out_elsewhere(page, demo):
    left(page, demo)
    sign_out(page, demo)
    page.goto(demo.url("pingbot"))
    screenshot(page, "demo-login")
    sign_in(page, demo)
    talk(page, "signed in")


def test_who_signs_in_elsewhere_finds_the_page_connected(page, demo):
    left(page, demo)
    sign_out(page, demo)
    back(page)
    signed_out(page, "demo-signed-out-again")
    other = page.context.new_page()
    other.goto(demo.url(f"login?token={demo.token}"))
    other.close()
    page.bring_to_front()
    expect(status(page)).to_have_text("Connected")
    expect(notices(page)).to_have_text(["You were signed out. Connected again."])
    expect(page.locator(".notice.bad")).to_have_count(0)
    talk(page, "signed in elsewhere")
    screenshot(page, "demo-signed-in-elsewhere")
    assert demo.counted("connections") == 1


def sign_out(page: Page, demo: Demo) -> None:
    other = page.context.new_page()
    other.goto(demo.url("logout"))
    other.close()


def signed_out(page: Page, name: str) -> None:
    expect(status(page)).to_have_text("Signed out")
    expect(notices(page).last).to_have_text("You are signed out.")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    screenshot(page, name)


def sign_in(page: Page, demo: Demo) -> None:
    page.get_by_label(re.compile("token", re.IGNORECASE)).first.fill(demo.token)
    page.get_by_role("button", name=re.compile("log in", re.IGNORECASE)).first.click()
    expect(status(page)).to_have_text("Connected")


def test_it_is_come_back_to_after_a_restart_of_the_demo(keeper, tmp_path):
    with profile(keeper) as context:
        with running_demo(tmp_path) as first:
            kept = opened(context, first)
            left(kept, first)
            # Another is come back to only when the demo has been started again.
            late = opened(context, first)
            left(late, first)
        back(kept)
        expect(notices(kept).last).to_have_text("The server cannot be reached.")
        expect(kept.locator(".notice.bad")).to_have_count(1)
        screenshot(kept, "demo-gone")
        with running_demo(tmp_path, first.port) as second:
            # Each demo has a token of its own, and knows nobody of before.
            expect(notices(kept).last).to_have_text(
                "The server was started again, and does not know this page yet."
            )
            screenshot(kept, "demo-restarted")
            back(late)
            signed_out(late, "demo-restarted-late")
            with context.expect_page() as other:
                kept.get_by_role("link", name="Sign in").click()
            sign_in(other.value, second)
            for page, was in (
                (kept, "The server was started again."),
                (late, "You were signed out."),
            ):
                page.bring_to_front()
                expect(status(page)).to_have_text("Connected")
                expect(notices(page)).to_have_text([f"{was} Connected again."])
                talk(page, "after the restart")
            assert second.counted("connections") == 3
            left_by_address(late, second)


def left_by_address(page: Page, demo: Demo) -> None:
    page.goto(demo.url("storybot"))
    page.goto(demo.url("pingbot"))
    expect(status(page)).to_have_text("Connected")
    expect(notices(page)).to_have_count(0)
