"""The console in a real browser: an administrator's and an author's way through it."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
import websockets.exceptions
from playwright.sync_api import Page, expect
from support import frontend
from support.bots import bot_text
from support.browser import errors_of, profile, screenshot
from support.crowd import crowd
from support.endurance import sizes
from support.server import running_server, wait_for
from support.sharing import share

CONFIG = """
url:
  chat: {pattern: "/chat/{room}", handler: WebSocketHandler,
         kwargs: {on_message: consoled.chat, rooms: ["{room}"], presence: true,
                  history: {size: 100}}}
  divide: {pattern: /divide, handler: WebSocketHandler,
           kwargs: {on_message: dividing.divide, on_error: {close: false}}}
  polls: {pattern: /polls, handler: WebSocketHandler,
          kwargs: {types: {ask: consoled.ask, vote: consoled.vote}, run: loop}}
  tree: {pattern: /tree, handler: WebSocketHandler, kwargs: {on_message: consoled.branch}}
  failing: {pattern: /failing, handler: WebSocketHandler,
            kwargs: {on_message: consoled.fail, on_error: {close: false}}}
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: consoled.echo, run: loop}}
  mended: {pattern: /mended, handler: WebSocketHandler, kwargs: {on_message: mended.answer}}
"""

BROKEN = "def answer(handler, message):\n    return message +\n"

DIVIDING = "def divide(handler, message):\n    return str(int(message[0]) / int(message[-1]))\n"

PARTS = (
    *("Routes", "Connections", "Rooms", "Shares", "Errors", "Events", "Try it"),
    *("Messages", "Setup"),
)

OWNERS = 2
"""The last of them that are for the owner alone."""

ON_A_PAGE = 50
"""Things that one answer of a list may have, as the page asks for it."""

PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("console")
    bots = {"consoled": bot_text("consoled"), "published": bot_text("published")}
    with running_server(
        CONFIG,
        folder=folder,
        modules={
            **{f"{name}.py": text for name, text in bots.items()},
            "dividing.py": DIVIDING,
            "mended.py": BROKEN,
        },
        base_url="/user/ada/",
        extra_args=[
            "--ServerApp.identity_provider_class=published.People",
            "--ServerApp.authorizer_class=published.Keeper",
        ],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


def opened(context, server, part: str = "Routes", person: str = "ada") -> Page:
    """Open a part of the console as somebody."""
    page = context.new_page()
    page.errors = errors_of(page)
    page.on("console", lambda said: _note(page.errors, said))
    page.goto(f"{server.url}wshandler/?token=person-{person}")
    turn_to(page, part)
    return page


def _note(errors: list[str], said) -> None:
    # A policy that forbids something of the page's says so here, and nowhere else.
    if "Content Security Policy" in said.text or "Refused to" in said.text:
        errors.append(said.text)


def turn_to(page: Page, part: str) -> None:
    """Follow a link of the navigation, and wait until the part has looked."""
    page.get_by_role("navigation").get_by_role("link", name=part, exact=True).click()
    expect(page.get_by_role("heading", level=2, name=part, exact=True)).to_be_visible()
    name = {"Try it": "try"}.get(part, part.lower())
    expect(page.locator(f'main[data-looked="{name}"]')).to_be_attached()


def joined(server, path: str, person: str = "bob", **options):
    return server.connect_sync(path, token=f"person-{person}", **options)


def rows(page: Page):
    return page.get_by_role("row")


# ---- routes and errors ---------------------------------------------------------------------------


def test_a_broken_route_says_file_and_line_until_the_file_is_mended(browser, server):
    page = opened(browser, server)
    trouble = page.locator(".broken .notice")
    expect(trouble).to_have_count(1)
    expect(trouble.get_by_role("heading")).to_have_text("mended is broken")
    expect(trouble).to_contain_text("mended.py:2: SyntaxError")
    expect(rows(page).filter(has_text="/mended")).to_contain_text("broken")
    screenshot(page, "console-broken")
    page.get_by_role("link", name="Try it: mended").click()
    expect(page.locator(".talk .bad")).to_contain_text("mended is broken: ")
    expect(page.locator(".talk .bad")).to_contain_text("mended.py:2: SyntaxError")
    turn_to(page, "Routes")
    (server.folder / "mended.py").write_text(BROKEN.replace(" +", ""))
    expect(trouble).to_have_count(0)
    expect(page.get_by_role("status").filter(has_text="mended is served again")).to_be_visible()
    expect(rows(page).filter(has_text="/mended")).to_contain_text("ready")
    assert page.errors == []


def test_an_error_is_found_mended_and_gone(browser, server):
    with joined(server, "/divide") as one:
        one.send("1/0")
        assert "internal error" in one.recv(timeout=20)
        page = opened(browser, server, "Errors")
        page.get_by_label("Route").select_option("divide")
        found = page.locator(".errors li").filter(has_text="dividing.divide")
        expect(found).to_have_count(1)
        summary = found.locator("summary")
        expect(summary).to_contain_text("ZeroDivisionError in dividing.divide")
        summary.press("Enter")
        expect(found.get_by_role("region", name="Traceback")).to_contain_text("int(message[-1])")
        expect(found.get_by_role("region", name="Message")).to_have_text("1/0")
        expect(found).to_contain_text("dividing.py:2")
        screenshot(page, "console-errors")
        (server.folder / "dividing.py").write_text(
            "def divide(handler, message):\n    return 'nobody divides by zero'\n"
        )

        def is_mended():
            one.send("1/0")
            return "nobody" in one.recv(timeout=20)

        wait_for(is_mended, 30, "the function as it is mended")
        page.get_by_role("button", name="Forget these errors").click()
        page.get_by_role("dialog").get_by_role("button", name="Forget them").click()
        expect(page.get_by_text("Nothing has failed.")).to_be_visible()
        one.send("1/0")
        assert "nobody" in one.recv(timeout=20)
    turn_to(page, "Routes")
    turn_to(page, "Errors")
    expect(found).to_have_count(0)
    assert page.errors == []


def test_rates_are_shown_of_what_is_said_while_somebody_looks(browser, server):
    page = opened(browser, server)
    row = rows(page).filter(has_text="/echo")
    cell = row.get_by_role("cell").nth(4)
    expect(cell).to_contain_text("0/s")
    with joined(server, "/echo") as one:

        def talks():
            one.send("hello")
            one.recv(timeout=20)
            return re.match(r"[1-9]|0\.", cell.inner_text().strip())

        wait_for(talks, 30, "a rate")
    expect(page.locator('.tile[data-name="connections"] .value')).to_have_text(re.compile(r"^\d+$"))
    drawn = page.locator('.tile[data-name="messages"] .line')
    assert re.match(r"^M[\d.]+ [\d.]+L", drawn.get_attribute("d"))
    screenshot(page, "console-routes")
    assert page.errors == []


# ---- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "code"), [("Its client stays away", 1000), ("Its client comes back", 1012)]
)
def test_a_connection_is_closed_as_the_owner_chooses(browser, server, choice, code):
    with joined(server, "/echo", "carol") as one:
        page = opened(browser, server, "Connections")
        page.get_by_label("User").fill("carol")
        mine = rows(page).filter(has_text="carol")
        expect(mine).to_have_count(1)
        mine.get_by_role("button", name="Details of the connection of carol to echo").click()
        expect(page.get_by_role("dialog")).to_contain_text("127.0.0.1")
        page.keyboard.press("Escape")
        mine.get_by_role("button", name="Close the connection of carol to echo").click()
        dialog = page.get_by_role("dialog", name="Close the connection of carol to echo?")
        dialog.get_by_role("radio", name=choice).check()
        dialog.get_by_label("The reason").fill("be nice")
        screenshot(page, f"console-close-{code}")
        dialog.get_by_role("button", name="Close it").click()
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            one.recv(timeout=20)
        assert (one.close_code, one.close_reason) == (code, "be nice")
    expect(page.get_by_role("status").filter(has_text="is closed")).to_be_visible()
    expect(page.get_by_text("Nobody is connected here.")).to_be_visible()
    assert page.errors == []


@contextmanager
def answers_of(page: Page):
    """Return what the API answers a page within the block, as (path, query, JSON)."""
    found: list[tuple[str, dict, object]] = []

    def note(response) -> None:
        url = urlsplit(response.url)
        if "/wshandler/api/" in url.path and response.request.method == "GET":
            found.append((url.path.partition("/api/")[2], parse_qs(url.query), response))

    page.on("response", note)
    yield found
    page.remove_listener("response", note)


def most_of(found: object) -> int:
    """Return how many things the longest list in an answer has."""
    if isinstance(found, list):
        return max([len(found), *map(most_of, found)])
    if isinstance(found, dict):
        return max([0, *map(most_of, found.values())])
    return 0


@sizes(short=300, full=10_000)
def test_with_a_crowd_no_answer_has_more_than_a_page(browser, server, size):
    with crowd(server, size.number, 0):
        page = opened(browser, server)
        with answers_of(page) as found:
            for part in PARTS:
                turn_to(page, part)
            turn_to(page, "Connections")
            page.get_by_label("Route").select_option("echo")
            expect(page.get_by_text(f"{ON_A_PAGE} of {size.number:,} conn")).to_be_visible()
            expect(rows(page)).to_have_count(ON_A_PAGE + 1)
            page.get_by_role("button", name="Next connections").click()
            expect(page.get_by_role("button", name="Previous connections")).to_be_enabled()
            expect(rows(page)).to_have_count(ON_A_PAGE + 1)
            screenshot(page, "console-crowd")
            answers = [(path, query, one.json()) for path, query, one in found if one.ok]
    assert {path for path, _, _ in answers} > {"connections", "traffic", "shares", "errors"}
    for path, query, answer in answers:
        assert most_of(answer) <= ON_A_PAGE, (path, query)
        assert len(json.dumps(answer)) < 100_000, (path, query)
    assert all(query["limit"] == ["50"] for path, query, _ in answers if path == "connections")
    assert any("after" in query for path, query, _ in answers if path == "connections")
    assert page.errors == []


def test_a_page_that_nobody_sees_asks_for_nothing(browser, server):
    page = opened(browser, server, "Connections")
    page.evaluate(
        """() => {
          Object.defineProperty(document, 'visibilityState', {get: () => window.seen ?? 'hidden'});
          document.dispatchEvent(new Event('visibilitychange'));
        }"""
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with answers_of(page) as found:
        # What has begun is gone on with; then, for longer than it waits between two looks, nothing.
        for _ in range(5):
            asked.clear()
            page.wait_for_timeout(2300)
            if not asked:
                break
        assert asked == []
        found.clear()
        page.evaluate(
            """() => {
              window.seen = 'visible';
              document.dispatchEvent(new Event('visibilitychange'));
            }"""
        )
        wait_for(lambda: (page.wait_for_timeout(20), found)[1], 20, "a question")


# ---- rooms, shares, events -----------------------------------------------------------------------


def test_a_room_shows_who_is_in(browser, server):
    with ExitStack() as stack:
        for person in ("bob", "carol"):
            stack.enter_context(joined(server, "/chat/blue", person))
        page = opened(browser, server, "Rooms")
        page.get_by_role("link", name="blue").click()
        inside = page.locator(".inside")
        expect(inside.get_by_role("heading")).to_have_text("Who is in blue")
        expect(inside.get_by_role("rowheader")).to_have_text(["bob", "carol"])
        screenshot(page, "console-rooms")
    expect(inside.get_by_text("Nobody is in.")).to_be_visible()
    assert page.errors == []


def test_a_share_is_revoked(browser, server):
    share(server, route="echo", label="for Ann")
    page = opened(browser, server, "Shares")
    mine = rows(page).filter(has_text="for Ann")
    expect(mine).to_contain_text("whoever has the link")
    mine.get_by_role("button", name="Revoke the share for Ann of echo").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke it").click()
    expect(page.get_by_role("status").filter(has_text="is revoked")).to_be_visible()
    expect(mine).to_have_count(0)
    assert page.errors == []


def test_what_happens_is_shown_as_it_happens(browser, server):
    page = opened(browser, server, "Events")
    log = page.get_by_role("log")
    with joined(server, "/echo", "dora"):
        expect(log).to_contain_text("dora, echo")
    expect(log.locator('[data-event="closed"]').first).to_contain_text("dora, echo")
    # Who goes on to another part does not wait for the answer that is on its way.
    turn_to(page, "Shares")
    assert page.errors == []


# ---- try it --------------------------------------------------------------------------------------


def test_a_typed_message_is_made_with_a_form_sent_and_answered(browser, server):
    page = opened(browser, server)
    rows(page).filter(has_text="/polls").get_by_role("link", name="Try it: polls").click()
    expect(page.get_by_label("Route")).to_have_value("polls")
    page.get_by_label("Kind of message").select_option("ask")
    page.get_by_label("text", exact=True).fill("Tea?")
    page.get_by_label("choices 1", exact=True).fill("yes")
    page.get_by_label("choices 2", exact=True).fill("no")
    page.get_by_role("button", name="Add to choices").click()
    page.get_by_label("choices 3", exact=True).fill("maybe")
    message = page.get_by_label("Message (")
    assert json.loads(message.input_value()) == {
        "type": "ask",
        "text": "Tea?",
        "choices": ["yes", "no", "maybe"],
    }
    page.get_by_role("button", name="Connect").click()
    expect(page.get_by_role("status").filter(has_text="Connected")).to_be_visible()
    page.get_by_role("button", name="Send").click()
    answer = page.locator(".talk .answer")
    expect(answer).to_contain_text('"maybe": 0')
    expect(page.locator(".talk .end")).to_contain_text("done")
    screenshot(page, "console-try")
    # What does not fit is answered with where.
    message.fill('{"type": "ask", "text": "", "choices": ["a", "b"]}')
    message.press("Control+Enter")
    expect(page.locator(".talk .bad")).to_contain_text("$.text")
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("status").filter(has_text="Not connected")).to_be_visible()
    assert page.errors == []


def test_what_may_be_left_out_is_until_it_is_added(browser, server):
    page = opened(browser, server, "Try it")
    page.get_by_label("Route").select_option("tree")
    message = page.get_by_label("Message (")
    page.get_by_label("name").fill("root")
    assert json.loads(message.input_value()) == {"type": "branch", "name": "root"}
    for name in ("a", "b"):
        page.get_by_role("button", name="Add left").press("Enter")
        expect(page.get_by_label("name").last).to_be_focused()
        page.keyboard.type(name)
    within = {"type": "branch", "name": "a", "left": {"type": "branch", "name": "b"}}
    assert json.loads(message.input_value()) == {"type": "branch", "name": "root", "left": within}
    page.get_by_role("button", name="Remove left").first.click()
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".talk .answer")).to_contain_text('"name": "a"')
    message.fill('{"type": "branch"}')
    message.press("Control+Enter")
    refused = page.locator(".talk .bad pre")
    expect(refused).to_have_text("The message was refused: $.name: expected str, found nothing.")
    assert page.errors == []


def test_a_route_without_types_gets_text_and_its_path_is_asked_for(browser, server):
    with joined(server, "/chat/green") as other:
        page = opened(browser, server, "Try it")
        page.get_by_label("Route").select_option("chat")
        page.get_by_label("room").fill("green")
        page.get_by_label("Message (").fill("hello from the console")
        page.get_by_role("button", name="Send").click()
        assert other.recv(timeout=20) == "ada: hello from the console"
        expect(page.locator(".talk .came")).to_contain_text("ada: hello from the console")
    assert page.errors == []


# ---- who may -------------------------------------------------------------------------------------


def test_who_may_only_read_has_no_owners_parts(browser, server):
    share(server, route="echo", label="not for viewers")
    with joined(server, "/failing") as one:
        one.send("fails")
        one.recv(timeout=20)
        with profile(browser.browser) as context:
            page = opened(context, server, "Connections", "viewer")
            expect(rows(page).filter(has_text="failing")).to_have_count(1)
            expect(page.get_by_role("button", name=re.compile("Details"))).to_have_count(1)
            expect(page.get_by_role("button", name=re.compile("^Close"))).to_have_count(0)
            nav = page.get_by_role("navigation")
            expect(nav.get_by_role("link")).to_have_text([*PARTS[:-OWNERS]])
            turn_to(page, "Errors")
            expect(page.get_by_role("button", name=re.compile("Forget"))).to_have_count(0)
            expect(page.get_by_text("Traceback")).to_have_count(0)
            turn_to(page, "Shares")
            expect(page.get_by_role("button", name=re.compile("Revoke"))).to_have_count(0)
            assert page.errors == []


def test_who_may_not_look_is_told_so_and_a_stranger_is_led_to_the_login(browser, server):
    page = browser.new_page()
    answer = page.goto(f"{server.url}wshandler/?token=person-blind")
    assert answer.status == 403
    expect(page.get_by_role("alert")).to_contain_text("not authorized")
    screenshot(page, "console-refused")
    with profile(browser.browser) as context:
        stranger = context.new_page()
        stranger.goto(f"{server.url}wshandler")
        assert urlsplit(stranger.url).path == "/user/ada/login"
        stranger.get_by_label(re.compile("token", re.IGNORECASE)).first.fill(server.token)
        stranger.get_by_role("button", name=re.compile("log in", re.IGNORECASE)).first.click()
        expect(stranger.get_by_role("heading", name="Console")).to_be_visible()
        expect(stranger.get_by_role("heading", name="Routes")).to_be_visible()


# ---- keyboard, phone, rules ----------------------------------------------------------------------


def test_all_of_it_is_done_with_the_keyboard(browser, server):
    with joined(server, "/echo", "erin") as one:
        page = opened(browser, server)
        page.reload()
        expect(page.locator("main[data-looked]")).to_be_attached()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        there = page.get_by_role("navigation").get_by_role("link", name="Connections")
        expect(there).to_be_focused()
        style = there.evaluate("it => getComputedStyle(it).outlineStyle")
        assert style == "solid"
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Connections")).to_be_focused()
        close = page.get_by_role("button", name="Close the connection of erin to echo")
        expect(close).to_be_visible()
        for _ in range(30):
            page.keyboard.press("Tab")
            if close.evaluate("it => it === document.activeElement"):
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(close).to_be_focused()
        for _ in range(2):  # looks in between must not take it away
            page.wait_for_event("response", lambda it: "/api/connections" in it.url)
        expect(close).to_be_focused()
        one.send("still here")
        assert one.recv(timeout=20) == "still here"
    assert page.errors == []


def test_the_keyboard_goes_on_at_the_heading_where_a_row_is_gone(browser, server):
    with joined(server, "/chat/red", "kim") as one, joined(server, "/chat/red", "lee") as other:
        page = opened(browser, server, "Connections")
        heading = page.get_by_role("heading", level=2, name="Connections")
        page.get_by_label("Details of the connection of kim").focus()
        one.close()
        expect(rows(page).filter(has_text="kim")).to_have_count(0)
        expect(heading).to_be_focused()
        page.get_by_label("Close the connection of lee").press("Enter")
        other.close()
        expect(rows(page).filter(has_text="lee")).to_have_count(0)
        page.get_by_role("button", name="Close it").press("Enter")
        expect(page.locator(".news .bad")).to_contain_text("There is no such connection")
        expect(heading).to_be_focused()
    assert page.errors == []


def test_on_a_phone_nothing_has_to_be_scrolled_sideways(browser, server):
    with ExitStack() as stack:
        for person in ("bob", "a-rather-long-name-of-a-user-without-any-spaces-in-it"):
            stack.enter_context(joined(server, "/chat/a-room-with-quite-a-long-name", person))
        phone = stack.enter_context(profile(browser.browser, viewport=PHONE, has_touch=True))
        page = opened(phone, server)
        for part in PARTS:
            turn_to(page, part)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= PHONE["width"], part
            screenshot(page, f"console-phone-{part.lower().replace(' ', '-')}")
        turn_to(page, "Connections")
        # A card is a row still, and its cells say what they are.
        one = rows(page).filter(has_text="bob")
        expect(one.get_by_role("cell").first).to_have_text("chat")
        assert page.errors == []


def test_names_of_any_length_leave_the_buttons_where_they_are_seen(browser, server):
    name = "n" * 300

    def with_long_names(route):
        answer = route.fetch()
        found = answer.json()
        for one in found.get("routes", []):
            one["name"] = one["pattern"] = f"/{name}{one['name']}"
        for one in found.get("connections", []):
            one["user"] = one["route"] = one["path"] = name
        route.fulfill(response=answer, json=found)

    with joined(server, "/echo"), profile(browser.browser) as wide:
        wide.route(re.compile("/api/(routes|connections)[?]?"), with_long_names)
        page = opened(wide, server)
        for part, what in (("Routes", "Try it: "), ("Connections", "Close the connection of ")):
            turn_to(page, part)
            last = page.get_by_label(what).last
            # As a half of a screen, a tablet, and a panel of JupyterLab are.
            for width in (PHONE["width"], 770, 840, 1010, 1110, 1600):
                page.set_viewport_size({"width": width, "height": 740})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, part
                last.scroll_into_view_if_needed()
                box = last.bounding_box()
                assert box is not None, part
                assert box["x"] + box["width"] <= width, (part, width)
        assert page.errors == []


def test_the_headings_of_a_table_are_of_one_font(browser, server):
    page = opened(browser, server)
    fonts = page.get_by_role("columnheader").evaluate_all(
        "all => all.map(getComputedStyle).map((one) => `${one.fontFamily} ${one.fontSize}`)"
    )
    assert len(fonts) == 8
    assert len(set(fonts)) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_rules_of_accessibility_find_nothing_serious(chromium, server, scheme):
    rules = (frontend.installed(frontend.AXE) / "axe-core" / "axe.min.js").read_text()
    share(server, route="echo", label=scheme)
    with ExitStack() as stack:
        stack.enter_context(joined(server, "/chat/blue"))
        one = stack.enter_context(joined(server, "/failing"))
        one.send("fails")
        one.recv(timeout=20)
        context = stack.enter_context(profile(chromium, color_scheme=scheme))
        page = opened(context, server)
        page.evaluate(rules)
        for part in PARTS:
            turn_to(page, part)
            for summary in page.locator("summary").all()[:2]:
                summary.click()
            screenshot(page, f"console-{scheme}-{part.lower().replace(' ', '-')}")
            # In the dark only the colours are others.
            options = "" if scheme == "light" else ", {runOnly: ['color-contrast']}"
            found = page.evaluate(f"axe.run(document{options})")
            assert found["passes"], part
            serious = [
                (rule["id"], [node["html"][:200] for node in rule["nodes"]])
                for rule in found["violations"]
                if rule["impact"] in ("serious", "critical")
            ]
            assert serious == [], part
        assert page.errors == []


HARM = '"><img src=x onerror="document.title=1"><b>bold</b>'


def test_what_people_write_is_text_and_nothing_else(browser, server):
    share(server, route="echo", label=HARM)
    with ExitStack() as stack:
        stack.enter_context(joined(server, "/chat/%3Cb%3Eroom"))
        one = stack.enter_context(joined(server, "/failing", "mallory", user_agent_header=HARM))
        one.send(HARM + "/x")
        one.recv(timeout=20)
        page = opened(browser, server)

        def is_text(where, words: str = HARM) -> None:
            expect(where.get_by_text(words).first).to_be_visible()
            # In all of the page: dialogs are outside of its main part.
            assert page.locator("body").locator("b, img").count() == 0

        for part, words in (("Shares", HARM), ("Errors", HARM), ("Rooms", "<b>room")):
            turn_to(page, part)
            for summary in page.locator("summary").all()[:1]:
                summary.click()
            is_text(page, words)
        turn_to(page, "Connections")
        page.get_by_role("button", name="Details of the connection of mallory to failing").click()
        is_text(page.get_by_role("dialog"))
        page.keyboard.press("Escape")
        turn_to(page, "Events")
        one.close(4000, HARM)
        is_text(page.get_by_role("log").locator('[data-event="closed"]'))
        turn_to(page, "Try it")
        page.get_by_label("Route").select_option("chat")
        page.get_by_label("room").fill("hostile")
        page.get_by_label("Message (").fill(HARM)
        page.get_by_role("button", name="Send").click()
        is_text(page.locator(".talk .sent"))
        is_text(page.locator(".talk .came"), f"ada: {HARM}")
        assert page.title().startswith("Try it")
        assert page.errors == []


def test_messages_are_watched_from_a_press_of_the_button_on(browser, server):
    with joined(server, "/echo", "faye") as one, joined(server, "/polls", "faye") as other:
        one.send("before anybody looks")
        one.recv(timeout=20)
        page = opened(browser, server, "Messages")
        page.get_by_label("Route").select_option("echo")
        page.get_by_role("button", name="Watch").click()
        log = page.get_by_role("log")

        def is_watched():
            one.send("hello <b>there</b>")
            assert one.recv(timeout=20) == "hello <b>there</b>"
            return log.get_by_role("listitem").count() >= 2

        wait_for(is_watched, 30, "a message")
        expect(log.locator("li.in").first).to_contain_text("hello <b>there</b>")
        other.send('{"type": "vote", "poll": 1, "choice": 2}')
        other.recv(timeout=20)
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("status").filter(has_text="Off")).to_be_visible()
        shown = log.inner_text()
        assert "before anybody looks" not in shown
        assert "choice" not in shown
        screenshot(page, "console-messages")
    assert page.errors == []
