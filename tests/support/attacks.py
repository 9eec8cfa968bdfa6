"""Attacks on a running server, each by a user of its own: what is done, and what comes of it.

An attack runs in a process of its own at a lower priority (``python -m support.attacks``), so that
a bystander's figures tell of the server and not of the attacker's load on the machine. The attacks
themselves are in `attacks_clients` and `attacks_bots`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from support.bystander import remote
from support.frames import CLOSE
from support.notebook import Notebook
from support.server import RunningServer
from support.usage import watched
from support.wire import Wire

NICE = 5
"""How far an attacker's process steps back behind the server and the bystander."""

ATTACK_SECONDS = 100
"""Seconds that one attack may take in its own process."""

NEVER = "no answer"
"""What an attacker is told who waits for an answer that does not come."""


@dataclass
class Attacker:
    """One user who attacks a server.

    Args:
        server: The server.
        user: The user's name; nobody else has it.
        size: How much of it: 1 for `make abuse`, less for `make test`.
    """

    server: RunningServer
    user: str
    size: float = 1.0
    begun: float = 0.0
    ended: float = 0.0
    growth: int = 0

    def wire(self, path: str, early: bytes = b"", *, user: str = "", **options) -> Wire:
        """Return a connection that has sent its handshake."""
        headers = self.server.headers(f"person-{user or self.user}") | options.pop("headers", {})
        options.setdefault("seconds", 20)
        return Wire(self.server, path, early, headers=headers, **options)

    @contextlib.contextmanager
    def active(self, *pids: int) -> Iterator[None]:
        """Do the worst within the block: this is the time that others are asked about.

        Args:
            pids: Processes whose memory is watched beside the server's.
        """
        with contextlib.ExitStack() as stack:
            watches = [
                stack.enter_context(watched(pid))
                for pid in (self.server.pid, *pids)
                if os.path.exists(f"/proc/{pid}")
            ]
            self.begun = self.begun or time.monotonic()
            try:
                yield
            finally:
                self.ended = time.monotonic()
                stack.close()
                self.growth = max([self.growth, *(one.growth for one in watches)])

    @contextlib.contextmanager
    def notebook(self) -> Iterator[Notebook]:
        """Open a notebook with a kernel of its own."""
        opened = Notebook(self.server)
        try:
            yield opened
        finally:
            with contextlib.suppress(AssertionError, OSError):
                opened.close()


@dataclass(frozen=True)
class Attack:
    """One kind of attack: a sentence, and how it is done.

    Args:
        name: A name for a test's id.
        words: What the attacker does.
        run: Does it, and returns what the attacker sees in the end.
        probe: The bystander's path and mode; see `support.bystander`.
        memory: MiB that the server, or a kernel, may grow by; None where nobody has said.
        alone: Whether it holds up what all share, so that nobody else may attack meanwhile.
    """

    name: str
    words: str
    run: Callable[[Attacker], str]
    probe: tuple[str, str] = ("/echo", "echo")
    memory: int | None = None
    alone: bool = False


ATTACKS: dict[str, Attack] = {}


def attack(words: str, **options) -> Callable[[Callable[[Attacker], str]], Callable]:
    """Register an attack under its function's name."""

    def register(run: Callable[[Attacker], str]) -> Callable[[Attacker], str]:
        name = run.__name__.replace("_", "-")
        ATTACKS[name] = Attack(name, words, run, **options)
        return run

    return register


def all_attacks() -> dict[str, Attack]:
    """Return every attack by name, in the order of the table."""
    from support import attacks_bots, attacks_clients, attacks_more  # noqa: F401

    return ATTACKS


# ---- how it ends ---------------------------------------------------------------------------------


def ending(wire: Wire, seconds: float = 5.0) -> str:
    """Read to the end of the stream; say how the server ended it."""
    wire.sock.settimeout(seconds)
    code = None
    try:
        while (got := wire.frame()) is not None:
            if got.opcode == CLOSE:
                code = got.code
                break
    except TimeoutError:
        return "stays open"
    except (AssertionError, OSError):
        pass  # cut off in the middle of a frame
    return "TCP ends without a close frame" if code is None else f"close {code}"


def answer(wire: Wire, seconds: float = 5.0) -> str:
    """Return the next message, or how the connection ended instead."""
    wire.sock.settimeout(seconds)
    try:
        while (got := wire.frame()) is not None:
            if got.opcode == CLOSE:
                return f"close {got.code}"
            if got.opcode in (1, 2):
                return got.payload.decode(errors="replace")
    except TimeoutError:
        return NEVER
    except (AssertionError, OSError):
        pass
    return "TCP ends without a close frame"


def status(wire: Wire, seconds: float = 10.0) -> int:
    """Return the status that a handshake was answered with; 0 where there was no answer."""
    wire.sock.settimeout(seconds)
    try:
        while b"\r\n\r\n" not in wire.data:
            chunk = wire.sock.recv(65536)
            if not chunk:
                return 0
            wire.data += chunk
    except OSError:
        return 0
    head, _, wire.data = wire.data.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1])


def several(found: list[str]) -> str:
    """Join what several connections have seen, each once."""
    return " or ".join(sorted(set(found)))


class Flood:
    """Send the same bytes over and over on a connection, and throw away what comes back."""

    def __init__(self, wire: Wire, chunk: bytes) -> None:
        self.wire, self._chunk, self._at = wire, memoryview(chunk), 0
        self._tail = b""
        self.ended = False

    def turn(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                got = self.wire.sock.recv(262_144)
                self.ended = not got
                self._tail = (self._tail + got)[-127:]
            if events & selectors.EVENT_WRITE and not self.ended:
                self._at += self.wire.sock.send(self._chunk[self._at :])
                self._at %= len(self._chunk)
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def said(self) -> str:
        """Say how it ended: the close frame is the last that has come."""
        for at in range(len(self._tail)):
            if self._tail[at] == 0x88 and self._tail[at + 1 : at + 2] == bytes(
                [len(self._tail) - at - 2]
            ):
                return f"close {int.from_bytes(self._tail[at + 2 : at + 4], 'big')}"
        return "TCP ends without a close frame" if self.ended else "is served as it goes"


def flood(
    attacker: Attacker, path: str, chunk: bytes, first: bytes = b"", clients: int = 4, **options
) -> str:
    """Flood a route from several clients at a time."""
    floods = [
        Flood(attacker.wire(path, first, user=f"{attacker.user}-{n}", **options).open(), chunk)
        for n in range(clients)
    ]
    with selectors.DefaultSelector() as selector, attacker.active():
        for one in floods:
            one.wire.sock.setblocking(False)
            selector.register(one.wire.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, one)
        end = time.monotonic() + 2.0 * attacker.size
        while time.monotonic() < end and selector.get_map():
            for key, events in selector.select(0.1):
                key.data.turn(events)
                if key.data.ended:
                    selector.unregister(key.fileobj)
    said = several([one.said() for one in floods])
    for one in floods:
        one.wire.reset()
    return said


# ---- a process of its own ------------------------------------------------------------------------


@dataclass
class Result:
    """What an attacker has seen, and when; `growth` is of memory, in bytes."""

    words: str
    begun: float
    ended: float
    growth: int = 0


def start(server: RunningServer, *arguments: str) -> subprocess.Popen:
    """Start the attackers' process."""
    where = (server.host, str(server.port), server.token, str(server.folder), str(server.pid))
    return subprocess.Popen(
        [sys.executable, "-m", __name__, *where, *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def run_attack(server: RunningServer, name: str, size: float = 1.0) -> Result:
    """Run an attack in a process of its own and return what came of it."""
    begun = time.monotonic()
    process = start(server, "one", name, str(size))
    try:
        said, _ = process.communicate(timeout=ATTACK_SECONDS)
    except subprocess.TimeoutExpired:
        return Result("the attack does not end", begun, time.monotonic())
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert said, f"{name} has said nothing"
    return Result(**json.loads(said.splitlines()[-1]))


_turns = itertools.count(1)


def attack_once(server: RunningServer, one: Attack, size: float) -> Result:
    """Run an attack here, as a user that nobody has been before."""
    attacker = Attacker(server, f"{one.name}-{os.getpid()}-{next(_turns)}", size)
    begun = time.monotonic()
    try:
        words = one.run(attacker)
    except (AssertionError, OSError) as error:
        words = f"the server does not answer ({type(error).__name__}: {str(error)[:120]})"
    return Result(
        words.replace("|", "/").replace("\n", " "),
        attacker.begun or begun,
        attacker.ended or time.monotonic(),
        attacker.growth,
    )


def main() -> None:
    """Run one attack and print what came of it, or attack at random until standard input ends."""
    from support.attacks import all_attacks, attack_once  # the module, not this script's copy

    host, port, token, folder, pid, what, *rest = sys.argv[1:]
    server = remote(host, port, token, folder, pid)
    os.nice(NICE)
    if what == "one":
        print(json.dumps(vars(attack_once(server, all_attacks()[rest[0]], float(rest[1])))))
    else:
        from support.attacks_random import attack_at_random

        attack_at_random(server, float(rest[0]), int(rest[1]), rest[2:])


if __name__ == "__main__":
    main()
