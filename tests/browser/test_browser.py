"""The chat page in a real browser, with a real server behind it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect
from support.bots import bot_text
from support.browser import errors_of, profile, screenshot
from support.server import running_server, wait_for

CONFIG = Path(__file__).parents[2] / "examples" / "pingbot" / "wshandler.yaml"

TROUBLE_YAML = """
url:
  troublebot:
    pattern: /troublebot
    handler: WebSocketHandler
    kwargs:
      on_message: {function: troublebot.on_message}
      page: %s
"""
TROUBLE = bot_text("trouble")


@pytest.fixture(scope="module", params=["/", "/user/ann@example.org/"], ids=["root", "deep"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    with running_server(CONFIG, folder=folder, base_url=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def trouble(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trouble")
    with running_server(
        TROUBLE_YAML % CONFIG.with_name("chat.html"),
        folder=folder,
        modules={"troublebot.py": TROUBLE},
    ) as running:
        yield running


def open_chat(browser, server, path: str) -> Page:
    """Open a bot's page with the token in its address and wait until it is connected."""
    page = browser.new_page()
    page.goto(f"{server.url}{path}?token={server.token}")
    expect(page.get_by_role("status")).to_have_text("Connected")
    return page


def say(page: Page, text: str) -> None:
    """Type a message and send it with Enter."""
    page.get_by_label("Your message").fill(text)
    page.keyboard.press("Enter")


def answers(page: Page):
    """Return the locator of the bot's bubbles."""
    return page.locator(".message.bot .bubble")


def test_a_message_sent_with_enter_is_answered_on_the_page(browser, server):
    page = open_chat(browser, server, "pingbot")
    errors = errors_of(page)
    expect(page.get_by_role("heading")).to_have_text("pingbot")
    say(page, "Hello world")
    expect(answers(page)).to_have_text(["Got message: Hello world"])
    expect(page.locator(".message.you .bubble")).to_have_text(["Hello world"])
    expect(page.get_by_label("Your message")).to_be_focused()
    expect(page.get_by_label("Your message")).to_have_value("")
    screenshot(page, "pingbot")
    assert errors == []


def test_shift_and_enter_starts_a_new_line_and_the_button_sends_it(browser, server):
    page = open_chat(browser, server, "pingbot")
    field = page.get_by_label("Your message")
    field.press_sequentially("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")
    page.get_by_role("button", name="Send").click()
    expect(answers(page)).to_have_text(["Got message: one\ntwo"], use_inner_text=True)


def test_the_token_leaves_the_address_bar_and_a_reload_keeps_login_and_session(browser, server):
    page = open_chat(browser, server, "pingbot")
    assert urlsplit(page.url).query == ""
    page.reload()
    expect(page.get_by_role("status")).to_have_text("Connected")
    say(page, "again")
    expect(answers(page)).to_have_text(["Got message: again"])

    def sessions():
        return re.findall(r"Chatbot opened for (\S+)", server.log_text())[-2:]

    assert len(sessions()) == 2
    assert len(set(sessions())) == 1


def test_a_streamed_answer_grows_in_one_bubble(browser, server):
    page = open_chat(browser, server, "storybot")
    say(page, "ping")
    writing = page.locator('.bubble[aria-busy="true"]')
    expect(writing).to_have_count(1)
    early = len(writing.inner_text())
    expect(page.locator('.bubble[aria-busy="false"]')).to_contain_text("Tell me more.")
    expect(answers(page)).to_have_count(1)
    assert early < len(answers(page).inner_text())
    screenshot(page, "storybot")


def test_a_browser_without_login_is_sent_to_the_login_page_and_back(browser, server):
    page = browser.new_page()
    page.goto(f"{server.url}pingbot")
    assert urlsplit(page.url).path == urlsplit(server.url).path + "login"
    page.get_by_label(re.compile("token", re.IGNORECASE)).first.fill(server.token)
    page.get_by_role("button", name=re.compile("log in", re.IGNORECASE)).first.click()
    expect(page.get_by_role("status")).to_have_text("Connected")
    assert urlsplit(page.url).path == urlsplit(server.url).path + "pingbot"


def test_markup_in_a_message_is_shown_and_not_run(browser, trouble):
    page = open_chat(browser, trouble, "troublebot")
    say(page, "markup")
    expect(answers(page)).to_contain_text(["<b>bold</b><img src=x"])
    expect(page.locator("#messages img")).to_have_count(0)
    assert page.title() == "troublebot"


def test_a_binary_frame_is_shown_as_its_bytes(browser, trouble):
    page = open_chat(browser, trouble, "troublebot")
    say(page, "bytes")
    expect(answers(page)).to_have_text(["3 bytes: 00 01 ff"])


def test_a_failing_bot_shows_the_error_id_of_the_log_and_the_page_reconnects(browser, trouble):
    page = open_chat(browser, trouble, "troublebot")
    say(page, "fail")
    words = page.locator(".notice").inner_text()
    error_id = re.search(r"^The bot has failed: internal error, id (\w+) \(1011\)\.", words)[1]
    assert f"Error {error_id}" in trouble.log_text()
    assert "secret" not in page.content()
    expect(page.get_by_role("status")).to_have_text("Connected")
    # The failure is still to be seen, and that it is connected again is no trouble.
    expect(page.locator(".notice.bad")).to_have_text(
        [f"The bot has failed: internal error, id {error_id} (1011). Connected again."]
    )
    say(page, "whoami")
    expect(answers(page)).to_have_count(1)


def test_a_logout_offers_the_login_page_and_does_not_reconnect(browser, trouble):
    page = open_chat(browser, trouble, "troublebot")
    say(page, "4401")
    expect(page.get_by_role("status")).to_have_text("Signed out")
    expect(page.locator(".notice")).to_have_text("You are signed out.")
    expect(page.get_by_role("link", name="Sign in")).to_have_attribute(
        "href", f"{trouble.url}troublebot"
    )
    page.get_by_label("Your message").fill("kept")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Your message")).to_have_value("kept")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1000", "The bot has ended the conversation."),
        ("1008", "The server does not allow this conversation: not you (1008)."),
        ("4403", "You are not allowed to use this bot: not you (4403)."),
        ("4999", "The bot has closed the connection: not you (4999)."),
    ],
)
def test_a_final_close_is_explained_and_a_person_may_connect_again(browser, trouble, code, words):
    page = open_chat(browser, trouble, "troublebot")
    say(page, code if code == "1000" else f"{code} not you")
    expect(page.locator(".notice")).to_have_text(words)
    expect(page.get_by_role("status")).to_have_text("Closed")
    page.get_by_role("button", name="Connect now").click()
    expect(page.get_by_role("status")).to_have_text("Connected")
    expect(page.get_by_label("Your message")).to_be_focused()


def test_a_server_that_stops_is_waited_for_and_found_again(browser, tmp_path, monkeypatch):
    with running_server(CONFIG, folder=tmp_path) as first:
        page = open_chat(browser, first, "pingbot")
        first.stop()
        expect(page.get_by_role("status")).to_have_text("Reconnecting")
        expect(page.locator(".notice").first).to_have_text("The server has stopped.")
    monkeypatch.setattr("support.server.free_port", lambda: first.port)
    # The same folder holds the same secret, so the login cookie is still good.
    with running_server(CONFIG, folder=tmp_path):
        expect(page.get_by_role("status")).to_have_text("Connected")
        say(page, "again")
        expect(answers(page)).to_have_text(["Got message: again"])


def test_a_page_that_nobody_wrote_in_opens_again_with_the_next_message(browser, trouble):
    page = open_chat(browser, trouble, "troublebot")
    say(page, "1000 idle")
    expect(page.get_by_role("status")).to_have_text("Paused")
    expect(page.locator(".notice")).to_have_text("Closed because nobody said anything for a while.")
    screenshot(page, "idle")
    page.get_by_label("Your message").fill("whoami")
    page.keyboard.press("Enter")
    expect(answers(page)).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("Connected")


def test_a_message_that_cannot_be_sent_yet_is_sent_when_the_server_is_back(browser, trouble):
    page = open_chat(browser, trouble, "troublebot")
    say(page, "1000 idle")
    expect(page.get_by_role("status")).to_have_text("Paused")
    page.route("**/wshandler/api/tickets", lambda route: route.abort())
    say(page, "whoami")
    expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
    expect(answers(page)).to_have_count(0)
    page.unroute("**/wshandler/api/tickets")
    expect(answers(page)).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("Connected")


def stopped(page: Page) -> None:
    """Let the Hub answer in place of the server."""
    hub = {"status": 424, "headers": {"X-JupyterHub-Version": "6.1.1"}}
    for pattern in ("**/wshandler/api/tickets", "**/api/me"):
        page.route(pattern, lambda route: route.fulfill(**hub))


@pytest.mark.parametrize("width", [320, 900])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_stopped_server_and_a_logout_fit_the_screen_in_readable_colours(
    chromium, trouble, scheme, width
):
    size = {"width": width, "height": 568}
    with profile(chromium, viewport=size, color_scheme=scheme) as browser:
        page = open_chat(browser, trouble, "troublebot")
        stopped(page)
        say(page, "1001")
        start = page.get_by_role("link", name="Start it at the Hub")
        expect(start).to_have_attribute("href", f"{trouble.url}troublebot")
        expect(start).to_have_attribute("target", "_blank")
        expect(page.locator(".notice")).to_have_text(["The server is stopped."])
        check_looks(page, width)
        screenshot(page, f"stopped-{scheme}-{width}")
        page.unroute_all()
        expect(page.get_by_role("status")).to_have_text("Connected")
        expect(start).to_have_count(0)
        say(page, "4401")
        expect(page.get_by_role("link", name="Sign in")).to_be_visible()
        check_looks(page, width)
        screenshot(page, f"signed-out-{scheme}-{width}")


def check_looks(page: Page, width: int) -> None:
    """Fail where the page is wider than its screen, or hard to read."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for selector in ("#mend", "#status", "h1", ".notice"):
        assert contrast(page, selector) >= 4.5, selector
    heading = page.get_by_role("heading").bounding_box()
    assert heading["width"] > 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_narrow_screen_in_both_colour_schemes(chromium, server, scheme):
    size = {"width": 320, "height": 568}
    with profile(chromium, viewport=size, color_scheme=scheme) as browser:
        page = open_chat(browser, server, "pingbot")
        say(page, "a-long-word-" * 20)
        expect(answers(page)).to_have_count(1)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size["width"]
        field = page.get_by_label("Your message").bounding_box()
        assert field["y"] + field["height"] <= size["height"]
        screenshot(page, f"narrow-{scheme}")


def test_the_colours_of_text_have_enough_contrast(chromium, trouble):
    for scheme in ("light", "dark"):
        with profile(chromium, color_scheme=scheme) as browser:
            page = open_chat(browser, trouble, "troublebot")
            say(page, "whoami")
            expect(answers(page)).to_have_count(1)
            say(page, "4403")
            expect(page.get_by_role("status")).to_have_text("Closed")
            for selector in (
                ".you .bubble",
                ".bot .bubble",
                ".byline",
                ".notice",
                "#status",
                "h1",
                "#retry",
            ):
                assert contrast(page, selector) >= 4.5, (scheme, selector)


def contrast(page: Page, selector: str) -> float:
    """Return the contrast ratio of an element's text (WCAG 2.2, 1.4.3)."""
    colours = page.locator(selector).first.evaluate(
        """(element) => {
            const parse = (text) => text.match(/[\\d.]+/g).map(Number);
            let behind = element;
            while (/, 0\\)/.test(getComputedStyle(behind).backgroundColor)) {
                behind = behind.parentElement;
            }
            return [
                parse(getComputedStyle(element).color),
                parse(getComputedStyle(behind).backgroundColor),
            ];
        }"""
    )

    def luminance(colour):
        parts = [value / 255 for value in colour[:3]]
        parts = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_an_unreachable_server_is_named_once_and_not_at_every_attempt(browser, tmp_path):
    with running_server(CONFIG, folder=tmp_path) as server:
        page = open_chat(browser, server, "pingbot")
    retry = page.get_by_role("button", name="Connect now")
    expect(retry).to_be_visible()
    wait_for(lambda: "in " in page.locator("#countdown").inner_text(), 10, "the countdown")
    assert page.locator(".notice").count() == 1
