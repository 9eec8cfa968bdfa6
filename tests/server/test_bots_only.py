"""A server with bots and nothing else: a walk of every rule that a full one has."""

from __future__ import annotations

import http.client
import json
import sys
from urllib.parse import urlencode

import pytest
from support import rules
from support.bots import bot_text
from support.server import running_server, wait_for
from support.visitor import Visitor

CONFIG = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
  paged:
    pattern: /paged
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, page: page.html}
  ticketed:
    pattern: /ticketed
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, xsrf: ticket}
  folder:
    pattern: /folder
    handler: WebSocketHandler
    kwargs: {on_message: bot.echo, page: site}
  lab: {pattern: /lab, handler: WebSocketHandler, kwargs: {on_message: bot.echo}}
"""

MODULES = {
    "bot.py": "async def echo(handler, message):\n    return message\n",
    "page.html": "<!doctype html><title>A page</title>",
    "zzz_late.py": bot_text("zzz_late"),
}

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]

ALL_EXTENSIONS = ["--ServerApp.jpserver_extensions={'zzz_late': True}"]
"""One of ours beside those that are installed."""

NOTHING = b"404: there is nothing at this address: this server has bots only\n"

ROUTES = {"/echo", "/paged", "/ticketed", "/folder", "/lab"}

CONSOLE = {"/wshandler", "/wshandler/"}  # for whom `publishers` names

LISTED = ROUTES | CONSOLE | {"/login", "/logout", "/metrics", "/favicon.ico", "/robots.txt"}
"""What there is besides what begins with one of these, and the root, which leads to a route."""

BELOW = ("/static/", "/wshandler/api/", "/wshandler/guest/", "/folder/")

FORBIDDEN = [
    *("/api", "/api/status", "/api/me", "/api/spec.yaml", "/api/shutdown", "/api/terminals"),
    *(
        "/api/terminals/1",
        "/terminals/1",
        "/terminals/websocket/1",
        "/api/kernels",
        "/api/sessions",
    ),
    *("/api/kernels/x-x-x-x-x/channels", "/api/kernelspecs", "/kernelspecs/python3/logo-64x64.png"),
    *("/api/contents", "/api/contents/bot.py", "/api/contents/bot.py/checkpoints", "/files/bot.py"),
    *("/view/bot.py", "/nbconvert/html/x.ipynb", "/api/nbconvert", "/api/config/notebook"),
    *("/api/events", "/api/events/subscribe", "/api/security/csp-report", "/api/resolvePath"),
    *("/lab/", "/lab/tree", "/lab/api/workspaces", "/lab/api/settings", "/lab/api/extensions"),
    *("/lsp/status", "/tree", "/tree/", "/notebooks/x.ipynb", "/edit/bot.py", "/consoles/x"),
    *("/late/loaded", "/late/first", "/late/found", "/late/started", "/late/outermost"),
    *("/late/echo", "/custom/custom.css", "/nowhere", "//api/terminals", "/echo/", "/%2e%2e/api"),
]
"""What somebody looks for by name, whatever the rules say."""


def site(folder):
    """Write the folder that is a page."""
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "index.html").write_text("<!doctype html><title>A folder</title>")
    return folder


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Return a server with JupyterLab, Notebook, terminals and an extension that comes late."""
    folder = site(tmp_path_factory.mktemp("full"))
    with running_server(
        CONFIG,
        folder=folder,
        modules=MODULES,
        command=rules.launcher(folder),
        extra_args=ALL_EXTENSIONS,
        env={"PYTHONPATH": str(folder)},
    ) as running:
        yield running


@pytest.fixture(scope="module")
def every_path(full) -> list[str]:
    """Return a path of each rule of the full server."""
    found = set()
    for rule in rules.read(full.folder):
        paths = rule["paths"]
        if rule["pattern"] and rule["pattern"] != "(.*)$":
            paths = paths or [rules.example(rule["pattern"])]
            assert all(paths), f"no path is known for {rule['pattern']}"
        found |= {*paths}
    return sorted(found | {*FORBIDDEN})


AS = {
    "option of jupyter server": ([sys.executable, "-m", "jupyter_server"], True),
    "serve": ([sys.executable, "-m", "jupyter_wshandler", "serve"], False),
}


@pytest.fixture(scope="module", params=AS)
def server(request, tmp_path_factory):
    """Return a server with bots only, once beside all the extensions, once by its command."""
    folder = site(tmp_path_factory.mktemp("only"))
    command, by_option = AS[request.param]
    (folder / "wshandler.yaml").write_text(CONFIG)
    path = str(folder / "wshandler.yaml")
    if by_option:
        arguments = [f"--WSHandlerApp.config_file={path}", "--WSHandlerApp.bots_only=True"]
    else:
        command = [*command, path, "--bots-only"]
        arguments = ["--WSHandlerApp.bots_only=False"]  # too late: the command has said it
    with running_server(
        folder=folder,
        modules=MODULES,
        command=command,
        extra_args=[*arguments, *ALL_EXTENSIONS],
        env={"PYTHONPATH": str(folder)},
        wait_path="wshandler/api/health",
    ) as running:
        yield running


def is_listed(path: str) -> bool:
    return path in LISTED or path == "/" or path.startswith(BELOW)


def test_the_walk_knows_the_rules_of_lab_notebook_terminals_and_the_late_extension(
    full, every_path
):
    modules = {rule["module"].partition(".")[0] for rule in rules.read(full.folder)}
    expected = {"jupyter_server", "jupyterlab", "jupyterlab_server", "notebook", "zzz_late"}
    expected |= {"jupyter_server_terminals", "jupyter_lsp", "jupyter_wshandler"}
    assert expected <= modules
    assert len(every_path) > 90
    assert LISTED - {"/lab"} <= {*every_path}


def test_the_full_server_answers_what_the_other_one_must_not(full):
    """What shows that the walk can fail."""
    for path in ("/api/contents", "/api/kernels", "/api/terminals", "/files/bot.py", "/tree"):
        assert full.fetch(path)[0] == 200, path
    for path in ("/late/loaded", "/late/first", "/late/started", "/late/outermost", "/late/found"):
        assert full.fetch(path)[2] == b"a handler of an extension", path
    assert full.fetch("/api/terminals", method="POST", data=b"{}")[0] == 200


def test_no_rule_but_those_of_the_list_is_there_for_a_token_with_any_verb(server, every_path):
    for path in every_path:
        for method in METHODS:
            if not is_listed(path):
                status, _, body = server.fetch(path, method=method)
                assert (status, body) == (404, b"" if method == "HEAD" else NOTHING), (method, path)
    assert server.process.poll() is None, "api/shutdown"


def test_no_rule_but_those_of_the_list_is_there_for_a_login_with_any_verb(server, every_path):
    visitor = Visitor(server).log_in(server.token)
    for path in every_path:
        for method in METHODS:
            if is_listed(path):
                continue
            fields = {"X-XSRFToken": visitor.jar["_xsrf"].value}
            data = b"{}" if method in ("POST", "PUT", "PATCH") else None
            status, _, body = visitor.fetch(path, method=method, headers=fields, data=data)
            assert (status, body) == (404, b"" if method == "HEAD" else NOTHING), (method, path)


def test_a_stranger_is_told_the_same(server):
    for path in FORBIDDEN:
        if not is_listed(path):
            status, headers, body = server.fetch(path, token=False)
            assert (status, body) == (404, NOTHING), path
            assert headers["Set-Cookie"] is None


def test_no_socket_opens_but_those_of_routes(server):
    token = [*server.headers().items()]
    for path in ("/terminals/websocket/1", "/api/events/subscribe", "/late/first", "/lsp/ws/x"):
        status, _, sock = server.raw_handshake(path, token)
        sock.close()
        assert status == 404, path
    for path in ("/echo", "/lab"):
        with server.connect_sync(path) as socket:
            socket.send("hi")
            assert socket.recv(10) == "hi"


def test_what_is_on_the_list_is_jupyters_and_ours_and_not_what_another_has_put_there(server):
    status, _, body = server.fetch("/metrics")
    assert status == 200
    assert b"wshandler_connections" in body
    assert b"_xsrf" in server.fetch("/login", token=False)[2]
    assert server.fetch("/static/favicon.ico", token=False)[0] == 200
    assert server.fetch("/favicon.ico", token=False)[0] == 200
    assert server.fetch("/static/wshandler/wshandler.js", token=False)[0] == 200
    assert server.fetch("/metrics", token=False)[0] == 403


def test_a_person_logs_in_and_comes_to_a_page_and_talks_and_logs_out(server):
    visitor = Visitor(server)
    status, headers, _ = visitor.fetch("/paged")
    assert (status, headers["Location"]) == (302, "/login?next=%2Fpaged")
    visitor.log_in(server.token)
    assert b"A page" in visitor.fetch("/paged")[2]
    assert b"A folder" in visitor.fetch("/folder/")[2]
    assert visitor.status("/echo") == 101
    assert visitor.status("/ticketed") == 403
    status, _, body = visitor.fetch(
        "/wshandler/api/tickets",
        method="POST",
        headers={"X-XSRFToken": visitor.jar["_xsrf"].value, "Content-Type": "application/json"},
        data=json.dumps({"path": "/ticketed"}).encode(),
    )
    assert status == 200
    assert visitor.status(f"/ticketed?ws_token={json.loads(body)['ticket']}") == 101
    visitor.fetch("/logout")
    assert visitor.status("/echo") == 403


def test_the_root_leads_to_the_first_page_as_a_login_does(server):
    status, headers, _ = server.fetch("/?token=x", token=False)
    assert (status, headers["Location"]) == (302, "/echo?token=x")
    assert server.fetch("/", method="POST", token=False)[0] in (403, 405)


def test_no_password_is_set_at_a_login(server):
    visitor = Visitor(server)
    page = visitor.fetch("/login")[2]
    assert b"new_password" not in page
    form = {"password": server.token, "new_password": "mine", "_xsrf": visitor.jar["_xsrf"].value}
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, _ = visitor.fetch(
        "/login", method="POST", headers=kind, data=urlencode(form).encode()
    )
    assert status == 302
    assert not [*server.folder.glob(".jupyter-state/**/jupyter_server_config.json")]
    assert Visitor(server).log_in(server.token)


def test_the_log_says_what_there_is_and_warns_of_no_route(server):
    log = server.log_text()
    assert "Bots only: besides the routes there are login and logout" in log
    assert "is never reached" not in log
    assert "Traceback" not in log


def test_a_body_is_not_read_where_nothing_is(server):
    status, _, body = server.fetch("/api/contents/x", method="PUT", data=bytes(30 * 1024 * 1024))
    assert (status, body) == (404, NOTHING)


def test_a_connection_on_which_nothing_was_found_goes_on(server):
    """A proxy keeps connections, and would answer the next request with 503."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    connection.connect()
    sock = connection.sock
    for path in ("/api/contents", "/wshandler/api/health"):
        for method in METHODS[2:]:
            connection.request(method, path, headers={"Content-Length": "0"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (404, 405)
            assert connection.sock is sock, (method, path)
    sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sock.recv(1)  # nobody has closed it
    connection.close()


def test_health_is_for_everybody_and_says_no_more_than_that(server):
    status, headers, body = server.fetch("/wshandler/api/health", token=False)
    states = {"backplane": {"state": "single"}, "sessions": {"state": "up"}}
    assert (status, json.loads(body)) == (200, {"status": "ok", **states})
    assert headers["Set-Cookie"] is None
    for method in METHODS[2:]:
        assert server.fetch("/wshandler/api/health", method=method, token=False)[0] == 405
    assert server.fetch("/wshandler/api/health", method="HEAD", token=False)[0] == 200


# ---- what goes wrong at the start ----------------------------------------------------------------

BROKEN_FILE = (
    "c.WSHandlerApp.bots_only = True\nc.ServerApp.no_such_thing.at_all()\nraise ValueError\n"
)

SLIPS = {
    "another setting is wrong": ["--WSHandlerApp.bots_only=True", "--WSHandlerApp.enforce=5"],
    "another setting is unknown": ["--WSHandlerApp.bots_only=True", "--WSHandlerApp.enfroce=x=1"],
    "its own value is wrong": ["--WSHandlerApp.bots_only=Ture"],
    "its own name is wrong": ["--WSHandlerApp.bot_only=True"],
    "the file that sets it is lost": ["--config={folder}/jupyter_server_config.py"],
    "the extension cannot be loaded": [
        "--WSHandlerApp.bots_only=True",
        "--config={folder}/unloadable.py",
    ],
}


UNLOADABLE = """
import jupyter_wshandler.server.app as app

def fails(self):
    raise RuntimeError("on purpose")

app.WSHandlerApp.initialize_handlers = fails
"""
"""A file that breaks the extension half-way."""


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_the_settings_opens_nothing(slip, tmp_path):
    (tmp_path / "jupyter_server_config.py").write_text(BROKEN_FILE)
    (tmp_path / "unloadable.py").write_text(UNLOADABLE)
    arguments = [argument.replace("{folder}", str(tmp_path)) for argument in SLIPS[slip]]
    with running_server(
        CONFIG.replace("{on_message: bot.echo, page: site}", "{on_message: bot.echo}"),
        folder=tmp_path,
        modules=MODULES,
        extra_args=arguments,
        wait_path="wshandler/api/health",
    ) as server:
        for path in ("/api/terminals", "/api/contents", "/api/kernels", "/files/bot.py", "/api"):
            assert server.fetch(path)[::2] == (404, NOTHING), path
        assert server.fetch("/api/terminals", method="POST", data=b"{}")[0] == 404
        assert server.fetch("/wshandler/api/health")[0] in (404, 503)


def test_kernel_routes_has_no_effect_and_the_log_says_so(tmp_path):
    with running_server(
        "url: {}",
        folder=tmp_path,
        extra_args=["--WSHandlerApp.bots_only=True", "--WSHandlerApp.kernel_routes=any"],
        wait_path="wshandler/api/health",
    ) as server:
        words = "c.WSHandlerApp.kernel_routes = 'any' has no effect"
        wait_for(lambda: words in server.log_text(), 10, "the line in the log")
        # Without any page there is nowhere to go.
        assert server.fetch("/")[::2] == (404, NOTHING)


def test_the_root_leads_where_the_administrator_says_if_there_is_something(tmp_path):
    with running_server(
        CONFIG.replace("{on_message: bot.echo, page: site}", "{on_message: bot.echo}"),
        folder=tmp_path,
        modules=MODULES,
        base_url="/bots/",
        extra_args=["--WSHandlerApp.bots_only=True", "--ServerApp.default_url=/paged"],
        wait_path="wshandler/api/health",
    ) as server:
        assert server.fetch("/")[1]["Location"].startswith("/bots/paged")
        assert server.fetch("/api/terminals")[0] == 404
