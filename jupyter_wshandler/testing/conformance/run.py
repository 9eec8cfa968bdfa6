"""Runs the scenarios, and says what came of each."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import TextIO

from ...errors import WSHandlerError
from ..server import START, start_server
from . import basics, bots, inrooms, resuming
from .trial import SCENARIOS, Failed, Ground, Scenario, Trial, chosen

__all__ = ["Verdict", "conformance", "names"]

OPTIONS = ("--WSHandlerApp.stop_timeout=1",)
"""Of the server: some bots wait for ever for a client that was wrong, or is away."""

_MODULES = (basics, inrooms, resuming)  # which have filled SCENARIOS


@dataclass(frozen=True)
class Verdict:
    """What came of a scenario.

    Args:
        scenario: It.
        seconds: What it took.
        failed: What was expected and found; None where all was well.
        notes: What else is worth knowing.
    """

    scenario: Scenario
    seconds: float
    failed: Failed | None
    notes: tuple[str, ...] = ()


def names() -> list[tuple[str, str]]:
    """Return the names of the scenarios, each with its sentence."""
    return [(one.name, one.sentence) for one in SCENARIOS]


def conformance(
    command: Sequence[str],
    *,
    only: Sequence[str] = (),
    seed: int | None = None,
    jobs: int = 4,
    patience: float = 1.0,
    stream: TextIO | None = None,
) -> int:
    """Try a client, and print what came of it.

    Args:
        command: How it is started; what it reads and writes is in `docs/protocol.md`.
        only: The names of scenarios, with `*` for any letters; all where empty.
        seed: Makes random things happen as in another run; drawn where None.
        jobs: How many scenarios run at once.
        patience: How many times as long as usual each may take.
        stream: Where to print; the standard output where None.

    Returns:
        0, or 1 where a scenario has failed.

    Raises:
        ValueError: A name of `only` is none.
        RuntimeError: The server does not come up.
    """
    scenarios = chosen(only)
    stream = stream or sys.stdout
    seed = random.randrange(10**6) if seed is None else seed
    with (
        TemporaryDirectory() as empty,  # what lies in the caller's folder is none of the server's
        start_server(
            {"url": bots.routes()},
            folder=empty,
            options=OPTIONS,
            timeout=START * max(1, patience),
        ) as server,
    ):
        print(f"{len(scenarios)} scenarios, seed {seed}\n", file=stream, flush=True)
        with server.connect("/taken") as ledger, ThreadPoolExecutor(max(1, jobs)) as pool:
            ground = Ground(server, ledger, command, seed, patience)
            verdicts = []
            for verdict in pool.map(lambda one: attempt(ground, one), scenarios):
                _print(verdict, stream)
                verdicts.append(verdict)
    bad = [verdict for verdict in verdicts if verdict.failed is not None]
    word = "FAILED" if bad else "OK"
    print(
        f"\n{word}: {len(verdicts) - len(bad)} of {len(verdicts)} passed", file=stream, flush=True
    )
    return 1 if bad else 0


def attempt(ground: Ground, scenario: Scenario) -> Verdict:
    """Try a client in one scenario."""
    begun = time.monotonic()
    failed, notes = None, []
    with Trial(ground, scenario) as trial:
        try:
            scenario.run(trial)
            if rule := trial.broken_rule():
                failed = Failed("that the client keeps the rules of wsh.v1", f"a {rule}")
        except Failed as error:
            failed = error
            if rule := trial.broken_rule():
                notes.append(f"the server has ended a connection: {rule}")
        except OSError as error:
            failed = Failed("that the program can be started", str(error))
        except (WSHandlerError, TimeoutError) as error:
            failed = Failed("that the server answers another client", str(error))
        if failed is not None:
            notes += [f"the {end} has sent last {trial.wire(end)}" for end in ("server", "client")]
        if failed is not None and trial.has_program and trial.program.nonsense:
            line = trial.program.nonsense
            notes.append(f"a line of the program is no event, a JSON object: {line}")
    return Verdict(scenario, time.monotonic() - begun, failed, tuple(notes))


def _print(verdict: Verdict, stream: TextIO) -> None:
    word = "FAIL" if verdict.failed else "pass"
    name, sentence = verdict.scenario.name, verdict.scenario.sentence
    lines = [f"{word}  {name:<22} {verdict.seconds:5.1f} s  {sentence}"]
    if verdict.failed is not None:
        lines += [
            f"        expected {verdict.failed.expected}",
            f"        found    {verdict.failed.found}",
            *(f"        note     {note}" for note in verdict.notes),
        ]
    encoding = getattr(stream, "encoding", None) or "utf-8"
    text = "\n".join(lines).encode(encoding, "backslashreplace").decode(encoding)
    print(text.replace("\r", "\\r"), file=stream, flush=True)
