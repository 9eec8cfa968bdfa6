"""The chat under a cell, in a real browser, with a real server behind it."""

from __future__ import annotations

import base64
import io
import re
from contextlib import contextmanager

import pytest
from PIL import Image
from playwright.sync_api import expect
from support.bots import bot_text
from support.browser import errors_of, profile, screenshot
from support.chatpage import (
    NOTEBOOK,
    STATIC,
    Notebook,
    answers,
    chat_page,
    contrast,
    field,
    reason,
    say,
    state,
)
from support.server import running_server

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs:
      on_message: {function: widgetbot.on_message}
  notebook:
    pattern: /notebook
    handler: WebSocketHandler
    kwargs:
      on_message: {function: widgetbot.on_message}
      page: notebook.html
  page:
    pattern: /pagebot
    handler: WebSocketHandler
    kwargs:
      on_message: {function: widgetbot.on_message}
      page: page.html
"""
BOT = bot_text("widget")

TICKETS = "**/wshandler/api/tickets"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("widget")
    with serving(folder, base_url="/user/ann@example.org/") as running:
        yield running


def serving(folder, *, base_url="/", **options):
    static = f"{base_url}static/wshandler"
    return running_server(
        YAML,
        folder=folder,
        base_url=base_url,
        modules={
            "widgetbot.py": BOT,
            "notebook.html": NOTEBOOK,
            "page.html": chat_page("pagebot", static),
        },
        **options,
    )


@contextmanager
def no_bot(notebook):
    """Let the server know of no bot for a while."""
    notebook.page.route(TICKETS, lambda route: route.fulfill(status=404))
    try:
        yield
    finally:
        notebook.page.unroute(TICKETS)


@pytest.fixture
def notebook(chromium, server):
    with profile(chromium, viewport={"width": 900, "height": 600}) as context:
        opened = Notebook(context, server).open()
        yield opened
        assert opened.errors == []


def test_a_message_sent_with_enter_is_answered_under_the_cell(notebook):
    chat = notebook.connected()
    expect(notebook.page.get_by_text("the fallback")).to_have_count(0)
    say(chat, "Hello world")
    expect(answers(chat)).to_have_text(["Got message: Hello world"])
    expect(chat.locator(".turn.you .bubble")).to_have_text(["Hello world"])
    expect(field(chat)).to_have_value("")
    expect(field(chat)).to_be_focused()
    address = f"{notebook.server.url}bot"
    link = chat.get_by_role("link", name=address)
    expect(link).to_have_attribute("href", address)
    expect(link).to_have_attribute("target", "_blank")
    screenshot(notebook.page, "cell")


def test_shift_and_enter_starts_a_new_line_and_the_button_sends_it(notebook):
    chat = notebook.connected()
    field(chat).press_sequentially("one")
    field(chat).press("Shift+Enter")
    field(chat).press_sequentially("two")
    chat.get_by_role("button", name="Send").click()
    expect(answers(chat)).to_have_text(["Got message: one\ntwo"], use_inner_text=True)


def test_no_key_that_is_pressed_in_the_chat_reaches_the_notebook(notebook):
    chat = notebook.connected()
    expect(chat).to_have_attribute("data-lm-suppress-shortcuts", "true")
    field(chat).press_sequentially("ddb")
    field(chat).press("Enter")
    chat.get_by_role("log").press("x")
    expect(answers(chat)).to_have_text(["Got message: ddb"])
    assert notebook.call("return keys") == []
    notebook.call("document.activeElement.blur()")
    notebook.page.keyboard.press("q")
    assert notebook.call("return keys").count("q") == 3


def test_keys_with_ctrl_that_edit_no_text_reach_the_notebook_and_its_shortcuts(notebook):
    chat = notebook.connected()
    # Lumino, too, looks at the attribute on the key's way down through the document.
    notebook.call(
        """window.free = [];
        document.addEventListener("keydown", ({key, target}) => {
          if (!target.closest("[data-lm-suppress-shortcuts]")) free.push(key);
        }, true);"""
    )
    field(chat).fill("half a sent")
    for key in ("Control+s", "Control+Shift+S", "d", "Control+a", "Control+c", "Control+Alt+q"):
        field(chat).press(key)
    assert notebook.call("return free") == ["s", "S"]
    assert set(notebook.call("return keys")) == {"s", "S"}
    expect(field(chat)).to_have_value("half a sentd")
    expect(chat).to_have_attribute("data-lm-suppress-shortcuts", "true")


# ---- the same chat in a new output ---------------------------------------------------------


def test_running_the_cell_again_keeps_the_socket_the_transcript_and_the_draft(notebook):
    chat = notebook.connected()
    say(chat, "id")
    expect(answers(chat)).to_have_count(1)
    for _ in range(5):
        field(chat).fill("half a sent")
        chat = notebook.run()
        expect(field(chat)).to_have_value("half a sent")
    expect(state(chat)).to_have_text("connected")
    expect(chat.locator(".trouble")).to_be_hidden()
    say(chat, "id")
    expect(answers(chat)).to_have_count(2)
    first, second = answers(chat).all_inner_texts()
    assert first == second
    assert len(notebook.sockets) == 1


def test_the_cursor_stays_in_the_field_when_the_cell_is_run_again(notebook):
    chat = notebook.connected()
    field(chat).fill("abcd")
    field(chat).press("ArrowLeft")
    chat = notebook.run()
    expect(field(chat)).to_be_focused()
    notebook.page.keyboard.type("-")
    expect(field(chat)).to_have_value("abc-d")


def test_the_chat_takes_the_focus_from_nobody_when_the_cell_is_run_again(notebook):
    chat = notebook.connected()
    field(chat).focus()
    # The notebook clears the output first, and the reader goes on in another field.
    notebook.call(
        """document.querySelector("#first .output").replaceChildren();
        document.body.append(Object.assign(document.createElement("input"), {id: "in"}));"""
    )
    notebook.page.locator("#in").focus()
    notebook.run()
    expect(notebook.page.locator("#in")).to_be_focused()
    field(chat).focus()
    notebook.call("document.activeElement.blur()")
    notebook.run()
    assert notebook.call("return document.activeElement === document.body")


def test_the_reader_stays_at_the_same_line_when_the_cell_is_run_again(notebook):
    chat = notebook.connected()
    say(chat, "lines 60")
    expect(answers(chat).last).to_have_text("line 59")
    log = chat.get_by_role("log")
    assert short_of_its_end(log) < 2
    chat = notebook.run()
    assert short_of_its_end(log) < 2
    with_scroll_event = """(log) => new Promise((done) => {
        log.addEventListener("scroll", () => done(log.scrollTop), {once: true});
        log.scrollTop = 100;
    })"""
    assert log.evaluate(with_scroll_event) == 100
    chat = notebook.run()
    assert chat.get_by_role("log").evaluate("(log) => log.scrollTop") == 100


def test_of_two_outputs_the_newest_has_the_chat_and_the_older_says_so(notebook):
    chat = notebook.connected()
    say(chat, "id")
    expect(answers(chat)).to_have_count(1)
    second = notebook.run(cell="second")
    say(second, "id")
    expect(answers(second)).to_have_count(2)
    expect(notebook.chat("first")).to_have_count(0)
    line = notebook.page.locator("#first .output")
    expect(line).to_contain_text("This chat has moved to its newest output")
    screenshot(notebook.page, "moved")
    line.get_by_role("button", name="Show it here").click()
    expect(answers(notebook.chat("first"))).to_have_count(2)
    expect(notebook.chat("second")).to_have_count(0)
    assert len(set(answers(chat).all_inner_texts())) == 1
    assert len(notebook.sockets) == 1


def test_an_output_that_is_shown_in_a_second_view_has_its_chat_there(notebook):
    # The view repeats the output's HTML, ids included.
    notebook.connected(element="wsh-twice")
    second = notebook.run(cell="second", element="wsh-twice")
    expect(state(second)).to_have_text("connected")
    expect(notebook.page.locator("#first .output")).to_contain_text("This chat has moved")
    assert len(notebook.sockets) == 1


def test_two_bots_have_two_chats(notebook):
    first = notebook.connected(key="one")
    second = notebook.connected(key="two", cell="second")
    say(first, "id")
    say(second, "id")
    expect(answers(first)).to_have_count(1)
    expect(answers(second)).to_have_count(1)
    assert answers(first).inner_text() != answers(second).inner_text()


def test_a_chat_whose_cell_is_deleted_is_closed_and_forgotten_after_half_a_minute(notebook):
    notebook.page.clock.install()
    chat = notebook.connected()
    with notebook.page.expect_event("console", lambda line: line.text.startswith("closed")) as end:
        notebook.call(
            """const {close} = WebSocket.prototype;
            WebSocket.prototype.close = function (...args) {
              console.log("closed", ...args);
              close.apply(this, args);
            };
            window.kept = document.getElementById("first");
            kept.remove();"""
        )
        notebook.page.clock.run_for(25_000)
        assert notebook.call("return __wshandlerChats.size") == 1
        notebook.page.clock.run_for(10_000)
    assert end.value.text.split() == ["closed", "1000"]
    assert notebook.call("return __wshandlerChats.size") == 0
    # A notebook that takes cells out of the document while they are scrolled away.
    notebook.call("document.body.append(kept)")
    notebook.page.clock.run_for(1000)
    expect(state(chat)).to_have_text("connected")
    assert notebook.call("return __wshandlerChats.size") == 1
    assert len(notebook.sockets) == 2


def test_an_output_that_is_gone_before_the_module_has_come_is_left_alone(notebook):
    notebook.connected()
    script = f"{notebook.server.base_url}static/wshandler/chat.js"
    gone = "return import(argument).then((m) => m.mount(null, {path: '/bot', key: 'other'}))"
    assert notebook.call(gone, script) is None


def test_the_handle_of_mount_sends_and_closes(notebook):
    chat = notebook.connected()
    assert notebook.call("return chat.send('by script')") is True
    expect(answers(chat)).to_have_text(["Got message: by script"])
    notebook.call("chat.close()")
    expect(state(chat)).to_have_text("closed")
    assert notebook.call("return chat.send('too late')") is False
    again = notebook.connected()
    expect(answers(again)).to_have_count(0)


# ---- the connection ------------------------------------------------------------------------


def test_a_restarted_kernel_is_named_and_waited_for_and_no_text_is_lost(notebook):
    words = "The notebook's kernel has restarted; run the cell again."
    chat = notebook.connected()
    with no_bot(notebook):
        say(chat, "close 1012")
        expect(state(chat)).to_have_text("reconnecting…")
        expect(reason(chat)).to_have_text(words)
        say(chat, "for later")
        expect(reason(chat)).to_have_text(f"{words} Your text is kept.")
        expect(field(chat)).to_have_value("for later")
        send = chat.get_by_role("button", name="Send")
        expect(send).to_have_attribute("aria-disabled", "true")
        screenshot(notebook.page, "restarted")
        with notebook.page.expect_response(TICKETS):  # it goes on trying
            pass
        expect(reason(chat)).to_have_text(f"{words} Your text is kept.")
    expect(state(chat)).to_have_text("connected")
    expect(chat.locator(".trouble")).to_be_hidden()
    expect(chat.locator(".notice")).to_have_text([f"{words} Connected again."])
    field(chat).press("Enter")
    expect(answers(chat)).to_have_text(["Got message: for later"])


def test_a_bot_that_was_stopped_is_called_so_until_its_cell_is_run_again(notebook):
    chat = notebook.connected()
    with no_bot(notebook):
        say(chat, "close 1012 this route is gone")
        expect(reason(chat)).to_contain_text("This bot is not served any more; run its cell")
        expect(state(chat)).to_have_text("stopped")
        with notebook.page.expect_response(TICKETS):  # it is looked for all the same
            pass
        expect(state(chat)).to_have_text("stopped")
    expect(state(chat)).to_have_text("connected")


def test_a_connection_that_is_lost_comes_back_at_once_when_the_cell_is_run_again(notebook):
    notebook.page.clock.install()
    chat = notebook.connected()
    with no_bot(notebook):
        say(chat, "close 1012")
        stop_the_clock(notebook)
    expect(state(chat)).to_have_text("reconnecting…")
    expect(state(notebook.run())).to_have_text("connected")


def stop_the_clock(notebook):
    """Let no attempt come by itself any more, nor one be under way."""
    expect(state(notebook.chat())).to_have_text("reconnecting…")
    notebook.page.clock.pause_at(notebook.call("return Date.now() + 60000"))
    notebook.page.wait_for_function("__wshandlerChats.get('k').bot.retryIn > 0", polling=50)


@pytest.mark.parametrize("event", ["online", "visibilitychange"])
def test_a_machine_that_is_back_is_reconnected_without_waiting(notebook, event):
    notebook.page.clock.install()
    chat = notebook.connected()
    with no_bot(notebook):
        say(chat, "close 1012")
        stop_the_clock(notebook)
    expect(state(chat)).to_have_text("reconnecting…")
    notebook.call(
        "(argument === 'online' ? window : document).dispatchEvent(new Event(argument))", event
    )
    expect(state(chat)).to_have_text("connected")


def test_a_server_that_is_restarted_is_found_again(chromium, tmp_path):
    with profile(chromium) as context:
        with serving(tmp_path) as first:
            notebook = Notebook(context, first).open()
            chat = notebook.connected()
            say(chat, "before")
            expect(answers(chat)).to_have_count(1)
            first.stop()
            expect(reason(chat)).to_have_text("The server has stopped.")
            field(chat).fill("kept")
        # The same folder holds the same secret, so the login cookie is still good.
        with serving(tmp_path, port=first.port):
            expect(state(chat)).to_have_text("connected")
            expect(field(chat)).to_have_value("kept")
            field(chat).press("Enter")
            expect(answers(chat)).to_have_text(["Got message: before", "Got message: kept"])
        assert notebook.errors == []


def test_a_logout_is_explained_and_nobody_knocks_until_told_to(notebook):
    notebook.page.clock.install()
    chat = notebook.connected()
    cookies = notebook.page.context.cookies()
    notebook.page.context.clear_cookies()
    say(chat, "close 4401 logged out")
    expect(state(chat)).to_have_text("closed")
    expect(reason(chat)).to_have_text("You are signed out.")
    login = chat.get_by_role("link", name="Sign in")
    expect(login).to_have_attribute("href", f"{notebook.server.url}notebook")
    expect(login).to_have_attribute("target", "_blank")
    screenshot(notebook.page, "signed-out")
    for _ in range(10):
        notebook.page.clock.fast_forward(60_000)
    notebook.call("window.dispatchEvent(new Event('online'))")
    assert len(notebook.sockets) == 1
    chat.get_by_role("button", name="Try again").click()
    expect(reason(chat)).to_have_text("You are signed out. Trying again did not help.")
    for _ in range(10):
        notebook.page.clock.fast_forward(60_000)
    assert len(notebook.sockets) == 2
    notebook.page.context.add_cookies(cookies)
    chat.get_by_role("button", name="Try again").click()
    expect(state(chat)).to_have_text("connected")
    expect(field(chat)).to_be_focused()


def test_a_chat_that_was_closed_for_want_of_words_sends_the_next_one(notebook):
    chat = notebook.connected()
    say(chat, "close 1000 idle")
    expect(state(chat)).to_have_text("paused")
    words = "Closed because nobody said anything for a while."
    expect(reason(chat)).to_have_text(words)
    screenshot(notebook.page, "idle")
    assert len(notebook.sockets) == 1
    say(chat, "I am back")
    expect(answers(chat)).to_have_text(["Got message: I am back"])
    expect(field(chat)).to_have_value("")
    expect(chat.locator(".notice")).to_have_text([f"{words} Connected again."])
    assert len(notebook.sockets) == 2


def test_a_chat_that_was_closed_for_want_of_words_opens_for_whoever_comes_to_write(notebook):
    chat = notebook.connected()
    say(chat, "close 1000 idle")
    expect(state(chat)).to_have_text("paused")
    notebook.call("document.activeElement.blur()")
    field(chat).focus()
    expect(state(chat)).to_have_text("connected")


def test_a_server_that_is_stopped_is_named_with_a_link_to_start_it(notebook):
    chat = notebook.connected()
    stopped = {"status": 424, "headers": {"X-JupyterHub-Version": "6.1.1"}}
    for pattern in ("**/wshandler/api/tickets", "**/api/me"):
        notebook.page.route(pattern, lambda route: route.fulfill(**stopped))
    say(chat, "close 1001")
    expect(reason(chat)).to_have_text("The server is stopped.")
    start = chat.get_by_role("link", name="Start it at the Hub")
    expect(start).to_have_attribute("href", f"{notebook.server.url}notebook")
    expect(start).to_have_attribute("target", "_blank")
    say(chat, "for later")
    expect(reason(chat)).to_have_text("The server is stopped. Your text is kept.")
    screenshot(notebook.page, "stopped")
    notebook.page.unroute_all()
    expect(state(chat)).to_have_text("connected")
    expect(start).to_have_count(0)
    expect(field(chat)).to_have_value("for later")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1000", "The bot has ended the conversation."),
        ("1008", "The server does not allow this conversation: not you (1008)."),
        ("4403", "You are not allowed to use this bot: not you (4403)."),
    ],
)
def test_a_final_close_is_explained_and_a_person_may_connect_again(notebook, code, words):
    chat = notebook.connected()
    say(chat, f"close {code} not you")
    expect(state(chat)).to_have_text("closed")
    expect(reason(chat)).to_have_text(words)
    expect(chat.get_by_role("link", name="Sign in")).to_have_count(0)
    chat.get_by_role("button", name="Try again").click()
    expect(state(chat)).to_have_text("connected")


def test_a_failed_bot_leaves_the_error_id_in_the_log_and_is_connected_again(notebook):
    chat = notebook.connected()
    failed = "The bot has failed: internal error, id ab12."
    say(chat, "close 1011 internal error, id ab12")
    expect(chat.locator(".notice")).to_have_text([failed, "Connected again."])
    expect(chat.locator(".notice.bad")).to_have_text([failed])
    # As from a bot whose connections stay open: every notebook's, and a file's that wants it.
    say(chat, "error")
    expect(chat.locator(".notice")).to_have_text([failed, "Connected again.", failed])
    expect(chat.locator(".notice.bad")).to_have_text([failed, failed])
    screenshot(notebook.page, "failed-twice")


def test_what_has_failed_is_said_once_and_what_follows_is_said_too(notebook):
    chat = notebook.connected()
    say(chat, "hello")
    expect(answers(chat)).to_have_count(1)
    notebook.page.route("**/wshandler/api/tickets", lambda route: route.abort())
    say(chat, "close 1011 internal error, id ab12")
    expect(reason(chat)).to_have_text("The server cannot be reached.")
    notebook.page.unroute_all()
    expect(chat.locator(".notice")).to_have_text(
        [
            "The bot has failed: internal error, id ab12.",
            "The server could not be reached. Connected again.",
        ]
    )


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("close 1011 timeout", "The bot has failed: timeout (1011). Connected again."),
        ("complain", "The bot reports: no such table (error id 7)"),
    ],
)
def test_what_a_bot_says_itself_is_no_failure_of_its_functions(notebook, message, words):
    chat = notebook.connected()
    say(chat, message)
    expect(chat.locator(".notice")).to_have_text([words])


def test_an_address_without_a_bot_is_explained(notebook):
    chat = notebook.run("nobody")
    expect(state(chat)).to_have_text("reconnecting…")
    expect(reason(chat)).to_contain_text("Nothing answers at this address.")


def test_a_page_of_another_site_shows_the_address_in_place_of_a_chat(chromium, server):
    with profile(chromium) as context:
        page = Notebook(context, server).open().page
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript"}

        def answer(route):
            name = route.request.url.rpartition("/")[2]
            route.fulfill(body=(STATIC / name).read_text(), headers=headers)

        context.route("http://jupyter.test/**", answer)
        errors = errors_of(page)
        page.evaluate(
            """() => window.run("first", "http://jupyter.test/static/chat.js",
               {path: "/ada/pingbot", title: "pingbot"})"""
        )
        address = "http://jupyter.test/ada/pingbot"
        expect(page.get_by_role("link", name=address)).to_have_attribute("href", address)
        expect(page.locator(".wshandler-chat")).to_contain_text("pingbot answers at")
        expect(page.get_by_role("textbox")).to_have_count(0)
        assert errors == []


# ---- messages ------------------------------------------------------------------------------


def test_messages_in_a_row_stand_under_one_byline(notebook):
    chat = notebook.connected()
    say(chat, "three")
    expect(answers(chat)).to_have_text(["one", "two", "three"])
    say(chat, "hi")
    expect(answers(chat)).to_have_count(4)
    assert [line.split(" ")[0] for line in chat.locator(".byline").all_inner_texts()] == [
        "You",
        "bot",
        "You",
        "bot",
    ]


def test_json_is_laid_out_and_binary_is_counted(notebook):
    chat = notebook.connected()
    say(chat, "json")
    say(chat, "bytes 12")
    say(chat, "bytes 1")
    expect(answers(chat)).to_have_text(
        [
            re.compile(r'JSON, 2 keys\{\s+"answer": 42,\s+"words": \['),
            "Save binary, 12 bytes",
            "Save binary, 1 byte",
        ]
    )
    expect(answers(chat).first.locator("pre")).to_have_css("font-family", re.compile("mono"))
    screenshot(notebook.page, "json")


def test_markup_in_a_message_is_shown_and_not_run(notebook):
    chat = notebook.connected()
    say(chat, "markup")
    expect(answers(chat)).to_contain_text(["<b>bold</b><img src=x"])
    expect(chat.locator("img")).to_have_count(0)
    assert notebook.page.title() == "A notebook"


def test_streamed_tokens_grow_in_one_message(notebook):
    chat = notebook.connected()
    say(chat, "tokens 300")
    expect(answers(chat)).to_contain_text(["298 299"])
    expect(answers(chat)).to_have_count(1)
    say(chat, "hi")
    expect(answers(chat)).to_have_count(2)
    expect(chat.locator('[aria-busy="true"]')).to_have_count(0)


def test_two_thousand_streamed_messages_keep_the_page_quick_and_the_log_bounded(notebook):
    chat = notebook.connected()
    notebook.call(
        """window.longest = 0;
        let last = performance.now();
        const look = (now) => {
          longest = Math.max(longest, now - last);
          last = now;
          requestAnimationFrame(look);
        };
        requestAnimationFrame(look);"""
    )
    say(chat, "lines 2000")
    expect(answers(chat).last).to_have_text("line 1999")
    expect(chat.get_by_text("older messages are not shown")).to_be_attached()
    expect(answers(chat).first).to_have_text("line 1500")
    assert answers(chat).count() <= 500
    expect(chat.locator(".byline")).to_have_count(1)
    assert notebook.call("return longest") < 5000  # milliseconds, on a machine with much to do
    say(chat, "still there")
    expect(answers(chat).last).to_have_text("Got message: still there")
    expect(chat.locator(".bubble")).to_have_count(500)


def test_a_reader_of_older_messages_is_not_moved_and_is_told_of_new_ones(notebook):
    chat = notebook.connected()
    say(chat, "lines 60")
    expect(answers(chat).last).to_have_text("line 59")
    log = chat.get_by_role("log")
    log.hover()
    notebook.page.mouse.wheel(0, -5000)
    below = chat.get_by_role("button", name="New messages below")
    expect(log).to_have_js_property("scrollTop", 0)
    expect(below).to_have_count(0)
    notebook.call("__wshandlerChats.get('k').log.receive('pushed')")
    expect(below).to_be_visible()
    expect(log).to_have_js_property("scrollTop", 0)
    below.click()
    expect(below).to_have_count(0)
    expect(answers(chat).last).to_be_in_viewport()


def test_the_log_is_at_its_end_when_a_picture_has_come(notebook):
    chat = notebook.connected()
    log = chat.get_by_role("log")
    for number in range(5):
        notebook.call(SHOW_PICTURE, [picture(), f"below {number}"])
        expect(answers(chat).last).to_have_text(f"below {number}")
        expect(chat.locator("img")).to_have_count(number + 1)
        assert short_of_its_end(log) < 2


def test_a_picture_does_not_move_who_reads_older_messages(notebook):
    chat = notebook.connected()
    say(chat, "lines 60")
    expect(answers(chat).last).to_have_text("line 59")
    log = chat.get_by_role("log")
    log.hover()
    notebook.page.mouse.wheel(0, -5000)
    expect(log).to_have_js_property("scrollTop", 0)
    notebook.call(SHOW_PICTURE, [picture(), "below"])
    expect(answers(chat).last).to_have_text("below")
    assert short_of_its_end(log) > 500
    expect(log).to_have_js_property("scrollTop", 0)


SHOW_PICTURE = """
    const {log} = __wshandlerChats.get("k");
    log.receive(Uint8Array.from(atob(argument[0]), (byte) => byte.charCodeAt(0)).buffer);
    log.receive(argument[1]);
"""


def picture() -> str:
    """Return a PNG that is wider than high, in base64."""
    file = io.BytesIO()
    Image.effect_noise((600, 250), 90).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def short_of_its_end(log) -> float:
    """Return how far a log is from its end, in pixels, once its pictures have their size."""
    return log.evaluate(
        """async (log) => {
          await Promise.all([...log.querySelectorAll("img")].map((image) => image.decode()));
          for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
          return log.scrollHeight - log.scrollTop - log.clientHeight;
        }"""
    )


def test_a_chat_that_grows_at_the_windows_edge_keeps_the_field_in_view(notebook):
    chat = notebook.connected()
    add_space_above(notebook, 380)
    say(chat, "lines 60")
    expect(answers(chat).last).to_have_text("line 59")
    expect(field(chat)).to_be_in_viewport(ratio=1)
    assert chat.get_by_role("log").evaluate("(log) => log.clientHeight") > 350


def test_a_chat_that_grows_out_of_sight_moves_nobody(notebook):
    chat = notebook.connected()
    add_space_above(notebook, 900)
    say(chat, "hi")
    expect(answers(chat)).to_have_count(1)
    notebook.page.mouse.wheel(0, -5000)
    expect(field(chat)).not_to_be_in_viewport()
    notebook.call("__wshandlerChats.get('k').log.receive('one more\\n\\n'.repeat(20))")
    expect(answers(chat)).to_have_count(2)
    short_of_its_end(chat.get_by_role("log"))
    assert notebook.call("return scrollY") == 0
    expect(field(chat)).to_be_focused()


def add_space_above(notebook, pixels: int) -> None:
    """Move the chat down the page."""
    space = f'Object.assign(document.createElement("div"), {{style: "height: {pixels}px"}})'
    notebook.call(f"document.body.prepend({space})")


def test_a_plain_function_that_cannot_be_stopped_is_not_called_stopped(notebook):
    chat = notebook.connected()
    go = notebook.server.folder / "go"
    go.unlink(missing_ok=True)
    say(chat, "slow")
    chat.get_by_role("button", name="Stop").click()
    expect(chat.get_by_role("button", name="Stopping…")).to_be_visible()
    go.touch()
    expect(answers(chat)).to_have_text(["slow done"])
    expect(chat.locator(".notice")).to_have_text(["It could not be stopped, and ran to its end."])


# ---- how it looks --------------------------------------------------------------------------

LAB = {
    "light": {
        "--jp-layout-color1": "white",
        "--jp-layout-color2": "#eee",
        "--jp-border-color2": "#e0e0e0",
        "--jp-ui-font-color1": "rgba(0,0,0,.87)",
        "--jp-ui-inverse-font-color1": "#fff",
        "--jp-brand-color1": "#1976d2",
        "--jp-success-color1": "#388e3c",
        "--jp-warn-color1": "#f57c00",
        "--jp-error-color1": "#d32f2f",
    },
    "dark": {
        "--jp-layout-color1": "#212121",
        "--jp-layout-color2": "#424242",
        "--jp-border-color2": "#424242",
        "--jp-ui-font-color1": "rgba(255,255,255,.87)",
        "--jp-ui-inverse-font-color1": "rgba(0,0,0,.8)",
        "--jp-brand-color1": "#2196f3",
        "--jp-success-color1": "#4caf50",
        "--jp-warn-color1": "#ff9800",
        "--jp-error-color1": "#f44336",
    },
}
"""The variables of JupyterLab's own themes."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("theme", ["ours", "lab"])
def test_text_has_enough_contrast_in_light_and_dark(chromium, server, scheme, theme):
    size = {"width": 900, "height": 640}
    with profile(chromium, viewport=size, color_scheme=scheme) as context:
        notebook = Notebook(context, server).open()
        if theme == "lab":
            notebook.call(
                """for (const [name, value] of Object.entries(argument)) {
                  document.body.style.setProperty(name, value);
                }
                document.body.style.background = "var(--jp-layout-color1)";""",
                LAB[scheme],
            )
        chat = notebook.connected()
        say(chat, "Hello there")
        say(chat, "error")
        say(chat, "json")
        expect(answers(chat)).to_have_count(2)
        field(chat).fill("and more")
        screenshot(notebook.page, f"cell-{theme}-{scheme}")
        assert contrast(chat.locator(".send")) >= 4.5
        say(chat, "close 4401")
        expect(state(chat)).to_have_text("closed")
        screenshot(notebook.page, f"closed-{theme}-{scheme}")
        parts = [".you .bubble", ".bot .bubble", ".byline", ".notice.bad", ".address", ".why"]
        for part in [*parts, ".words", ".title", ".send", ".again", ".mend"]:
            assert contrast(chat.locator(part)) >= 4.5, part
        assert notebook.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_bot_is_its_chat_and_fits_a_narrow_screen(chromium, server, scheme):
    size = {"width": 320, "height": 568}
    with profile(chromium, viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        errors = errors_of(page)
        page.goto(f"{server.url}pagebot?token={server.token}")
        chat = page.locator(".wshandler-chat")
        expect(state(chat)).to_have_text("connected")
        assert page.url == f"{server.url}pagebot"
        expect(page).to_have_title("pagebot")
        expect(page.get_by_role("heading", name="pagebot")).to_be_visible()
        expect(field(chat)).to_be_focused()
        screenshot(page, f"page-empty-{scheme}")
        say(chat, "a-long-word-" * 20)
        expect(answers(chat)).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        assert page.evaluate("document.documentElement.scrollHeight") <= size["height"]
        box = field(chat).bounding_box()
        assert box["y"] + box["height"] <= size["height"]
        screenshot(page, f"page-narrow-{scheme}")
        for part in [".you .bubble", ".bot .bubble", ".byline", ".words", ".title", ".send"]:
            assert contrast(chat.locator(part)) >= 4.5, part
        page.set_viewport_size({"width": 1000, "height": 640})
        say(chat, "json")
        expect(answers(chat)).to_have_count(2)
        screenshot(page, f"page-wide-{scheme}")
        assert errors == []


def test_a_phone_is_not_told_of_keys_that_it_has_not(chromium, server):
    phone = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
    with profile(chromium, **phone) as context:
        page = context.new_page()
        page.goto(f"{server.url}pagebot?token={server.token}")
        expect(page.locator(".empty")).to_contain_text("Write below, and tap Send.")
        expect(page.locator(".empty")).not_to_contain_text("Shift")


def test_a_narrow_cell_shows_everything(chromium, server):
    with profile(chromium, viewport={"width": 320, "height": 568}) as context:
        notebook = Notebook(context, server).open()
        chat = notebook.connected()
        say(chat, "a-long-word-" * 20)
        expect(answers(chat)).to_have_count(1)
        assert notebook.page.evaluate("document.documentElement.scrollWidth") <= 320
        assert chat.bounding_box()["height"] <= 0.8 * 568 + 8
        screenshot(notebook.page, "cell-narrow")
