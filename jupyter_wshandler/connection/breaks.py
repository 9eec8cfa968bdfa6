"""What a connection has for clients that speak `wsh.v1`: marked answers, breaks it outlives."""

from __future__ import annotations

from typing import NamedTuple

from ..config.model import ResumeConfig
from ..engine.envelope import NOBODY, EnvelopeCodec
from ..engine.lasting import Lasting
from ..engine.numbered import NumberedCodec
from ..types import Codec, Transport
from .answers import Answers
from .background import Timer
from .line import Line
from .phase import OPEN
from .receiving import messages_in
from .stopping import StoppingHalf

TURNS = 2
"""Turns of `on_away` and `on_resume` that may wait at a time."""


class QueueCounts(NamedTuple):
    """How much waits on a connection."""

    waiting: int
    """Messages that have come, and wait for their callback."""
    frames: int
    """Messages that wait to be sent."""
    bytes: int
    """Bytes in them."""
    undone: int
    """Messages, and nothing else, that observers are yet to be told of as done."""


class OutlivingHalf(StoppingHalf):
    """The half of a connection that marks its answers, and may outlive its way to the client.

    Where the route has `resume` and the client can do it, a break is no end: the connection stays
    open, what it sends is kept, and it waits for the client to come back. Everything else about
    that is known by its `line`, which is its transport.
    """

    __slots__ = ("_next_ping", "_ping_deadline")

    _next_ping: float
    _ping_deadline: float

    def envelop(
        self,
        codec: Codec,
        *,
        confirms: bool = True,
        kind: type[EnvelopeCodec] = EnvelopeCodec,
    ) -> Codec:
        """Return a codec around another that speaks `wsh.v1`; called before `start`.

        Args:
            codec: The other one.
            confirms: Whether the client is told so; False where somebody else tells it.
            kind: How it speaks it.
        """
        envelopes = kind(codec)
        envelopes.limit(self._route.config.max_message)
        self._answers = envelopes.stopper = Answers(self, envelopes, confirms=confirms)
        return envelopes

    def outlive(
        self, codec: Codec, transport: Transport, secret: str, users: tuple[str, ...]
    ) -> tuple[Codec, Transport]:
        """Return a codec and a transport that outlive breaks; called before `start`.

        Args:
            codec: What the client's bytes are read with.
            transport: Carries them.
            secret: What the client is told to prove with that it is the same.
            users: Names of its user, by whom alone the connection is taken up again.
        """
        config = self._route.config.resume
        assert config is not None
        numbered = self.envelop(codec, kind=NumberedCodec)
        assert isinstance(numbered, NumberedCodec)
        assert self._answers is not None
        numbered.lasting = Lasting(messages=config.messages, size=config.bytes)
        line = self._answers.line = Line(self._io, numbered, transport, secret, users)
        line.belongs_to(self)
        return numbered, line

    def untie(self) -> None:
        """Let go, after its end, of what knows the connection as well.

        So both are freed at once. In a cycle they would wait for a full garbage collection, which a
        quiet server has no reason for.
        """
        answers, self._answers = self._answers, None
        if answers is None:
            return
        if isinstance(self._protocol, EnvelopeCodec):
            self._protocol.stopper = NOBODY
        if answers.line is not None:
            answers.line.untie()

    @property
    def line(self) -> Line | None:
        """The transport that outlives breaks; None where a break is the end."""
        return None if self._answers is None else self._answers.line

    @property
    def away(self) -> bool:
        """Whether the client is away, and may come back: what is sent to it waits.

        Always False where the route has no `resume`, or the client cannot do it.
        """
        return self._answers is not None and self._answers.away

    @property
    def resume_config(self) -> ResumeConfig | None:
        """What the route says of `resume` today."""
        return self._route.config.resume

    def may_go_away(self) -> bool:
        """Return whether the connection outlives a break that happens now."""
        return (
            self._phase == OPEN and self._route.config.resume is not None
        ) and self._host.keeps_away()

    def goes_away(self) -> None:
        """Take note that the client is away."""
        self._paused = False  # what was not read will be sent again
        self.hear_away(True)

    def comes_back(self) -> None:
        """Take note that the client is there again."""
        self._alive = self._active = True
        self._next_ping = self._io.loop.time() + self._route.config.ping_interval
        self._ping_deadline = 0.0
        self.hear_away(False)

    def queue_counts(self) -> QueueCounts:
        """Return what waits on it: for its callbacks, and for its client."""
        transport = self._transport
        if transport is None:  # it is not open yet
            return QueueCounts(0, 0, 0, 0)
        inbox, work = self._inbox, self._work
        # The one in hand is told of where somebody has observed it when it was taken.
        undone = messages_in(tuple(inbox)) + (work is not None and work.has_message)
        return QueueCounts(len(inbox), transport.queued_frames, transport.queued_bytes, undone)

    def hear_away(self, away: bool) -> None:
        """Remember whether the client is away, and have the bot told."""
        if self._answers is not None:
            self._answers.away = away
            self.tell_away(away)

    def connection_lost(self) -> None:
        """Handle the end of the byte stream; see `connection.Connection`."""
        raise NotImplementedError

    def tell_away(self, away: bool) -> None:
        """Have the bot's `on_away` run, or its `on_resume`, in its turn."""
        event = "on_away" if away else "on_resume"
        callback = self._route.callbacks.get(event)
        if callback is None:
            return
        waiting = [
            item
            for item in self._inbox
            if type(item) is Timer and item.callback.event in ("on_away", "on_resume")
        ]
        if len(waiting) < TURNS:
            self.deliver(Timer(None, 0.0, callback))
        elif waiting[-1].callback.event != event:
            # The bot is busy, and its client comes and goes: this one has never been.
            self._inbox.remove(waiting[-1])
