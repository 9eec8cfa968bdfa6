"""Abuse of a server, case by case, and what comes of it in words: for a test and for a table.

``PYTHONPATH=tests python -m support.abuse`` runs every case against a raw Tornado handler and
against this package, and writes docs/abuse.md (`make abuse`).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from support.attacktable import measured_table
from support.bots import bot_text
from support.frames import BINARY, CLOSE, CONT, PING, PONG, TEXT, close, frame, packed, text
from support.latency import echo_pulse
from support.rounds import upgrade_request
from support.server import RunningServer, running_server, wait_for
from support.tornado_server import running_tornado
from support.usage import MIB, watched
from support.wire import Wire, elapsed, push

DOCUMENT = Path(__file__).parents[2] / "docs" / "abuse.md"

BOTS = bot_text("abuse")

YAML = """
url:
  echo: {pattern: /echo, handler: WebSocketHandler,
         kwargs: {on_message: bots.echo, on_close: bots.on_close}}
  packed: {pattern: /packed, handler: WebSocketHandler,
           kwargs: {on_message: bots.echo, compression: true}}
  slow: {pattern: /slow, handler: WebSocketHandler, kwargs: {on_message: bots.slow}}
  blocking: {pattern: /blocking, handler: WebSocketHandler, kwargs: {on_message: bots.blocking}}
  push: {pattern: /push, handler: WebSocketHandler, kwargs: {on_message: bots.push}}
  leave: {pattern: /leave, handler: WebSocketHandler, kwargs: {on_message: bots.leave}}
  report: {pattern: /report, handler: WebSocketHandler, kwargs: {on_message: bots.report}}
"""

HEADER_TIMEOUT = 1
"""Seconds that the administrator of our server gives a request's header here."""

BOUNDED = 12 * MIB
"""Growth of our memory at most, for one connection and what it is allowed to hold."""

MUCH = 32 * MIB
"""Growth of memory that the table tells of."""

NOTICED = 0.35
"""Seconds that another connection waits for its echo before we say that it had to."""


@dataclass
class Target:
    """One server under abuse: ours, or Tornado's handler."""

    server: RunningServer
    scale: int = 1

    def wire(self, path: str, **options: object) -> Wire:
        return Wire(self.server, path, seconds=20, **options)

    def ended(self, name: str) -> list[int | None]:
        """Return the close code of each run of on_close under this name."""
        with self.wire("/report") as wire:
            wire.send(text("?"))
            return json.loads(wire.message())["ended"].get(name, [])


@dataclass(frozen=True)
class Case:
    """One kind of abuse, and how it is done."""

    name: str
    run: Callable[[Target], str]


@dataclass(frozen=True)
class Outcome:
    """What came of it: in words, and in figures that the words rest on."""

    words: str
    growth: int
    waited: float


CASES: list[Case] = []


def case(name: str) -> Callable[[Callable[[Target], str]], Callable[[Target], str]]:
    def register(run: Callable[[Target], str]) -> Callable[[Target], str]:
        CASES.append(Case(name, run))
        return run

    return register


def measure(target: Target, one: Case) -> Outcome:
    """Run a case, with a look at the server's memory and at what another connection notices."""
    with echo_pulse(target.server, "/echo", 0.02) as pulse, watched(target.server.pid) as watch:
        words = one.run(target)
    if watch.growth > MUCH:
        words += f"; memory grows by over {MUCH // MIB} MiB"
    return Outcome(words, watch.growth, pulse.most)


def measure_both(theirs: Target, ours: Target, one: Case) -> tuple[Outcome, Outcome]:
    """Run a case on both servers at a time, and print what came of it."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(measure, target, one) for target in (theirs, ours)]
        tornado, mine = (future.result() for future in futures)
    print(one.name)
    for name, outcome in (("Tornado", tornado), ("ours", mine)):
        print(
            f"    {name}: {outcome.words} (memory {outcome.growth / MIB:+.1f} MiB, "
            f"others waited {outcome.waited * 1e3:.0f} ms at most)",
            flush=True,
        )
    return tornado, mine


def ending(wire: Wire) -> str:
    """Read to the close frame, or to the end of the stream; say how the server ended it."""
    codes, answers = [], 0
    try:
        while not codes and (got := wire.frame()) is not None:
            if got.opcode == CLOSE:
                codes.append(got.code)
            answers += got.opcode in (TEXT, BINARY)
    except TimeoutError:
        return "stays open"
    except (AssertionError, OSError):
        pass  # cut off in the middle of a frame
    said = f"close {codes[0]}" if codes else "TCP ends without a close frame"
    return f"answers, then {said}" if answers else said


# ---- frames ------------------------------------------------------------------------------------


OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}


@case("A compression bomb: 50 MiB of zeros in a frame of 50 KiB")
def bomb(target: Target) -> str:
    with target.wire("/packed", headers=OFFER) as wire:
        push(wire, frame(BINARY, packed(bytes(50 * MIB)), rsv=4))
        return ending(wire)


@case("A message in 100,000 fragments of one byte (a million in `make endurance`)")
def tiny_fragments(target: Target) -> str:
    count = 100_000 * target.scale
    with target.wire("/echo") as wire:
        push(wire, frame(TEXT, b"x", fin=False))
        chunk = frame(CONT, b"x", fin=False) * 10_000
        for _ in range(count // 10_000):
            push(wire, chunk)
        push(wire, frame(CONT, b"x") + close(1000))
        said = ending(wire)
        return "takes them all and answers" if said.startswith("answers") else said


@case("A flood of pings that never reads the answers")
def ping_flood(target: Target) -> str:
    count = 150_000 * target.scale
    with target.wire("/echo", receive_buffer=8192) as wire:
        chunk = frame(PING, b"p" * 125) * 1000
        for _ in range(count // 1000):
            push(wire, chunk)
        wire.send(text("still there?"))
        answered = 0
        while (got := wire.frame()) is not None and got.opcode == PONG:
            answered += 1
        # The echo may find the queue full of pongs: then a client that reads so late gets 1013.
        too_slow = got is not None and got.opcode == CLOSE and got.payload[:2] == b"\x03\xf5"
        if got is None or (got.opcode == CLOSE and not too_slow):
            return "the connection ends"
        return "answers all" if answered == count else "answers what there is room for"


@case("A message that is sent byte by byte")
def byte_by_byte(target: Target) -> str:
    with target.wire("/echo") as wire:
        data = text("x" * 2000)
        for at in range(len(data)):
            wire.send(data[at : at + 1])
        return "answers" if wire.message() == b"x" * 2000 else "answers something else"


@case("A frame without a mask")
def unmasked(target: Target) -> str:
    with target.wire("/echo") as wire:
        push(wire, frame(TEXT, b"hello", key=None) + close(1000))
        said = ending(wire)
        return "takes it as any other" if said == "answers, then close 1000" else said


@case("Text that is not UTF-8")
def bad_utf8(target: Target) -> str:
    with target.wire("/echo") as wire:
        push(wire, frame(TEXT, b"\xff"))
        return ending(wire)


@case("Text that is not UTF-8 in the first fragment of a message that never ends")
def bad_utf8_fragment(target: Target) -> str:
    with target.wire("/echo") as wire:
        wire.sock.settimeout(1.5)
        push(wire, frame(TEXT, b"\xff", fin=False))
        said = ending(wire)
        return "waits for the rest" if said == "stays open" else said


@case("Close codes that may not be sent: 0, 999, 1004, 1005, 1006, 1015, 2999, 5000")
def forbidden_codes(target: Target) -> str:
    said = set()
    for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000):
        with target.wire("/echo") as wire:
            push(wire, close(code))
            end = ending(wire)
            said.add("sends the same code back" if end == f"close {code}" else end)
    return " or ".join(sorted(said))


@case("A header that announces a message of 4 EiB")
def huge_length(target: Target) -> str:
    with target.wire("/echo") as wire:
        push(wire, b"\x82\xff\x40" + bytes(7) + b"mask" + b"and some data")
        return ending(wire)


# ---- leaving -----------------------------------------------------------------------------------


def on_close_said(target: Target, name: str) -> str:
    with contextlib.suppress(AssertionError):
        wait_for(lambda: target.ended(name), 8, "on_close")
    codes = target.ended(name)
    if not codes:
        return "on_close does not run"
    times = "once" if len(codes) == 1 else f"{len(codes)} times"
    return f"on_close runs {times}, close_code {codes[0]}"


@case("A client that half-closes its socket after a message")
def half_closed(target: Target) -> str:
    with target.wire("/echo?name=half") as wire:
        wire.send(text("hello"))
        wire.sock.shutdown(socket.SHUT_WR)
        said = "answers" if ending(wire).startswith("answers") else "does not answer"
    return f"{said}; {on_close_said(target, 'half')}"


@case("A TCP reset in the middle of a message")
def reset(target: Target) -> str:
    with target.wire("/echo?name=reset") as wire:
        wire.send(frame(BINARY, bytes(1000))[:500])
        time.sleep(0.1)
        wire.reset()
    return on_close_said(target, "reset")


@case("A close frame of the server's that is never answered")
def unanswered_close(target: Target) -> str:
    with target.wire("/leave") as wire:
        begun = time.monotonic()
        wire.send(text("close, please"))
        wire.sock.settimeout(12)
        said = ending(wire)
        while wire.frame() is not None:
            pass
        seconds = round(elapsed(begun))
    if not said.startswith("close 4000"):
        return said
    return "gives up after about 5 s" if 4 <= seconds <= 7 else f"gives up after {seconds} s"


# ---- floods ------------------------------------------------------------------------------------


@case("A client that floods messages into a slow coroutine")
def slow_flood(target: Target) -> str:
    limit = 64 * MIB
    chunk = frame(BINARY, bytes(1000)) * 64
    sent = 0
    with target.wire("/slow") as wire:
        wire.sock.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while sent < limit:
                sent += wire.sock.send(chunk)
    return "takes them all" if sent >= limit else "reads no more until there is room"


@case("A client that floods messages into a function that blocks")
def blocking_flood(target: Target) -> str:
    with target.wire("/echo") as other, target.wire("/blocking") as wire:
        wire.send(text("block") * 4)
        time.sleep(0.1)
        waits = []
        for _ in range(4):
            begun = time.monotonic()
            other.send(text("meanwhile"))
            other.message()
            waits.append(elapsed(begun))
        [wire.message() for _ in range(4)]
    return "all others wait" if max(waits) > NOTICED else "others do not wait"


@case("A client that never reads what the bot sends: 64 MiB")
def never_reads(target: Target) -> str:
    with target.wire("/push", receive_buffer=8192) as wire:
        wire.send(text(str(64 * 16)))
        time.sleep(2.5)
        # It looks at last, which shows what the server has made of it.
        wire.sock.settimeout(2)
        said, got = "keeps all of it", 0
        with contextlib.suppress(TimeoutError, AssertionError):
            while (one := wire.frame()) is not None:
                got += len(one.payload)
                if one.opcode == CLOSE:
                    return f"close {one.code}"
        return said if got == 64 * MIB else "keeps some of it"


# ---- before the upgrade ------------------------------------------------------------------------


def seconds_open(target: Target, most: float, drip: bytes = b"") -> float:
    """Return how long the server waits for a header that is not complete."""
    head = upgrade_request(target.server, "/echo")[:-2] + b"X-Slow: "
    with socket.create_connection((target.server.host, target.server.port)) as sock:
        sock.sendall(head)
        begun = time.monotonic()
        sock.settimeout(0.1)
        while elapsed(begun) < most:
            with contextlib.suppress(TimeoutError):
                if sock.recv(100) == b"":
                    break
            try:
                sock.sendall(drip)
            except OSError:
                break
        return elapsed(begun)


def waiting(target: Target, drip: bytes = b"") -> str:
    most = 3 * HEADER_TIMEOUT
    if seconds_open(target, most, drip) >= most:
        return f"still waits after {most} s (an hour is its default)"
    return "ends TCP after `header_timeout`, where that is set"


@case("A handshake that stalls in its header")
def stalled_handshake(target: Target) -> str:
    return waiting(target)


@case("A handshake that comes one byte at a time, for ever")
def slow_handshake(target: Target) -> str:
    return waiting(target, b"x")


@case("A handshake with a header of 1 MiB")
def huge_header(target: Target) -> str:
    head = upgrade_request(target.server, "/echo")[:-2]
    with socket.create_connection((target.server.host, target.server.port), timeout=10) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(head + b"X-Big: " + b"x" * MIB + b"\r\n\r\n")
        answer = b""
        with contextlib.suppress(OSError):
            answer = sock.recv(100)
    status = answer.split(b" ")[1].decode() if answer else ""
    return f"answers {status}" if status else "ends TCP at 64 KiB"


# ---- the table ---------------------------------------------------------------------------------


@contextlib.contextmanager
def our_target(folder: Path, scale: int = 1) -> Iterator[Target]:
    """Start a Jupyter server with the bots."""
    with running_server(
        YAML,
        folder=folder,
        modules={"bots.py": BOTS},
        extra_args=[f"--WSHandlerApp.header_timeout={HEADER_TIMEOUT}"],
    ) as server:
        yield Target(server, scale)


@contextlib.contextmanager
def tornado_target(folder: Path, scale: int = 1) -> Iterator[Target]:
    """Start a Tornado server with the same bots, as its own handlers."""
    with running_tornado(folder) as server:
        yield Target(server, scale)


ABOUT = """\
# Abuse

<!-- Generated by `make abuse`; tests/server/test_abuse.py compares it with what it measures. -->

What a client may try, what a raw Tornado {tornado} `WebSocketHandler` with its defaults does
then, and what a route of this package does with its defaults. Each line is what a test sees; it
also sees that memory grows by less than {bounded} MiB here and that another connection goes on
getting its echoes.

| abuse | raw Tornado | jupyter_wshandler |
|---|---|---|
"""

NOTES = """
`header_timeout` is off unless the administrator sets it, because it is the whole server's: also
an idle HTTP connection that a browser keeps is closed after that time.

```python
c.WSHandlerApp.header_timeout = 30  # seconds; Tornado's own default is an hour
```

Behind nginx it is not needed: nginx reads the whole header before it asks Jupyter, and
`client_header_timeout` in [examples/nginx](../examples/nginx) bounds that.
"""


def render(rows: list[tuple[str, str, str]]) -> str:
    """Return the text of the document."""
    import tornado

    head = ABOUT.format(tornado=tornado.version, bounded=BOUNDED // MIB)
    lines = [f"| {name} | {theirs} | {ours} |\n" for name, theirs, ours in rows]
    return head + "".join(lines) + NOTES


def documented() -> dict[str, tuple[str, str]]:
    """Return what the document says, by case: Tornado's column and ours."""
    rows = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] != "abuse":
            rows[cells[0]] = (cells[1], cells[2])
    return rows


def main() -> int:
    """Measure every case on both servers, and every attack on ours; write the document.

    Returns:
        1 where an attack is felt by others more than it may be.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        with (
            tornado_target(Path(folder) / "tornado") as theirs,
            our_target(Path(folder) / "ours") as ours,
        ):
            for one in CASES:
                outcomes = measure_both(theirs, ours, one)
                rows.append((one.name, outcomes[0].words, outcomes[1].words))
    table, faults = measured_table()
    DOCUMENT.write_text(render(rows) + table)
    print(f"wrote {os.path.relpath(DOCUMENT)}", *faults, sep="\n    FAULT ")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
