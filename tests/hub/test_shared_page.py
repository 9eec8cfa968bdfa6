"""A page that somebody shares, against the visitor who is logged in at the same host."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Page, expect
from support.browser import profile, sign_in_at_hub
from support.hub import running_hub

CONFIG = """
url:
  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.who}}
  gift: {pattern: /gift, handler: WebSocketHandler, kwargs: {on_message: bot.who, page: gift.html}}
"""

BOT = "def who(handler, message):\n    return 'a secret of ' + handler.current_user.username\n"

PAGE = """<!doctype html>
<title>A gift</title>
<script type="module">
  import {connect} from './static/wshandler/wshandler.js';
  const bot = connect();
  bot.onopen = () => bot.send('hi');
  bot.onmessage = ({data}) => { document.title = data; };
</script>
<script>
  const NOTHING = 'nothing';
  window.read = (url) => fetch(url, {credentials: 'include'})
    .then((answer) => answer.ok ? answer.text() : NOTHING, () => NOTHING);
  window.talk = (url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send('hi');
    socket.onmessage = ({data}) => { socket.close(); resolve(data); };
    socket.onclose = () => resolve(NOTHING);
  });
  // A window of the visitor's own page, as soon as its bot has spoken; null if it is closed to us.
  const opened = (url) => new Promise((resolve) => {
    const other = open(url), end = performance.now() + 30000;
    const again = () => {
      try {
        if (other.document.title.startsWith('a secret')) return resolve(other);
      } catch { return resolve(null); }
      if (performance.now() < end) setTimeout(again, 50);
      else resolve(null);
    };
    setTimeout(again, 500);
  });
  window.look = async (url) => (await opened(url))?.document.title ?? NOTHING;
  window.rob = async (url, files) => {
    const cookie = (await opened(url))?.document.cookie ?? '';
    for (const xsrf of ['', ...[...cookie.matchAll(/_xsrf=([^;]+)/g)].map((found) => found[1])]) {
      const headers = xsrf ? {'X-XSRFToken': xsrf} : {};
      const answer = await fetch(files, {credentials: 'include', headers}).catch(() => null);
      if (answer?.ok) return answer.text();
    }
    return NOTHING;
  };
  window.mint = async (page, api) => {
    const [, xsrf] = /xsrf_token: "([^"]+)"/.exec(await read(page)) ?? [];
    const headers = {'Content-Type': 'application/json', ...(xsrf && {'X-XSRFToken': xsrf})};
    const asked = {method: 'POST', credentials: 'include', headers, body: '{"note": "mine"}'};
    return fetch(api, asked).then((answer) => answer.ok ? answer.text() : NOTHING, () => NOTHING);
  };
  window.cookies = () => {
    try { document.cookie = 'mine=1'; return document.cookie; } catch { return NOTHING; }
  };
  window.keep = () => {
    try { localStorage.setItem('x', 'kept'); return localStorage.getItem('x'); } catch {
      return NOTHING;
    }
  };
</script>
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-gift") / "hub",
        CONFIG,
        modules={"bot.py": BOT, "gift.html": PAGE},
        server_args=["--WSHandlerApp.guests=links", "--debug"],
        extra_config="c.Spawner.start_timeout = c.Spawner.http_timeout = 280",
    ) as running:
        running.start("ada")
        running.start("bob")
        yield running


@pytest.fixture(scope="module")
def link(hub) -> str:
    """Return the address of the page that Ada shares."""
    script = hub.script(hub.token("ada"))
    answer = script.fetch(
        hub.server("ada").at("wshandler/api/shares"),
        method="POST",
        data=json.dumps({"route": "gift"}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status == 201, answer.text
    return answer.json()["url"]


@pytest.fixture
def bob(hub, chromium):
    """Return a page of Bob's browser, who is logged in at the Hub and at his own server."""
    with profile(chromium) as context:
        page = context.new_page()
        page.goto(hub.door.url(hub.path("login")))
        sign_in_at_hub(page, "bob", hub.password_of("bob"))
        page.wait_for_url("**/user/bob/**")
        page.goto(hub.door.url(hub.server("bob").at("gift")))
        expect(page).to_have_title("a secret of bob")
        yield page


def loot(page: Page, hub) -> dict[str, str]:
    """Let the page take from its visitor what it can."""
    bot = hub.door.url(hub.server("bob").at("bot"))
    files, window = (hub.door.url(hub.server("bob").at(path)) for path in ("api/contents", "gift"))
    tokens, api = (hub.door.url(hub.path(path)) for path in ("token", "api/users/bob/tokens"))
    return {
        "his files": page.evaluate("([url, files]) => rob(url, files)", [window, files]),
        "his Hub page": page.evaluate("read", tokens),
        "a token": page.evaluate("([page, api]) => mint(page, api)", [tokens, api]),
        "his bot": page.evaluate("talk", bot.replace("http", "ws", 1)),
        "a window of his": page.evaluate("look", window),
        "cookies": page.evaluate("cookies()"),
        "storage": page.evaluate("keep()"),
    }


def test_a_shared_page_takes_nothing_of_a_visitor_who_is_logged_in(hub, bob, link):
    bob.goto(link)
    bob.wait_for_function("document.title.startsWith('a secret of guest/')")
    assert bob.url == hub.door.url(hub.server("ada").at("gift"))
    assert set(loot(bob, hub).values()) == {"nothing"}


def test_the_same_page_without_a_sandbox_takes_all_of_it(hub, bob):
    """So that the test before can fail: this is what the sandbox is for."""
    # Who has been given access to a whole server, by the Hub, trusts all of its pages.
    hub.share(hub.server("ada"), user="bob")
    try:
        bob.goto(hub.door.url(hub.server("ada").at("gift")))
        authorize = bob.get_by_role("button", name="Authorize")
        if authorize.count():  # the Hub asks once
            authorize.click()
        expect(bob).to_have_title("a secret of bob")
        found = loot(bob, hub)
    finally:
        hub.unshare(hub.server("ada"), user="bob")
    assert '"type": "directory"' in found["his files"]
    assert "bob" in found["his Hub page"]
    assert '"token"' in found["a token"]
    assert found["his bot"] == "a secret of bob"
    assert found["a window of his"] == "a secret of bob"
    assert "mine=1" in found["cookies"]
    assert found["storage"] == "kept"
