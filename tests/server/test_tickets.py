"""`xsrf: ticket` on a real server: a login cookie alone opens no socket."""

from __future__ import annotations

import json

import pytest
from support.server import running_server, wait_for
from support.visitor import Visitor, rest

from jupyter_wshandler.server.access.tickets import FOR_EACH_USER, PATHS, SECONDS, WARNINGS, Tickets

PASSWORD = "a-password-only-tests-know"

YAML = """
url:
  ticketed:
    pattern: /ticketed
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, xsrf: ticket, page: page.html}
  rooms:
    pattern: /rooms/{room}
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, xsrf: ticket}
  staff:
    pattern: /staff
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, auth: {groups: [staff]}}
  plain: {pattern: /plain, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
"""

MODULES = {"bot.py": "def echo(handler, message):\n    return message\n", "page.html": "<p>hello"}

API = "/wshandler/api/tickets"


@pytest.fixture(scope="module", params=["/", "/user/ann@example.org/"], ids=["root", "deep"])
def server(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tickets")
    with running_server(YAML, folder=folder, modules=MODULES, base_url=request.param) as running:
        yield running


@pytest.fixture
def visitor(server):
    return Visitor(server).log_in(server.token)


def whole(server, path: str) -> str:
    return server.base_url.rstrip("/") + path


def ask(visitor, path: str, *, base: str | None = None, xsrf: bool = True, **options):
    """Fetch a ticket as a page of this server does; return status and answer."""
    sent = {"path": path} if base is None else {"path": path, "base": base}
    headers = {"Content-Type": "application/json"}
    if xsrf:
        headers["X-XSRFToken"] = visitor.jar["_xsrf"].value
    status, answer, body = visitor.fetch(
        API, method="POST", headers=headers, data=json.dumps(sent).encode(), **options
    )
    assert answer["Content-Type"].startswith("application/json")
    return status, json.loads(body)


def ticket(visitor, path: str) -> str:
    status, answer = ask(visitor, whole(visitor.server, path))
    assert status == 200
    assert answer["expires_in"] == SECONDS
    return answer["ticket"]


def opened(visitor, path: str, text: str) -> int:
    return visitor.status(f"{path}?ws_token={text}")


def test_the_cookie_alone_opens_no_socket_and_with_a_ticket_it_does(visitor):
    status, head, sock = visitor.handshake("/ticketed")
    assert status == 403
    assert b"a ticket is needed" in rest(sock, head)
    assert opened(visitor, "/ticketed", ticket(visitor, "/ticketed")) == 101
    assert visitor.status("/plain") == 101


def test_a_ticket_is_good_once(visitor):
    text = ticket(visitor, "/ticketed")
    assert opened(visitor, "/ticketed", text) == 101
    assert opened(visitor, "/ticketed", text) == 403


def test_a_ticket_is_good_for_its_path_only_and_is_used_up_by_another(visitor):
    text = ticket(visitor, "/rooms/blue")
    assert opened(visitor, "/rooms/red", text) == 403
    assert opened(visitor, "/rooms/blue", text) == 403
    assert opened(visitor, "/rooms/blue", ticket(visitor, "/rooms/blue")) == 101
    assert opened(visitor, "/ticketed", ticket(visitor, "/rooms/blue")) == 403


@pytest.mark.parametrize("base", ["/app/", "/a/b%20c/", "/user/bob/"])
def test_behind_a_proxy_that_changes_the_prefix_a_ticket_is_for_the_path_that_arrives(
    visitor, base
):
    status, answer = ask(visitor, f"{base}rooms/blue%20sky", base=base)
    assert status == 200
    assert opened(visitor, "/rooms/blue%20sky", answer["ticket"]) == 101
    status, answer = ask(visitor, f"{base}rooms/blue", base=base)
    assert opened(visitor, "/rooms/red", answer["ticket"]) == 403


@pytest.mark.parametrize("base", ["", "/elsewhere/", "/app", "app/", "%", "/app/../"])
def test_a_base_that_the_path_is_not_below_changes_nothing(visitor, base):
    path = whole(visitor.server, "/ticketed")
    status, answer = ask(visitor, path, base=base)
    assert status == 200
    assert opened(visitor, "/ticketed", answer["ticket"]) == 101
    assert ask(visitor, "/app/nowhere/ticketed", base=base)[0] == 404


def test_a_ticket_is_good_for_its_user_only(server, visitor):
    other = Visitor(server).log_in(server.token)
    text = ticket(visitor, "/ticketed")
    assert opened(other, "/ticketed", text) == 403
    assert opened(visitor, "/ticketed", text) == 101


def test_a_page_that_cannot_read_the_xsrf_cookie_gets_no_ticket(visitor):
    assert ask(visitor, whole(visitor.server, "/ticketed"), xsrf=False)[0] == 403


def test_nobody_gets_a_ticket_without_a_login(server):
    stranger = Visitor(server)
    stranger.fetch("/login")
    assert ask(stranger, whole(server, "/ticketed"))[0] == 403


def test_a_foreign_page_gets_no_ticket_and_no_socket_with_one(visitor):
    foreign = {"Origin": "http://evil.example"}
    headers = {"X-XSRFToken": visitor.jar["_xsrf"].value, **foreign}
    body = json.dumps({"path": whole(visitor.server, "/ticketed")}).encode()
    assert visitor.fetch(API, method="POST", headers=headers, data=body)[0] == 404
    text = ticket(visitor, "/ticketed")
    assert visitor.status(f"/ticketed?ws_token={text}", foreign.items()) == 403


def test_who_sends_a_token_needs_no_ticket_and_gets_none(server):
    body = json.dumps({"path": whole(server, "/ticketed")}).encode()
    status, _, answer = server.fetch(API, method="POST", data=body)
    assert (status, json.loads(answer)["ticket"]) == (200, None)
    with server.connect_sync("ticketed") as socket:
        socket.send("hi")
        assert socket.recv(timeout=5) == "hi"


def test_a_route_that_needs_no_ticket_says_so_and_takes_one_all_the_same(visitor):
    status, answer = ask(visitor, whole(visitor.server, "/plain"))
    assert (status, answer["ticket"]) == (200, None)
    assert opened(visitor, "/plain", "anything") == 101


def test_who_may_not_use_a_route_is_told_so_when_asking_for_a_ticket(visitor):
    status, answer = ask(visitor, whole(visitor.server, "/staff"))
    assert (status, answer["message"]) == (403, "this user may not use this route")


def test_a_path_without_a_route_is_404_and_nonsense_400(visitor):
    status, answer = ask(visitor, whole(visitor.server, "/nowhere"))
    assert (status, answer["message"]) == (404, "no route has this path")
    for wrong in ("", 7, None, ["/ticketed"]):
        status, answer = ask(visitor, wrong)
        assert status == 400
        assert 'expected JSON: {"path"' in answer["message"]


def test_a_tab_that_asks_for_a_bot_that_is_gone_fills_no_log(server, visitor):
    before = server.log_text()
    gone, plain = (whole(server, path) for path in ("/gone-for-good", "/plain"))
    for _ in range(20):
        assert ask(visitor, gone) == (404, {"message": "no route has this path", "reason": None})
    assert ask(visitor, plain)[0] == 200
    said = server.log_text()[len(before) :]
    assert said.count("404 POST") == WARNINGS
    assert len(said.splitlines()) <= 3 * WARNINGS
    # Another one is another matter.
    assert ask(visitor, gone + "/too")[0] == 404
    wait_for(lambda: server.log_text()[len(before) :].count("404 POST") == WARNINGS + 1)


def test_other_verbs_and_preflights_of_other_sites_are_refused(server):
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        assert server.fetch(API, method=method)[0] == 405
    assert server.fetch(API, method="OPTIONS", token=False)[0] == 403


def test_the_page_of_a_route_sets_the_cookie_that_its_post_is_checked_with(server, visitor):
    del visitor.jar["_xsrf"]
    assert visitor.fetch("/ticketed")[0] == 200
    assert opened(visitor, "/ticketed", ticket(visitor, "/ticketed")) == 101


def test_a_ticket_is_never_in_the_log(server, visitor):
    good, wrong = ticket(visitor, "/ticketed"), "a-ticket-of-somebody-else"
    assert opened(visitor, "/ticketed", good) == 101
    assert opened(visitor, "/ticketed", wrong) == 403
    wait_for(lambda: "fetch a new one" in server.log_text(), what="the line of the refusal")
    assert good not in server.log_text()
    assert wrong not in server.log_text()


def test_enforce_requires_a_ticket_of_every_route(tmp_path):
    enforce = "--WSHandlerApp.enforce={'xsrf': 'ticket'}"
    with running_server(YAML, folder=tmp_path, modules=MODULES, extra_args=[enforce]) as server:
        visitor = Visitor(server).log_in(server.token)
        assert visitor.status("/plain") == 403
        assert opened(visitor, "/plain", ticket(visitor, "/plain")) == 101


# ---- what is kept ----------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("jupyter_wshandler.server.access.tickets.monotonic", lambda: now[0])
    return now


def test_a_ticket_is_good_for_thirty_seconds(clock):
    tickets = Tickets()
    early, late = (tickets.issue("ann", "bot", "/bot") for _ in range(2))
    clock[0] += SECONDS - 0.1
    assert tickets.take(early, "ann", "bot", "/bot")
    clock[0] += 0.1
    assert not tickets.take(late, "ann", "bot", "/bot")


def test_a_user_who_asks_for_many_loses_their_oldest_and_nobody_elses(clock):
    tickets = Tickets()
    of_ben = tickets.issue("ben", "bot", "/bot")
    of_ann = [tickets.issue("ann", "bot", "/bot") for _ in range(FOR_EACH_USER + 1)]
    assert not tickets.take(of_ann[0], "ann", "bot", "/bot")
    assert tickets.take(of_ann[1], "ann", "bot", "/bot")
    assert tickets.take(of_ben, "ben", "bot", "/bot")


def test_that_a_path_has_no_route_is_news_a_few_times_and_again_when_it_had_one():
    tickets = Tickets()
    assert [tickets.is_news("/a") for _ in range(WARNINGS + 2)] == [True] * WARNINGS + [False] * 2
    assert tickets.is_news("/b")
    tickets.found("/a")
    assert tickets.is_news("/a")
    for number in range(3 * PATHS):
        tickets.is_news(f"/{number}")
    assert len(tickets._missing) == PATHS


def test_tickets_that_nobody_used_are_forgotten(clock):
    tickets = Tickets()
    for user in range(50):
        tickets.issue(f"user{user}", "bot", "/bot")
    clock[0] += SECONDS + 1
    tickets.issue("ann", "bot", "/bot")
    assert list(tickets._of_user) == ["ann"]
