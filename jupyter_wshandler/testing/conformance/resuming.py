"""What a client must get right about breaks."""

from __future__ import annotations

import random
import re
from typing import Any

from .relay import CLOSE, TEXT, Cut, Frame, text_frame
from .trial import Trial, scenario, text_of

MESSAGES, CUTS, AHEAD = 2000, 20, 200
"""Messages each way, breaks, and how many messages are under way at most."""

SECRET = re.compile(rb"(wsh\.resume\.[^.,\s]+\.)([^.,\s]+)")


def number_of(frame: Frame) -> int:
    """Return the number of a frame that counts; 0 of another."""
    if frame.opcode == TEXT:
        number = frame.said.get("n", 0)
        return number if isinstance(number, int) else 0
    return int.from_bytes(frame.data[4:8], "big") if frame.is_message else 0


def come_back_offer(trial: Trial, link: int = -1) -> tuple[str, int]:
    """Return the id and the number that a client has come back with.

    Raises:
        Failed: It has offered nothing of the kind.
    """
    offers = trial.relay.offers[link]
    found = [one.split(".") for one in offers if one.startswith("wsh.resume.")]
    good = len(found) == 1 and len(found[0]) == 5 and found[0][4].isdecimal()
    shown = [re.sub(r"(wsh\.resume\.[^.]*\.)[^.]*", r"\1SECRET", one) for one in offers]
    trial.check(
        good and "wsh.v1" in offers, "the offers wsh.v1, wsh.resume.ID.SECRET.N", f"{shown}"
    )
    return found[0][2], int(found[0][4])


def resumed(trial: Trial, opened: dict[str, Any]) -> None:
    """Wait until the client is back on its connection.

    Raises:
        Failed: It is on another one.
    """
    trial.expect("open", resumed=True, id=opened["id"])


def offered(trial: Trial) -> None:
    """Look at what a new client offers.

    Raises:
        Failed: It is not what one offers that can resume.
    """
    offers = trial.relay.offers[0]
    good = offers[:1] == ["wsh.v1"] and "wsh.resume" in offers
    trial.check(good, "the offers wsh.v1, wsh.resume", f"{offers}")


@scenario("resume-idle", "/lasting")
def resume_idle(trial: Trial) -> None:
    """A client whose connection is cut comes back to it, with the last number that it has."""
    opened = trial.begin()
    offered(trial)
    trial.do("ask", id="a", text="one")
    trial.expect("end", id="a", how="done")
    last = max(map(number_of, trial.relay.of("server")))
    trial.relay.cut()
    resumed(trial, opened)
    id, number = come_back_offer(trial)
    trial.check(
        (id, number) == (opened["id"], last),
        f"that it comes back as {opened['id']} behind number {last}",
        f"{id} behind {number}",
    )
    trial.do("ask", id="b", text="two")
    trial.expect_value("b", text="two")
    trial.same("what the bot is given", ["one", "two"], trial.taken())


@scenario("resume-start", "/lasting")
def resume_start(trial: Trial) -> None:
    """A client whose connection is cut right behind the first frame comes back, too."""
    cuts: list[Frame] = []

    def harm(frame: Frame) -> Cut | None:
        if not cuts and "wsh" in frame.said:
            cuts.append(frame)
            return Cut(frame.raw)
        return None

    trial.relay.on_server = harm
    trial.start()
    trial.do("send", text="one")
    opened = trial.expect("open")
    resumed(trial, opened)
    trial.expect("message", text="one")
    trial.same("what the bot is given", ["one"], trial.taken())


@scenario("resume-again", "/lasting")
def resume_again(trial: Trial) -> None:
    """A client whose connection is cut while it comes back tries again, with the same number."""
    opened = trial.begin()
    trial.do("send", text="one")
    trial.expect("message", text="one")
    trial.relay.on_server = lambda frame: Cut() if frame.link == 2 else None
    trial.relay.cut()
    resumed(trial, opened)
    trial.check(
        come_back_offer(trial, 1) == come_back_offer(trial, 2),
        f"the number of before, {come_back_offer(trial, 1)[1]}",
        f"{come_back_offer(trial, 2)[1]}",
    )
    trial.do("send", text="two")
    trial.expect("message", text="two")


@scenario("resume-queue", "/lasting")
def resume_queue(trial: Trial) -> None:
    """What a client is given while it is away is sent when it is back, once and in order."""
    opened = trial.begin()
    trial.do("send", text="0")
    trial.expect("message", text="0")
    trial.away()
    for number in range(1, 10):
        trial.do("send", text=str(number))
    trial.let_in()
    resumed(trial, opened)
    trial.expect("message", text="9")
    expected = [str(number) for number in range(10)]
    trial.same("what the bot is given", expected, trial.taken())
    trial.same("the messages", expected, trial.texts())


@scenario("resume-unacknowledged", "/lasting")
def resume_unacknowledged(trial: Trial) -> None:
    """What was sent and has not reached the server is sent again, in order."""
    opened = trial.begin()
    lost: list[Frame] = []

    def lose(frame: Frame) -> bytes | None:
        if frame.link == 1 and frame.is_message:
            lost.append(frame)
            return b""
        return None

    trial.relay.on_client = lose
    for number in range(5):
        trial.do("send", text=str(number))
    trial.until(
        lambda: len([frame for frame in lost if number_of(frame)]) == 5,
        "five messages with numbers on the wire",
        lambda: trial.wire("client"),
    )
    trial.relay.cut()
    resumed(trial, opened)
    expected = [str(number) for number in range(5)]
    trial.expect("message", text="4")
    trial.same("what the bot is given", expected, trial.taken())
    trial.same("the messages", expected, trial.texts())


class Cutter:
    """Cuts a connection at random, sometimes in the middle of a frame.

    Args:
        trial: Whose.
    """

    def __init__(self, trial: Trial) -> None:
        self.cuts = 0
        self._random = random.Random(trial.seed)
        self._passed = 0
        self._next = self._draw()
        self._links = {0}

    def _draw(self) -> int:
        return self._passed + self._random.randint(20, 120)

    def harm(self, frame: Frame) -> Cut | None:
        """Pass on what the server sends, or cut."""
        self._passed += bool(number_of(frame))
        first = frame.link not in self._links
        self._links.add(frame.link)
        if first or self.cuts == CUTS or self._passed < self._next:
            return None
        self.cuts += 1
        self._next = self._draw()
        return Cut(frame.raw[: self._random.randint(0, len(frame.raw))])


@scenario("resume-numbered", "/lasting", seconds=300)
def resume_numbered(trial: Trial) -> None:
    """2,000 messages each way through 20 breaks at random come once each, and in order."""
    cutter = Cutter(trial)
    trial.relay.on_server = cutter.harm
    trial.begin()
    expected = []
    for number in range(MESSAGES):
        text = f"m{number}"
        binary = number % 10 == 9
        expected.append(f"hex {text.encode().hex()}" if binary else text)
        if binary:
            trial.do("send", hex=text.encode().hex())
        else:
            trial.do("send", text=text)
        if number % AHEAD == AHEAD - 1:
            _answered(trial, number + 1 - AHEAD // 2)
    _answered(trial, MESSAGES)
    trial.same("the messages", expected, trial.texts())
    trial.same("what the bot is given", expected, trial.taken())
    trial.check(cutter.cuts == CUTS, f"{CUTS} breaks", f"{cutter.cuts} with the seed {trial.seed}")


def _answered(trial: Trial, count: int) -> None:
    texts: list[str] = []
    seen = 0

    def look() -> bool:
        nonlocal seen
        events = trial.program.events
        texts.extend(text_of(one) for one in events[seen:] if one["event"] == "message")
        seen = len(events)
        return len(texts) >= count

    trial.until(
        look,
        f"{count} messages",
        lambda: f"{len(texts)}, the last one {texts[-1:]} (seed {trial.seed})",
    )


@scenario("resume-stream", "/lasting-count")
def resume_stream(trial: Trial) -> None:
    """An answer that streams goes on behind a break in the middle of a frame, and lacks nothing."""
    opened = trial.begin()

    def harm(frame: Frame) -> Cut | None:
        if frame.link == 1 and frame.said.get("piece") == "5 ":
            return Cut(frame.raw[: len(frame.raw) // 2])
        return None

    trial.relay.on_server = harm
    trial.do("ask", id="a", text="30")
    resumed(trial, opened)
    trial.expect("end", id="a", how="done")
    pieces = [text_of(event) for event in trial.values("a")]
    trial.same("the pieces", [f"{number} " for number in range(30)], pieces)


@scenario("resume-stop-away", "/lasting")
def resume_stop_away(trial: Trial) -> None:
    """An answer that is stopped while the client is away is stopped when it is back."""
    opened = trial.begin()
    trial.do("ask", id="a", text="wait")
    trial.wait_taken("wait")
    trial.away()
    trial.do("stop", id="a")
    trial.let_in()
    resumed(trial, opened)
    trial.expect("end", id="a", how="stopped")


@scenario("resume-stop-lost", "/lasting")
def resume_stop_lost(trial: Trial) -> None:
    """A stop that may not have reached the server is sent again behind a break."""
    opened = trial.begin()
    trial.do("ask", id="a", text="wait")
    trial.wait_taken("wait")
    trial.relay.on_client = lambda frame: (
        Cut() if frame.link == 1 and "stop" in frame.said else None
    )
    trial.do("stop", id="a")
    resumed(trial, opened)
    trial.expect("end", id="a", how="stopped")


@scenario("resume-gap", "/lasting")
def resume_gap(trial: Trial) -> None:
    """A client that misses a number closes with 4900 and comes back for it."""
    opened = trial.begin()
    trial.relay.on_server = lambda frame: (
        b"" if frame.link == 1 and frame.said.get("message") == "pushed 5" else None
    )
    trial.do("send", text="push 20")
    closes: list[Frame] = []

    def is_decided() -> bool:
        closes[:] = [frame for frame in trial.relay.of("client") if frame.opcode == CLOSE]
        return bool(closes or trial.events("message", text="pushed 19"))

    trial.until(is_decided, "on the wire from the client a close frame", trial.last_events)
    trial.check(closes, "the close code 4900 where number 6 lacks", "what comes behind it, told of")
    trial.check(closes[0].code == 4900, "the close code 4900", str(closes[0]))
    resumed(trial, opened)
    number = come_back_offer(trial)[1]
    trial.check(number == 5, "that it comes back behind number 5", f"behind {number}")
    trial.expect("message", text="pushed 19")
    trial.same("the messages", [f"pushed {number}" for number in range(20)], trial.texts())


@scenario("resume-repetition", "/lasting")
def resume_repetition(trial: Trial) -> None:
    """What comes a second time, with a number that is not above the last one, is dropped."""
    trial.begin()
    trial.relay.on_server = lambda frame: frame.raw * 2 if number_of(frame) else None
    trial.do("send", text="push 5")
    trial.do("send", hex="cafe")
    trial.do("ask", id="a", text="last")
    trial.expect("end", id="a")
    expected = [*(f"pushed {number}" for number in range(5)), "hex cafe"]
    trial.same("the messages", expected, trial.texts())
    replies = trial.values("a")
    trial.check(len(replies) == 1, "one reply", f"{len(replies)}")


@scenario("resume-unknown", "/lasting")
def resume_unknown(trial: Trial) -> None:
    """Frames that count are counted, also a number alone and what the client does not know."""
    opened = trial.begin()
    strange: dict[str, dict[str, Any]] = {
        "pushed 1": {},
        "pushed 2": {"weather": "fine"},
        "pushed 3": {"message": "pushed 3", "mood": "good"},
    }

    def harm(frame: Frame) -> bytes | None:
        other = strange.get(str(frame.said.get("message"))) if frame.link == 1 else None
        return None if other is None else text_frame({**other, "n": number_of(frame)})

    trial.relay.on_server = harm
    trial.do("send", text="push 5")
    trial.expect("message", text="pushed 4")
    trial.relay.cut()
    resumed(trial, opened)
    number = come_back_offer(trial)[1]
    trial.check(number == 5, "that it comes back behind number 5", f"behind {number}")
    trial.same("the messages", ["pushed 0", "pushed 3", "pushed 4"], trial.texts())


@scenario("resume-acks", "/lasting")
def resume_acks(trial: Trial) -> None:
    """A client acknowledges what it has received after each 64 frames that count."""
    trial.begin()
    trial.do("send", text="push 200")
    trial.expect("message", text="pushed 199")
    trial.frame(
        "client",
        lambda frame: frame.said.get("ack", 0) > 200 - 64,
        "an acknowledgement of more than 136",
        seconds=4,
    )


@scenario("resume-acks-late", "/lasting")
def resume_acks_late(trial: Trial) -> None:
    """A client acknowledges fewer frames after 5 s."""
    trial.begin()
    trial.do("send", text="push 3")
    trial.expect("message", text="pushed 2")
    what = "an acknowledgement of 3 after 5 s"
    trial.frame("client", lambda frame: frame.said.get("ack") == 3, what, seconds=9)


@scenario("resume-renewed", "/lasting")
def resume_renewed(trial: Trial) -> None:
    """Where the server knows nothing any more, what may have arrived is not sent again."""
    opened = trial.begin()
    trial.do("send", text="one")
    trial.expect("message", text="one")
    trial.do("ask", id="a", text="wait")
    trial.wait_taken("wait")
    trial.relay.on_request = _forge
    trial.away()
    _renewed(trial, opened, "unknown", ["one", "wait"])


@scenario("resume-ended", "/lasting")
def resume_ended(trial: Trial) -> None:
    """Where the bot has closed the connection meanwhile, the client is told of a new one."""
    opened = trial.begin()
    trial.do("send", text="leave when I am away")
    trial.expect("message", text="leave when I am away")
    trial.away()
    trial.wait_taken("left")
    _renewed(trial, opened, "ended", ["leave when I am away", "left"])


def _renewed(trial: Trial, opened: dict[str, Any], reason: str, before: list[str]) -> None:
    trial.do("send", text="was given while away")
    trial.let_in()
    renewed = trial.expect("open", resumed=False, reason=reason)
    trial.check(renewed["id"] != opened["id"], "another id", "the id of before")
    trial.expect("message", text="was given while away")
    trial.same(
        "what the bots are given, by connection",
        [*((opened["id"], one) for one in before), (renewed["id"], "was given while away")],
        [tuple(one) for one in trial.taken_by()],
    )
    trial.do("ask", id="b", text="next")
    trial.expect_value("b", text="next")


def _forge(head: bytes) -> bytes:
    """Have the server think of a stranger, as behind a restart."""
    return SECRET.sub(lambda found: found[1] + b"x" * len(found[2]), head)


@scenario("resume-off", "/talk")
def resume_off(trial: Trial) -> None:
    """On a route without `resume` no frame has a number, and a new connection follows a break."""
    opened = trial.begin()
    trial.do("send", text="one")
    trial.expect("message", text="one")
    trial.relay.cut()
    again = trial.expect("open")
    trial.check(again["id"] != opened["id"], "another id", "the id of before")
    trial.do("send", text="two")
    trial.expect("message", text="two")
    numbered = [frame for frame in trial.relay.of("client") if {"n", "ack"} & frame.said.keys()]
    trial.check(not numbered, "no numbers", f"{numbered and numbered[0]}")
    trial.same("what the bot is given", ["one", "two"], trial.taken())
