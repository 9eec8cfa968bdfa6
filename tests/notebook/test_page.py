"""A plain page of a web developer's, on a bot that a data scientist is editing."""

from __future__ import annotations

import pytest
from support.browser import errors_of, profile, running_chromium
from support.notebook import notebook
from support.server import RunningServer, running_server

PAGE = """<!doctype html>
<title>A page</title>
<script>
  const sent = [], got = [], closed = [];
  const socket = new WebSocket(location.href.split("?")[0].replace("http", "ws"));
  socket.onmessage = (event) => got.push(event.data);
  socket.onclose = (event) => closed.push(event.code);
  let next = 0;
  socket.onopen = () => {
    const timer = setInterval(() => {
      if (window.enough) return clearInterval(timer);
      socket.send(String(next));
      sent.push(next++);
    }, 3);
  };
</script>
"""
SERVE = """
import jupyter_wshandler as wsh
def on_message(handler, message):
    return '{turn} ' + message
bot = wsh.serve('/bot', on_message=on_message, page='page.html')
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> RunningServer:
    folder = tmp_path_factory.mktemp("server")
    (folder / "page.html").write_text(PAGE)
    with running_server(folder=folder, base_url="/user/ada/") as running:
        yield running


def test_a_page_keeps_its_socket_through_ten_re_runs_of_the_cell_and_loses_no_message(server):
    with notebook(server) as book, running_chromium() as chromium, profile(chromium) as context:
        book.run(SERVE.format(turn=0))
        page = context.new_page()
        errors = errors_of(page)
        page.goto(f"{server.url}bot?token={server.token}")
        for turn in range(1, 11):
            book.run(SERVE.format(turn=turn))
            page.wait_for_function(f"got.some((answer) => answer.startsWith('{turn} '))")
        page.evaluate("window.enough = true")
        page.wait_for_function("got.length === sent.length")
        answers = [answer.split() for answer in page.evaluate("got")]
        assert [int(number) for _, number in answers] == page.evaluate("sent")
        turns = [int(turn) for turn, _ in answers]
        assert turns == sorted(turns)
        assert set(turns) >= set(range(1, 11))
        assert page.evaluate("closed") == []
        assert errors == []
