"""One user's page against another user's bot, in a real browser, on one domain and on many."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from support.browser import profile, sign_in_at_hub
from support.hub import running_hub

CONFIG = """
url:
  bot: {pattern: /bot, handler: WebSocketHandler, kwargs: {on_message: bot.who}}
  safe:
    pattern: /safe
    handler: WebSocketHandler
    kwargs: {on_message: bot.who, xsrf: ticket, page: page.html}
"""

BOT = "def who(handler, message):\n    return 'a secret of ' + handler.current_user.username\n"

PAGE = """<!doctype html>
<title>A page</title>
<script>
  // What the bot says to a page, or "refused".
  window.talk = (url) => new Promise((resolve) => {
    const socket = new WebSocket(url);
    socket.onopen = () => socket.send('hi');
    socket.onmessage = ({data}) => { socket.close(); resolve(data); };
    socket.onclose = () => resolve('refused');
  });
  window.ticket = (api, path, xsrf) => fetch(api, {
    method: 'POST',
    credentials: 'include',
    headers: {'Content-Type': 'application/json', ...(xsrf && {'X-XSRFToken': xsrf})},
    body: JSON.stringify({path}),
  }).then((answer) => answer.ok ? answer.json() : {status: answer.status},
    (error) => ({status: error.name}));
  window.cookies = (text) => [...text.matchAll(/_xsrf=([^;]+)/g)].map((match) => match[1]);
</script>
"""

SECRET = "a secret of ada"


@pytest.fixture(scope="module", params=[None, "hub.localhost"], ids=["one-domain", "subdomains"])
def hub(request, tmp_path_factory):
    with running_hub(
        tmp_path_factory.mktemp("hub-attack") / "hub",
        CONFIG,
        modules={"bot.py": BOT, "page.html": PAGE},
        users=["ada", "mallory"],
        subdomain_host=request.param,
    ) as running:
        # Mallory lures Ada to a page on Mallory's own server.
        running.share(running.start("mallory"), user="ada")
        running.start("ada")
        yield running


@pytest.fixture
def lured(hub, chromium):
    """Return Ada's browser, signed in at her own server, at a page on Mallory's."""
    with profile(chromium) as context:
        page = context.new_page()
        page.goto(hub.door.url(hub.path("login")))
        sign_in_at_hub(page, "ada", hub.password_of("ada"))
        page.wait_for_url("**/user/ada/**")
        page.goto(hub.door.url(hub.server("ada").at("safe")))
        expect(page).to_have_title("A page")
        assert page.evaluate("talk", socket(hub, "bot")) == SECRET
        page.goto(hub.door.url(hub.server("mallory").at("safe")))
        authorize = page.get_by_role("button", name="Authorize")
        if authorize.count():  # the Hub asks once
            authorize.click()
        expect(page).to_have_title("A page")
        yield page


def socket(hub, route: str) -> str:
    return hub.door.url(hub.server("ada").at(route)).replace("http", "ws", 1)


def api(hub) -> str:
    return hub.door.url(hub.server("ada").at("wshandler/api/tickets"))


def has_subdomains(hub) -> bool:
    return "localhost" in hub.door.origin


def with_ticket(page: Page, hub, xsrf: str | None) -> str:
    """Try to get a ticket, and to talk with it."""
    answer = page.evaluate(
        "([api, path, xsrf]) => ticket(api, path, xsrf)", [api(hub), "/user/ada/safe", xsrf]
    )
    if "ticket" not in answer:
        return "refused"
    return page.evaluate("talk", f"{socket(hub, 'safe')}?ws_token={answer['ticket']}")


def test_the_visitors_cookie_alone_opens_a_socket_on_one_domain_and_none_with_a_ticket(hub, lured):
    """The attack: the browser sends Ada's cookie with a socket of Mallory's page."""
    without = lured.evaluate("talk", socket(hub, "bot"))
    assert without == ("refused" if has_subdomains(hub) else SECRET)
    assert lured.evaluate("talk", socket(hub, "safe")) == "refused"


def test_the_page_gets_no_ticket_with_the_cookies_that_it_can_read(hub, lured):
    own = lured.evaluate("cookies(document.cookie)")
    assert own, "the page has its own server's cookie"
    for xsrf in [None, "made-up", *own]:
        assert with_ticket(lured, hub, xsrf) == "refused"


def test_a_window_of_the_visitors_server_gives_a_ticket_on_one_domain_and_not_on_many(hub, lured):
    """What a ticket cannot stop: script of the same origin acts in the visitor's own page."""
    with lured.expect_popup() as popup:
        lured.evaluate(
            "(url) => { window.other = open(url); }", hub.door.url(hub.server("ada").at("safe"))
        )
    expect(popup.value).to_have_title("A page")
    stolen = lured.evaluate(
        "() => { try { return cookies(other.document.cookie); } catch { return null; } }"
    )
    if has_subdomains(hub):
        assert stolen is None
    else:
        assert SECRET in [with_ticket(lured, hub, xsrf) for xsrf in stolen]
