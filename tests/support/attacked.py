"""The server that is attacked: its bots, good and bad, its routes, and how it knows people."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from support.server import RunningServer, running_server

PEOPLE = '''
"""Everybody who brings "person-NAME" as a token is NAME."""

from pathlib import Path

from jupyter_server.auth.identity import PasswordIdentityProvider, User

class People(PasswordIdentityProvider):
    async def get_user_token(self, handler):
        token = self.get_token(handler) or ""
        if not token.startswith("person-"):
            return await super().get_user_token(handler)
        name = token.removeprefix("person-")
        if Path(__file__).with_name(f"{name}.unknown").exists():
            raise RuntimeError("the people's registry does not answer")
        return User(username=name, name=name)
'''

BOTS = r"""
import asyncio, gc, json, os, signal, threading, time
from pathlib import Path
import jupyter_wshandler as wsh

HERE = Path(__file__).parent

async def echo(handler, message):
    return message

def threaded_echo(handler, message):
    return message

def quick_rule(handler):
    return True

def slow_rule(handler):
    time.sleep(1.0)
    return True

async def report(handler, message):
    gc.collect()
    return {
        "names": sorted(task.get_name() for task in asyncio.all_tasks()),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "connections": len(wsh.connections()),
        "routes": sorted(c.route for c in wsh.connections()),
    }

# ---- writes --------------------------------------------------------------------------------------

def thread_writes(handler, message):
    for _ in range(int(message)):
        handler.write_message("x" * 65536)

def thread_pings(handler, message):
    for _ in range(int(message)):
        handler.ping(b"p" * 125)

def thread_sends(handler, message):
    def run():
        for _ in range(int(message)):
            wsh.send("thread-sends", "x" * 65536, to=me)
    me = handler.id
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

# ---- exceptions ----------------------------------------------------------------------------------

KINDS = {
    "exit": lambda: SystemExit(3),
    "interrupt": lambda: KeyboardInterrupt(),
    "cancelled": lambda: asyncio.CancelledError(),
    "generator": lambda: GeneratorExit(),
    "group": lambda: BaseExceptionGroup("two", [SystemExit(3), KeyboardInterrupt()]),
}

def fail(handler, place):
    if handler.args.get("place", [""])[0] == place:
        raise KINDS[handler.args["kind"][0]]()

async def fails_open(handler): fail(handler, "open")
async def fails_message(handler, message):
    fail(handler, "message")
    if handler.args.get("place", [""])[0] == "task":
        async def task():
            await asyncio.sleep(0)
            fail(handler, "task")
        handler.start_task(task())
async def fails_close(handler): fail(handler, "close")
async def fails_every(handler): fail(handler, "every")
async def fails_pong(handler, data): fail(handler, "pong")
async def fails_rule(handler):
    fail(handler, "rule")
    return True
def fails_rule_thread(handler):
    fail(handler, "rule")
    return True
def fails_protocol(handler, protocols):
    fail(handler, "protocol")
    return protocols[0] if protocols else None
def fails_thread(handler, message): fail(handler, "message")
async def fails_stream(handler, message):
    yield "one"
    fail(handler, "message")
def fails_thread_stream(handler, message):
    yield "one"
    fail(handler, "message")

async def fails_error(handler, error): fail(handler, "error")
async def fails_first(handler, message): raise ValueError("for on_error")

# ---- callbacks that take their time --------------------------------------------------------------

async def slow_second(handler, message):
    await asyncio.sleep(1.0)

async def waits(handler, message):
    await asyncio.sleep(4.0)

def sleeps(handler, message):
    time.sleep(float(message))
    return "slept"

async def swallows(handler, message):
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            pass

async def stuck_finally(handler, message):
    end = time.monotonic() + 10
    try:
        while True:
            yield "more"
            await asyncio.sleep(0.1)
    finally:
        while time.monotonic() < end:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                pass

def sleeps_on(handler, message):
    time.sleep(6)

async def swallows_close(handler):
    await swallows(handler, "")

# ---- errors, sessions, processes -----------------------------------------------------------------

def new_errors(handler, message):
    raise type("Error" + message, (Exception,), {})("of a class of its own")

def long_errors(handler, message):
    raise ValueError(message + "x" * 1_000_000)

class Unprintable(Exception):
    def __str__(self): raise RuntimeError("no text")
    __repr__ = __str__

def unprintable_errors(handler, message):
    raise Unprintable()

def deep_errors(handler, message):
    def deeper(n):
        if n: deeper(n - 1)
        else: raise ValueError("deep down")
    deeper(900)

def log_lines(handler, message):
    for n in range(int(message)):
        handler.log.warning("line %d %s", n, "x" * 200)
    return "logged"

def session_writes(handler, message):
    for n in range(int(message)):
        handler.session["n"] = n
    return "written"

async def counts(handler, message):
    handler.session["count"] = handler.session.get("count", 0) + 1
    return str(handler.session["count"])

def fills_session(handler, message):
    handler.session["much"] = [{"n": n, "text": "x" * 20} for n in range(400_000)]
    return "filled"

def kill_later(pid):
    timer = threading.Timer(4.0, os.kill, (pid, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    threading.Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()

def forks_and_sleeps(handler, message):
    pid = os.fork()
    if pid == 0:
        time.sleep(5)
        os._exit(0)
    kill_later(pid)
    return "forked"

def forks_and_returns(handler, message):
    pid = os.fork()
    if pid == 0:
        return "from the child"
    kill_later(pid)
    return "from the parent"

async def forks_on_the_loop(handler, message):
    pid = os.fork()
    if pid == 0:
        return "from the child"
    kill_later(pid)
    return "from the parent"
"""

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
