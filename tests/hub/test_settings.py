"""What settings of JupyterHub do to sockets, in a real browser where that makes a difference.

JupyterHub takes `?token=`, and heeds JUPYTERHUB_ALLOW_WEBSOCKET_COOKIE_AUTH=0, where a handshake
says `Sec-Fetch-Mode: websocket`. Whether browsers say so is up to them: Chromium 156 does not.
"""

from __future__ import annotations

import pytest
from support.bots import bot_text
from support.browser import sign_in_at_hub
from support.hub import running_hub

CONFIG = """
url:
  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.mode}}
  page:
    pattern: /page
    handler: WebSocketHandler
    kwargs: {on_message: bot.mode, page: page.html}
"""

BOT = """
def mode(handler, message):
    return {"mode": handler.request.headers.get("Sec-Fetch-Mode")}
"""

TALK = """(url) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onopen = () => socket.send('hi');
  socket.onmessage = ({data}) => { socket.close(); resolve(JSON.parse(data)); };
  socket.onclose = () => resolve(null);
})"""

# Each user's server has settings of its own.
HOOK = bot_text("hub_settings")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-tokens") / "hub",
        CONFIG,
        modules={"bot.py": BOT, "page.html": "<!doctype html><title>A page</title>"},
        users=["plain", "nocookie", "urltoken", "classic"],
        extra_config=HOOK,
    ) as running:
        yield running


def socket_of(hub, user: str, route: str = "bot") -> str:
    return hub.door.url(hub.start(user).at(route)).replace("http", "ws", 1)


def signed_in(hub, browser, user: str):
    """Return a page of a user's server, signed in."""
    server = hub.start(user)
    page = browser.new_page()
    page.goto(hub.door.url(server.at("page")))
    sign_in_at_hub(page, user, hub.password_of(user))
    page.wait_for_url("**/page")
    return page


def says_what_it_is(hub, browser) -> bool:
    """Return whether this browser sends Sec-Fetch-Mode with a socket."""
    page = signed_in(hub, browser, "plain")
    mode = page.evaluate(TALK, socket_of(hub, "plain"))["mode"]
    assert mode in (None, "websocket")
    browser.clear_cookies()
    return mode == "websocket"


def stranger(hub, browser):
    """Return a page of the Hub's host in a browser where nobody is signed in."""
    page = browser.new_page()
    page.goto(hub.door.url(hub.path("login")))
    return page


def test_a_token_in_the_query_works_only_in_a_browser_that_says_that_it_opens_a_socket(
    hub, browser
):
    expected = says_what_it_is(hub, browser)
    url = f"{socket_of(hub, 'plain')}?token={hub.token('plain')}"
    assert (stranger(hub, browser).evaluate(TALK, url) is not None) is expected


def test_a_token_in_the_query_works_in_every_browser_where_the_administrator_allows_it(
    hub, browser
):
    page = stranger(hub, browser)
    url = socket_of(hub, "urltoken")
    assert page.evaluate(TALK, f"{url}?token={hub.token('urltoken')}") is not None
    # The socket leaves no login behind.
    assert page.evaluate(TALK, url) is None


def test_cookies_are_refused_for_sockets_only_in_a_browser_that_says_that_it_opens_one(
    hub, browser
):
    refused = says_what_it_is(hub, browser)
    page = signed_in(hub, browser, "nocookie")
    assert (page.evaluate(TALK, socket_of(hub, "nocookie")) is None) is refused


def test_the_classic_single_user_app_which_does_not_say_who_asks_serves_no_route(hub):
    server = hub.start("classic")
    assert hub.script(hub.token("classic")).fetch(server.at("bot")).status == 404
    (line,) = [line for line in server.log_text().splitlines() if "No routes are served" in line]
    assert "JupyterHub's classic single-user app does not tell the extension who asks" in line
