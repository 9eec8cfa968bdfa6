"""What a bot says in the built-in chat: streams, Markdown, pictures, files, tables, and stop."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from support.bots import bot_text
from support.browser import errors_of, profile, screenshot
from support.chatpage import answers, contrast, field, say, state
from support.server import running_server

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs:
      on_message: {function: talker.on_message}
      on_error: {function: talker.on_error, close: false}
"""
BOT = bot_text("talker")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("talker")
    with running_server(
        YAML, folder=folder, modules={"talker.py": BOT}, base_url="/user/ann@example.org/"
    ) as running:
        yield running


def open_chat(context, server):
    """Open the built-in chat, the page of a route that names none."""
    page = context.new_page()
    errors = errors_of(page)
    page.on("console", lambda line: line.type == "error" and errors.append(line.text))
    page.goto(f"{server.url}bot?token={server.token}")
    chat = page.locator(".wshandler-chat")
    expect(state(chat)).to_have_text("connected")
    return page, chat, errors


@pytest.fixture
def opened(chromium, server):
    with profile(chromium, viewport={"width": 900, "height": 700}) as context:
        page, chat, errors = open_chat(context, server)
        yield page, chat
        assert errors == []


@pytest.mark.parametrize(("message", "text"), [("words", "one two three"), ("tokens", "one two")])
def test_what_one_generator_yields_is_one_bubble_that_ends_with_it(opened, message, text):
    _, chat = opened
    say(chat, message)
    expect(answers(chat)).to_have_text([text])
    expect(chat.locator('[aria-busy="true"]')).to_have_count(0)
    expect(chat.locator(".typing")).to_be_hidden()
    say(chat, message)
    expect(answers(chat)).to_have_text([text, text])


def test_text_json_and_a_picture_of_one_generator_share_its_bubble(opened):
    _, chat = opened
    say(chat, "dicts")
    expect(answers(chat)).to_have_count(1)
    expect(answers(chat).locator("details, .text, img")).to_have_count(3)


def test_the_chat_says_that_the_bot_is_at_work_until_it_says_something(opened, server):
    page, chat = opened
    go = server.folder / "go"
    go.unlink(missing_ok=True)
    say(chat, "wait")
    expect(chat.locator(".typing")).to_be_visible()
    expect(chat.locator(".typing")).to_contain_text("The bot is at work")
    screenshot(page, "answer-at-work")
    go.touch()
    expect(answers(chat)).to_have_text(["there"])
    expect(chat.locator(".typing")).to_be_hidden()


@pytest.mark.parametrize("way", ["button", "Escape"])
def test_an_answer_can_be_stopped_while_it_streams(opened, way):
    page, chat = opened
    say(chat, "endless")
    stop = chat.get_by_role("button", name="Stop")
    expect(stop).to_be_visible()
    screenshot(page, "answer-streaming")
    if way == "button":
        stop.click()
    else:
        field(chat).press("Escape")
    expect(chat.locator(".notice")).to_have_text(["Stopped."])
    expect(stop).to_be_hidden()
    expect(field(chat)).to_be_focused()
    expect(chat.locator('[aria-busy="true"]')).to_have_count(0)
    screenshot(page, "answer-stopped")
    say(chat, "words")
    expect(answers(chat).last).to_have_text("one two three")


def test_markdown_is_shown_as_such_and_html_is_not(opened):
    page, chat = opened
    say(chat, "markdown")
    bubble = answers(chat)
    expect(bubble).to_contain_text("onerror=")
    expect(bubble).to_have_count(1)
    expect(bubble.locator("h3")).to_have_text("A heading")
    expect(bubble.locator("strong")).to_have_text(["bold"])
    expect(bubble.locator("em")).to_have_text(["italic"])
    expect(bubble.locator(":not(pre) > code")).to_have_text(["code"])
    expect(bubble).to_contain_text("2*3*4 and snake_case_name")
    expect(bubble.locator("pre")).to_have_text('print("<b>", 1 < 2)')
    expect(bubble.locator("ul > li")).to_have_count(3)
    expect(bubble.locator("ul ul > li")).to_have_text(["inner"])
    expect(bubble.locator("ol > li")).to_have_text(["first", "second"])
    expect(bubble.locator("blockquote")).to_have_text("quoted")
    links = bubble.locator("a")
    hrefs = [link.get_attribute("href") for link in links.all()]
    assert hrefs[:2] == ["https://example.org/a", "https://example.org/b"]
    assert all(href.startswith("https://example.org/") for href in hrefs)
    for link in links.all():
        assert "noopener" in link.get_attribute("rel")
    expect(bubble.locator("img")).to_have_count(0)
    assert page.title() == "bot"
    screenshot(page, "answer-markdown")


def test_a_table_is_shown_as_one_and_what_only_looks_like_one_is_not(opened):
    page, _ = opened
    shown = page.evaluate(
        """async (texts) => {
          const base = document.querySelector('script[src]').src;
          const {Markdown} = await import(new URL('markdown.js', base));
          return texts.map((text) => {
            const element = document.createElement('div');
            const markdown = new Markdown(element);
            for (let at = 0; at < text.length; at += 3) markdown.append(text.slice(at, at + 3));
            const cells = [...element.querySelectorAll('th, td')];
            return [element.querySelectorAll('table').length,
              cells.map((cell) => cell.className + cell.innerHTML)];
          });
        }""",
        [
            "Here:\n| a | n |\n|:--|--:|\n| **x** | 1 |\n| p\\|q | <b> | more |\n| short |\n\nend",
            "a|b\n-|-\n1|2",
            "> | a | b |\n> |---|---|\n> | 1 | 2 |",
            "| a | b |\n|---|\n| 1 | 2 |",
            "a | b\nc | d",
            "a | b\n---\nc",
            "```\n| a |\n|---|\n```",
        ],
    )
    assert shown[0] == [
        1,
        ["a", "numbern", "<strong>x</strong>", "number1", "p|q", "number&lt;b&gt;", "short"],
    ]
    assert shown[1] == [1, ["a", "b", "1", "2"]]
    assert shown[2] == [1, ["a", "b", "1", "2"]]
    assert shown[3:] == [[0, []]] * 4


def test_what_is_finished_stays_as_it_is_while_the_rest_is_written(opened):
    page, _ = opened
    kept = page.evaluate(
        """async () => {
          const base = document.querySelector('script[src]').src;
          const {Markdown} = await import(new URL('markdown.js', base));
          const element = document.createElement('div');
          const text = new Markdown(element);
          text.append('first\\n\\nsec');
          const [first, second] = element.children;
          text.append('ond **bo');
          text.append('ld**');
          return [first === element.children[0], second === element.children[1],
                  element.innerHTML];
        }"""
    )
    assert kept == [True, False, "<p>first</p><p>second <strong>bold</strong></p>"]


@pytest.mark.parametrize(
    "text",
    [
        *("**" * 10000, "`" * 20000, "[" * 20000, "> " * 10000, "- " * 10000),
        *("a|b\n" + "-" * 20000 + "x|", "|" * 10000 + "\n" + "|-" * 5000, "|-|\n" * 5000),
    ],
)
def test_no_text_makes_the_page_slow(opened, text):
    page, _ = opened
    took = page.evaluate(
        """async (text) => {
          const base = document.querySelector('script[src]').src;
          const {Markdown} = await import(new URL('markdown.js', base));
          const before = performance.now();
          new Markdown(document.createElement('div')).append(text);
          return performance.now() - before;
        }""",
        text,
    )
    assert took < 2000


@pytest.mark.parametrize("message", ["picture", "dataurl"])
def test_a_picture_is_shown(opened, message):
    page, chat = opened
    say(chat, message)
    image = answers(chat).locator("img")
    expect(image).to_have_js_property("naturalWidth", 60)
    expect(image).to_have_attribute("alt", re.compile(r"^(Picture, [\d.]+ (bytes|KiB)|image)$"))
    screenshot(page, f"answer-{message}")


def test_a_picture_that_cannot_be_shown_and_other_bytes_can_be_saved(opened):
    page, chat = opened
    say(chat, "broken")
    expect(answers(chat)).to_contain_text(["Save a picture that cannot be shown, 20 bytes"])
    say(chat, "file")
    with page.expect_download() as download:
        answers(chat).get_by_role("link", name="Save binary, 2.9 KiB").click()
    assert download.value.path().read_bytes() == bytes(3000)


def test_a_list_of_flat_objects_is_a_table(opened):
    _, chat = opened
    say(chat, "table")
    expect(answers(chat).locator("th")).to_have_text(["name", "n"])
    expect(answers(chat).locator("td")).to_have_text(["ada", "1", "bob", "2.5"])


def test_a_failed_answer_says_so_and_the_chat_goes_on(opened):
    page, chat = opened
    say(chat, "fail")
    expect(chat.locator(".notice.bad")).to_contain_text("The bot has failed: internal error, id ")
    expect(answers(chat)).to_have_text(["before"])
    expect(chat.locator('[aria-busy="true"]')).to_have_count(0)
    screenshot(page, "answer-failed")
    say(chat, "words")
    expect(answers(chat).last).to_have_text("one two three")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 900])
def test_everything_fits_and_can_be_read(chromium, server, scheme, width):
    size = {"width": width, "height": 568}
    with profile(chromium, viewport=size, color_scheme=scheme) as context:
        page, chat, errors = open_chat(context, server)
        for message in ("picture", "table", "markdown"):
            say(chat, message)
        expect(answers(chat).last).to_contain_text("onerror=")
        say(chat, "endless")
        expect(chat.get_by_role("button", name="Stop")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for part in (
            ".bot blockquote",
            ".bot pre code",
            ".bot :not(pre) > code",
            "summary",
            ".stop",
        ):
            assert contrast(chat.locator(part)) >= 4.5, part
        field(chat).press("Escape")
        chat.locator(".bot h3").scroll_into_view_if_needed()
        screenshot(page, f"answers-{scheme}-{width}")
        assert errors == []


def test_the_pages_policy_forbids_scripts_that_stand_in_it(server):
    headers = {"Accept": "text/html"}
    _, answered, body = server.fetch("/bot", headers=headers)
    policies = " ".join(answered.get_all("Content-Security-Policy"))
    assert "script-src 'self'" in policies
    assert b"<style" not in body
    assert b"<script>" not in body
