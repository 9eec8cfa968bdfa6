"""What a client must get right about rooms."""

from __future__ import annotations

from typing import Any

from .trial import Trial, scenario


def heard(trial: Trial, room: str) -> list[str]:
    """Return what the client has told of a room, in order."""
    return [str(event.get("text")) for event in trial.events("message", room=room)]


@scenario("room-join", "/rooms")
def room_join(trial: Trial) -> None:
    """A client joins a room, hears what is said there, speaks, and leaves."""
    trial.begin()
    trial.do("join", room="blue")
    trial.expect("joined", room="blue")
    other = trial.other()
    other.send("blue hello")
    trial.expect("message", room="blue", text="hello")
    trial.do("send", text="blue hello yourself")
    trial.expect("message", room="blue", text="hello yourself")
    trial.do("leave", room="blue")
    trial.expect("left", room="blue")
    other.send("blue nobody hears this")
    trial.do("join", room="white")
    trial.expect("joined", room="white")
    trial.same("what was heard", ["hello", "hello yourself"], heard(trial, "blue"))


@scenario("room-refused", "/rooms")
def room_refused(trial: Trial) -> None:
    """A client is told that a room is not open to it, and goes on."""
    trial.begin()
    trial.do("join", room="secret")
    trial.expect("refused", room="secret")
    trial.do("join", room="open")
    trial.expect("joined", room="open")
    trial.check(not trial.events("joined", room="secret"), "no event joined", "one")


@scenario("room-replay", "/rooms")
def room_replay(trial: Trial) -> None:
    """Who joins is sent the last messages of the room, in order and before what is new."""
    other = trial.other()
    for text in ("one", "two", "three"):
        other.send(f"old {text}")
    other.ask("old four")
    trial.begin()
    trial.do("join", room="old")
    trial.expect("joined", room="old")
    trial.expect("message", room="old", text="four")
    other.send("old five")
    trial.expect("message", room="old", text="five")
    trial.same("what was heard", ["one", "two", "three", "four", "five"], heard(trial, "old"))


@scenario("room-since", "/rooms")
def room_since(trial: Trial) -> None:
    """Who names the last message that it knows is sent what follows, and told whether it is all."""
    other = trial.other()
    for text in ("one", "two", "three"):
        other.ask(f"red {text}")
    other.join("red").leave()
    trial.begin()
    trial.do("join", room="red")
    trial.expect("message", room="red", text="three")
    first = trial.frame("server", lambda frame: "epoch" in frame.said, "an epoch").said
    trial.do("leave", room="red")
    trial.expect("left", room="red")
    other.ask("red four")
    _since(trial, {"epoch": first["epoch"], "offset": 2}, recovered=True)
    trial.expect("message", room="red", text="four")
    trial.same("what was heard", ["one", "two", "three", "three", "four"], heard(trial, "red"))
    trial.do("leave", room="red")
    trial.expect("left", room="red")
    _since(trial, {"epoch": "another", "offset": 7}, recovered=False)
    trial.expect("message", room="red", text="one")


def _since(trial: Trial, since: dict[str, Any], *, recovered: bool) -> None:
    trial.do("join", room="red", since=since)
    trial.expect("joined", room="red", recovered=recovered)
    wish = trial.relay.of("client")[-1].said.get("since")
    trial.check(
        any(frame.said.get("since") == since for frame in trial.relay.of("client")),
        f"on the wire a join with since {since}",
        f"{wish}",
    )


@scenario("room-presence", "/rooms")
def room_presence(trial: Trial) -> None:
    """A client is told who is in a room, and of each who comes or leaves."""
    trial.begin()
    trial.do("join", room="green", presence=True)
    trial.expect("joined", room="green")
    listed = trial.expect("members", room="green")["members"]
    trial.check(isinstance(listed, list) and len(listed) == 1, "one member", f"{listed}")
    room = trial.other().join("green")
    came = trial.expect("member", room="green", change="joined")["member"]
    trial.check(
        isinstance(came, dict) and came.get("id") not in (None, listed[0].get("id")),
        "another member with an id",
        f"{came}",
    )
    room.leave()
    left = trial.expect("member", room="green", change="left")["member"]
    trial.check(left.get("id") == came["id"], f"that {came['id']} leaves", f"{left}")


@scenario("room-resume", "/lasting-rooms")
def room_resume(trial: Trial) -> None:
    """Through a break a client stays in its rooms, and what is said meanwhile comes once."""
    trial.begin()
    trial.do("join", room="blue")
    trial.expect("joined", room="blue")
    other = trial.other()
    other.ask("blue one")
    trial.expect("message", room="blue", text="one")
    trial.away()
    for text in ("two", "three"):
        other.ask(f"blue {text}")
    trial.let_in()
    trial.expect("open", resumed=True)
    other.ask("blue four")
    trial.expect("message", room="blue", text="four")
    trial.same("what was heard", ["one", "two", "three", "four"], heard(trial, "blue"))
    joins = [frame for frame in trial.relay.of("client") if "join" in frame.said]
    trial.check(len(joins) == 1, "one join on the wire", f"{len(joins)}")
