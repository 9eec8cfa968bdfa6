"""Pages of other origins: who may load the helper, ask for a ticket, and hear of a refusal."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.server import free_port, running_server

YAML = """
url:
  own:
    pattern: /own
    handler: WebSocketHandler
    kwargs: &bot {on_message: {function: originbot.on_message}, page: page.html}
  listed:
    pattern: /listed
    handler: WebSocketHandler
    kwargs: {<<: *bot, origins: ["http://127.0.0.1:LISTED", "*.example.org"]}
  guarded:
    pattern: /guarded
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, origins: ["127.0.0.1:LISTED"]}
  other:
    pattern: /other
    handler: WebSocketHandler
    kwargs: {<<: *bot, xsrf: ticket, origins: [other.example.net]}
  full:
    pattern: /full
    handler: WebSocketHandler
    kwargs: {<<: *bot, origins: ["127.0.0.1:LISTED", OWN], max_connections: {user: 1}}
  members:
    pattern: /members
    handler: WebSocketHandler
    kwargs:
      <<: *bot
      origins: ["127.0.0.1:LISTED", OWN]
      auth: {condition: {function: originbot.never}}
  staff:
    pattern: /staff
    handler: WebSocketHandler
    kwargs: {<<: *bot, auth: {groups: [staff]}}
"""
BOT = """
from jupyter_wshandler.errors import ConnectionRefused


def on_message(handler, message):
    return f"Got message: {message}"


def never(handler):
    raise ConnectionRefused("come back on Monday")
"""
PAGE = """<!doctype html><title>A page</title><output></output><script type="module">
  const {connect} = await import('HELPER');
  window.start = (where) => {
    window.bot = connect(where);
    window.got = [];
    bot.onmessage = ({data}) => got.push(data);
    bot.onopen = () => bot.send('hello');
    return new Promise((done) => { bot.onstate = () => done(`${bot.state} ${bot.cause}`); });
  };
  window.loaded = true;
</script>"""


@contextmanager
def site(html: str, port: int = 0):
    """Serve a page of another origin, at every path."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Site) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port, own = free_port(), free_port()
    modules = {
        "originbot.py": BOT,
        "page.html": PAGE.replace("HELPER", "./static/wshandler/wshandler.js"),
    }
    with running_server(
        YAML.replace("LISTED", str(port)).replace("OWN", f"'127.0.0.1:{own}'"),
        folder=tmp_path_factory.mktemp("origins"),
        modules=modules,
        port=own,
    ) as running:
        running.extra["listed"] = port
        yield running


@pytest.fixture(scope="module")
def listed(server):
    helper = f"{server.url}static/wshandler/wshandler.js"
    with site(PAGE.replace("HELPER", helper), server.extra["listed"]) as origin:
        yield origin


@pytest.fixture(scope="module")
def foreign(server):
    with site(PAGE.replace("HELPER", f"{server.url}static/wshandler/wshandler.js")) as origin:
        yield origin


def logged_in(browser, server):
    page = browser.new_page()
    page.goto(f"{server.url}own?token={server.token}")
    return page


def opened(browser, origin: str):
    page = browser.new_page()
    page.goto(origin)
    page.wait_for_function("window.loaded")
    return page


def until(page, state: str) -> str:
    page.wait_for_function(f"`${{bot.state}} ${{bot.cause}}` === {json.dumps(state)}")
    return page.evaluate("bot.words")


# ---- from another origin ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["listed", "guarded"])
def test_a_listed_page_of_another_port_loads_the_helper_and_connects_with_the_users_login(
    browser, server, listed, path
):
    logged_in(browser, server)
    page = opened(browser, listed)
    page.evaluate(f"void start('/{path}')")
    page.wait_for_function("got.length === 1")
    assert page.evaluate("got") == ["Got message: hello"]


def test_a_listed_page_without_a_login_is_led_to_it_and_connects_when_it_is_back(
    browser, server, listed
):
    page = opened(browser, listed)
    page.evaluate("void start('/listed')")
    assert until(page, "closed 4401") == "You are signed out."
    assert page.evaluate("bot.link.href") == f"{server.url}listed"
    logged_in(browser, server)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_function("got.length === 1")


def test_a_listed_page_with_a_token_connects_and_hears_that_another_is_not_known(
    browser, server, listed
):
    page = opened(browser, listed)
    page.evaluate(f"void start('/listed?token={server.token}')")
    page.wait_for_function("got.length === 1")
    # The server has made a login of the token.
    browser.clear_cookies()
    page.evaluate("void start('/listed?token=wrong')")
    assert until(page, "closed token") == "The server does not know this token."
    page.evaluate(f"void start('/nothing?token={server.token}')")
    assert until(page, "waiting missing") == "Nothing answers at this address."


def test_a_listed_page_gets_no_ticket_for_a_route_that_does_not_list_it(browser, server, listed):
    logged_in(browser, server)
    page = opened(browser, listed)
    page.evaluate("void start('/other')")
    assert "this page is not among the allowed origins" in until(page, "waiting origin")


def test_a_page_of_an_origin_that_is_not_listed_can_load_and_ask_nothing(browser, server, foreign):
    logged_in(browser, server)
    page = browser.new_page()
    page.goto(foreign)
    for url in ("static/wshandler/wshandler.js", "wshandler/api/tickets"):
        with pytest.raises(Exception, match="Failed to fetch"):
            page.evaluate(
                "async (url) => (await fetch(url, {credentials: 'include', method: "
                "url.endsWith('js') ? 'GET' : 'POST', body: null})).status",
                server.url + url,
            )
    assert page.evaluate("window.loaded") is None


TICKETS = "/wshandler/api/tickets"
HELPER = "/static/wshandler/wshandler.js"


def cors(headers) -> tuple[str | None, str | None]:
    return headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Credentials"]


@pytest.mark.parametrize("name", ["wshandler.js", "tickets.js", "chat.js"])
def test_a_file_of_ours_may_be_read_by_listed_origins_and_by_guests_pages(server, listed, name):
    for origin, allowed in (
        (listed, listed),
        ("https://a.example.org", "https://a.example.org"),
        ("https://example.org", None),
        ("https://a.example.org.example.net", None),
        ("http://127.0.0.1.example.net", None),
        ("null", "*"),  # a guest's page
        (f"{listed}, {listed}", None),
    ):
        for method in ("GET", "HEAD"):
            status, headers, _ = server.fetch(
                f"/static/wshandler/{name}", method=method, token=False, headers={"Origin": origin}
            )
            assert status == 200
            assert (headers["Vary"], cors(headers)) == ("Origin", (allowed, None)), origin
    status, headers, _ = server.fetch(HELPER, token=False)
    assert (headers["Vary"], cors(headers)) == ("Origin", (None, None))


def test_only_a_named_origin_is_told_before_it_asks_that_it_may(server, listed):
    asks = {"Access-Control-Request-Method": "POST"}
    status, headers, body = server.fetch(
        TICKETS, method="OPTIONS", token=False, headers={**asks, "Origin": listed}
    )
    assert (status, body, cors(headers)) == (204, b"", (listed, "true"))
    assert headers["Vary"] == "Origin"
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    for origin in ("http://127.0.0.1:1", "https://evil.example", "null", ""):
        status, headers, _ = server.fetch(
            TICKETS, method="OPTIONS", token=False, headers={**asks, "Origin": origin}
        )
        assert (status in (403, 404, 405), cors(headers)) == (True, (None, None)), origin


def test_a_stranger_hears_nothing_of_a_refusal(server):
    for sent in ({"path": "/full"}, {"path": "/full", "refused": True}, {"path": "/nowhere"}):
        status, _, body = server.fetch(
            TICKETS, method="POST", token=False, data=json.dumps(sent).encode()
        )
        assert status == 403
        assert b"full" not in body


# ---- why a socket was refused ----------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True], ids=["own", "listed"])
def test_the_cause_of_a_refusal_is_told_to_who_is_logged_in(browser, server, listed, elsewhere):
    page = logged_in(browser, server)
    if elsewhere:
        page = opened(browser, listed)
    page.wait_for_function("window.loaded")
    page.evaluate("window.first = null; void start('/full')")
    page.wait_for_function("got.length === 1")
    page.evaluate("window.first = bot; void start('/full')")
    words = until(page, "waiting limit")
    assert words.startswith("The bot takes no more connections (too many connections: ")
    page.evaluate("first.close()")
    page.wait_for_function("got.length === 1")
    page.evaluate("bot.close(); void start('/members')")
    assert until(page, "closed 4403") == (
        "You are not allowed to use this bot: come back on Monday (4403)."
    )


def test_a_token_that_the_server_does_not_know_is_told_from_a_connection_that_is_lost(
    browser, server
):
    page = logged_in(browser, server)
    page.wait_for_function("window.loaded")
    browser.clear_cookies()
    page.evaluate("void start('/own?token=wrong')")
    assert until(page, "closed token") == "The server does not know this token."
    page.evaluate(f"void start('/staff?token={server.token}')")
    assert until(page, "closed 4403") == (
        "You are not allowed to use this bot: this user may not use this route (4403)."
    )


def test_what_another_page_was_refused_is_not_told_as_this_ones(server, listed):
    """A page of another origin, open in the same browser, is refused at the same path."""
    path = "/listed"
    token = ("Authorization", f"token {server.token}")
    for origin in ("http://127.0.0.1:1", server.url.rstrip("/")):
        status, _, sock = server.raw_handshake(path, [("Origin", origin), token])
        sock.close()
        assert status == 403
    asked = json.dumps({"path": path, "refused": True}).encode()
    for origin, said in (
        (listed, None),
        (
            server.url.rstrip("/"),
            {"status": 403, "reason": "this origin is not allowed", "cause": "origin"},
        ),
    ):
        status, _, body = server.fetch(
            TICKETS, method="POST", headers={"Origin": origin}, data=asked
        )
        assert (status, json.loads(body)["refused"]) == (200, said)
