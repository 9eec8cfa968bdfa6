"""One trial: a client, the relay that it connects through, and what is expected of it."""

from __future__ import annotations

import fnmatch
import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from ...client.client import Client
from ..server import RunningServer
from .program import Program
from .relay import HOST, Frame, Relay

SHOWN = 6
"""Events and frames that a failure shows."""

LONGEST_PAUSE = 0.25
"""Seconds between two tries to come back that a client is asked not to exceed."""


class Failed(Exception):
    """What was expected, and what was found."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected, self.found = expected, found


@dataclass(frozen=True)
class Scenario:
    """Something that a client must get right.

    Args:
        name: What it is called.
        sentence: What must be.
        path: The route that the client connects to.
        run: Tries it.
        seconds: How long each step may take.
    """

    name: str
    sentence: str
    path: str
    run: Callable[[Trial], None]
    seconds: float


SCENARIOS: list[Scenario] = []
"""All of them, in their order."""


def scenario(
    name: str, path: str, seconds: float = 20.0
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Add a scenario: the function that tries it, whose docstring is its sentence."""

    def add(run: Callable[[Trial], None]) -> Callable[[Trial], None]:
        sentence = " ".join((run.__doc__ or "").split())
        SCENARIOS.append(Scenario(name, sentence, path, run, seconds))
        return run

    return add


def chosen(patterns: Iterable[str]) -> list[Scenario]:
    """Return the scenarios whose names fit one of these; all where there are none.

    Raises:
        ValueError: A pattern fits none.
    """
    patterns = list(patterns)
    for pattern in patterns:
        if not fnmatch.filter([one.name for one in SCENARIOS], pattern):
            raise ValueError(f"expected the name of a scenario, found {pattern!r}; see --list")
    return [
        one
        for one in SCENARIOS
        if not patterns or any(fnmatch.fnmatchcase(one.name, pattern) for pattern in patterns)
    ]


@dataclass(frozen=True)
class Ground:
    """What all trials of a run share.

    Args:
        server: The server.
        ledger: A connection that tells what bots were given.
        command: How the client is started.
        seed: What makes random things happen again.
        patience: How many times as long as usual everything may take.
    """

    server: RunningServer
    ledger: Client
    command: Sequence[str]
    seed: int
    patience: float = 1.0


class Trial:
    """A scenario on its way; ``with`` starts the relay, and ends it and the client.

    Args:
        ground: What trials share.
        scenario: What is tried.
    """

    def __init__(self, ground: Ground, scenario: Scenario) -> None:
        self.ground = ground
        self.name = scenario.name
        self.seed = ground.seed
        self._scenario = scenario
        self._seconds = scenario.seconds * ground.patience
        self.changed = threading.Condition()
        self.relay = Relay(urlsplit(ground.server.url).port or 80, self.changed)
        self._program: Program | None = None
        self._pending: list[int] = []  # indices of events that nobody has expected
        self._seen = 0
        self._others: list[Client] = []

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.end()
        self.relay.close()
        for other in self._others:
            other.close()

    # ---- the client ----------------------------------------------------------------------------

    def start(self, **query: str) -> None:
        """Start the client."""
        words = urlencode({**query, "trial": self.name, "token": self.ground.server.token})
        url = f"ws://{HOST}:{self.relay.port}{self._scenario.path}?{words}"
        self._program = Program(self.ground.command, url, LONGEST_PAUSE, self.changed)

    def begin(self, **query: str) -> dict[str, Any]:
        """Start the client, and return its event of the first frame."""
        self.start(**query)
        return self.expect("open")

    @property
    def has_program(self) -> bool:
        """Whether the client was started."""
        return self._program is not None

    @property
    def program(self) -> Program:
        """The running client."""
        assert self._program is not None
        return self._program

    def do(self, what: str, **more: Any) -> None:
        """Give the client a wish."""
        self.program.do(what, **more)

    def texts(self) -> list[str]:
        """Return all messages that it has told of, bytes as hexadecimal digits behind a word."""
        return [text_of(event) for event in self.events("message")]

    def events(self, kind: str, **members: Any) -> list[dict[str, Any]]:
        """Return all events of a kind."""
        return [
            event
            for event in list(self.program.events)
            if event["event"] == kind and _has(event, members)
        ]

    def expect(self, kind: str, **members: Any) -> dict[str, Any]:
        """Wait for an event that was not expected before, and return it."""
        what = f"the event {_shown({'event': kind, **members})}"
        return self.expect_any(lambda event: event["event"] == kind and _has(event, members), what)

    def values(self, id: str) -> list[dict[str, Any]]:
        """Return all values of an answer: many clients do not tell a reply from a piece."""
        return [event for event in list(self.program.events) if _is_value(event, id)]

    def expect_value(self, id: str, **members: Any) -> dict[str, Any]:
        """Wait for a value of an answer, as a reply or a piece, and return it."""
        what = f"the event {_shown({'event': 'reply', 'id': id, **members})}, or as a piece"
        return self.expect_any(lambda event: _is_value(event, id) and _has(event, members), what)

    def expect_any(self, fits: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait for an event that fits and was not expected before, and return it."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            events = self.program.events
            self._pending += range(self._seen, len(events))
            self._seen = len(events)
            for index in self._pending:
                if fits(events[index]):
                    self._pending.remove(index)
                    found.append(events[index])
                    return True
            return False

        self.until(look, what, self.last_events)
        return found[0]

    def last_events(self) -> str:
        """Return the last events, as a failure shows them."""
        events = self.program.events[-SHOWN:]
        return "the events " + " ".join(map(_shown, events)) if events else "no event at all"

    # ---- waiting -------------------------------------------------------------------------------

    def until(
        self,
        condition: Callable[[], Any],
        expected: str,
        found: Callable[[], str],
        seconds: float | None = None,
    ) -> None:
        """Wait until something is so.

        Args:
            condition: Whether it is; asked again when something has come.
            expected: What it is, for people.
            found: Says what is there instead.
            seconds: How long, at most; as the scenario says by default.

        Raises:
            Failed: It is not so in time, or the client has ended.
        """
        limit = self._seconds if seconds is None else seconds * self.ground.patience
        deadline = time.monotonic() + limit
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                code = None if self._program is None else self._program.code
                if code is not None:
                    self._program_ended(condition, expected, found, code)
                    return
                if left <= 0:
                    raise Failed(expected, f"after {limit:g} s {found()}")
                self.changed.wait(min(left, 0.25))

    def _program_ended(
        self, condition: Callable[[], Any], expected: str, found: Callable[[], str], code: int
    ) -> None:
        # What it has said last may still be on its way.
        deadline = time.monotonic() + 2
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                words = self.program.errors
                tail = f"; its standard error ends with:\n{words}" if words else ""
                raise Failed(expected, f"that the client has ended with {code}, {found()}{tail}")
            self.changed.wait(left)

    def check(self, condition: object, expected: str, found: str) -> None:
        """Raise where something is not so.

        Raises:
            Failed: It is not.
        """
        if not condition:
            raise Failed(expected, found)

    def same(self, what: str, expected: Sequence[Any], found: Sequence[Any]) -> None:
        """Raise where two lists differ, with the first place where they do.

        Raises:
            Failed: They do.
        """
        for place, (wanted, there) in enumerate(zip(expected, found, strict=False)):
            if wanted != there:
                raise Failed(f"{what}: {wanted!r} at place {place}", repr(there))
        if len(expected) > len(found):
            raise Failed(
                f"{what}: {len(expected)}", f"{len(found)}: {expected[len(found)]!r} lacks"
            )
        if len(found) > len(expected):
            raise Failed(
                f"{what}: {len(expected)}", f"{len(found)}: {found[len(expected)]!r} behind them"
            )

    # ---- what travels --------------------------------------------------------------------------

    def frame(
        self, sender: str, fits: Callable[[Frame], Any], what: str, seconds: float | None = None
    ) -> Frame:
        """Wait for a frame on the wire, and return the first that fits."""
        found: list[Frame] = []

        def look() -> bool:
            fitting = (f for f in self.relay.frames if f.sender == sender and fits(f))
            found.extend(one for one in [next(fitting, None)] if one is not None)
            return bool(found)

        self.until(
            look, f"on the wire from the {sender} {what}", lambda: self.wire(sender), seconds
        )
        return found[0]

    def wire(self, sender: str) -> str:
        """Return the last frames of one end, as a failure shows them."""
        frames = [frame for frame in list(self.relay.frames) if frame.sender == sender]
        shown = "  ".join(str(frame) for frame in frames[-SHOWN:])
        return f"the frames {shown}" if shown else "no frame"

    def broken_rule(self) -> str:
        """Return what the server has closed a connection with, where the client broke a rule."""
        for frame in self.relay.of("server"):
            if not frame.is_message and frame.opcode == 8 and frame.code == 1002:
                return str(frame)
        return ""

    # ---- the server, and others ----------------------------------------------------------------

    def taken(self) -> list[str]:
        """Return what the bots were given in this trial, in order."""
        return [text for _, text in self.taken_by()]

    def taken_by(self) -> list[tuple[str, str]]:
        """Return it with the ids of the connections."""
        return [(id, text) for id, text in self.ground.ledger.ask(self.name)["taken"]]

    def wait_taken(self, text: str) -> None:
        """Wait until a bot was given a message."""
        last: list[str] = []

        def look() -> bool:
            last[:] = self.taken()
            return text in last

        self.until(look, f"that the bot is given {text!r}", lambda: f"{last[-SHOWN:]}")

    def other(self) -> Client:
        """Return another client of the same route, one of the package's own."""
        client = self.ground.server.connect(f"{self._scenario.path}?trial=others").open()
        self._others.append(client)
        return client

    def away(self) -> None:
        """Cut the connection, and refuse others; return when the client has tried to come back."""
        refused = self.relay.refused
        self.relay.is_deaf = True
        self.relay.cut()
        self.until(
            lambda: self.relay.refused > refused,
            "that the client tries to come back after a break",
            lambda: "no attempt",
        )

    def let_in(self) -> None:
        """Let the client come back."""
        self.relay.is_deaf = False


def text_of(event: dict[str, Any]) -> str:
    """Return the message of an event; bytes as hexadecimal digits behind a word."""
    return f"hex {event['hex']}" if "hex" in event else str(event.get("text"))


def _is_value(event: dict[str, Any], id: str) -> bool:
    return event["event"] in ("reply", "piece") and event.get("id") == id


def _has(event: dict[str, Any], members: dict[str, Any]) -> bool:
    return all(name in event and event[name] == value for name, value in members.items())


def _shown(event: dict[str, Any]) -> str:
    text = json.dumps(event, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:160]}..."
