"""More of each kind: other inputs than those that a fault was first found with."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

from support.attacked import IMPORTED
from support.attacks import Attacker, answer, attack, ending, flood, several, status
from support.attacks_bots import (
    errors,
    past_its_time,
    raw_batch,
    save_twice,
    serve,
    try_once,
)
from support.attacks_clients import (
    API,
    BETWEEN,
    OFFER,
    SLACK,
    body,
    fail_at,
    fail_everywhere,
    handshakes,
    refusal,
)
from support.frames import BINARY, CONT, PING, PONG, TEXT, frame, packed, text
from support.wire import push

# ---- frames --------------------------------------------------------------------------------------


@attack("Pings of 125 bytes, one-byte messages and pongs by turns, from four clients")
def mixed_flood(attacker: Attacker) -> str:
    chunk = (frame(PING, b"p" * 125) + frame(TEXT, b"x") + frame(PONG)) * 3000
    return flood(attacker, "/echo", chunk)


@attack("Pings between the fragments of one message, from four clients")
def pings_in_a_message(attacker: Attacker) -> str:
    chunk = (frame(CONT, b"y", fin=False) + frame(PING)) * 5000
    return flood(attacker, "/echo", chunk, frame(BINARY, b"x", fin=False))


@attack("Empty messages, compressed, from four clients")
def packed_flood(attacker: Attacker) -> str:
    floods = frame(TEXT, b"\x00", rsv=4) * 10_000
    return flood(attacker, "/squeezed", floods, headers=OFFER)


@attack("A flood of one-byte messages to a `def`, from four clients")
def thread_flood(attacker: Attacker) -> str:
    return flood(attacker, "/threaded", frame(TEXT, b"x") * 10_000)


@attack("Six-byte frames from 20 clients")
def wide_flood(attacker: Attacker) -> str:
    return flood(attacker, "/echo", frame(PONG) * 10_000, clients=20)


@attack("4 MiB of zeros, compressed, in fragments of one byte")
def packed_fragments(attacker: Attacker) -> str:
    data = packed(bytes(1 << 19))
    pieces = [data[at : at + 1] for at in range(len(data))]
    whole = b"".join(
        frame(CONT if n else BINARY, one, fin=n == len(pieces) - 1, rsv=0 if n else 4)
        for n, one in enumerate(pieces)
    )
    with attacker.wire("/squeezed", headers=OFFER) as wire, attacker.active():
        for _ in range(20):
            push(wire, whole)
        said = answer(wire)
    return said if said.startswith("close") else "answers"


# ---- bodies --------------------------------------------------------------------------------------


@attack("Bodies in chunks, with `Expect: 100-continue`, and of 10 TB, by a stranger", memory=SLACK)
def odd_bodies(attacker: Attacker) -> str:
    server = attacker.server
    heads = (
        "Transfer-Encoding: chunked",
        "Content-Length: 30000000\r\nExpect: 100-continue",
        "Content-Length: 10000000000000",
        "Content-Length: -1",
    )
    found = []
    with attacker.active():
        for path in (API, "/echo"):
            for head in heads:
                sock = socket.create_connection((server.host, server.port), timeout=10)
                with contextlib.suppress(OSError):
                    sock.sendall(
                        f"POST {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n"
                        f"{head}\r\n\r\n".encode()
                    )
                    if "chunked" in head:
                        sock.sendall((b"10000\r\n" + bytes(65536) + b"\r\n") * 200)
                found.append(refusal(sock, 2.0))
    return several(found)


@attack("20 bodies of 1 MB at a time to the API, by a user", memory=SLACK + 20)
def large_bodies_of_a_user(attacker: Attacker) -> str:
    found = []
    with attacker.active():
        for _ in range(3):
            socks = [
                body(attacker, API, b"[" + b"{}," * 330_000 + b"{}]", user=attacker.user)
                for _ in range(20)
            ]
            found += [refusal(sock) for sock in socks]
    return several(found)


# ---- bots ----------------------------------------------------------------------------------------


@attack("A bot that raises CancelledError itself, in every place")
def cancels(attacker: Attacker) -> str:
    return fail_everywhere(attacker, "cancelled")


@attack("A bot that raises GeneratorExit, in every place")
def generator_exits(attacker: Attacker) -> str:
    return fail_everywhere(attacker, "generator")


@attack("An `on_error` that calls `sys.exit()`, or raises KeyboardInterrupt")
def error_exits(attacker: Attacker) -> str:
    with attacker.active():
        return several(
            [fail_at(attacker, "/fails-error", "error", kind) for kind in ("exit", "interrupt")]
        )


@attack("A `def` that sleeps past its `timeout`")
def past_timeout(attacker: Attacker) -> str:
    return past_its_time(attacker, "/past", leave=False)


@attack("An `on_close` that swallows CancelledError, past its `timeout`")
def stays_in_close(attacker: Attacker) -> str:
    return past_its_time(attacker, "/stays", leave=True)


@attack("1,000 errors whose text cannot be made")
def unprintable(attacker: Attacker) -> str:
    return errors(attacker, "/unprintable", 1000)


@attack("300 errors 900 calls deep")
def deep_errors(attacker: Attacker) -> str:
    return errors(attacker, "/deep-errors", 300)


@attack("A `def` that logs 50,000 lines")
def log_flood(attacker: Attacker) -> str:
    with attacker.wire("/logs") as wire, attacker.active():
        push(wire, text("50000"))
        return answer(wire, 20)


@attack("A `def` that writes its session 300,000 times")
def session_flood(attacker: Attacker) -> str:
    with attacker.wire("/writes-session") as wire, attacker.active():
        push(wire, text("300000"))
        return answer(wire, 20)


@attack(
    "100 handshakes with a slow rule, whose clients have left",
    probe=("/ruled", "open"),
)
def left_handshakes(attacker: Attacker) -> str:
    wires = []
    with attacker.active():
        for _ in range(100):
            wires.append(attacker.wire("/slow-rule"))
            time.sleep(BETWEEN)
        for wire in wires:
            wire.reset()
        time.sleep(2.0)
    return "nobody waits for an answer"


@attack("100 handshakes with a slow rule, of 100 users", probe=("/echo", "open"))
def many_users(attacker: Attacker) -> str:
    return handshakes(attacker, "/slow-rule", users=100)


@attack("200 messages that take a second each, then a lost connection; the user comes back at once")
def lost_while_full(attacker: Attacker) -> str:
    with attacker.active():
        with attacker.wire("/seconds") as wire:
            push(wire, text("slow") * 200)
            time.sleep(0.3)
            wire.reset()
        time.sleep(1.5)
        got = try_once(attacker, "/seconds")
    return "is let in" if got == 101 else f"{got}"


@attack("50 connections that are lost, each with ten messages that wait")
def many_lost(attacker: Attacker) -> str:
    found = []
    with attacker.active():
        for n in range(50):
            with attacker.wire("/seconds", user=f"{attacker.user}-{n}") as wire:
                push(wire, text("slow") * 10)
                wire.reset()
        time.sleep(0.5)
        for n in range(0, 50, 10):
            wire = attacker.wire("/seconds", user=f"{attacker.user}-{n}")
            found.append("is let in" if (got := status(wire)) == 101 else str(got))
            wire.close()
    return several(found)


# ---- modules -------------------------------------------------------------------------------------


@attack(
    "A module that calls `sys.exit()` as it is imported is saved, then a better one", alone=True
)
def exit_at_import(attacker: Attacker) -> str:
    return save_twice(attacker, IMPORTED.format(version="exits") + "\nraise SystemExit(3)\n")


@attack("A module that computes for 5 s as it is imported is saved, then a better one", alone=True)
def busy_import(attacker: Attacker) -> str:
    busy = "end = time.monotonic() + 5\nwhile time.monotonic() < end:\n    pass\n"
    return save_twice(attacker, IMPORTED.format(version="busy") + busy)


# ---- kernels -------------------------------------------------------------------------------------


@attack("A kernel's batch of 300,000 events that mean nothing")
def kernel_nonsense(attacker: Attacker) -> str:
    return raw_batch(attacker, '[[], ["text"], [None, {}], 7, ["close", known]] * 60_000')


@attack("A kernel's message of 16 MiB for one client")
def kernel_giant(attacker: Attacker) -> str:
    return raw_batch(attacker, '[["text", known, "x" * (16 << 20)]]')


@attack("A kernel that asks for 100,000 routes in a batch")
def kernel_claims(attacker: Attacker) -> str:
    claims = (
        '[["serve", f"r{n}", n, {"pattern": f"/{known}/{n}", "options": {}, "page": None, '
        '"events": ["on_message"], "replace": False}, ""] for n in range(100_000)]'
    )
    return raw_batch(attacker, claims)


@attack("A kernel that is killed while 50 clients talk to its bot")
def killed_kernel(attacker: Attacker) -> str:
    name = attacker.user
    with attacker.notebook() as notebook:
        serve(notebook, name)
        pid = notebook.pid()
        wires = [attacker.wire(f"/{name}").open() for _ in range(50)]
        with attacker.active():
            for wire in wires:
                push(wire, text("talk") * 100)
            os.kill(pid, signal.SIGKILL)
            found = []
            for wire in wires:
                said = "talk"
                while said == "talk":
                    said = answer(wire, 15)
                found.append(said)
    return several(found)


@attack("A kernel that is stopped while its client talks")
def stopped_kernel(attacker: Attacker) -> str:
    name = attacker.user
    with attacker.notebook() as notebook:
        serve(notebook, name)
        pid = notebook.pid()
        with attacker.wire(f"/{name}") as wire:
            with attacker.active():
                os.kill(pid, signal.SIGSTOP)
                try:
                    for _ in range(50):
                        push(wire, text("z" * 60_000) * 20)
                    time.sleep(1.0)
                finally:
                    os.kill(pid, signal.SIGCONT)
            said = answer(wire, 20)
            end = ending(wire, 0.2)
    return "is answered after it" if said[:1] == "z" else f"{said[:30]} {end}"
