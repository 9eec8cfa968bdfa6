"""Attacks by clients: with handshakes, frames, messages, bodies, and by leaving."""

from __future__ import annotations

import contextlib
import socket
import time

from support.attacks import Attacker, answer, attack, ending, flood, several, status
from support.frames import BINARY, CONT, PING, PONG, TEXT, frame, packed, text
from support.wire import push

QUEUE = 1
"""MiB of the routes' `queue`."""

SLACK = 8
"""MiB that a bounded queue may cost beside what is in it."""

INBOX = 1
"""MiB that may wait on the way in beside one message of the largest size."""


# ---- identity ------------------------------------------------------------------------------------


@attack("50 connections whose login nobody can answer for any more (`recheck: 300ms`)")
def identity_fails(attacker: Attacker) -> str:
    wires = [attacker.wire("/recheck").open() for _ in range(50)]
    marker = attacker.server.folder / f"{attacker.user}.unknown"
    try:
        with attacker.active():
            marker.touch()
            end = time.monotonic() + 6
            return several([ending(wire, max(0.05, end - time.monotonic())) for wire in wires])
    finally:
        marker.unlink()
        for wire in wires:
            wire.close()


# ---- what a bot sends to a client that does not read ---------------------------------------------


READERS = 4
"""Clients of a user that do not read."""


def unread(attacker: Attacker, path: str, clients: int = READERS) -> str:
    count = text(str(int(15_000 * attacker.size)))
    with contextlib.ExitStack() as stack:
        wires = [
            stack.enter_context(attacker.wire(path, receive_buffer=8192)) for _ in range(clients)
        ]
        with attacker.active():
            for wire in wires:
                wire.send(count)
            time.sleep(0.5 + 2.0 * attacker.size)
        return several([ending(wire) for wire in wires])


@attack(
    "A `def` that writes 64 KiB thousands of times to clients that do not read, four at a time",
    memory=READERS * QUEUE + SLACK,
)
def thread_writes(attacker: Attacker) -> str:
    return unread(attacker, "/thread-writes")


@attack(
    "The same where the route drops the oldest (`slow: drop_oldest`)",
    memory=READERS * QUEUE + SLACK,
)
def thread_writes_dropped(attacker: Attacker) -> str:
    return unread(attacker, "/thread-drops")


@attack(
    "`wsh.send` in a loop of a thread, to a client that does not read",
    memory=QUEUE + SLACK,
)
def thread_sends(attacker: Attacker) -> str:
    return unread(attacker, "/thread-sends", clients=1)


@attack("A `def` that pings half a million times", memory=QUEUE + SLACK)
def thread_pings(attacker: Attacker) -> str:
    with attacker.wire("/thread-pings", receive_buffer=8192) as wire:
        with attacker.active():
            wire.send(text(str(500_000)))
            time.sleep(3.0)
        wire.sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError, AssertionError, OSError):
            while wire.frame() is not None:
                pass
    return "sends what there is room for"


# ---- fragments -----------------------------------------------------------------------------------


@attack("A message of 4 MiB in fragments of 64 bytes")
def small_fragments(attacker: Attacker) -> str:
    piece = b"y" * 64
    whole = frame(TEXT, piece, fin=False) + frame(CONT, piece, fin=False) * (65_536 - 2)
    with attacker.wire("/big") as wire, attacker.active():
        push(wire, whole + frame(CONT, piece))
        said = answer(wire, 20)
    return "answers" if said == "y" * 64 * 65_536 else said[:40]


@attack("A message of empty fragments that never ends")
def empty_fragments(attacker: Attacker) -> str:
    chunk = frame(CONT, b"", fin=False) * 10_000
    return flood(attacker, "/big", chunk, frame(TEXT, b"x", fin=False), clients=1)


# ---- bodies, by a stranger -----------------------------------------------------------------------

API = "/wshandler/api/tickets"


def body(
    attacker: Attacker,
    path: str,
    data: bytes,
    *,
    method: str = "POST",
    length: int | None = None,
    user: str = "",
) -> socket.socket:
    """Send a request with a body, by a stranger or by a user; return its socket."""
    server = attacker.server
    sock = socket.create_connection((server.host, server.port), timeout=20)
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
        "Content-Type: application/json\r\n"
        + (f"Authorization: token person-{user}\r\n" if user else "")
        + f"Content-Length: {len(data) if length is None else length}\r\n\r\n"
    )
    with contextlib.suppress(OSError):  # it may be refused before its end
        sock.sendall(head.encode() + data)
    return sock


def refusal(sock: socket.socket, seconds: float = 10.0) -> str:
    """Return the status of an answer."""
    sock.settimeout(seconds)
    got = b""
    try:
        while b"\r\n" not in got:
            chunk = sock.recv(4096)
            if not chunk:
                break
            got += chunk
    except TimeoutError:
        return "waits"
    except OSError:
        pass
    finally:
        sock.close()
    return got.split(b" ", 2)[1].decode() if got else "TCP ends"


LARGE = b"[" + b"{}," * 10_000_000 + b"{}]"
NESTED = b"[" * 500_000
BROKEN = b'{"path": "/echo'


@attack("30 MB of `[{},{},...]` to the API, by a stranger, three times", memory=SLACK)
def large_body(attacker: Attacker) -> str:
    with attacker.active():
        return several([refusal(body(attacker, API, LARGE)) for _ in range(3)])


@attack("A body nested half a million times, by a stranger", memory=SLACK)
def nested_body(attacker: Attacker) -> str:
    with attacker.active():
        return several([refusal(body(attacker, API, NESTED)) for _ in range(10)])


@attack("30 MB to a route, with POST, PUT and GET, by a stranger", memory=SLACK)
def body_for_a_route(attacker: Attacker) -> str:
    with attacker.active():
        return several(
            [refusal(body(attacker, "/echo", LARGE, method=m)) for m in ("POST", "PUT", "GET")]
        )


@attack("50 bodies that are announced and never come, by a stranger", memory=SLACK)
def slow_bodies(attacker: Attacker) -> str:
    with attacker.active():
        socks = [body(attacker, API, b"[", length=30_000_000) for _ in range(50)]
        return several([refusal(sock, 2.0) for sock in socks[:3] + socks[-3:]])


@attack("A body that breaks off, by a stranger", memory=SLACK)
def broken_body(attacker: Attacker) -> str:
    with attacker.active():
        return several([refusal(body(attacker, API, BROKEN)) for _ in range(10)])


# ---- exceptions that end programs ----------------------------------------------------------------

PLACES = {
    "/fails": ("open", "message", "task", "close", "every", "pong", "protocol", "rule"),
    "/fails-thread": ("message", "rule"),
    "/fails-stream": ("message",),
    "/fails-thread-stream": ("message",),
}


def fail_everywhere(attacker: Attacker, kind: str) -> str:
    """Raise it in every place, one after the other; say what their clients have seen."""
    found = []
    with attacker.active():
        for path, places in PLACES.items():
            found += [fail_at(attacker, path, place, kind) for place in places]
    return several(found)


def fail_at(attacker: Attacker, path: str, place: str, kind: str) -> str:
    options = {"headers": {"Sec-WebSocket-Protocol": "chat"}} if place == "protocol" else {}
    with contextlib.closing(attacker.wire(f"{path}?place={place}&kind={kind}", **options)) as wire:
        got = status(wire, 5)
        if got != 101:
            return f"{got}" if got else f"no answer ({place} of {path})"
        if place in ("open", "every"):
            return at_place(ending(wire, 3), place, path)
        wire.send(frame(PONG, b"") if place == "pong" else text("go"))
        if place == "close":
            wire.send(frame(8, b"\x03\xe8"))
        said = ending(wire, 3)
        # What on_close raises nobody hears of: it is over by then.
        return at_place(said, place, path) if place != "close" else "close 1011"


def at_place(said: str, place: str, path: str) -> str:
    """Name the place where a failure closes nothing."""
    return said if said == "close 1011" else f"{said} ({place} of {path})"


@attack("A bot that calls `sys.exit()`, in every place where a bot's code runs")
def exits(attacker: Attacker) -> str:
    return fail_everywhere(attacker, "exit")


@attack("A bot that raises KeyboardInterrupt, in every place")
def interrupts(attacker: Attacker) -> str:
    return fail_everywhere(attacker, "interrupt")


@attack("A bot that raises a BaseExceptionGroup of both, in every place")
def groups(attacker: Attacker) -> str:
    return fail_everywhere(attacker, "group")


# ---- the inbox -----------------------------------------------------------------------------------

OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}


@attack(
    "65 messages of 10 MiB, compressed to 10 KiB each, to a bot that takes its time",
    # The message at hand, one on its way, and what may wait.
    memory=2 * 10 + INBOX + SLACK,
)
def packed_messages(attacker: Attacker) -> str:
    data = b""
    for _ in range(65):
        one = packed(bytes(10 << 20))
        data += frame(BINARY, one, rsv=4)
    with attacker.wire("/packed", headers=OFFER) as wire:
        with attacker.active():
            push(wire, data)
            time.sleep(2.0)
        wire.reset()
    return "are read as there is room"


@attack("Ten messages that take a second each, then a lost connection; the user comes back at once")
def lost_connection(attacker: Attacker) -> str:
    with attacker.active():
        with attacker.wire("/seconds") as wire:
            wire.send(text("slow") * 10)
            time.sleep(0.3)
            wire.reset()
        time.sleep(0.3)
        with contextlib.closing(attacker.wire("/seconds")) as wire:
            got = status(wire)
    return "is let in" if got == 101 else f"{got}"


# ---- floods --------------------------------------------------------------------------------------


def flooding(words: str, chunk: bytes, first: bytes = b"") -> None:
    """Register a flood of the same frame."""

    def run(attacker: Attacker) -> str:
        return flood(attacker, "/echo", chunk, first)

    run.__name__ = words.split(" of ", 1)[1].replace(" ", "_").replace("-", "_")
    attack(f"{words}, from four clients at a time")(run)


flooding("A flood of pings", frame(PING) * 10_000)
flooding("A flood of pongs", frame(PONG) * 10_000)
flooding("A flood of empty texts", frame(TEXT) * 10_000)
flooding("A flood of empty continuations", frame(CONT, fin=False) * 10_000, frame(TEXT, fin=False))
flooding("A flood of one-byte messages", frame(TEXT, b"x") * 10_000)
flooding(
    "A flood of one-byte fragments",
    frame(CONT, b"x", fin=False) * 10_000,
    frame(TEXT, b"x", fin=False),
)


# ---- handshakes ----------------------------------------------------------------------------------


BETWEEN = 0.01
"""Seconds between two handshakes: the question is who waits for whom, not what each one costs."""


def handshakes(attacker: Attacker, path: str, users: int = 1) -> str:
    wires = []
    with attacker.active():
        for n in range(100):
            wires.append(attacker.wire(path, user=f"{attacker.user}-{n % users}"))
            time.sleep(BETWEEN)
        found = [str(status(wire, 20)) for wire in wires]
    for wire in wires:
        wire.close()
    return several(found)


@attack(
    "100 handshakes of one user, whose rule takes a second in a thread (others open connections)",
    probe=("/ruled", "open"),
)
def slow_rules(attacker: Attacker) -> str:
    return handshakes(attacker, "/slow-rule")


@attack(
    "The same where the user may have 4 connections",
    probe=("/ruled", "open"),
)
def slow_rules_limited(attacker: Attacker) -> str:
    return handshakes(attacker, "/slow-rule-limited")


@attack(
    "16 calls of a slow `def` by one user (others call a quick `def`)",
    probe=("/threaded", "echo"),
)
def slow_calls(attacker: Attacker) -> str:
    wires = [attacker.wire("/sleeps").open() for _ in range(16)]
    with attacker.active():
        for wire in wires:
            wire.send(text("2"))
        found = [answer(wire, 20) for wire in wires]
    for wire in wires:
        wire.close()
    return several(found)
