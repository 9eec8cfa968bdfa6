"""What moves from Gramex, on a real server: origins, login, rules, sessions."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3

import pytest
from support.bots import bot_text
from support.frames import close as close_frame
from support.frames import text
from support.journal import MODULE as JOURNAL
from support.journal import ROUTE, Journal, new_tag
from support.server import running_server, wait_for
from support.visitor import Visitor, fields, rest

BOTS = bot_text("gramex_handshake")

PEOPLE = bot_text("people_by_header")

ORIGINS = {
    "listed": "[gramener.com, localhost, 127.0.0.1]",
    "single": "gramener.com",
    "subdomains": "['*.gramener.com']",
    "with-scheme": "['https://gramener.com']",
    "with-port": "['localhost:9988']",
    "idn": "[bücher.example]",
    "star": "'*'",
    "empty-list": "[]",
    "empty-entry": "['']",
}
AUTH = {
    "auth-true": "true",
    "auth-yes": '"yes"',
    "auth-one": "1",
    "auth-list": "[admin]",
    "methods": "{methods: [GET]}",
    "login-url": "{login_url: /login/}",
    "template": "{template: true}",
    "query": "{query: next}",
    "member": "{membership: {username: [ann, bob], groups: staff}}",
    "members": "{membership: [{username: ann}, {groups: [admins, owners]}]}",
    "condition": "{condition: bots.yes}",
    "condition-mapping": "{condition: {function: bots.yes(handler)}}",
    "condition-fails": "{condition: bots.fails}",
    "public": "false",
}
YAML = (
    """
url:
  unset: {pattern: /unset, handler: WebSocketHandler, kwargs: {on_message: bots.who}}
  paged: {pattern: /paged, handler: WebSocketHandler,
          kwargs: {on_message: bots.who, page: page.html}}
  error: {pattern: /error, handler: WebSocketHandler,
          kwargs: {on_message: bots.who, error: {401: {function: bots.who}}}}
  remember: {pattern: /remember, handler: WebSocketHandler, kwargs: {on_message: bots.remember}}
  remember-closed: {pattern: /remember-closed, handler: WebSocketHandler,
                    kwargs: {on_message: bots.remember, on_close: bots.closed}}
  ratelimit: {pattern: /ratelimit, handler: WebSocketHandler,
              kwargs: {on_message: bots.who, ratelimit: {keys: daily, limit: 2}}}
  tabs: {pattern: /tabs, handler: WebSocketHandler,
         kwargs: {open: bots.opened, on_message: bots.count, on_close: bots.late}}
"""
    + "".join(
        f"  {name}: {{pattern: /{name}, handler: WebSocketHandler, "
        f"kwargs: {{on_message: bots.who, origins: {value}}}}}\n"
        for name, value in ORIGINS.items()
    )
    + "".join(
        f"  {name}: {{pattern: /{name}, handler: WebSocketHandler, "
        f"kwargs: {{on_message: bots.who, on_close: bots.closed, auth: {value}}}}}\n"
        for name, value in AUTH.items()
    )
)
ANN = ("X-Person", "ann")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handshake")
    with running_server(
        YAML + ROUTE,
        folder=folder,
        modules={
            "bots.py": BOTS,
            "journal.py": JOURNAL,
            "people.py": PEOPLE,
            "page.html": "<!doctype html><title>A page</title>",
        },
        extra_args=[
            "--ServerApp.identity_provider_class=people.People",
            "--WSHandlerApp.allow_public_routes=True",
        ],
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


@pytest.fixture
def ann(server):
    """Return a browser in which Ann has logged in."""
    return Visitor(server)


def ask(server, path, *headers):
    """Return the status of a handshake and what a refusal says."""
    status, head, sock = server.raw_handshake(path, headers)
    if status == 101:
        sock.close()
        return status, ""
    assert not fields(head, "Location")
    said = rest(sock, head).decode()
    assert "Traceback" not in said
    return status, said


def talk(visitor, path, message="?", headers=(ANN,)):
    """Open a socket, send one message, close, and return the answer."""
    status, head, sock = visitor.handshake(path, headers)
    assert status == 101, head
    with sock:
        sock.sendall(text(message) + close_frame())
        sock.settimeout(10)
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return json.loads(data[data.index(b"{") : data.rindex(b"}") + 1])


# ---- origins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/listed", "http://gramener.com", 101),
        ("/listed", "https://gramener.com", 101),
        ("/single", "https://gramener.com", 101),
        ("/single", "https://localhost", 403),
        ("/listed", "http://127.0.0.1", 101),
        ("/listed", "https://www.gramener.com", 403),
        ("/subdomains", "https://www.gramener.com", 101),
    ],
)
def test_row_origin_of_a_listed_host_passes_and_of_a_subdomain_only_when_asked(
    server, path, origin, status
):
    assert ask(server, path, ANN, ("Origin", origin))[0] == status


@pytest.mark.parametrize(
    "origin",
    [
        "http://evilgramener.com",
        "http://evillocalhost",
        "http://8.127.0.0.1",
        "http://gramener.com.evil.com",
    ],
)
@pytest.mark.parametrize("path", ["/listed", "/subdomains"])
def test_row_origin_that_merely_ends_or_begins_alike_is_refused(server, path, origin):
    assert ask(server, path, ANN, ("Origin", origin)) == (403, "403: this origin is not allowed\n")


@pytest.mark.parametrize("origin", ["http://gramener.com:8443", "http://localhost:9988"])
def test_row_origin_with_a_port_passes_where_the_entry_has_none(server, origin):
    assert ask(server, "/listed", ANN, ("Origin", origin))[0] == 101


@pytest.mark.parametrize("origin", ["ftp://gramener.com", "https://user@gramener.com"])
def test_row_origin_of_another_scheme_or_with_a_user_is_refused(server, origin):
    assert ask(server, "/listed", ANN, ("Origin", origin))[0] == 403


@pytest.mark.parametrize(
    ("path", "origin"),
    [
        ("/listed", "http://GRAMENER.COM"),
        ("/listed", "http://gramener.com."),
        ("/idn", "http://xn--bcher-kva.example"),
    ],
)
def test_row_origin_is_compared_without_case_final_dot_and_idn_spelling(server, path, origin):
    assert ask(server, path, ANN, ("Origin", origin))[0] == 101


@pytest.mark.parametrize("origin", ["null", "file://", "gramener.com", "any text"])
@pytest.mark.parametrize("path", ["/listed", "/unset", "/empty-list", "/star"])
def test_row_origin_null_file_or_bare_text_is_refused_but_null_by_the_star(server, path, origin):
    admitted = (path, origin) == ("/star", "null")
    assert ask(server, path, ANN, ("Origin", origin))[0] == (101 if admitted else 403)


@pytest.mark.parametrize("path", ["/listed", "/unset", "/empty-list", "/star"])
def test_row_no_origin_header_is_a_script_and_passes(server, path):
    assert ask(server, path, ANN)[0] == 101


@pytest.mark.parametrize("path", ["/unset", "/empty-list"])
def test_row_origins_unset_or_empty_mean_the_pages_of_this_server(server, path):
    assert ask(server, path, ANN, ("Origin", f"http://127.0.0.1:{server.port}"))[0] == 101
    for foreign in ("http://gramener.com", "http://127.0.0.1:1", f"http://localhost:{server.port}"):
        assert ask(server, path, ANN, ("Origin", foreign))[0] == 403


def test_row_origins_with_an_empty_entry_are_a_config_error(server):
    assert ask(server, "/empty-entry", ANN)[0] == 503
    assert re.search(r"empty-entry\.kwargs\.origins", server.log_text())


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/with-scheme", "https://gramener.com", 101),
        ("/with-scheme", "http://gramener.com", 403),
        ("/subdomains", "http://a.b.gramener.com", 101),
        ("/with-port", "http://localhost:9988", 101),
        ("/with-port", "http://localhost:9989", 403),
        ("/with-port", "http://localhost", 403),
        ("/star", "https://anything.example", 101),
    ],
)
def test_row_origin_entries_with_scheme_star_or_port_compare_what_is_written(
    server, path, origin, status
):
    assert ask(server, path, ANN, ("Origin", origin))[0] == status


def test_row_same_origin_that_is_not_in_the_list_is_refused(server):
    own = ("Origin", f"http://127.0.0.1:{server.port}")
    for site in ("same-origin", "none"):
        assert ask(server, "/with-port", ANN, own, ("Sec-Fetch-Site", site))[0] == 403
    assert ask(server, "/listed", ANN, own)[0] == 101


# ---- auth --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/unset", "/auth-true", "/listed", "/condition", "/paged"])
def test_row_auth_unset_or_true_refuses_anonymous_before_the_upgrade_and_redirects_nobody(
    server, path
):
    assert ask(server, path) == (403, "403: log in first, or send a token\n")


@pytest.mark.parametrize("path", ["/unset", "/auth-true"])
def test_row_auth_true_and_logged_in_has_the_current_user(ann, path):
    assert talk(ann, path)["user"] == "ann"


@pytest.mark.parametrize(
    ("path", "person", "groups", "status"),
    [
        ("/member", "ann", "staff,other", 101),
        ("/member", "ann", "other", 403),
        ("/member", "eve", "staff", 403),
        ("/members", "ann", "", 101),
        ("/members", "eve", "owners", 101),
        ("/members", "eve", "", 403),
        ("/condition", "ann", "", 101),
        ("/condition", "eve", "", 403),
        ("/condition-mapping", "ann", "", 101),
        ("/condition-mapping", "eve", "", 403),
    ],
)
def test_row_membership_and_condition_admit_who_matches_and_refuse_with_403(
    server, path, person, groups, status
):
    headers = [("X-Person", person), ("X-Groups", groups)]
    assert ask(server, path, *headers)[0] == status


def test_row_condition_that_raises_refuses_with_403_and_its_reason_is_in_the_log(server):
    assert ask(server, "/condition-fails", ANN) == (403, "403: refused by the route's rule\n")
    assert "a-detail-only-the-log-knows" in server.log_text()


@pytest.mark.parametrize("path", ["/auth-yes", "/auth-one", "/auth-list"])
def test_row_auth_of_a_wrong_type_is_never_served_to_anybody(server, path):
    assert ask(server, path)[0] == 403
    assert ask(server, path, ANN)[0] == 503
    place = rf"{path[1:]}\.kwargs\.auth.*expected true, false or a mapping"
    assert re.search(place, server.log_text())


@pytest.mark.parametrize("path", ["/methods", "/login-url", "/template", "/query"])
def test_row_auth_methods_login_url_and_template_break_the_route(server, path):
    assert ask(server, path)[0] == 403
    assert ask(server, path, ANN)[0] == 503
    name = path[1:].replace("-", "_")
    assert f"auth.{name} has no meaning on a WebSocket route" in server.log_text()


def test_row_order_is_login_then_origin_then_the_rule(server):
    foreign = ("Origin", "http://evil.example")
    assert ask(server, "/condition", foreign) == (403, "403: log in first, or send a token\n")
    eve = ("X-Person", "eve")
    assert ask(server, "/condition", eve, foreign) == (403, "403: this origin is not allowed\n")
    assert ask(server, "/condition", eve) == (403, "403: refused by the route's rule\n")


@pytest.mark.parametrize("value", ["junk", "2|1:0|10:1577836800|4:user|8:eyJpZCI6MX0=|00"])
def test_row_x_gramex_user_header_is_ignored(server, ann, value):
    header = ("X-Gramex-User", value)
    assert ask(server, "/auth-true", header)[0] == 403
    assert talk(ann, "/auth-true", headers=[ANN, header])["user"] == "ann"


def test_row_keys_in_header_or_query_are_jupyters_tokens(server):
    assert ask(server, f"/auth-true?token={server.token}")[0] == 101
    assert ask(server, "/auth-true", ("Authorization", f"token {server.token}"))[0] == 101
    assert ask(server, "/auth-true", ("X-Gramex-Key", server.token))[0] == 403
    assert ask(server, f"/auth-true?gramex-key={server.token}")[0] == 403


def test_row_custom_error_function_is_refused_at_load(server):
    assert ask(server, "/error", ANN)[0] == 503
    assert "error has no meaning on a WebSocket route; remove it" in server.log_text()


@pytest.mark.parametrize(("method", "status"), [("GET", 426), ("POST", 405)])
def test_row_plain_get_is_426_and_post_405_without_a_traceback(server, method, status):
    found, headers, body = server.fetch("/auth-true", method=method)
    assert found == status
    assert b"Traceback" not in body
    field = ("Sec-WebSocket-Version", "13") if status == 426 else ("Allow", "GET, HEAD")
    assert headers[field[0]] == field[1]
    assert server.fetch("/auth-true", method=method, token=False)[0] == 403


# ---- limits ------------------------------------------------------------------------------------


def test_row_ratelimit_with_gramex_keys_is_refused_and_the_log_says_what_to_write(server):
    assert ask(server, "/ratelimit", ANN)[0] == 503
    assert re.search(r"ratelimit.*keys, limit and pool are Gramex's", server.log_text())


# ---- sessions ----------------------------------------------------------------------------------


def test_row_session_cookie_from_http_is_the_sockets_and_stays_over_three_reconnects(ann):
    assert ann.fetch("/paged", headers=dict([ANN]))[0] == 200
    assert any(name.startswith("wshandler-session") for name in ann.jar)
    jar = {name: morsel.value for name, morsel in ann.jar.items()}
    ids = {talk(ann, "/paged")["session"] for _ in range(4)}
    assert len(ids) == 1
    assert {name: morsel.value for name, morsel in ann.jar.items()} == jar


def test_row_session_of_a_client_without_cookie_comes_with_the_handshake(server, ann):
    status, head, sock = ann.handshake("/unset", [ANN])
    sock.close()
    (cookie,) = [c for c in fields(head, "Set-Cookie") if c.startswith("wshandler-session")]
    assert status == 101
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert len({talk(ann, "/unset")["session"] for _ in range(3)}) == 1
    assert talk(Visitor(server), "/unset")["session"] != talk(ann, "/unset")["session"]


def stored(server) -> dict[str, str]:
    """Return what the session store holds."""
    path = server.folder / ".jupyter-state" / "data" / "wshandler-sessions.db"
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return dict(database.execute("SELECT id, value FROM wshandler_sessions"))


@pytest.mark.parametrize("path", ["/remember", "/remember-closed?tag=saved"])
def test_row_session_is_saved_whether_or_not_on_close_is_configured(server, ann, path):
    first = talk(ann, path, "apple")
    assert first["before"] is None
    saved = wait_for(lambda: stored(server).get(first["session"]), what="the saved session")
    assert json.loads(saved) == {"word": "apple"}
    assert talk(ann, path, "pear") == {"before": "apple", "session": first["session"]}


def test_row_anonymous_sessions_leave_nothing_behind(server, ann):
    journal = Journal(server)
    tags = [new_tag() for _ in range(5)]
    before = set(stored(server))
    for tag in tags:
        assert talk(Visitor(server), f"/public?tag={tag}", headers=())["user"] is None
        journal.wait(tag, ["close", 1000])
    journal.close()
    # The store takes what it gets in order: once this one is in it, so would the others be.
    last = talk(ann, "/remember", "apple")["session"]
    wait_for(lambda: last in stored(server), what="the saved session")
    assert set(stored(server)) - before == {last}


def test_row_state_is_per_connection_so_closing_one_tab_leaves_the_other(server, ann):
    journal = Journal(server)
    tag = new_tag()
    talk(ann, "/unset")  # the browser has its cookie
    headers = dict([ANN]) | ann.cookie_header()
    with (
        server.connect_sync(f"/tabs?tag={tag}", token=False, headers=headers) as one,
        server.connect_sync(f"/tabs?tag={tag}", token=False, headers=headers) as two,
    ):

        def count(tab):
            tab.send("?")
            return json.loads(tab.recv(timeout=10))

        first, second = count(one), count(two)
        assert first["session"] == second["session"]
        assert first["id"] != second["id"]
        one.close()
        journal.wait(tag, ["closed", first["id"]])
        assert count(two) == second | {"count": 2}
    assert journal.wait(tag, ["closed", second["id"]])
    journal.close()
