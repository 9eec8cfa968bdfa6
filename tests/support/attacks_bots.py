"""Attacks by bots: in modules, in notebooks' kernels, and on what the bots of a server share."""

from __future__ import annotations

import contextlib
import json
import select
import sqlite3
import time
import uuid
from pathlib import Path

from support.attacked import ENDLESS, IMPORTED
from support.attacks import Attacker, answer, attack, ending, several, status
from support.attacks_clients import QUEUE, SLACK
from support.frames import PONG, close, frame, text
from support.notebook import Notebook
from support.wire import Wire, push

LINK = """
import sys, threading
import jupyter_wshandler as wsh
wsh.serve("/{name}", on_message=lambda handler, message: message, name="{name}")
link = sys.modules["jupyter_wshandler.notebook.serve"]._link
"""
"""A bot in a kernel, and the kernel's side of the bridge."""


def serve(notebook: Notebook, name: str, **words: str) -> None:
    """Serve an echo from a kernel."""
    notebook.run(LINK.format(name=name, **words))


def asked(attacker: Attacker, path: str, seconds: float = 10.0) -> str:
    """Say whether a bot answers a new connection."""
    with contextlib.closing(attacker.wire(path)) as wire:
        got = status(wire, seconds)
        if got != 101:
            return str(got)
        push(wire, text("there?"))
        said = answer(wire, seconds)
    return "answers" if said == "there?" else said


# ---- notebooks -----------------------------------------------------------------------------------


@attack(
    "A notebook's cell that sends 64 KiB thousands of times to a client that does not read",
    memory=QUEUE + SLACK,
)
def cell_sends(attacker: Attacker) -> str:
    name = attacker.user
    with attacker.notebook() as notebook:
        serve(notebook, name)
        pid = notebook.pid()
        with attacker.wire(f"/{name}", receive_buffer=8192) as wire:
            push(wire, text("hello"))
            answer(wire)
            with attacker.active(pid):
                notebook.wait(
                    notebook.start(
                        f"for _ in range({int(3_000 * attacker.size)}):\n"
                        f"    wsh.bots['{name}'].send('x' * 65536)"
                    ),
                    60,
                )
                time.sleep(1.0)
            return ending(wire)


@attack("`wsh.serve` 300 times in a notebook's loop")
def many_bots(attacker: Attacker) -> str:
    name = attacker.user
    with attacker.notebook() as notebook:
        serve(notebook, name)
        with attacker.active():
            notebook.wait(
                notebook.start(
                    "for n in range(300):\n"
                    f"    wsh.serve(f'/{name}/{{n}}', on_message=lambda h, m: m, wait=0)"
                ),
                60,
            )
            said = asked(attacker, f"/{name}")
        return f"its bot {said}"


RAW = """
def attack():
    link._courier._number += 1
    batch = {{"n": link._courier._number, "events": {events}}}
    link._transmit(link._comm_id, link._pipe, batch, [])
threading.Timer(1.0, link.loop.call_soon_threadsafe, (attack,)).start()
"""
"""It comes a second later, when the notebook's page is closed: what a kernel puts out, Jupyter
itself reads and writes again for each open page, and that is not what is asked about here."""


def raw_batch(attacker: Attacker, events: str) -> str:
    """Send one batch of a kernel's, as no version of this package does."""
    name = attacker.user
    with attacker.notebook() as notebook:
        serve(notebook, name)
        with attacker.wire(f"/{name}") as wire:
            push(wire, text("hello"))
            answer(wire)
            notebook.run(f"known = [c.id for c in wsh.bots['{name}'].connections][0]")
            notebook.run(RAW.format(events=events))
            notebook.leave()
            with attacker.active():
                time.sleep(3.5)
            said = ending(wire, 3.0)
    return f"its client {said}"


@attack("A kernel's batch of 300,000 events for nobody")
def kernel_batch(attacker: Attacker) -> str:
    return raw_batch(attacker, '[["text", "nobody", "x"]] * 300_000')


@attack("A kernel's batch of 300,000 messages for one client")
def kernel_messages(attacker: Attacker) -> str:
    return raw_batch(attacker, '[["text", known, "x"]] * 300_000')


@attack("A kernel that closes its client with a code that may not be sent, 99999")
def kernel_close_code(attacker: Attacker) -> str:
    return raw_batch(attacker, '[["close", known, 99999, ""]]')


@attack("A notebook that deletes the subshell which its bots are reached through")
def deleted_subshell(attacker: Attacker) -> str:
    name = attacker.user
    with attacker.notebook() as notebook:
        serve(notebook, name)
        if asked(attacker, f"/{name}") != "answers":
            return "its bot has never answered"
        with attacker.active():
            found = notebook.run(
                "print(*get_ipython().kernel.shell_channel_thread.manager.list_subshell())"
            ).text.split()
            for one in found:
                tell(notebook, "delete_subshell_request", {"subshell_id": one})
            time.sleep(0.5)
            said = asked(attacker, f"/{name}", 20)
            if said != "answers":
                time.sleep(1.0)  # the first may find that out
                said = asked(attacker, f"/{name}", 20)
    return f"its bot {said}"


def tell(notebook: Notebook, kind: str, content: dict) -> None:
    """Send a request on a kernel's control channel."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "username": "test",
        "session": notebook._session,
        "msg_type": kind,
        "version": "5.3",
        "date": "2026-01-01T00:00:00Z",
    }
    message = {"channel": "control", "header": header, "content": content}
    notebook._socket.send(json.dumps({**message, "parent_header": {}, "metadata": {}}))


# ---- modules -------------------------------------------------------------------------------------


@attack("A module whose import never ends is saved, then a better one", alone=True)
def endless_import(attacker: Attacker) -> str:
    ends = attacker.server.folder / "import.ends"
    try:
        return save_twice(attacker, ENDLESS)
    finally:
        ends.touch()
        time.sleep(0.5)
        ends.unlink()


def save_twice(attacker: Attacker, first: str) -> str:
    """Save a module that cannot be imported, then one that can; say whether that is served."""
    module, version = attacker.server.folder / "hangs.py", f"saved by {attacker.user}"
    with attacker.active(), attacker.wire("/hangs") as wire:
        module.write_text(first)
        time.sleep(1.0)
        module.write_text(IMPORTED.format(version=version))
        end, said = time.monotonic() + IMPORT_SECONDS, ""
        while said != version and time.monotonic() < end:
            push(wire, text("which?"))
            said = answer(wire)
            time.sleep(0.2)
    return "the next save is served" if said == version else "no save is served any more"


IMPORT_SECONDS = 75
"""Seconds after which an import has been given up, and the next save taken."""


def past_its_time(attacker: Attacker, path: str, leave: bool) -> str:
    """Leave a callback that does not end; say when the user may come back."""
    with attacker.active():
        with attacker.wire(path) as wire:
            push(wire, text("go"))
            answer(wire, 0.3)
            said = "" if leave else ending(wire, 4.0)
            if leave:
                wire.reset()
        end = time.monotonic() + 4
        while (got := try_once(attacker, path)) != 101 and time.monotonic() < end:
            time.sleep(0.2)
    back = "the seat is free" if got == 101 else f"{got} for the user"
    return ", then ".join(filter(None, (said, back)))


def try_once(attacker: Attacker, path: str) -> int:
    with contextlib.closing(attacker.wire(path)) as wire:
        return status(wire)


@attack("A coroutine that swallows CancelledError, past its `timeout`")
def swallowed_cancellation(attacker: Attacker) -> str:
    return past_its_time(attacker, "/swallows", leave=False)


@attack("A generator that is stuck in its `finally` when its client leaves")
def stuck_generator(attacker: Attacker) -> str:
    return past_its_time(attacker, "/stuck", leave=True)


# ---- what all share ------------------------------------------------------------------------------


def session_cookie(wire: Wire) -> str:
    """Return what a browser sends when it comes back."""
    lines = [line for line in wire.head.split("\r\n") if line.lower().startswith("set-cookie:")]
    return "; ".join(line.split(":", 1)[1].split(";")[0].strip() for line in lines)


RETURNING = 10
"""Browsers that come back while the store hangs, and as many that are new."""


@attack("A session store that hangs for 6 s while 10 browsers come back", alone=True)
def hanging_store(attacker: Attacker) -> str:
    cookies = []
    for n in range(RETURNING):
        with attacker.wire("/counts", user=f"{attacker.user}-{n}") as wire:
            push(wire, text("first"))
            answer(wire)
            cookies.append(session_cookie(wire))
            push(wire, close(1000))
            ending(wire)
    store = attacker.server.folder / ".jupyter-state/data/wshandler-sessions.db"
    end = time.monotonic() + 10
    while not saved(store, RETURNING) and time.monotonic() < end:
        time.sleep(0.1)
    with contextlib.closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            with attacker.active():
                with attacker.wire("/counts") as wire:  # what is saved waits for the lock
                    push(wire, text("more"))
                    answer(wire)
                    push(wire, close(1000))
                    ending(wire)
                time.sleep(0.2)
                begun = time.monotonic()
                wires = [
                    attacker.wire("/counts", user=f"{attacker.user}-{n}", headers={"Cookie": one})
                    for n, one in enumerate(cookies)
                ]
                found = [str(status(wire, 6)) for wire in wires]
                took = time.monotonic() - begun
                for wire in wires:
                    wire.close()
                time.sleep(max(0.0, 6.0 - took))
        finally:
            other.execute("ROLLBACK")
    return f"{several(found)} within {'3 s' if took < 3 else 'more than 3 s'}"


def saved(store: Path, count: int) -> bool:
    """Whether so many sessions are in the store."""
    if not store.exists():
        return False
    with contextlib.closing(sqlite3.connect(store)) as other, contextlib.suppress(sqlite3.Error):
        return other.execute("SELECT count(*) FROM wshandler_sessions").fetchone()[0] >= count
    return False


@attack("A session of 400,000 entries, four times")
def oversized_session(attacker: Attacker) -> str:
    found = []
    with attacker.active():
        for _ in range(4):
            with attacker.wire("/fills") as wire:
                push(wire, text("fill"))
                found.append(answer(wire, 20))
    return several(found)


@attack("1,000 errors, each of a class of its own")
def new_error_classes(attacker: Attacker) -> str:
    return errors(attacker, "/new-errors", 1000)


@attack("40 errors with a message of 1 MB")
def long_errors(attacker: Attacker) -> str:
    return errors(attacker, "/long-errors", 40)


def errors(attacker: Attacker, path: str, count: int) -> str:
    """Make a bot fail many times; say how much of it is in the log."""
    log = attacker.server.log_path
    before = log.stat().st_size
    with attacker.wire(path) as wire, attacker.active():
        for n in range(count):
            push(wire, text(f"N{n}"))
            said = answer(wire)
            if "internal error" not in said:
                return said
    grown = (log.stat().st_size - before) / 1024
    # A line each is at most 300 bytes, beside some tracebacks of a few KiB.
    return f"the log grows by {'a line' if grown < count * 0.4 + 100 else 'far more'} each"


def forks(attacker: Attacker, path: str) -> str:
    found = []
    with attacker.active():
        for _ in range(3):
            with attacker.wire(path) as wire:
                push(wire, text("fork"))
                said = answer(wire, 6)
                # The child lives for some seconds: the stream ends when the server says so.
                push(wire, frame(8, b"\x03\xe8"))
                found.append(f"{said}, then {left(wire)}")
        time.sleep(1.0)
    return several(found)


def left(wire: Wire) -> str:
    """Read to the end of TCP after a close frame."""
    more = []
    wire.sock.settimeout(2.0)
    try:
        while (got := wire.frame()) is not None:
            more.append(got)
    except TimeoutError:
        return "TCP stays open"
    except (AssertionError, OSError):
        return "TCP ends"
    return "TCP ends" if len(more) == 1 else "more than a close frame"


@attack("A callback that forks a child, which sleeps")
def forked_sleeper(attacker: Attacker) -> str:
    return forks(attacker, "/forks-sleeps")


@attack("A `def` that forks a child, which returns from the callback")
def forked_return(attacker: Attacker) -> str:
    return forks(attacker, "/forks-returns")


@attack("A coroutine that forks a child on the event loop, which returns")
def forked_loop(attacker: Attacker) -> str:
    return forks(attacker, "/forks-loop")


@attack("50 connections to a route with `ping_interval: 1ms`, which answer every ping")
def constant_pings(attacker: Attacker) -> str:
    wires = [attacker.wire("/pinged") for _ in range(50)]
    found = {status(wire) for wire in wires}
    pings = 0
    with attacker.active(), contextlib.ExitStack() as stack:
        for wire in wires:
            stack.callback(wire.close)
        if found != {101}:
            return f"the route answers {several([str(one) for one in found])}"
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            for ready in select.select([wire.sock for wire in wires], (), (), 0.1)[0]:
                pings += ready.recv(4096).count(b"\x89\x00")
                ready.send(frame(PONG))
    return "pings at most once in 100 ms" if pings <= 50 * 21 else "pings without a pause"
