"""The counters in /metrics, and a log that a failing callback does not flood."""

from __future__ import annotations

import pytest
import websockets.exceptions
from support.server import running_server, wait_for

CONFIG = """
url:
  good:
    pattern: /good
    handler: WebSocketHandler
    kwargs: {on_message: metricbot.echo}
  bad:
    pattern: /bad
    handler: WebSocketHandler
    kwargs:
      on_message: {function: metricbot.fail}
      on_error: {close: false}
  limited:
    pattern: /limited
    handler: WebSocketHandler
    kwargs:
      on_message: metricbot.echo
      ratelimit: {messages: 1/min, then: error}
  blocking:
    pattern: /blocking
    handler: WebSocketHandler
    kwargs: {on_message: metricbot.block, run: loop, rooms: [one]}
"""

METRICBOT = """
import time

async def echo(handler, message):
    return message

def block(handler, message):
    time.sleep(0.8)
    return "done"

async def fail(handler, message):
    raise ValueError("always the same fault")
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    with running_server(CONFIG, folder=folder, modules={"metricbot.py": METRICBOT}) as running:
        yield running


def value(server, line):
    """Return the number behind a metric's name and labels, or None."""
    text = server.fetch("/metrics")[2].decode()
    found = [row for row in text.splitlines() if row.startswith(line + " ")]
    return float(found[0].split()[-1]) if found else None


def test_connections_are_counted_while_open_and_after(server):
    with server.connect_sync("/good") as one, server.connect_sync("/good"):
        one.send("hi")
        one.recv(timeout=5)
        wait_for(
            lambda: value(server, 'wshandler_connections{route="good"}') == 2,
            what="two open connections",
        )
    wait_for(
        lambda: value(server, 'wshandler_connections{route="good"}') == 0,
        what="no open connection",
    )
    assert value(server, 'wshandler_connections_opened_total{route="good"}') == 2
    assert value(server, 'wshandler_connections_closed_total{code="1000",route="good"}') == 2


def test_a_close_code_of_a_clients_own_is_counted_as_other(server):
    with server.connect_sync("/good") as one:
        one.close(4321, "mine")
    wait_for(
        lambda: value(server, 'wshandler_connections_closed_total{code="other",route="good"}'),
        what="the counter",
    )


def test_refusals_and_rate_limited_messages_are_counted(server):
    with pytest.raises(websockets.exceptions.InvalidStatus):
        server.connect_sync("/good", token=False).__enter__()
    assert value(server, 'wshandler_requests_refused_total{route="good",status="403"}') >= 1
    with server.connect_sync("/limited") as one:
        for _ in range(5):
            one.send("x")
        for _ in range(5):
            one.recv(timeout=5)
        assert value(server, 'wshandler_messages_rate_limited_total{route="limited"}') >= 3


def test_a_fault_that_repeats_is_written_whole_five_times_and_then_in_one_line_each(server):
    ids = []
    with server.connect_sync("/bad") as one:
        for _ in range(20):
            one.send("x")
            ids.append(one.recv(timeout=5).split('"id":"')[1][:8])
    assert value(server, 'wshandler_callback_errors_total{route="bad"}') == 20
    log = server.log_text()
    # Every id that a client was told can be found, but the traceback is there five times.
    assert all(error_id in log for error_id in ids)
    assert log.count("always the same fault") == 2 * 5  # its source line, and the exception
    assert log.count("ValueError at") == 15


def test_a_callback_that_blocks_the_event_loop_shows_in_its_lag(server):
    def late() -> float:
        """Return how often the loop was late for more than a tenth of a second."""
        name = "wshandler_event_loop_lag_seconds"
        return value(server, f"{name}_count") - value(server, f'{name}_bucket{{le="0.1"}}')

    before = late()
    with server.connect_sync("/blocking") as one:
        one.send("hi")
        assert one.recv(timeout=20) == "done"
        wait_for(lambda: late() > before, what="a loop that was late")
        assert value(server, 'wshandler_rooms{space="blocking"}') == 1
    wait_for(lambda: value(server, 'wshandler_rooms{space="blocking"}') is None, what="no room")
