"""The example for Vite: its types, its page built and served, and its page being worked on."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from support.browser import errors_of
from support.chatpage import STATIC
from support.frontend import EXAMPLE, copied_to, run
from support.server import free_port, running_server, wait_for

# npm may have to install first, and the compiler of TypeScript is slow on a machine that is busy.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parents[2]
TYPES = STATIC / "wshandler.d.ts"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = copied_to(tmp_path_factory.mktemp("frontend"))
    run(folder, "tsc")
    run(folder, "vite", "build")
    return folder


@pytest.fixture(scope="module")
def server(project):
    with running_server(project / "wshandler.yaml", folder=project, host="localhost") as running:
        yield running


@contextmanager
def working(folder: Path, jupyter: str):
    """Run the example's server for working on it; yield its address."""
    port = free_port()
    log = folder / "vite.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [folder / "node_modules" / ".bin" / "vite", f"--port={port}", "--strictPort"],
            cwd=folder,
            env={**os.environ, "JUPYTER_URL": jupyter, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        wait_for(lambda: f"localhost:{port}/pingbot/" in log.read_text(), 60, log.read_text())
        yield f"http://localhost:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def talks(page: Page, text: str) -> None:
    """Say something to the bot on a page of the example's, and wait for the answer."""
    expect(page.get_by_role("status")).to_have_text("Connected.")
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("li").last).to_have_text(f"Got message: {text}")


def log_in(page: Page, server) -> None:
    """Fill in Jupyter's login form, and send it."""
    page.get_by_label(re.compile("token", re.IGNORECASE)).first.fill(server.token)
    page.get_by_role("button", name=re.compile("log in", re.IGNORECASE)).first.click()


def test_the_built_page_is_served_behind_the_login_and_talks_to_its_bot(browser, server):
    page = browser.new_page()
    errors = errors_of(page)
    page.goto(f"{server.url}pingbot")
    assert "/login" in page.url
    log_in(page, server)
    talks(page, "hello")
    assert page.url == f"{server.url}pingbot/"
    assert page.evaluate("getComputedStyle(document.querySelector('ul')).padding") == "0px"
    assert page.evaluate(
        "(async () => (await fetch(document.querySelector('link[rel=icon]').href)).headers"
        ".get('content-type'))()"
    ).startswith("image/svg+xml")
    assert errors == []


def test_the_built_page_waits_for_a_server_that_does_not_answer(browser, server):
    page = browser.new_page()
    page.route("**/wshandler.js", lambda route: route.abort())
    page.goto(f"{server.url}pingbot/?token={server.token}")
    expect(page.get_by_role("status")).to_have_text("The server does not answer. Trying again…")
    page.unroute("**/wshandler.js")
    talks(page, "hello")


def test_a_failure_of_the_bot_stays_on_the_built_page(browser, project, tmp_path):
    shutil.copytree(project / "dist", tmp_path / "dist")
    config = (EXAMPLE / "wshandler.yaml").read_text()
    failing = {
        "pingbot.py": "def on_message(handler, message):\n    return message[int(message)]\n"
    }
    with running_server(config, folder=tmp_path, host="localhost", modules=failing) as server:
        page = browser.new_page()
        page.goto(f"{server.url}pingbot/?token={server.token}")
        expect(page.get_by_role("status")).to_have_text("Connected.")
        page.get_by_label("Message").fill("7")
        page.keyboard.press("Enter")
        expect(page.locator("li").last).to_have_text(
            re.compile(r"^The bot has stumbled; go on: .+ \(1011\)\.$")
        )
        expect(page.get_by_role("status")).to_have_text("Connected.")
        expect(page.locator("li")).to_have_count(2)


def test_the_address_that_the_tools_server_prints_leads_through_the_login(project, server):
    with working(project, f"http://localhost:{server.port}") as origin:
        port = int(origin.rpartition(":")[2])

        def opened(path: str, **headers: str):
            connection = http.client.HTTPConnection("localhost", port, timeout=30)
            with closing(connection):
                connection.request("GET", path, headers={"Sec-Fetch-Dest": "document", **headers})
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read()

        status, headers, _ = opened("/pingbot/")
        assert (status, headers["Location"]) == (302, "/login?next=%2Fpingbot%2F")
        status, headers, page = opened(f"/pingbot/?token={server.token}")
        assert (status, b"/pingbot/src/main.ts" in page) == (200, True)
        status, _, again = opened("/pingbot/", Cookie=headers["Set-Cookie"].partition(";")[0])
        assert (status, b"/pingbot/src/main.ts" in again) == (200, True)


def test_the_page_under_work_logs_in_talks_to_the_bot_and_shows_what_is_saved(
    browser, project, server
):
    page = browser.new_page()
    errors = errors_of(page)
    with working(project, f"http://localhost:{server.port}") as origin:
        page.goto(f"{origin}/pingbot/")
        log_in(page, server)
        talks(page, "hello")
        assert page.url == f"{origin}/pingbot/"
        style = project / "src" / "style.css"
        # Vite's own socket is at the bot's address, too.
        style.write_text(style.read_text() + "\nul { padding: 7px; }\n")
        page.wait_for_function("getComputedStyle(document.querySelector('ul')).padding === '7px'")
        talks(page, "still here")
    assert errors == []


def test_the_types_of_the_helper_take_what_the_docs_show_and_refuse_what_is_wrong(project):
    (project / "src" / "uses.ts").write_text(USES)
    run(project, "tsc")
    (project / "src" / "uses.ts").write_text(MISUSES)
    with pytest.raises(AssertionError) as caught:
        run(project, "tsc")
    (project / "src" / "uses.ts").unlink()
    lines = {int(n) for n in re.findall(r"src/uses\.ts\((\d+),", str(caught.value))}
    wrong = {n for n, line in enumerate(MISUSES.splitlines(), 1) if line.endswith("// wrong")}
    assert lines == wrong
    # What the compiler says last, and editors show, of a wrong option is about the options.
    types = re.findall(r"'meaning' does not exist in type '(\w+)'", str(caught.value))
    assert types[-1] == "Options"


USES = """
import {connect, MEANINGS, type Bot, type Cause} from './wshandler';
const own: Bot = connect();
const other = connect('/room/blue?name=ada', {protocols: ['chat']});
connect(new URL('wss://example.org/pingbot'), {meanings: {
  4001: 'The table is full',
  4002: {words: 'The cards are shuffled', state: 'waiting'},
  1012: (detail) => `Back in a minute: ${detail.trim()}`,
}});
connect({meanings: {1000: 'That was it', 4003: {words: 'Over', detailed: false, link: 'More'}}});
own.onmessage = ({data}) => { const text: string | ArrayBuffer = data; void text; };
own.addEventListener('message', (event) => event.data.slice(0));
own.addEventListener('unsent', ({detail}) => own.send(detail));
own.onstate = function () { document.title = own.words + own.retryIn.toFixed() + own.attempts; };
const sent: boolean = other.send({any: ['json', 1, null]}) && other.send(new Uint8Array(2));
const why: Cause | null = other.cause;
other.link?.href.length;
if (other.state === 'idle') other.connect(); else other.close(3001, 'enough');
connect('/bot', {resume: false, reconnect: true, queue: 10, queueBytes: 1024});
own.onrenewed = ({detail: {reason, unsure}}) => {
  if (reason === 'lost') unsure.forEach((each) => own.send(each));
};
own.onresumed = async ({detail: {answers}}) => {
  for await (const piece of answers[0]) void [piece, answers[0].question];
};
own.addEventListener('away', () => void [own.state === 'away', own.resumable, own.id.length]);
const room = own.join('blue', {since: {epoch: 'e', offset: 1}, presence: true});
room.onmembers = ({detail: {member, change}}) => {
  void [member?.card, change === 'left', room.members?.ada.connections];
};
room.onmessage = ({data, offset}) => { const said: string = data; void [said, offset]; };
void room.joined.then(({recovered}) => { if (recovered === false) room.leave(); });
void [sent, why, MEANINGS[1012].words, own.protocol.length];
export {};
"""
MISUSES = """
import {connect} from './wshandler';
const bot = connect();
bot.state = 'open'; // wrong
connect(7); // wrong
connect('/x', {protocol: ['chat']}); // wrong
connect({meaning: {1000: 'That was it'}}); // wrong
if (bot.state === 'broken') bot.connect(); // wrong
bot.close('now'); // wrong
bot.onmessage = ({data}) => data.nothing; // wrong
export {};
"""


def test_the_types_are_served_beside_the_helper_and_the_example_has_them(server):
    status, headers, body = server.fetch("/static/wshandler/wshandler.d.ts", token=False)
    assert (status, body) == (200, TYPES.read_bytes())
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (EXAMPLE / "src" / "wshandler.d.ts").read_text() == TYPES.read_text()


def test_the_types_name_every_cause_of_the_helper():
    text = (STATIC / "meanings.js").read_text()
    meanings = text[text.index("export const MEANINGS") :].partition("\n};")[0]
    causes = set(re.findall(r"^  ([a-z]+): \{", meanings, re.MULTILINE)) - {"other"}
    assert causes == set(re.findall(r"'(\w+)'", TYPES.read_text().partition("/**\n")[0]))


def test_the_lock_file_names_no_address_to_load_packages_from():
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    assert len(lock["packages"]) > 2
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
    assert all("integrity" in entry for name, entry in lock["packages"].items() if name)


def test_the_docs_show_the_configuration_of_the_example():
    docs = (ROOT / "docs" / "frontend.md").read_text()
    shown = re.search(r"```js\n// vite\.config\.js\n(.*?)```", docs, re.DOTALL)
    assert shown
    assert shown[1] == (EXAMPLE / "vite.config.js").read_text()
