"""`ask`, `stream` and `stop` of wshandler.js, in a real browser with a real server behind it."""

from __future__ import annotations

import threading

import pytest
import websockets.sync.server
from support.bots import bot_text
from support.browser import errors_of, profile
from support.server import running_server, wait_for

YAML = """
url:
  bot:
    pattern: /bot
    handler: WebSocketHandler
    kwargs: &bot {on_message: asking.on_message, on_error: {close: false}, page: page.html}
  many:
    pattern: /many
    handler: WebSocketHandler
    kwargs: {<<: *bot, on_message: asking.many}
  greeting:
    pattern: /greeting
    handler: WebSocketHandler
    kwargs: {<<: *bot, open: asking.greet}
  typed:
    pattern: /typed
    handler: WebSocketHandler
    kwargs: {<<: *bot, on_message: asking.twice}
  limited:
    pattern: /limited
    handler: WebSocketHandler
    kwargs: {<<: *bot, ratelimit: {messages: 1/h, then: error}}
"""
PAGE = """<!doctype html>
<title>A page</title>
<script type="module">
  import {AnswerFailed, connect} from './static/wshandler/wshandler.js';
  Object.assign(window, {AnswerFailed, connect});
  window.begin = (...args) => {
    window.bot = connect(...args);
    window.got = [];
    bot.onmessage = ({data}) => got.push(data);
    return new Promise((resolve) => { bot.onopen = () => resolve(bot.protocol); });
  };
  window.all = async (answer) => {
    const pieces = [];
    for await (const piece of answer) pieces.push(piece);
    return pieces;
  };
  window.plain = (value) => (value instanceof ArrayBuffer ? [...new Uint8Array(value)] : value);
  window.failure = (promise) => promise.then(() => null, (error) => (
    {name: error.name, how: error.how, id: error.id, wait: error.retryAfter, path: error.path,
      words: error.message, ours: error instanceof AnswerFailed}));
  window.loaded = true;
</script>
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    modules = {"asking.py": bot_text("asking"), "page.html": PAGE}
    folder = tmp_path_factory.mktemp("asking")
    with running_server(YAML, folder=folder, modules=modules, base_url="/base/") as running:
        yield running


@pytest.fixture(scope="module")
def context(chromium):
    with profile(chromium) as opened:
        yield opened


@pytest.fixture
def visit(context, server):
    """Open the page, with a bot at a path, and return it."""
    (server.folder / "noted").unlink(missing_ok=True)
    page = context.new_page()
    errors = errors_of(page)

    def to(*args):
        page.goto(f"{server.url}bot?token={server.token}")
        page.wait_for_function("window.loaded")
        assert page.evaluate("(args) => begin(...args)", list(args)) is not None
        return page

    yield to
    page.close()
    assert errors == []


def noted(server):
    path = server.folder / "noted"
    return path.read_text().split() if path.exists() else []


def test_ask_gives_what_the_function_returns(visit):
    page = visit("/bot")
    assert page.evaluate("bot.protocol") == "wsh.v1"
    script = """async (words) => {
      const got = await Promise.all(words.map((word) => bot.ask(word)));
      return got.map(plain);
    }"""
    words = ["text", "bytes", "dict", "number", "nothing", "json", "héllo \U0001f680"]
    assert page.evaluate(script, words) == [
        "hello",
        [0, 255],
        {"rows": [1, 2.5, None], "big": 1152921504606847000},
        7,
        None,
        '{"it": "is text"}',
        "héllo \U0001f680",
    ]
    assert page.evaluate("bot.ask(new Uint8Array([1, 2, 3])).then(plain)") == [3, 2, 1]
    assert page.evaluate("bot.ask(new Blob(['abc'])).then(plain)") == [99, 98, 97]
    assert page.evaluate("bot.ask({a: 1})") == '{"a":1}'
    assert page.evaluate("bot.ask('half a \\ud83d pair')") == "half a � pair"
    assert page.evaluate("got") == []


def test_ask_gives_a_list_of_what_a_generator_yields_and_stream_gives_it_as_it_comes(visit):
    page = visit("/many")
    numbers = ["0", {"n": 1}, "2"]
    assert page.evaluate("bot.ask('3')") == numbers
    assert page.evaluate("bot.ask('1')") == ["0"]
    assert page.evaluate("bot.ask('0')") == []
    assert page.evaluate("all(bot.stream('3'))") == numbers
    assert page.evaluate("got") == []


def test_what_is_no_answer_is_a_message_of_a_string_or_an_array_buffer(visit):
    page = visit("/bot")
    assert page.evaluate("bot.ask('push 3')") == "done"
    assert page.evaluate("got") == ["pushed 0", "pushed 1", "pushed 2"]
    page.evaluate("['dict', 'bytes', 'text'].forEach((word) => bot.send(word))")
    page.wait_for_function("got.length === 6")
    assert page.evaluate("got.slice(3).map(plain)") == [
        '{"rows":[1,2.5,null],"big":1152921504606846976}',
        [0, 255],
        "hello",
    ]


def test_what_open_yields_is_a_message_too(visit):
    page = visit("/greeting")
    page.wait_for_function("got.length === 2")
    assert page.evaluate("got") == ["wel", "come"]


def test_a_failure_and_a_refusal_reject_with_what_happened(visit, server):
    page = visit("/bot")
    failed = page.evaluate("failure(bot.ask('fail'))")
    assert (failed["name"], failed["how"], failed["ours"]) == ("AnswerFailed", "failed", True)
    assert failed["id"]
    assert failed["id"] in failed["words"]
    wait_for(lambda: failed["id"] in server.log_path.read_text(), 10, "the error in the log")
    assert page.evaluate("failure(all(bot.stream('fail')))")["how"] == "failed"
    assert page.evaluate("bot.ask('text')") == "hello"
    page = visit("/limited")
    assert page.evaluate("bot.ask('text')") == "hello"
    refused = page.evaluate("failure(bot.ask('text'))")
    assert refused["how"] == "refused"
    assert 0 < refused["wait"] <= 3600


def test_a_message_that_the_bot_does_not_take_says_where_it_is_wrong(visit):
    page = visit("/typed")
    assert page.evaluate("bot.ask(21)") == 42
    refused = page.evaluate("failure(bot.ask({a: 1}))")
    assert (refused["how"], refused["path"], refused["wait"]) == ("refused", "$", None)
    words = "The message was refused: $: expected int, found object with 1 member."
    assert refused["words"] == words


def test_who_waits_no_longer_has_the_bot_stop(visit, server):
    page = visit("/bot")
    given_up = page.evaluate("failure(bot.ask('wait', {timeout: 0.5}))")
    assert given_up["name"] == "TimeoutError"
    wait_for(lambda: noted(server) == ["begun", "cancelled"], 10, "the end")
    assert page.evaluate("bot.ask('text')") == "hello"


def test_a_stream_that_is_left_is_stopped(visit, server):
    page = visit("/many")
    left = page.evaluate("async () => { for await (const p of bot.stream('endless')) return p; }")
    assert left == "more"
    wait_for(lambda: noted(server) == ["closed"], 10, "the end")
    assert page.evaluate("bot.ask('1')") == ["0"]
    stopped = """async () => {
      const answer = bot.stream('endless');
      await answer.next();
      answer.stop();
      return [new Set(await all(answer)).size <= 1, answer.how];
    }"""
    assert page.evaluate(stopped) == [True, "stopped"]


def test_stop_ends_all_that_is_under_way(visit, server):
    page = visit("/bot")
    page.evaluate(
        "void (window.two = Promise.all(['wait', 'text'].map((w) => failure(bot.ask(w)))))"
    )
    wait_for(lambda: noted(server) == ["begun"], 10, "its begin")
    page.evaluate("bot.stop()")
    assert [each["how"] for each in page.evaluate("two")] == ["stopped", "stopped"]
    assert page.evaluate("bot.ask('text')") == "hello"


def test_what_is_asked_while_it_connects_is_asked_when_it_is_open(visit):
    page = visit("/bot")
    assert page.evaluate("connect('/bot').ask('text')") == "hello"
    stopped = """() => {
      const other = connect('/bot');
      const asked = failure(other.ask('wait'));
      other.stop();
      return asked;
    }"""
    assert page.evaluate(stopped)["how"] == "stopped"


def test_a_connection_that_ends_ends_its_questions(visit):
    page = visit("/bot")
    both = page.evaluate("Promise.all(['close', 'text'].map((w) => failure(bot.ask(w))))")
    assert [each["how"] for each in both] == ["lost", "lost"]
    assert both[0]["words"] == "The bot has closed the connection: enough (4000)."
    assert page.evaluate("failure(bot.ask('text'))")["how"] == "lost"
    page.evaluate("bot.connect()")
    assert page.evaluate("bot.ask('text')") == "hello"


def test_who_names_protocols_has_plain_frames_and_no_answers(visit):
    page = visit("/bot", {"protocols": []})
    page.evaluate("bot.send('text')")
    page.wait_for_function("got.length === 1")
    assert page.evaluate("got") == ["hello"]
    assert page.evaluate("failure(bot.ask('text'))")["how"] == "unspoken"
    page = visit("/bot", {"protocols": ["wsh.v1"]})
    page.wait_for_function("got.length === 1")
    assert page.evaluate("JSON.parse(got[0]).wsh") == "v1"


@pytest.mark.parametrize("first", ["hello", None])
def test_a_proxy_that_agrees_for_a_plain_bot_is_seen(visit, first):
    def echo(socket):
        if first:
            socket.send(first)
        for message in socket:
            socket.send(message)

    plain = websockets.sync.server.serve(echo, "127.0.0.1", 0, subprotocols=["wsh.v1"])
    thread = threading.Thread(target=plain.serve_forever)
    thread.start()
    try:
        page = visit(f"ws://127.0.0.1:{plain.socket.getsockname()[1]}/")
        page.evaluate("bot.send('plain')")
        expected = [first, "plain"] if first else ["plain"]
        page.wait_for_function(f"got.length === {len(expected)}")
        assert page.evaluate("got") == expected
        page.evaluate("bot.close()")
    finally:
        plain.shutdown()
        thread.join()
