"""Bots in a notebook that is open in a real JupyterLab, in a real browser."""

from __future__ import annotations

import contextlib
import re
import statistics
import threading
import time

import pytest
from playwright.sync_api import expect
from support.browser import profile, screenshot
from support.chatpage import answers, field, reason, say, state
from support.jupyterlab import LabNotebook, running_lab
from support.server import RunningServer, wait_for

LINES = 41
"""What a cell prints under load: with unbatched comm messages JupyterLab lost 15 of them."""

QUICK = 1.0
"""Seconds in which the tab has to react, in the middle of all times that were measured."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_lab(tmp_path_factory.mktemp("lab"), base_url="/user/ann@example.org/") as running:
        yield running


@pytest.fixture(scope="module")
def context(chromium):
    # One profile for all: Lab's scripts are fetched and compiled once.
    with profile(chromium, viewport={"width": 1100, "height": 800}) as opened:
        yield opened


@pytest.fixture
def lab(context, server):
    """Open notebooks in Lab; at the end, Lab must have had nothing to complain about."""
    notebooks: list[LabNotebook] = []

    def opened(*cells: str) -> LabNotebook:
        notebooks.append(LabNotebook(context, server, cells))
        return notebooks[-1]

    try:
        yield opened
        for notebook in notebooks:
            complaints(notebook)
    finally:
        for page in context.pages:
            page.close()
        for notebook in notebooks:
            notebook.close()


def complaints(notebook: LabNotebook) -> None:
    """Fail where Lab or its browser had something to complain about."""
    assert notebook.problems == []
    comms = [line for line in notebook.console if re.search(r"\bcomms?\b", line, re.I)]
    assert comms == []
    assert notebook.page.locator(".jp-Dialog").count() == 0


IMPORT = "import jupyter_wshandler as wsh"

FUNCTION = """
def on_message(handler, message):
    return handler.id if message == "id" else "Got message: " + message

bot = wsh.serve("/pingbot", on_message=on_message)
bot
"""

MAGIC = """
%%websocket /magicbot
def on_message(handler, message):
    return handler.id if message == "id" else "Got message: " + message
"""


def connected(notebook: LabNotebook, number: int = 1):
    """Return the chat below a cell that has been run, connected."""
    chat = notebook.chat(number)
    expect(state(chat)).to_have_text("connected")
    return chat


def said(chat, text: str, answer: str | re.Pattern) -> str:
    """Say something in a chat; return the bot's answer, which must be as expected."""
    say(chat, text)
    expect(answers(chat).last).to_have_text(answer)
    return answers(chat).last.inner_text()


# ---- the first minute -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "cell"),
    [(IMPORT, FUNCTION), ("%load_ext jupyter_wshandler", MAGIC)],
    ids=["serve", "magic"],
)
def test_the_open_chat_below_a_cell_gets_new_answers_when_the_cell_is_edited_and_run_again(
    lab, first, cell
):
    notebook = lab(first, cell)
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    said(chat, "Hello world", "Got message: Hello world")
    connection = said(chat, "id", re.compile(r"^(?!Got)\S+$"))
    screenshot(notebook.page, f"lab-{'magic' if '%' in cell else 'serve'}")
    chat.evaluate("(host) => { host.mark = 'the same'; }")
    field(chat).fill("half a sent")

    notebook.edit(1, cell.replace("Got message", "Now with feeling"))
    notebook.run(1)

    chat = connected(notebook)
    assert chat.evaluate("(host) => host.mark") == "the same"
    expect(field(chat)).to_have_value("half a sent")
    said(chat, "id", connection)
    said(chat, "Hello again", "Now with feeling: Hello again")
    expect(answers(chat)).to_have_text(
        ["Got message: Hello world", connection, connection, "Now with feeling: Hello again"]
    )
    expect(notebook.page.locator(".wshandler-chat")).to_have_count(1)
    screenshot(notebook.page, f"lab-{'magic' if '%' in cell else 'serve'}-edited")


def test_ctrl_and_s_in_the_chat_save_the_notebook(lab):
    notebook = lab(IMPORT, FUNCTION.replace("/pingbot", "/saved"))
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    field(chat).fill("half a sent")
    dirty = "() => jupyterapp.shell.currentWidget.context.model.dirty"
    assert notebook.page.evaluate(dirty)
    field(chat).press("ControlOrMeta+s")
    notebook.page.wait_for_function(f"() => !({dirty})()")
    field(chat).press_sequentially("ddx")
    expect(field(chat)).to_have_value("half a sentddx")
    expect(notebook.panel.locator(".jp-Cell")).to_have_count(3)  # the last is one that Lab has made


def test_the_chat_links_to_a_page_of_its_own_where_the_bot_answers_as_well(lab, server):
    notebook = lab(IMPORT, FUNCTION.replace("/pingbot", "/linked"))
    notebook.run(0)
    notebook.run(1)
    link = connected(notebook).get_by_role("link")
    expect(link).to_have_text(f"{server.url}linked")
    with notebook.page.context.expect_page() as opening:
        link.click()
    page = opening.value
    assert page.url == f"{server.url}linked"
    chat = page.locator(".wshandler-chat")
    expect(state(chat)).to_have_text("connected")
    said(chat, "Hello world", "Got message: Hello world")
    screenshot(page, "lab-own-page")
    said(notebook.chat(1), "You too?", "Got message: You too?")


def test_a_notebook_that_was_saved_shows_its_chat_again_when_it_is_reloaded(lab):
    notebook = lab(IMPORT, FUNCTION.replace("/pingbot", "/reloaded"))
    notebook.run(0)
    notebook.run(1)
    said(connected(notebook), "before", "Got message: before")
    notebook.save()
    notebook.page.reload()
    notebook.until_idle()
    chat = connected(notebook)
    expect(answers(chat)).to_have_count(0)
    said(chat, "after", "Got message: after")


def test_a_chat_goes_on_when_one_scrolls_far_away_and_back_in_a_windowed_notebook(lab):
    notebook = lab(IMPORT, FUNCTION.replace("/pingbot", "/windowed"), *["pass\n" * 20] * 30)
    notebook.window("full")
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    connection = said(chat, "id", re.compile(r"^(?!Got)\S+$"))
    notebook.scroll_to(31)
    expect(chat).not_to_be_in_viewport()
    notebook.scroll_to(1)
    chat = notebook.panel.locator(".wshandler-chat")
    expect(state(chat)).to_have_text("connected")
    expect(answers(chat)).to_have_text([connection])
    said(chat, "id", connection)


# ---- prints and errors ----------------------------------------------------------------------


def test_prints_and_tracebacks_appear_below_the_serving_cell_whatever_cell_runs(lab):
    notebook = lab(
        IMPORT,
        """
        def on_message(handler, message):
            global done
            print("heard", message)
            done = message == "done"
            return str(12 // int(message)) if message.isdigit() else "ok"

        bot = wsh.serve("/printing", on_message=on_message)
        bot
        """,
        """
        import time
        done, end = False, time.monotonic() + 100
        print("begin")
        while not done and time.monotonic() < end:
            time.sleep(0.02)
        print("end", done)
        """,
        "bot",
    )
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    said(chat, "one", "ok")
    expect(notebook.output(1)).to_contain_text("heard one")

    notebook.start(2)
    expect(notebook.output(2)).to_have_text("begin")
    said(chat, "3", "4")
    expect(notebook.output(1)).to_contain_text("heard 3")
    say(chat, "0")
    expect(notebook.output(1)).to_contain_text("ZeroDivisionError")
    expect(notebook.output(1)).to_contain_text("str(12 // int(message))")
    expect(notebook.prompt(2)).to_have_text("[*]:")
    expect(notebook.output(2)).to_have_text("begin")
    failed = chat.get_by_text("The bot has failed: internal error, id ")
    expect(failed).to_contain_text("The traceback is below the cell that serves it.")
    traceback = notebook.output(1).get_by_text("ZeroDivisionError").last
    assert traceback.bounding_box()["y"] > chat.bounding_box()["y"]
    expect(state(chat)).to_have_text("connected")
    notebook.output(1).get_by_text("ZeroDivisionError").last.scroll_into_view_if_needed()
    screenshot(notebook.page, "lab-error")
    said(chat, "done", "ok")
    notebook.wait(2)
    expect(notebook.output(2)).to_have_text("begin\nend True")
    expect(notebook.output(0)).to_have_text("")
    assert "begin" not in notebook.output(1).inner_text()

    # Below another cell the chat says the same, and it is as true.
    notebook.run(3)
    chat = notebook.chat(3)
    expect(state(chat)).to_have_text("connected")
    before = notebook.output(1).inner_text().count("ZeroDivisionError")
    say(chat, "0")
    expect(chat.get_by_text("The traceback is below the cell that serves it.")).to_have_count(2)
    wait_for(
        lambda: (
            notebook.page.wait_for_timeout(50)
            or notebook.output(1).inner_text().count("ZeroDivisionError") > before
        ),
        20,
        "the second failure below the serving cell",
    )
    assert "ZeroDivisionError" not in notebook.output(3).inner_text()


# ---- load -----------------------------------------------------------------------------------


class Hammer:
    """Connections with many messages in flight, each in a thread of its own, inside a block.

    Args:
        server: The server.
        path: The bot's path.
        connections: How many connections.
        in_flight: Messages that each has sent and not seen answered.
    """

    def __init__(self, server: RunningServer, path: str, connections: int, in_flight: int) -> None:
        self.answered = [0] * connections
        self.errors: list[BaseException] = []
        self._server = server
        self._path = path
        self._in_flight = in_flight
        self._enough = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(connections)
        ]

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(90)

    def _run(self, number: int) -> None:
        try:
            with self._server.connect_sync(self._path) as socket:
                for count in range(self._in_flight):
                    socket.send(str(count))
                count = 0
                while not self._enough.is_set():
                    assert socket.recv(timeout=60) == str(count)
                    count += 1
                    self.answered[number] = count
                    socket.send(str(count + self._in_flight - 1))
        except BaseException as error:
            self.errors.append(error)


class Listeners:
    """Connections that take what a bot says unasked.

    Args:
        server: The server.
        path: The bot's path.
        connections: How many connections.
        last: The message after which they have heard all.
    """

    def __init__(self, server: RunningServer, path: str, connections: int, last: str) -> None:
        self.heard: list[list[str]] = [[] for _ in range(connections)]
        self.errors: list[BaseException] = []
        self._last = last
        self._stack = contextlib.ExitStack()
        self._sockets = [
            self._stack.enter_context(server.connect_sync(path)) for _ in range(connections)
        ]
        self._threads = [
            threading.Thread(target=self._run, args=pair)
            for pair in zip(self._sockets, self.heard, strict=True)
        ]

    def __enter__(self) -> Listeners:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for thread in self._threads:
            thread.join(90)
        self._stack.close()

    def _run(self, socket, heard: list[str]) -> None:
        try:
            while not heard or heard[-1] != self._last:
                heard.append(socket.recv(timeout=60))
        except BaseException as error:
            self.errors.append(error)


FRAMES = """() => {
  const times = window.times = [];
  let before = performance.now();
  const frame = (now) => { times.push(now - before); before = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""
"""Keep how long each frame of the page has taken, in milliseconds."""


class Watch:
    """How quickly a page reacts, until somebody has seen enough.

    Attributes:
        trips: Seconds of each round trip to the page and its next frame.
        clicks: Seconds from a click on one of Lab's menus until it has opened.
    """

    def __init__(self, notebook: LabNotebook) -> None:
        self.page = notebook.page
        self.trips: list[float] = []
        self.clicks: list[float] = []
        self.page.evaluate(FRAMES)

    def look(self) -> None:
        """Measure once."""
        began = time.monotonic()
        self.page.evaluate("() => new Promise(requestAnimationFrame)")
        self.trips.append(time.monotonic() - began)

    def click(self) -> None:
        """Open a menu of Lab's, and close it."""
        began = time.monotonic()
        self.page.get_by_role("menuitem", name="View", exact=True).click()
        expect(self.page.locator(".lm-Menu")).to_be_visible()
        self.clicks.append(time.monotonic() - began)
        self.page.keyboard.press("Escape")
        expect(self.page.locator(".lm-Menu")).to_have_count(0)

    def frames(self) -> list[float]:
        """Return the seconds that each frame has taken."""
        return [milliseconds / 1000 for milliseconds in self.page.evaluate("() => window.times")]

    def verdict(self) -> str:
        """Fail where the page was slow; return the figures."""
        frames = self.frames()
        words = (
            f"round trips: {len(self.trips)}, median {statistics.median(self.trips):.3f} s, "
            f"longest {max(self.trips):.3f} s; frames: {len(frames)}, "
            f"median {statistics.median(frames):.3f} s, longest {max(frames):.3f} s; "
            f"clicks: {', '.join(f'{click:.2f} s' for click in self.clicks)}"
        )
        assert statistics.median(self.trips) < QUICK, words
        assert statistics.median(frames) < QUICK, words
        assert self.clicks, words
        return words


def no_output_is_lost(notebook: LabNotebook, number: int) -> None:
    """Fail where a cell does not show all lines, or Lab says that it has left some out."""
    lines = "".join(f"line {line}\n" for line in range(LINES)).strip()
    expect(notebook.output(number)).to_have_text(lines)
    expect(notebook.page.get_by_text("rate exceeded")).to_have_count(0)


PRINTING = f"""
import time
for number in range({LINES}):
    print("line", number)
    time.sleep(0.1)
"""


def test_lab_loses_no_output_and_stays_responsive_while_a_bot_of_its_kernel_is_hammered(
    lab, server
):
    notebook = lab(
        IMPORT,
        """
        bot = wsh.serve("/hammered", lambda handler, message: message)
        bot
        """,
        PRINTING,
    )
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    watch = Watch(notebook)
    with Hammer(server, "/hammered", 4, 16) as hammer:
        notebook.start(2)
        said(chat, "in between", "in between")
        watch.click()
        while not notebook.has_ended(2):
            watch.look()
        watch.click()
        busy = sum(hammer.answered)
    assert hammer.errors == []
    print(f"{busy} answers when the cell ended, {sum(hammer.answered)} in all;", watch.verdict())
    no_output_is_lost(notebook, 2)
    said(chat, "afterwards", "afterwards")


def test_lab_loses_no_output_while_a_cell_pushes_thousands_of_messages_between_its_lines(
    lab, server
):
    notebook = lab(
        IMPORT,
        """
        bot = wsh.serve("/pushing", lambda handler, message: message)
        bot
        """,
        f"""
        for number in range(3000):
            bot.send(str(number))
            if number % {3000 // (LINES - 1)} == 0:
                print("line", number // {3000 // (LINES - 1)})
        print("line {LINES - 1}")
        """,
    )
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    watch = Watch(notebook)
    with Listeners(server, "/pushing", 3, "2999") as listeners:
        notebook.start(2)
        while not notebook.has_ended(2):
            watch.look()
        watch.click()
        watch.look()
    print(watch.verdict())
    assert listeners.errors == []
    assert listeners.heard == [[str(number) for number in range(3000)]] * 3
    no_output_is_lost(notebook, 2)
    said(chat, "afterwards", "afterwards")


# ---- the kernel's life ----------------------------------------------------------------------


def test_a_chat_says_that_the_kernel_has_restarted_and_is_back_when_the_cell_is_run(lab):
    notebook = lab(IMPORT, FUNCTION.replace("/pingbot", "/restarted"))
    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    said(chat, "before", "Got message: before")
    chat.evaluate("(host) => { host.mark = 'the same'; }")

    kernel = notebook.until_idle()
    notebook.restart()
    expect(reason(chat)).to_contain_text("kernel has restarted; run the cell again")
    expect(state(chat)).not_to_have_text("connected")
    assert notebook.until_idle() == kernel
    screenshot(notebook.page, "lab-restarted")
    notebook.page.emulate_media(color_scheme="dark")
    expect(notebook.page.locator("body")).to_have_attribute("data-jp-theme-light", "false")
    expect(notebook.page.locator("#jupyterlab-splash")).to_have_count(0)
    screenshot(notebook.page, "lab-restarted-dark")

    notebook.run(0)
    notebook.run(1)
    chat = connected(notebook)
    assert chat.evaluate("(host) => host.mark") == "the same"
    said(chat, "after", "Got message: after")
    expect(answers(chat)).to_have_text(["Got message: before", "Got message: after"])
    screenshot(notebook.page, "lab-back-dark")
    # The browser itself writes a line about each attempt while nobody serves the address.
    notebook.forgive(r"^error: Failed to load resource: .* 404 .*/wshandler/api/tickets")
