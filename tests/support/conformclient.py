"""The package's Python client, as `jupyter wshandler conformance` drives one; wrong where asked.

::

    python conformclient.py [MISTAKE]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from jupyter_wshandler.client import MembersChange, connect, lifeline
from jupyter_wshandler.client.states import Change
from jupyter_wshandler.engine import clientline, comeback, lasting
from jupyter_wshandler.engine.asking import ClientEnd
from jupyter_wshandler.errors import AnswerFailed, RoomRefused


def tell(event: str, **members: Any) -> None:
    print(json.dumps({"event": event, **members}), flush=True)


def said(value: Any) -> dict[str, Any]:
    """Return a message or a value as an event has it."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    return {"text": value} if isinstance(value, str) else {"text": "", "json": value}


class Told(ClientEnd):
    """What the server says of a room that was left, for which the client has no event."""

    def take(self, said: dict[str, Any]) -> None:
        super().take(said)
        if "left" in said:
            tell("left", room=said["left"])


def members_changed(change: MembersChange) -> None:
    members = [asdict(one) for one in change.members]
    if change.member is None:
        tell("members", room=change.room, members=members)
    else:
        member = asdict(change.member)
        tell("member", room=change.room, change=change.change, member=member, members=members)


class Driven:
    """A client that does what the lines of its standard input say."""

    def __init__(self) -> None:
        self.end: Any = None
        self.closed = asyncio.Event()
        self.answers: dict[str, Any] = {}
        self.rooms: dict[str, Any] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def make_end(self, id: str) -> Told:
        self.end = Told(id)
        return self.end

    def changed(self, change: Change) -> None:
        if change.event == "resumed":
            tell("open", id=self.end.id, resumed=True)
        elif change.event == "renewed":
            tell("open", id=self.end.id, resumed=False, reason=change.reason)
        elif change.event == "closed":
            tell("closed", code=change.code)
            self.closed.set()

    async def run(self) -> None:
        connector = connect(os.environ["WSH_URL"], on_state=self.changed, timeout=30)
        self.bot = await connector.heard_by(self.make_end)
        if self.bot.speaks:
            tell("open", id=self.end.id, resumed=False)
        self.begin(self.messages())
        self.begin(self.wishes())
        await self.closed.wait()

    def begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.finished)

    def finished(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self.closed.is_set():
            print(repr(task.exception()), file=sys.stderr, flush=True)

    async def messages(self) -> None:
        async for message in self.bot:
            tell("message", **said(message))
        if not self.closed.is_set():  # a plain connection tells nobody
            tell("closed", code=self.bot.close_code)
            self.closed.set()

    async def wishes(self) -> None:
        reader = asyncio.StreamReader(limit=2**24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            wish = json.loads(line)
            await getattr(self, wish.pop("do"))(**wish)

    async def send(self, text: str = "", hex: str | None = None) -> None:
        await self.bot.send(text if hex is None else bytes.fromhex(hex))

    async def ask(self, id: str, text: str) -> None:
        answer = self.answers[id] = self.bot.stream(text, None)
        await answer.__aenter__()
        self.begin(self.listen(id, answer))

    async def listen(self, id: str, answer: Any) -> None:
        with suppress(AnswerFailed):
            async for value in answer:
                tell("piece", id=id, **said(value))
        tell("end", id=id, how=answer.how)

    async def stop(self, id: str) -> None:
        await self.answers[id].stop()

    async def join(self, room: str, since: Any = None, presence: bool = False) -> None:
        known = (since["epoch"], since["offset"]) if since else None
        try:
            told = members_changed if presence else None
            joined = await self.bot.join(room, known, on_members=told)
        except RoomRefused as error:
            tell("refused", room=room, detail=str(error))
            return
        self.rooms[room] = joined
        tell("joined", room=room, recovered=joined.recovered)
        self.begin(self.hear(joined))

    async def hear(self, room: Any) -> None:
        async for text in room:
            tell("message", text=text, room=room.name)

    async def leave(self, room: str) -> None:
        await self.rooms.pop(room).leave()

    async def close(self) -> None:
        await self.bot.close()


class Mistakes:
    """What a client may get wrong; each changes the client of this process."""

    @staticmethod
    def takes_repetitions() -> None:
        receive = lasting.Lasting.receive

        def wrong(self: Any, number: int, now: float) -> bool:
            receive(self, number, now)
            return True

        lasting.Lasting.receive = wrong

    @staticmethod
    def never_acknowledges() -> None:
        comeback.ClientLife.acknowledge = lambda self, now: None
        comeback.ClientLife.due_at = property(lambda self: 0.0)

    @staticmethod
    def does_not_see_gaps() -> None:
        receive = lasting.Lasting.receive

        def wrong(self: Any, number: int, now: float) -> bool:
            self.received = max(self.received, number - 1)
            return receive(self, number, now)

        lasting.Lasting.receive = wrong

    @staticmethod
    def forgets_stops() -> None:
        def wrong(self: Any, asked: Any) -> str | None:
            return comeback.stop_frame(asked.number) if self.is_open else None

        comeback.ClientLife.stop = wrong

    @staticmethod
    def sends_blindly_again() -> None:
        begin = clientline.ClientLine.begin

        def wrong(self: Any, frame: Any) -> Any:
            begun = begin(self, frame)
            for one in begun.given_up:
                self.say(one)
            return begun

        clientline.ClientLine.begin = wrong

    @staticmethod
    def never_comes_back() -> None:
        lifeline.LIMIT = -1000.0
        lifeline.FINAL = frozenset(range(1000))
        lifeline.ConnectError = ValueError
        lifeline.Closing.returns = property(lambda self: False)

    @staticmethod
    def says_nonsense() -> None:
        print("hello, world", flush=True)
        raise SystemExit(3)


if __name__ == "__main__":
    lifeline.FIRST_PAUSE = 0.01
    lifeline.LONGEST_PAUSE = float(os.environ["WSH_LONGEST_PAUSE"])
    for mistake in sys.argv[1:]:
        getattr(Mistakes, mistake)()
    asyncio.run(Driven().run())
