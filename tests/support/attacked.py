"""The server that is attacked: its bots, good and bad, its routes, and how it knows people."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from support.bots import bot_text
from support.server import RunningServer, running_server

PEOPLE = bot_text("people_by_token")

BOTS = bot_text("attacked")

IMPORTED = """
import time
from pathlib import Path

async def answer(handler, message):
    return "{version}"
"""
"""A module that is saved again and again."""

ENDLESS = (
    IMPORTED.format(version="endless")
    + """
end = time.monotonic() + 85
while not Path(__file__).with_name("import.ends").exists() and time.monotonic() < end:
    time.sleep(0.05)
"""
)
"""A module whose import ends when a file says so, and not before."""


def _route(name: str, callback: str, **kwargs: str) -> str:
    more = "".join(f", {key}: {value}" for key, value in kwargs.items())
    return (
        f"  {name}: {{pattern: /{name}, handler: WebSocketHandler, "
        f"kwargs: {{on_message: {callback}{more}}}}}\n"
    )


FAILS = {
    "open": "bots.fails_open",
    "on_close": "bots.fails_close",
    "on_pong": "bots.fails_pong",
    "every": "{50ms: bots.fails_every}",
    "select_subprotocol": "bots.fails_protocol",
}

YAML = "url:\n" + "".join(
    [
        _route("echo", "bots.echo"),
        _route("report", "bots.report"),
        _route("threaded", "bots.threaded_echo"),
        _route("ruled", "bots.echo", auth="{condition: bots.quick_rule}"),
        _route("slow-rule", "bots.echo", auth="{condition: bots.slow_rule}"),
        _route(
            "slow-rule-limited",
            "bots.echo",
            auth="{condition: bots.slow_rule}",
            max_connections="{user: 4}",
        ),
        _route("recheck", "bots.echo", auth="{recheck: 300ms}"),
        _route("thread-writes", "bots.thread_writes", queue="{bytes: 1MiB}"),
        _route("thread-drops", "bots.thread_writes", queue="{bytes: 1MiB, slow: drop_oldest}"),
        _route("thread-pings", "bots.thread_pings", queue="{bytes: 1MiB}"),
        _route("thread-sends", "bots.thread_sends", queue="{bytes: 1MiB}"),
        _route("big", "bots.echo", max_message="4MiB", queue="{bytes: 8MiB}"),
        _route("packed", "bots.waits", max_message="10MiB", compression="true"),
        _route("seconds", "bots.slow_second", max_connections="{user: 1}"),
        _route("sleeps", "bots.sleeps"),
        _route("fails", "bots.fails_message", auth="{condition: bots.fails_rule}", **FAILS),
        _route("fails-thread", "bots.fails_thread", auth="{condition: bots.fails_rule_thread}"),
        _route("fails-stream", "bots.fails_stream"),
        _route("fails-thread-stream", "bots.fails_thread_stream"),
        _route("swallows", "bots.swallows", timeout="500ms", max_connections="{user: 1}"),
        _route("stuck", "bots.stuck_finally", max_connections="{user: 1}"),
        _route("fails-error", "bots.fails_first", on_error="bots.fails_error"),
        _route("past", "bots.sleeps_on", timeout="500ms", max_connections="{user: 1}"),
        _route(
            "stays",
            "bots.echo",
            on_close="bots.swallows_close",
            timeout="500ms",
            max_connections="{user: 1}",
        ),
        _route("unprintable", "bots.unprintable_errors", on_error="{close: false}"),
        _route("deep-errors", "bots.deep_errors", on_error="{close: false}"),
        _route("logs", "bots.log_lines"),
        _route("writes-session", "bots.session_writes"),
        _route("squeezed", "bots.echo", compression="true"),
        _route("new-errors", "bots.new_errors", on_error="{close: false}"),
        _route("long-errors", "bots.long_errors", on_error="{close: false}"),
        _route("counts", "bots.counts"),
        _route("fills", "bots.fills_session"),
        _route("forks-sleeps", "bots.forks_and_sleeps"),
        _route("forks-returns", "bots.forks_and_returns"),
        _route("forks-loop", "bots.forks_on_the_loop"),
        _route("pinged", "bots.echo", ping_interval="1ms"),
        _route("hangs", "hangs.answer"),
        _route("other", "other.answer"),
    ]
)

MODULES = {
    "bots.py": BOTS,
    "people.py": PEOPLE,
    "hangs.py": IMPORTED.format(version="first"),
    "other.py": IMPORTED.format(version="first"),
}


@contextlib.contextmanager
def attacked_server(folder: Path, extra_args: tuple[str, ...] = ()) -> Iterator[RunningServer]:
    """Start a Jupyter server with the bots."""
    with running_server(
        YAML,
        folder=folder,
        modules=MODULES,
        extra_args=[
            "--ServerApp.identity_provider_class=people.People",
            *extra_args,
        ],
        env={"PYTHONPATH": str(folder)},
    ) as server:
        yield server


WARM_UP = 1.0
"""Seconds after a start in which Jupyter has things of its own to do."""


class Ground:
    """A server to attack, that is started anew where an attack has ended it."""

    def __init__(self, folder: Path, extra_args: tuple[str, ...] = ()) -> None:
        self._folder, self._extra_args = folder, extra_args
        self._stack = contextlib.ExitStack()
        self._server: RunningServer | None = None
        self._turn = 0

    @property
    def server(self) -> RunningServer:
        """A server that runs and answers."""
        if self._server is not None and not self.answers:
            self.close()
        if self._server is None:
            self._turn += 1
            folder = self._folder / f"server-{self._turn}"
            context = attacked_server(folder, self._extra_args)
            self._server = self._stack.enter_context(context)
            time.sleep(WARM_UP)
        return self._server

    @property
    def answers(self) -> bool:
        """Whether the server lives and answers a request."""
        if self._server is None or self._server.process.poll() is not None:
            return False
        try:
            return self._server.fetch("api/status")[0] == 200
        except OSError:
            return False

    def close(self) -> None:
        """Stop the server, if one runs."""
        self._stack.close()
        self._server = None

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
