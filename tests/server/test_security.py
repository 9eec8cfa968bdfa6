"""Who gets in, on real servers: credentials, origins, authorization, secrets in the log."""

from __future__ import annotations

import re

import pytest
from jupyter_server.auth.security import passwd
from support import rules
from support.bots import bot_text
from support.frames import text
from support.server import TOKEN, running_server, wait_for
from support.visitor import Visitor, fields, rest
from support.wire import Wire

PASSWORD = "a-password-only-tests-know"
MESSAGE = "a-message-only-tests-know"

BOTS = bot_text("security")

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  fails: {pattern: /fails, handler: WebSocketHandler, kwargs: {on_message: bots.raises}}
  paged: {pattern: /paged, handler: WebSocketHandler,
          kwargs: {on_message: bots.echo, page: page.html}}
  listed:
    pattern: /listed
    handler: WebSocketHandler
    kwargs: {on_message: bots.echo, origins: [gramener.com, localhost, 127.0.0.1]}
  broken: {pattern: /broken, handler: WebSocketHandler, kwargs: {on_message: bots.missing}}
  misspelt: {pattern: /misspelt, handler: WebSocketHandler, kwargs: {on_mesage: bots.echo}}
  open: {pattern: /open, handler: WebSocketHandler, kwargs: {on_message: bots.echo, auth: false}}
  yes: {pattern: /yes, handler: WebSocketHandler,
        kwargs: {on_message: bots.echo, auth: {condition: bots.yes}}}
  "no": {pattern: /no, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, auth: {condition: bots.no}}}
  later-yes: {pattern: /later-yes, handler: WebSocketHandler,
              kwargs: {on_message: bots.echo, auth: {condition: bots.later_yes}}}
  later-no: {pattern: /later-no, handler: WebSocketHandler,
             kwargs: {on_message: bots.echo, auth: {condition: bots.later_no}}}
  condition-fails: {pattern: /condition-fails, handler: WebSocketHandler,
                    kwargs: {on_message: bots.echo, auth: {condition: bots.fails}}}
  refuses: {pattern: /refuses, handler: WebSocketHandler,
            kwargs: {on_message: bots.echo, auth: {condition: bots.refuses}}}
  members:
    pattern: /members
    handler: WebSocketHandler
    kwargs:
      on_message: bots.echo
      auth:
        membership:
          - {username: [ann, bob]}
          - {groups: [admins, owners], name: Carol}
  secret: {pattern: /secret, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
"""
PATHS = re.findall(r"pattern: (/[\w-]+)", YAML)
MODULES = {"bots.py": BOTS, "page.html": "<title>A page</title>"}

PEOPLE = bot_text("people_by_header")


def hashed_password() -> str:
    return f"--PasswordIdentityProvider.hashed_password={passwd(PASSWORD)}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Return a server with a password and a token, at a base_url, that logs everything."""
    with running_server(
        YAML,
        folder=tmp_path_factory.mktemp("security"),
        modules=MODULES,
        base_url="/user/ann/",
        extra_args=[hashed_password(), "--debug"],
    ) as running:
        yield running


@pytest.fixture(scope="module")
def visitor(server):
    """Return a browser that has logged in with the form."""
    return Visitor(server).log_in(PASSWORD)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Return a server that knows several users, with an Authorizer of its own."""
    folder = tmp_path_factory.mktemp("people")
    with running_server(
        YAML,
        folder=folder,
        modules=MODULES | {"people.py": PEOPLE},
        extra_args=[
            "--ServerApp.identity_provider_class=people.People",
            "--ServerApp.authorizer_class=people.Keeper",
        ],
    ) as running:
        yield running


@pytest.fixture(scope="module", params=[False, True], ids=["checked", "unchecked"])
def lenient(request, tmp_path_factory):
    """Return a server for each value of Jupyter's allow_unauthenticated_access."""
    folder = tmp_path_factory.mktemp("lenient")
    with running_server(
        YAML,
        folder=folder,
        modules=MODULES,
        command=rules.launcher(folder),
        extra_args=[f"--ServerApp.allow_unauthenticated_access={request.param}"],
    ) as running:
        yield running


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """Return a server whose administrator allows public routes."""
    folder = tmp_path_factory.mktemp("public")
    with running_server(
        YAML,
        folder=folder,
        modules=MODULES,
        command=rules.launcher(folder),
        extra_args=["--WSHandlerApp.allow_public_routes=True"],
    ) as running:
        yield running


def status(server, path, headers=(), **options) -> int:
    """Ask for a socket, leave, and return the status."""
    found, _, sock = server.raw_handshake(path, headers, **options)
    sock.close()
    return found


def token(value: str = TOKEN) -> tuple[str, str]:
    return "Authorization", f"token {value}"


# ---- credentials --------------------------------------------------------------------------


def test_a_handshake_without_credentials_is_refused_with_403(server):
    found, head, sock = server.raw_handshake("/echo")
    body = rest(sock, head)
    assert found == 403
    assert not fields(head, "Location")
    assert not fields(head, "Set-Cookie")
    assert b"Traceback" not in body


@pytest.mark.parametrize("wrong", ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é"])
def test_a_wrong_token_is_refused_with_403(server, wrong):
    assert status(server, "/echo", [token(wrong)]) == 403
    assert status(server, f"/echo?token={wrong.encode().hex()}") == 403


def test_a_token_opens_a_socket_by_header_and_by_query(server):
    assert status(server, "/echo", [token()]) == 101
    assert status(server, "/echo", [("Authorization", f"Bearer {TOKEN}")]) == 101
    assert status(server, f"/echo?token={TOKEN}") == 101


def test_a_forged_login_cookie_is_refused_with_403(server, visitor):
    for name, morsel in visitor.jar.items():
        if name.startswith("username-"):
            forged = morsel.value[:-2] + ("00" if morsel.value[-2:] != "00" else "11")
            assert status(server, "/echo", [("Cookie", f"{name}={morsel.value}")]) == 101
            assert status(server, "/echo", [("Cookie", f"{name}={forged}")]) == 403
            break
    else:
        pytest.fail("the login set no cookie")


def test_a_host_that_is_not_this_machine_is_refused_with_403(server, visitor):
    host = {"Host": f"rebound.example:{server.port}"}
    assert status(server, "/echo", [token()], replace=host) == 403
    assert visitor.status("/echo", replace=host) == 403


# ---- origins ------------------------------------------------------------------------------


def own_origin(server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_a_cookie_login_opens_a_socket_from_a_page_of_this_server(server, visitor):
    assert visitor.status("/echo", [("Origin", own_origin(server))]) == 101


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "http://localhost:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "http://evil.example/?127.0.0.1:{port}",
        "http://user@127.0.0.1:{port}",
        "null",
        "file://",
        "",
    ],
)
def test_a_cookie_login_with_a_foreign_origin_is_refused_with_403(server, visitor, origin):
    sent = [("Origin", origin.format(port=server.port))]
    found, head, sock = visitor.handshake("/echo", sent)
    assert (found, fields(head, "Set-Cookie")) == (403, [])
    rest(sock, head)


def test_two_origins_are_refused_with_403(server, visitor):
    own = own_origin(server)
    sent = [("Origin", own), ("Origin", "http://evil.example")]
    assert visitor.status("/echo", sent) == 403
    assert visitor.status("/echo", sent[::-1]) == 403


@pytest.mark.parametrize("path", ["/echo", "/listed"])
@pytest.mark.parametrize(
    ("site", "expected"), [("cross-site", 403), ("same-site", 403), ("same-origin", 101)]
)
def test_a_browser_that_hides_its_origin_must_come_from_the_same_one(visitor, path, site, expected):
    assert visitor.status(path, [("Sec-Fetch-Site", site)]) == expected


def test_a_script_without_an_origin_passes(visitor):
    assert visitor.status("/echo") == 101
    assert visitor.status("/listed") == 101


ALLOWED = [
    "http://gramener.com",
    "https://gramener.com",
    "http://gramener.com:8443",
    "https://GRAMENER.com.",
    "http://localhost:9988",
    "http://127.0.0.1:8888",
]
REFUSED = [
    "http://evilgramener.com",
    "http://gramener.com.evil.com",
    "http://www.gramener.com",
    "http://evil.example",
    "null",
    "ftp://gramener.com",
    "https://user@gramener.com",
    "gramener.com",
    "http://8.127.0.0.1",
    "http://evillocalhost",
]


@pytest.mark.parametrize("origin", ALLOWED)
def test_a_listed_origin_opens_a_socket(server, visitor, origin):
    assert visitor.status("/listed", [("Origin", origin)]) == 101
    assert status(server, "/listed", [token(), ("Origin", origin)]) == 101


@pytest.mark.parametrize("origin", REFUSED)
def test_an_origin_that_is_not_listed_is_refused_whatever_the_credential(server, visitor, origin):
    assert visitor.status("/listed", [("Origin", origin)]) == 403
    assert status(server, "/listed", [token(), ("Origin", origin)]) == 403
    assert status(server, f"/listed?token={TOKEN}", [("Origin", origin)]) == 403


@pytest.fixture(scope="module")
def uncaring(tmp_path_factory):
    """Return a server in which our own check of the origin is switched off."""
    folder = tmp_path_factory.mktemp("uncaring")
    command = rules.launcher(folder)
    (folder / "careless.py").write_text(
        "from jupyter_wshandler.server.handlers import RouteHandler\n"
        "RouteHandler.origin_allowed = lambda self: True\n"
        "import runpy\n"
        "runpy.run_path('launch_and_tell.py', run_name='__main__')\n"
    )
    with running_server(
        YAML,
        folder=folder,
        modules=MODULES,
        command=[command[0], str(folder / "careless.py"), *command[2:]],
        extra_args=[hashed_password()],
    ) as running:
        yield Visitor(running).log_in(PASSWORD)


@pytest.mark.parametrize("path", ["/echo", "/listed"])
def test_nobody_but_our_own_check_refuses_a_foreign_origin(visitor, uncaring, path):
    evil = [("Origin", "http://evil.example")]
    assert visitor.status(path, evil) == 403
    assert uncaring.status(path, evil) == 101


# ---- anonymous clients, and every rule ----------------------------------------------------


def test_an_anonymous_client_gets_no_socket_on_any_route(lenient):
    assert len(PATHS) > 12
    found = {path: status(lenient, path) for path in PATHS}
    assert found == dict.fromkeys(PATHS, 403)


@pytest.mark.parametrize("method", [verb.upper() for verb in rules.VERBS])
def test_an_anonymous_client_gets_nothing_from_any_verb(lenient, method):
    for path in PATHS:
        for upgrade in (False, True):
            found, head, sock = lenient.raw_handshake(path, method=method, upgrade=upgrade)
            sock.close()
            # HEAD is answered as GET is, without the body.
            page = path == "/paged" and method in ("GET", "HEAD") and not upgrade
            assert found == (302 if page else 403), (path, upgrade)
            assert ("/login?" in "".join(fields(head, "Location"))) is page


def test_a_route_open_to_all_is_refused_at_load_and_names_the_trait(lenient):
    line = next(line for line in lenient.log_text().splitlines() if "Route open is broken" in line)
    assert "allow_public_routes" in line
    assert status(lenient, "/open", [token()]) == 503


def test_with_the_trait_the_route_is_open_and_the_log_warns_of_it_by_name(public):
    assert status(public, "/open") == 101
    with public.connect_sync("/open", token=False) as client:
        client.send("hi")
        assert client.recv(timeout=10) == "hi"
    warnings = [line for line in public.log_text().splitlines() if "auth: false" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith(": open")
    assert re.match(r"\[W ", warnings[0])


def test_with_the_trait_every_other_route_still_needs_a_login(public):
    others = [path for path in PATHS if path != "/open"]
    assert {path: status(public, path) for path in others} == dict.fromkeys(others, 403)


def test_an_open_route_still_refuses_a_page_of_another_site(public):
    assert status(public, "/open", [("Origin", "http://evil.example")]) == 403
    assert status(public, "/open", [("Sec-Fetch-Site", "cross-site")]) == 403
    assert status(public, "/open", [("Origin", own_origin(public))]) == 101


def ours(found: list[dict]) -> list[dict]:
    return [rule for rule in found if rule["module"].partition(".")[0] == "jupyter_wshandler"]


def undecorated(found: list[dict]) -> list[str]:
    return [
        f"{rule['handler']}.{verb}"
        for rule in found
        for verb, open_to_all in rule["verbs"].items()
        if open_to_all is None
    ]


def test_every_verb_of_every_rule_of_ours_says_who_may_use_it(lenient):
    found = ours(rules.read(lenient.folder))
    assert len(found) >= 2
    assert undecorated(found) == []


def test_only_the_handler_of_public_routes_is_open_to_all(public):
    found = ours(rules.read(public.folder))
    open_to_all = {rule["handler"] for rule in found if any(rule["verbs"].values())}
    routes = {"PublicRouteHandler", "PublicRouteHandlerWithBody"}
    # What a guest's page asks for has its secret in the address.
    pages = {"GuestFileHandler", "GuestPageHandler"}
    pages |= {f"{name}WithBody" for name in pages}
    health = {"HealthHandler", "HealthHandlerWithBody"}
    # Scripts and styles, which the login page of a server may need, too.
    assert open_to_all == {*routes, *pages, *health, "StaticHandler"}
    for rule in found:
        if "RouteHandler" in rule["handler"]:
            assert set(rule["verbs"]) == set(rules.VERBS)
            assert len(set(rule["verbs"].values())) == 1


def test_the_walk_over_the_rules_would_notice_an_undecorated_verb():
    from tornado.web import RequestHandler

    class Careless(RequestHandler):
        def put(self):
            """Nobody asks who calls this."""

    assert undecorated([{"handler": "Careless", "verbs": rules.verbs(Careless)}]) == [
        "Careless.put"
    ]


# ---- authorization ------------------------------------------------------------------------


def person(name: str, groups: str = "") -> list[tuple[str, str]]:
    return [("X-Person", name), ("X-Groups", groups)]


def test_the_authorizer_is_asked_for_each_route_and_no_answer_is_remembered(people):
    found = [
        status(people, path, person("ann"))
        for path in ("/echo", "/secret", "/echo", "/secret", "/yes")
    ]
    assert found == [101, 403, 101, 403, 101]
    asked = re.findall(r"asked ann (\S+ \S+)", people.log_text())
    assert asked[-5:] == [
        f"execute wshandler:{name}" for name in ("echo", "secret", "echo", "secret", "yes")
    ]


def test_the_authorizer_comes_before_all_that_tells_of_the_route(people):
    assert status(people, "/secret", person("ann"), upgrade=False) == 403
    assert status(people, "/secret", [*person("ann"), token()], method="OPTIONS") == 403


@pytest.mark.parametrize(
    ("name", "groups", "expected"),
    [
        ("ann", "", 101),
        ("bob", "guests", 101),
        ("carol", "guests,owners", 101),
        ("carol", "guests", 403),
        ("dave", "admins", 403),
        ("annabel", "", 403),
        ("an", "", 403),
    ],
)
def test_membership_needs_every_key_of_one_rule(people, name, groups, expected):
    assert status(people, "/members", person(name, groups)) == expected


def test_membership_refuses_a_user_without_the_attribute(server):
    assert status(server, "/members", [token()]) == 403


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/yes", 101),
        ("/no", 403),
        ("/later-yes", 101),
        ("/later-no", 403),
        ("/condition-fails", 403),
        ("/refuses", 403),
    ],
)
def test_a_condition_decides(server, path, expected):
    found, head, sock = server.raw_handshake(path, [token()])
    assert found == expected
    body = b"" if found == 101 else rest(sock, head)
    sock.close()
    assert b"Traceback" not in body
    assert b"a-detail" not in body
    assert (b"come back on Monday" in body) is (path == "/refuses")


def test_a_condition_that_fails_is_in_the_log_with_its_traceback(server):
    assert status(server, "/condition-fails", [token()]) == 403
    wait_for(lambda: "a-detail-only-the-log-knows" in server.log_text(), what="the traceback")


@pytest.mark.parametrize("path", ["/yes", "/condition-fails", "/refuses", "/members"])
def test_no_condition_is_asked_for_an_anonymous_client(server, path):
    before = server.log_text().count("a-detail-only-the-log-knows")
    found, head, sock = server.raw_handshake(path)
    assert (found, b"Monday" in rest(sock, head)) == (403, False)
    assert server.log_text().count("a-detail-only-the-log-knows") == before


# ---- what is in the way of others ---------------------------------------------------------

GREEDY = """
url:
  status: {pattern: /api/status, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  login: {pattern: /login, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  lab: {pattern: /lab, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  early: {pattern: /early, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  late: {pattern: /late, handler: WebSocketHandler, kwargs: {on_message: bots.echo}}
  all: {pattern: '/.*', handler: WebSocketHandler, kwargs: {on_message: bots.echo, priority: 99}}
"""
# One is loaded before ours and one after it: they are loaded in the order of their names.
OTHERS = dict.fromkeys(("aaa_other.py", "zzz_other.py"), bot_text("other_extension"))
CORE = [
    "/api/status",
    "/login",
    "/api/me",
    "/api/kernels",
    "/api/terminals",
    "/",
    "/metrics",
    "/tree/",
]


ENABLED = ["--ServerApp.jpserver_extensions={'aaa_other': True, 'zzz_other': True}"]


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    """Return a server whose routes claim what is not theirs."""
    folder = tmp_path_factory.mktemp("greedy")
    modules = MODULES | OTHERS
    with running_server(
        GREEDY.replace(", priority: 99", ""),
        folder=folder,
        modules=modules,
        extra_args=ENABLED,
    ) as running:
        yield running


@pytest.fixture(scope="module")
def innocent(tmp_path_factory):
    """Return the same server without routes."""
    folder = tmp_path_factory.mktemp("innocent")
    with running_server(folder=folder, modules=OTHERS, extra_args=ENABLED) as running:
        yield running


def answer(server, path, **options):
    found, headers, _ = server.fetch(path, **options)
    return found, headers["Content-Type"], headers["Location"]


@pytest.mark.parametrize("path", CORE)
def test_a_route_never_shadows_jupyter_itself(greedy, innocent, path):
    assert answer(innocent, path)[0] != 404
    for anonymous in (TOKEN, False):
        assert answer(greedy, path, token=anonymous) == answer(innocent, path, token=anonymous)
    if answer(innocent, path)[0] == 200:
        assert status(greedy, path, [token()]) == 200


@pytest.mark.parametrize("path", ["/early", "/late"])
def test_a_route_never_shadows_another_extension_whichever_is_loaded_first(greedy, path):
    found, _, body = greedy.fetch(path, token=False)
    assert (found, body) == (200, f"answered by {path[1:]}".encode())


def test_a_route_for_everything_gets_only_what_nobody_else_answers(greedy):
    assert status(greedy, "/nobody/else", [token()]) == 101


def test_the_log_says_at_the_start_which_routes_are_never_reached(greedy, innocent):
    log = wait_for(
        lambda: text if "Route late is never" in (text := greedy.log_text()) else None,
        what="the warnings",
    )
    never = set(re.findall(r"\[W .*Route (\w+) is never reached: (\S+)", log))
    expected = {("status", "/api/status"), ("login", "/login"), ("early", "/early")}
    expected.add(("late", "/late"))
    if answer(innocent, "/lab")[0] != 404:
        expected.add(("lab", "/lab"))
    assert never == expected


# ---- the log ------------------------------------------------------------------------------


def test_no_credential_and_no_message_is_in_the_log_at_debug_level(server):
    wrong = "a-wrong-token-only-tests-know"
    visitor = Visitor(server).log_in(PASSWORD)
    Visitor(server).fetch(f"/paged?token={TOKEN}")
    for path in PATHS:
        for credential in (TOKEN, wrong):
            status(server, path, [token(credential)])
            status(server, f"{path}?token={credential}&x=1")
            status(server, path, [token(credential), ("Origin", "http://evil.example")])
            referer = ("Referer", f"{server.url}lab?token={credential}")
            status(server, f"{path}?token={credential}", [referer], upgrade=False)
            status(server, path, [token(credential), referer], method="POST")
        visitor.status(path)
        visitor.status(path, [("Origin", "http://evil.example")])
        visitor.fetch(path)
    status(server, f"/echo?token={TOKEN}", replace={"Sec-WebSocket-Key": "short"})
    server.fetch(f"/nowhere?token={TOKEN}", token=False)
    for path in ("/user/ann/echo", "/user/ann/fails"):
        with Wire(server, path, early=text(MESSAGE)) as wire:
            assert wire.frame() is not None
    secrets = {TOKEN, wrong, PASSWORD, MESSAGE, *(m.value for m in visitor.jar.values())}
    secrets |= {m.value.strip('"') for m in visitor.jar.values()}
    assert len(secrets) >= 6
    wait_for(lambda: "on_message fails on purpose" in server.log_text(), what="the last error")
    log = server.log_text()
    assert re.search(r"\[D .*101 GET /user/ann/echo", log), "nothing was logged at debug level"
    # At its start every Jupyter application writes its configuration, the command line included.
    lines = [line for line in log.splitlines() if "] Config changed: {" not in line]
    found = [line for line in lines if any(secret in line for secret in secrets)]
    assert found == []
