"""`wshandler.js` in a page of one's own that connects by the link of a share, as it is."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import TimeoutError
from support.bots import bot_text
from support.browser import errors_of
from support.server import free_port, running_server
from support.sharing import revoke, share, shares, token_of
from support.website import website

YAML = """
url:
  own:
    pattern: /own
    handler: WebSocketHandler
    kwargs: &bot {on_message: {function: linkbot.on_message}, page: page.html}
  shared:
    pattern: /shared
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, origins: ["127.0.0.1:LISTED", "127.0.0.1:OWN"]}
  picture:
    pattern: /picture
    handler: WebSocketHandler
    kwargs: {<<: *bot, page: picture.html}
  narrow:
    pattern: /narrow
    handler: WebSocketHandler
    kwargs: {<<: *bot, max_connections: {route: 1}}
"""
WITH_PICTURE = """<!doctype html><title>A page</title><img src="http://127.0.0.1:LISTED/picture">
<a href="http://127.0.0.1:LISTED/away" referrerpolicy="unsafe-url">Away</a>"""
PAGE = """<!doctype html><title>A page</title><script type="module">
  const {connect} = await import('HELPER');
  window.start = (where) => {
    window.got = [];
    window.bot = connect(where);
    bot.onmessage = ({data}) => got.push(data);
    bot.onopen = () => bot.send('hello');
  };
  window.loaded = true;
</script>"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    listed, own = free_port(), free_port()
    with running_server(
        YAML.replace("LISTED", str(listed)).replace("OWN", str(own)),
        folder=tmp_path_factory.mktemp("links"),
        modules={
            "linkbot.py": bot_text("link_page"),
            "picture.html": WITH_PICTURE.replace("LISTED", str(listed)),
            "page.html": PAGE.replace("HELPER", "./static/wshandler/wshandler.js"),
        },
        port=own,
        extra_args=["--debug"],
    ) as running:
        running.extra["listed"] = listed
        yield running


def page_of_the_owner(browser, server):
    page = browser.new_page()
    page.goto(f"{server.url}own?token={server.token}")
    page.wait_for_function("window.loaded")
    return page


def start(page, link: str) -> None:
    page.evaluate(f"void start({json.dumps(link)})")


def until(page, state: str) -> str:
    found = "`${bot.state} ${bot.cause}`"
    try:
        page.wait_for_function(f"{found} === {json.dumps(state)}")
    except TimeoutError:
        raise AssertionError(f"expected {state}, found {page.evaluate(found)}") from None
    return page.evaluate("bot.words")


def test_a_page_connects_by_a_link_as_a_guest_though_its_reader_is_logged_in(browser, server):
    link = share(server, route="shared", label="Ann")
    page = page_of_the_owner(browser, server)
    errors = errors_of(page)
    start(page, link["url"])
    page.wait_for_function("got.length === 1")
    assert page.evaluate("got") == ["guest Ann: hello"]
    assert errors == []


def test_a_page_of_a_listed_origin_connects_by_a_link_without_a_login(browser, server):
    link = share(server, route="shared", label="Ann")
    html = PAGE.replace("HELPER", f"{server.url}static/wshandler/wshandler.js")
    with website(html, server.extra["listed"]) as origin:
        page = browser.new_page()
        page.goto(origin)
        page.wait_for_function("window.loaded")
        start(page, link["url"].replace("http", "ws", 1))
        page.wait_for_function("got.length === 1")
        assert page.evaluate("got") == ["guest Ann: hello"]
        assert browser.cookies() == []
        revoke(server, link["id"])
        said = until(page, "closed 4403")
        assert said.endswith("this link has been revoked (4403).")
        # Nobody says there why it does not open: what is known is not said in vaguer words.
        page.evaluate("bot.connect()")
        assert until(page, "closed 4403") == said
        start(page, link["url"])
        assert until(page, "waiting unopened").startswith("The connection does not open")


def test_a_link_that_has_ended_is_said_to_at_once_and_when_it_is_tried_again(browser, server):
    link = share(server, route="own")
    page = page_of_the_owner(browser, server)
    start(page, link["url"])
    page.wait_for_function("got.length === 1")
    revoke(server, link["id"])
    said = "You are not allowed to use this bot: this link has been revoked (4403)."
    assert until(page, "closed 4403") == said
    page.evaluate("bot.connect()")
    assert until(page, "closed 4403") == said
    assert page.evaluate("bot.link") is None
    start(page, f"{server.url}own?share_token={'A' * 22}")
    assert "not known here" in until(page, "closed 4403")
    start(page, link["url"].replace("/own?", "/nothing?"))
    assert until(page, "waiting missing") == "Nothing answers at this address."


def test_finding_out_why_a_link_does_not_open_is_no_use_of_it(browser, server):
    link = share(server, route="narrow", uses=5)
    page = page_of_the_owner(browser, server)
    with server.connect_sync("/narrow"):
        start(page, link["url"])
        assert until(page, "waiting refused").startswith("The server answers")
    (found,) = shares(server, "?route=narrow")
    assert found["used"] == 0
    page.evaluate("bot.connect()")
    page.wait_for_function("got.length === 1")
    assert shares(server, "?route=narrow")[0]["used"] == 1
    page.evaluate("bot.close()")


def test_the_servers_log_holds_no_token_of_a_link_that_a_page_has_used(browser, server):
    link = share(server, route="own")
    page = page_of_the_owner(browser, server)
    start(page, link["url"])
    page.wait_for_function("got.length === 1")
    revoke(server, link["id"])
    until(page, "closed 4403")
    page.evaluate("bot.connect()")
    until(page, "closed 4403")
    assert token_of(link) not in server.log_text()


def test_no_token_of_a_link_is_in_the_history_of_the_browser_or_told_to_another_site(
    browser, server
):
    link = share(server, route="picture")
    token, heard = token_of(link), []
    page = browser.new_page()
    with website("<title>Away</title>", server.extra["listed"], heard):
        page.goto(link["url"])
        assert page.url == f"{server.url}picture"
        assert token not in page.content()
        page.get_by_text("Away").click()
        page.wait_for_function("document.title === 'Away'")
        assert [told.split()[1] for told in heard][:2] == ["/picture", "/away"]
        assert token not in "".join(heard)
        # Of what stands in an address such a page would tell: its owner's does.
        page.goto(f"{server.url}picture?token={server.token}")
        page.goto(f"{server.url}picture?mark=told")
        page.get_by_text("Away").click()
        page.wait_for_function("document.title === 'Away'")
        assert any("picture?mark=told" in told for told in heard), heard
    # Beside them Chromium notes, for this tab, what was typed into the address bar itself.
    visited = browser.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
    addresses = [entry["url"] for entry in visited]
    assert f"{server.url}picture" in addresses
    assert token not in "".join(addresses)
    assert [entry for entry in visited if token in entry["title"]] == []
