"""What a client must get right on one connection that does not break."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from .relay import CLOSE, Frame, text_frame
from .trial import Trial, scenario, text_of

BAD_OFFER = re.compile(rb"(?im)^sec-websocket-protocol:.*\r\n")


@scenario("confirmation", "/talk")
def confirmation(trial: Trial) -> None:
    """A client offers `wsh.v1` and sends nothing before it has read the server's first frame."""
    early: list[Frame] = []

    def late(frame: Frame) -> None:
        if frame.said.get("wsh") == "v1":
            time.sleep(0.3)
            early.extend(one for one in trial.relay.of("client") if one.is_message)

    trial.relay.on_server = late
    trial.start()
    trial.do("send", text="hello")
    opened = trial.expect("open")
    trial.expect("message", text="hello")
    offers = trial.relay.offers[0]
    trial.check("wsh.v1" in offers, "that it offers wsh.v1", f"that it offers {offers}")
    trial.check(not early, "no frame before the server's first one", f"{early and early[0]}")
    first = trial.frame("server", lambda frame: "wsh" in frame.said, "a first frame").said
    trial.check(
        opened.get("id") == first["id"],
        f"the event open with the id {first['id']!r} of the first frame",
        json.dumps(opened),
    )


@scenario("message-text", "/talk")
def message_text(trial: Trial) -> None:
    """A text message goes and comes as it is, in any language."""
    trial.begin()
    texts = ['say "hello"\n', "Grüße, 世界, \N{SNAKE}", '{"message": 1}', "x" * 70_000]
    for text in texts:
        trial.do("send", text=text)
        trial.expect("message", text=text)
    trial.same("what the bot is given", texts, trial.taken())


@scenario("message-binary", "/talk")
def message_binary(trial: Trial) -> None:
    """A binary message goes and comes as it is."""
    trial.begin()
    for data in (b"\xca\xfe", bytes(range(256)) * 2, b"{}"):
        trial.do("send", hex=data.hex())
        trial.expect("message", hex=data.hex())


@scenario("ask", "/talk")
def ask(trial: Trial) -> None:
    """Each question gets its own answer and its own end, and what answers none is a message."""
    trial.begin()
    trial.do("ask", id="first", text="one")
    trial.do("ask", id="second", text="two")
    trial.do("send", text="three")
    for id, text in (("first", "one"), ("second", "two")):
        trial.expect_value(id, text=text)
        trial.expect("end", id=id, how="done")
    trial.expect("message", text="three")


@scenario("ask-nothing", "/talk")
def ask_nothing(trial: Trial) -> None:
    """A question that nothing answers ends all the same, and what the bot writes is a message."""
    trial.begin()
    trial.do("ask", id="a", text="news")
    trial.expect("message", text="something new")
    trial.expect("end", id="a", how="done")
    trial.do("ask", id="b", text="nothing")
    trial.expect("end", id="b", how="done")
    replies = trial.values("a") + trial.values("b")
    trial.check(not replies, "no reply", f"{replies}")


@scenario("ask-json", "/talk")
def ask_json(trial: Trial) -> None:
    """An answer with `"json": true` is the value that the JSON holds, or its text."""
    trial.begin()
    trial.do("ask", id="a", text="json")
    reply = trial.expect_value("a")
    trial.expect("end", id="a", how="done")
    value: Any = reply.get("json")
    if not isinstance(value, dict):
        text = str(reply.get("text"))
        value = json.loads(text) if text.startswith("{") else text
    trial.check(value == {"size": 4}, 'the JSON {"size": 4}', json.dumps(reply))


@scenario("ask-binary", "/talk")
def ask_binary(trial: Trial) -> None:
    """An answer that is bytes comes by the number in the head of its frame."""
    trial.begin()
    trial.do("ask", id="a", text="bytes")
    trial.expect_value("a", hex="cafe")
    trial.expect("end", id="a", how="done")


@scenario("stream", "/count")
def stream(trial: Trial) -> None:
    """The values of a generator come in their order, and the end behind them."""
    trial.begin()
    trial.do("ask", id="a", text="5")
    trial.expect("end", id="a", how="done")
    pieces = [text_of(event) for event in trial.values("a")]
    trial.same("the pieces", [f"{number} " for number in range(5)], pieces)
    kinds = [event["event"] for event in trial.program.events if event.get("id") == "a"]
    trial.check(kinds[-1] == "end", "the end behind all pieces", f"{kinds[-1]} behind the end")
    trial.do("ask", id="b", text="0")
    trial.expect("end", id="b", how="done")
    trial.check(not trial.values("b"), "no piece of an empty answer", "some")


@scenario("stream-unasked", "/count")
def stream_unasked(trial: Trial) -> None:
    """What a generator yields that answers no question, with a number below 0, is not lost."""
    trial.begin()
    trial.do("send", text="2")
    for text in ("0 ", "1 "):
        trial.expect_any(
            lambda event, text=text: (  # type: ignore[misc]
                event["event"] in ("message", "piece") and event.get("text") == text
            ),
            f"a message, or a piece, with the text {text!r}",
        )


@scenario("stop-stream", "/count")
def stop_stream(trial: Trial) -> None:
    """An answer that is stopped ends as stopped, and the connection goes on."""
    trial.begin()
    trial.do("ask", id="a", text="1000000")
    trial.expect_value("a", text="3 ")
    trial.do("stop", id="a")
    trial.expect("end", id="a", how="stopped")
    trial.do("ask", id="b", text="1")
    trial.expect_value("b", text="0 ")
    trial.expect("end", id="b", how="done")


@scenario("stop-waiting", "/talk")
def stop_waiting(trial: Trial) -> None:
    """A question that still waits for its turn can be stopped, and the bot never hears of it."""
    trial.begin()
    trial.do("ask", id="a", text="wait")
    trial.wait_taken("wait")
    trial.do("ask", id="b", text="never given")
    trial.do("stop", id="b")
    trial.expect("end", id="b", how="stopped")
    trial.check(not trial.events("end", id="a"), "that the first question goes on", "its end")
    trial.do("stop", id="a")
    trial.expect("end", id="a", how="stopped")
    trial.same("what the bot is given", ["wait"], trial.taken())


@scenario("failed", "/talk")
def failed(trial: Trial) -> None:
    """The end of an answer says that the bot's function has failed."""
    trial.begin()
    trial.do("ask", id="a", text="fail")
    trial.expect("end", id="a", how="failed")
    trial.do("ask", id="b", text="go on")
    trial.expect("end", id="b", how="done")


@scenario("refused", "/strict")
def refused(trial: Trial) -> None:
    """The end of an answer says that the message was refused by the route's limit."""
    trial.begin()
    trial.do("ask", id="a", text="one")
    trial.expect("end", id="a", how="done")
    trial.do("ask", id="b", text="two")
    trial.expect("end", id="b", how="refused")
    trial.same("what the bot is given", ["one"], trial.taken())


@scenario("unknown", "/talk")
def unknown(trial: Trial) -> None:
    """Frames and members that the client does not know are ignored."""

    def harm(frame: Frame) -> bytes | None:
        said = frame.said
        if "reply" in said:
            strange: list[dict[str, Any]] = [
                {"weather": "fine"},
                {"weather": {"of": 1}, "sun": [1]},
            ]
            more = {**said, "mood": "good", "sources": [1, 2]}
            return b"".join(text_frame(one) for one in (*strange, more))
        return text_frame({**said, "mood": {"good": True}}) if said else None

    trial.relay.on_server = harm
    trial.begin()
    trial.do("ask", id="a", text="one")
    trial.expect_value("a", text="one")
    trial.expect("end", id="a", how="done")
    trial.do("send", text="two")
    trial.expect("message", text="two")
    kinds = [event["event"].replace("piece", "reply") for event in trial.program.events]
    trial.same("the events", ["open", "reply", "end", "message"], kinds)


@scenario("move", "/talk")
def move(trial: Trial) -> None:
    """A client that is told to come back elsewhere does so with 4900, or goes on as it is."""

    def harm(frame: Frame) -> bytes | None:
        if frame.said.get("reply") != "one":
            return None
        return text_frame({"move": 0}) + text_frame(frame.said)

    trial.relay.on_server = harm
    trial.begin()
    trial.do("ask", id="a", text="one")
    trial.expect_value("a", text="one")
    trial.expect("end", id="a", how="done")
    trial.do("ask", id="b", text="two")
    trial.expect_value("b", text="two")
    trial.same("what the bot is given", ["one", "two"], trial.taken())
    codes = [frame.code for frame in trial.relay.of("client") if frame.opcode == CLOSE]
    trial.check(all(code == 4900 for code in codes), "close code 4900, or none", f"{codes}")


@scenario("plain-first", "/talk")
def plain_first(trial: Trial) -> None:
    """Where the first frame is anything else, it is a plain message, and so are all others."""
    _plain(trial)
    trial.start(greet="1")
    trial.expect("message", text="welcome")
    trial.do("send", text="hello")
    trial.expect("message", text="hello")
    trial.same("what the bot is given", ["hello"], trial.taken())


@scenario("plain-silent", "/talk")
def plain_silent(trial: Trial) -> None:
    """Where no first frame comes for some seconds, the connection is plain."""
    _plain(trial)
    trial.start()
    trial.do("send", text="hello")
    trial.expect("message", text="hello")
    trial.same("what the bot is given", ["hello"], trial.taken())


def _plain(trial: Trial) -> None:
    """Have a proxy agree to `wsh.v1`, and the server behind it know nothing of that."""
    trial.relay.on_request = lambda head: BAD_OFFER.sub(b"", head)
    trial.relay.on_answer = lambda head: head[:-2] + b"Sec-WebSocket-Protocol: wsh.v1\r\n\r\n"


@scenario("close", "/lasting")
def close(trial: Trial) -> None:
    """A client that is closed closes with 1000, and does not come back."""
    trial.begin()
    trial.do("send", text="hello")
    trial.expect("message", text="hello")
    trial.do("close")
    trial.expect("closed", code=1000)
    frame = trial.frame("client", lambda frame: frame.opcode == CLOSE, "a close frame")
    trial.check(frame.code == 1000, "the close code 1000", str(frame))
    _exits(trial)


@scenario("closed-by-bot", "/lasting")
def closed_by_bot(trial: Trial) -> None:
    """A close code of the bot's own ends the connection for good."""
    trial.begin()
    trial.do("send", text="close")
    trial.expect("closed", code=4321)
    _exits(trial)


def _exits(trial: Trial) -> None:
    code = trial.program.wait(10 * trial.ground.patience)
    trial.check(code == 0, 'that the program ends with 0 behind "closed"', f"{code}")
    count = len(trial.relay.offers)
    trial.check(count == 1, "no connection behind the end", f"{count - 1}")
