"""What moves from Gramex, on a real server: ways to name functions, patterns, whole files."""

from __future__ import annotations

import json
import re

import pytest
from support.bots import bot_text
from support.server import running_server, wait_for
from support.visitor import fields, rest
from websockets.exceptions import ConnectionClosed

BOTS = bot_text("gramex_specs")

GRAMEX_YAML = r"""
app:
  listen: {port: 9988}
  session: {expiry: 31, flush: 5}
log:
  version: 1
cache: {memory: {size: 20000000}}
url:
  home:
    pattern: /$YAMLURL/
    handler: FileHandler
    kwargs: {path: $YAMLPATH/index.html, auth: true}
  sum: {pattern: /sum, handler: FunctionHandler, kwargs: {function: bots.sum(handler)}}
  upstream: {pattern: /upstream/(.*), handler: ProxyHandler, kwargs: {url: 'ws://localhost:1/'}}
  board: {pattern: /board, handler: MessageHandler, kwargs: {message_default: {}}}
  llm: {pattern: /llm, handler: ChatGPTHandler, kwargs: {key: x}}
  chat:
    pattern: /$YAMLURL/chat
    service: WebSocketHandler
    kwargs: {on_message: {function: bots.greet}}

  mapping:  {pattern: /mapping, handler: WebSocketHandler,
             kwargs: {on_message: {function: bots.told}}}
  string:   {pattern: /string, handler: WebSocketHandler, kwargs: {on_message: bots.told}}
  call:     {pattern: /call, handler: WebSocketHandler,
             kwargs: {on_message: {function: 'bots.told(handler, message, "en", n=[1, {"a": 2}])'}}}
  swapped:  {pattern: /swapped, handler: WebSocketHandler,
             kwargs: {on_message: 'bots.told(message, handler)'}}
  args:     {pattern: /args, handler: WebSocketHandler, kwargs: {on_message:
              {function: bots.told, args: [=message, plain, 3, =handler], kwargs: {by: =message,
               lang: en}}}}
  kwargs:   {pattern: /kwargs, handler: WebSocketHandler, kwargs: {on_message:
              {function: bots.told, kwargs: {lang: en}}}}
  scalar:   {pattern: /scalar, handler: WebSocketHandler, kwargs: {on_message:
              {function: bots.told, args: =handler}}}
  literal:  {pattern: /literal, handler: WebSocketHandler, kwargs: {on_message:
              {function: bots.told_without_a_handler, args: once}}}
  told:     {pattern: /told, handler: WebSocketHandler, kwargs: {on_message: bots.what_was_told}}
  pipeline: {pattern: /pipeline, handler: WebSocketHandler, kwargs: {on_message:
              {function: [{function: bots.greet}, {function: bots.told}]}}}
  expression: {pattern: /expression, handler: WebSocketHandler, kwargs: {on_message:
              {function: 'handler.write_message(message.upper())'}}}
  typo:     {pattern: /typo, handler: WebSocketHandler, kwargs: {on_mesage: bots.greet}}
  validated: {pattern: /validated, handler: WebSocketHandler,
             kwargs: {on_message: bots.greet, validate: {function: bots.check}}}
  bad-regex: {pattern: '/bad/(', handler: WebSocketHandler, kwargs: {on_message: bots.greet}}

  members:  {pattern: '/members/(\w+)', handler: WebSocketHandler,
             kwargs: {on_message: {function: bots.members}}}
  groups:   {pattern: '/groups/(\w+)/(.*)', handler: WebSocketHandler,
             kwargs: {open: bots.opened, on_message: bots.opened_where}}
  named:    {pattern: '/named/(?P<room>\w+)', handler: WebSocketHandler,
             kwargs: {open: bots.opened, on_message: bots.opened_where}}
  braces:   {pattern: '/braces/{room}', handler: WebSocketHandler,
             kwargs: {on_message: bots.where}}
  static:   {pattern: /order/here, handler: WebSocketHandler, kwargs: {on_message: bots.where}}
  wild:     {pattern: '/order/(.*)', handler: WebSocketHandler, kwargs: {on_message: bots.where}}
  deeper:   {pattern: '/order/(.*)/(.*)', handler: WebSocketHandler,
             kwargs: {on_message: bots.where}}
  late:     {pattern: /order/late, handler: WebSocketHandler, priority: -5,
             kwargs: {on_message: bots.where}}
  first:    {pattern: '/order/f.*', handler: WebSocketHandler, priority: 9,
             kwargs: {on_message: bots.where}}
"""

REPAIRS_YAML = """
url:
  good: {pattern: /good, handler: WebSocketHandler, kwargs: {on_message: good.greet}}
  function: {pattern: /function, handler: WebSocketHandler, kwargs: {on_message: later.greet}}
  module: {pattern: /module, handler: WebSocketHandler, kwargs: {on_message: missing.greet}}
  syntax: {pattern: /syntax, handler: WebSocketHandler, kwargs: {on_message: broken.greet}}
"""
GREET = "def greet(handler, message):\n    return 'hello ' + message\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("specs")
    (folder / "gramex.yaml").write_text(GRAMEX_YAML)
    modules = {"bots.py": BOTS, "helper.py": "told = []\n"}
    with running_server(folder / "gramex.yaml", folder=folder, modules=modules) as running:
        yield running


@pytest.fixture(scope="module")
def repairs(tmp_path_factory):
    modules = {
        "good.py": GREET,
        "later.py": "# nothing here yet\n",
        "broken.py": "secret_name = 'a-detail-only-the-log-knows'\ndef greet(handler, message:\n",
    }
    with running_server(
        REPAIRS_YAML, folder=tmp_path_factory.mktemp("repairs"), modules=modules
    ) as running:
        yield running


def ask(server, path, message="x"):
    with server.connect_sync(path) as socket:
        socket.send(message)
        return socket.recv(timeout=10)


def handshake(server, path, **options):
    """Return status and body of a handshake's answer; a body of 101 is empty."""
    status, head, sock = server.raw_handshake(path, list(server.headers().items()), **options)
    if status == 101:
        sock.close()
        return status, ""
    return status, rest(sock, head).decode()


# ---- ways to name a function -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["mapping", "string"])
def test_row_function_is_called_with_handler_and_message_as_a_mapping_or_a_plain_string(
    server, name
):
    expected = {"args": [f"handler of {name}", "x"], "kwargs": {}}
    assert json.loads(ask(server, f"/{name}")) == expected


def test_row_inline_call_gets_its_literals_handler_and_message(server):
    args = ["handler of call", "x", "en"]
    assert json.loads(ask(server, "/call")) == {"args": args, "kwargs": {"n": [1, {"a": 2}]}}
    assert json.loads(ask(server, "/swapped"))["args"] == ["x", "handler of swapped"]


def test_row_any_other_expression_breaks_the_route_and_the_log_says_what_is_allowed(server):
    assert handshake(server, "/expression")[0] == 503
    assert re.search(
        r"gramex\.yaml:\d+:\d+: .*expression.* expected a dotted name, or a call of one with "
        r"literals and the names handler and message",
        server.log_text(),
    )


def test_row_args_list_and_kwargs_take_variables_and_literals(server):
    assert json.loads(ask(server, "/args")) == {
        "args": ["x", "plain", 3, "handler of args"],
        "kwargs": {"by": "x", "lang": "en"},
    }
    expected = {"args": ["handler of kwargs", "x"], "kwargs": {"lang": "en"}}
    assert json.loads(ask(server, "/kwargs")) == expected


def test_row_args_scalar_is_a_list_of_one_so_the_message_is_not_passed(server):
    assert json.loads(ask(server, "/scalar")) == {"args": ["handler of scalar"], "kwargs": {}}
    with server.connect_sync("/literal") as socket:
        socket.send("x")
        assert wait_for(lambda: json.loads(ask(server, "/told"))["told"]) == [["once"]]


def test_row_list_pipeline_breaks_the_route_and_the_log_says_what_to_do(server):
    assert handshake(server, "/pipeline")[0] == 503
    assert "pipelines are not supported" in server.log_text()


def test_row_unknown_kwarg_breaks_the_route_and_the_log_suggests_the_nearest_name(server):
    assert handshake(server, "/typo")[0] == 503
    assert re.search(r"unknown key 'on_mesage'; .*on_message", server.log_text())


def test_row_validate_and_other_keys_without_meaning_break_the_route(server):
    assert handshake(server, "/validated")[0] == 503
    assert "validate has no meaning on a WebSocket route; remove it" in server.log_text()


def test_row_members_of_the_handler_that_users_reach_for_are_there(server):
    with server.connect_sync("/members/a?q=1") as socket:
        socket.send("?")
        found = json.loads(socket.recv(timeout=10))
        with pytest.raises(ConnectionClosed) as ended:
            socket.recv(timeout=10)
    assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4000, "enough")
    kwargs = {"on_message": {"function": "bots.members"}}
    pattern = r"/members/(\w+)"
    host = f"127.0.0.1:{server.port}"
    query = {"q": ["1"]}
    assert found.pop("user")
    assert found == {
        "name": "members",
        "kwargs": kwargs,
        "conf": {"pattern": pattern, "handler": "WebSocketHandler", "kwargs": kwargs},
        "args": query,
        "path_args": ["a"],
        "path_kwargs": {},
        "session": ["id"],
        "write": "a WebSocket has no write(); use handler.write_message(message)",
        "request": [
            "/members/a", "q=1", "/members/a?q=1", host, "http", "127.0.0.1", "websocket", query,
        ],
    }  # fmt: skip


# ---- functions that are not there, and come later ------------------------------------------------


def heal(server, path, file, text):
    """Write a module and return when its route answers."""
    (server.folder / file).write_text(text)
    wait_for(lambda: handshake(server, path)[0] == 101, what=f"{path} to work again")
    assert ask(server, path) == "hello x"


def refused(server, path):
    status, body = handshake(server, path)
    assert (status, body) == (503, "503: this route is broken; its error is in the server's log\n")


def test_row_function_missing_in_a_module_is_503_until_it_is_there(repairs):
    refused(repairs, "/function")
    assert "later.greet: there is no greet in" in repairs.log_text()
    heal(repairs, "/function", "later.py", GREET)


def test_row_module_missing_is_503_until_it_is_there(repairs):
    refused(repairs, "/module")
    assert "missing.greet: there is no module missing" in repairs.log_text()
    heal(repairs, "/module", "missing.py", GREET)


def test_row_syntax_error_isolates_one_route_and_shows_no_traceback(repairs):
    refused(repairs, "/syntax")
    assert handshake(repairs, "/syntax", upgrade=False)[0] in (426, 503)
    assert re.search(r"broken\.py:2: SyntaxError", repairs.log_text())
    assert ask(repairs, "/good") == "hello x"
    heal(repairs, "/syntax", "broken.py", GREET)


# ---- patterns ----------------------------------------------------------------------------------


def test_row_capture_groups_are_on_the_handler_and_open_gets_no_extra_arguments(server):
    expected = {"path_args": ["a", "b/c"], "path_kwargs": {}, "opened": True}
    assert json.loads(ask(server, "/groups/a/b/c")).items() >= expected.items()
    expected = {"path_args": [], "path_kwargs": {"room": "blue"}, "opened": True}
    assert json.loads(ask(server, "/named/blue")).items() >= expected.items()
    assert json.loads(ask(server, "/braces/bl%20ue"))["path_kwargs"] == {"room": "bl ue"}


def test_row_query_arguments_are_a_dict_of_lists_in_utf_8(server):
    answer = json.loads(ask(server, "/braces/x?a=1&a=2&name=%E0%AE%85&empty="))
    assert answer["args"] == {"a": ["1", "2"], "name": ["அ"], "empty": [""]}


def test_row_trailing_slash_is_no_match_and_jupyter_redirects_it(server):
    assert handshake(server, "/string")[0] == 101
    status, headers, _ = server.fetch("/string/")
    assert (status, headers["Location"]) == (302, "/string")
    assert handshake(server, "/string/")[0] == 302


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/order/here", "static"),
        ("/order/else", "wild"),
        ("/order/a/b", "deeper"),
        ("/order/late", "wild"),
        ("/order/first", "first"),
    ],
)
def test_row_route_order_is_priority_slashes_and_fewer_wildcards(server, path, route):
    assert json.loads(ask(server, path))["route"] == route


def test_row_bad_regex_and_unknown_handlers_are_skipped_and_the_others_work(server):
    log = server.log_text()
    assert re.search(r"Route bad-regex is broken: .*not a valid regular expression", log)
    for path in ("/bad/(", "/home", "/sum", "/upstream/x", "/board", "/llm"):
        assert handshake(server, path)[0] == 404
    assert ask(server, "/string")


# ---- a whole file of Gramex's --------------------------------------------------------------------


def test_row_a_gramex_yaml_works_and_service_is_another_spelling_of_handler(server):
    assert ask(server, "/chat", "Gramex") == "hello Gramex"


@pytest.mark.parametrize(
    "handler",
    ["ProxyHandler", "MessageHandler", "ChatGPTHandler", "FileHandler", "FunctionHandler"],
)
def test_row_other_handlers_are_skipped_with_one_line_in_the_log(server, handler):
    lines = [line for line in server.log_text().splitlines() if handler in line]
    assert len(lines) == 1
    assert "skipped" in lines[0]


def test_row_other_sections_such_as_the_sessions_are_skipped_with_one_line(server):
    (line,) = [line for line in server.log_text().splitlines() if "app, " in line]
    assert all(name in line for name in ("app", "cache", "log", "skipped"))


def test_row_import_and_variables_are_errors_that_say_so(tmp_path):
    from jupyter_wshandler.config.loader import load

    (tmp_path / "gramex.yaml").write_text("import: {other: other.yaml}\nurl: {}\n")
    (problem,) = load(files=[str(tmp_path / "gramex.yaml")]).problems
    assert "import" in str(problem)
    entry = {"pattern": "/$HOME/x", "handler": "WebSocketHandler"}
    assert "$HOME is not supported" in str(load(url={"x": entry}).broken[0].problems[0])


def test_row_pages_for_405_and_426_start_with_no_traceback(server):
    for method, expected in [("GET", 426), ("POST", 405), ("PUT", 405), ("DELETE", 405)]:
        status, headers, body = server.fetch("/string", method=method)
        assert status == expected
        assert b"Traceback" not in body
        assert len(body.splitlines()) == 1
        assert headers["Content-Type"].startswith("text/plain")
    status, head, sock = server.raw_handshake(
        "/string", list(server.headers().items()), upgrade=False
    )
    sock.close()
    assert fields(head, "Sec-WebSocket-Version") == ["13"]
