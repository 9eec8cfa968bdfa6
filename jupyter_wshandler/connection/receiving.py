"""The receiving half of a connection: its inbox, the limits of its route, and its work."""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from typing import Any, TypeAlias

from ..engine.protocol import FAILED, Close, Event, Failure, Pong
from ..limits.rates import Meter
from ..routes import Route
from ..types import CloseCode, Message, Question, Wish
from .answers import Answers
from .background import Timer
from .host import Host
from .observer import Observers
from .opening import Opening
from .phase import CLOSED, CLOSING, OPEN, PEER_CLOSED
from .place import Placed
from .sending import over_limit
from .work import Work

INBOX = 64
"""Messages that wait for the callback before reading pauses."""

INBOX_BYTES = 1024 * 1024
"""Bytes of memory in them, decompressed, and in the message that a callback is handling, before
reading pauses. One message is always taken, whatever the route's `max_message` allows it."""

LIGHT = INBOX_BYTES // INBOX
"""Bytes of a message up to which only its number counts: as many as may wait fit in anyway."""


Incoming: TypeAlias = Event | Question | Wish
"""What the codec has read."""


def weight(question: Question) -> int:
    """Return the bytes of memory that a message in an envelope counts for."""
    return getsizeof(question.message) if len(question.message) > LIGHT else 0


def messages_in(items: Iterable[object]) -> int:
    """Return how many of these are messages, and no pongs or turns of timers."""
    return sum(isinstance(item, (str, bytes, Question)) for item in items)


class ReceivingHalf(Placed):
    """The half of a connection that receives, and hands over to whoever runs its callbacks.

    What is read goes into an inbox of bounded size: where that is full, reading pauses, and what
    the peer goes on to send fills its own side. The inbox is emptied in turns. Whoever runs the
    callbacks (`callbacks.run`, or a kernel's bridge) is woken and goes through these steps, which
    are functions of `turns`:

    1. `begin_work` gives it the connection's `Work`, unless somebody has it: the turns of one
       connection never overlap.
    2. `Work.has_opened`, `mark_opened`: its `open` comes before all.
    3. `next_message`, until there is none: each call also says that the one before is handled.
    4. `take_last_turn`: whether the connection is lost, and `on_close` is due. That is once.
    5. `end_work`: the peer's close frame is answered if it waited for all that. It says whether
       something came meanwhile, which is the next work.

    Args:
        host: Who runs the callbacks.
        route: The route that was matched.
        opening: How the client came.
        id: Unique name of the connection.
    """

    __slots__ = (
        "_discard",
        "_finished",
        "_going_on",
        "_in_hand",
        "_inbox",
        "_opened",
        "_paused",
        "_waiting_size",
        "_work",
        "unhandled",
    )

    _answers: Answers | None

    def __init__(self, host: Host, route: Route, opening: Opening, *, id: str) -> None:
        super().__init__(host, route, opening, id=id)
        # A list: an idle connection has one, and an empty `deque` takes 760 bytes. It is short.
        self._inbox: list[Message | Question | Pong | Timer] = []
        self._waiting_size = 0  # bytes of the heavy messages that wait or are being handled
        self._in_hand = 0  # of the one that is being handled
        self._paused = False
        self._going_on = False  # what was read is gone on with in the next turn of the loop
        self._discard = False  # we closed: what still arrives is not delivered
        # The callbacks
        self._work: Work | None = None
        self._opened = False
        self._finished = False
        self.unhandled = 0  # arrived, and dropped when the connection was lost

    # ---- the peer's bytes ------------------------------------------------------------------

    def data_received(self, data: Any) -> None:
        """Handle one chunk from the peer."""
        self._alive = True
        protocol = self._protocol
        inbox = self._inbox
        events = protocol.receive(data, INBOX - len(inbox), INBOX_BYTES - self._waiting_size)
        if protocol.out and protocol.state != FAILED:
            self._answer_pings()
        observers = self._host.observers
        if observers.message_in and not self._discard:
            self._tell_of(events, observers)
        if self._route.config.stop_message:
            events = self._obey(events, self._route.config.stop_message)
        if self._meter is not None and not self._discard:
            events = self._within_limits(events, self._meter)
        for event in events:
            if type(event) is str or type(event) is bytes:
                self._active = True
                if not self._discard:
                    inbox.append(event)
                    if len(event) > LIGHT:
                        self._waiting_size += getsizeof(event)
            else:
                self._control(event)
        if not events and self._phase == CLOSING:
            self._take_leftover(data)
        full = len(inbox) >= INBOX or self._waiting_size >= INBOX_BYTES
        if full and self._phase == CLOSING:
            full = False  # what still comes is not kept
        if (protocol.pending or full) and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if protocol.pending and not full and not self._going_on:
            # The rest is read in a turn of its own, after others. Who empties the inbox need not be
            # waited for: there is room in it.
            self._going_on = True
            self._io.loop.call_soon(self._go_on)
        if inbox and self._work is None:
            self._host.wake(self)

    def _tell_of(self, events: list[Incoming], observers: Observers) -> None:
        for event in events:
            if isinstance(event, (str, bytes, Question)):
                observers.tell(observers.message_in, self, event)

    def _answer_pings(self) -> None:
        """Send the pongs that wait, but to a peer that sends too many pings or reads no answers."""
        protocol, meter = self._protocol, self._meter
        count, protocol.pings = protocol.pings, 0
        within = meter is None or meter.take_control(self._io.loop.time(), count)
        if within and not self._full():
            self._transport.write(protocol.outgoing())
            return
        protocol.outgoing()  # and nobody gets them
        if not within:
            self._refuse_control(count)

    def _within_limits(self, events: list[Incoming], meter: Meter) -> list[Incoming]:
        """Return the events without the messages and pongs over the route's `ratelimit`."""
        now = self._io.loop.time()
        pongs = sum(type(event) is Pong for event in events)
        if pongs and not meter.take_control(now, pongs):
            events = [event for event in events if type(event) is not Pong]
            self._refuse_control(pongs)
        kept, refused = meter.sift(events, now)
        answers = None if meter.closes else self._answers
        for event, wait in refused:
            if answers is not None and type(event) is Question and event.number:
                self._refuse_question(event, wait, answers)
            elif answers is not None and type(event) is Wish:
                self.rate_limited += 1
                self._io.begin_batch()
                answers.say({"refused": event.room, **over_limit(wait)})
            else:
                self._refuse(wait, meter.closes)
        return kept

    def _refuse_question(self, question: Question, wait: float, answers: Answers) -> None:
        self.rate_limited += 1
        self._io.begin_batch()
        answers.end(question.number, "refused", over_limit(wait))
        self._tell_refused()

    def _refuse_control(self, count: int) -> None:
        # Pings and pongs over the route's `ratelimit` get no answer: there would be too many.
        self.rate_limited += count
        if self._meter is not None and self._meter.closes:
            self.end(CloseCode.POLICY_VIOLATION, "over the rate limit of this route")

    def _refuse(self, wait: float, close: bool) -> None:
        super()._refuse(wait, close)
        self._tell_refused()

    def _tell_refused(self, later: int | None = 0) -> None:
        # What was read at once has come at the same time: of that the newest stands for each.
        observers = self._host.observers
        if observers.message_done:
            observers.tell(observers.message_done, self, later)

    def admits_control(self) -> bool:
        """Return whether the route's `ratelimit` lets one more ping pass, or what counts as one."""
        if self._meter is None or self._meter.take_control(self._io.loop.time()):
            return True
        self._refuse_control(1)
        return False

    def _go_on(self) -> None:
        """Parse on in what was read, in a turn of the loop of its own."""
        self._going_on = False
        if self._paused and self._phase != CLOSED:
            self._resume()

    def _control(self, event: Incoming) -> None:
        if type(event) is Question:
            self._active = True
            if not self._discard:
                self._inbox.append(event)
                self._waiting_size += weight(event)
        elif type(event) is Pong:
            # Pongs that nobody asked for must not fill the inbox beyond its size.
            wanted = "on_pong" in self._route.callbacks and len(self._inbox) < INBOX
            if wanted and not self._discard:
                self._inbox.append(event)
        elif type(event) is Wish:
            self._active = True
            if not self._discard:
                self._host.rooms.wished(self, event)
        elif type(event) is Close:
            self._peer_closes(event)
        elif type(event) is Failure:
            self._peer_fails(event)

    # This is in `stopping.py`, with all else that a client does not want any more.

    def _obey(self, events: list[Incoming], word: str) -> list[Incoming]:
        raise NotImplementedError

    # These are in `connection.py`, with all else that ends a connection.

    def _peer_closes(self, event: Close) -> None:
        raise NotImplementedError

    def _peer_fails(self, event: Failure) -> None:
        raise NotImplementedError

    def _take_leftover(self, data: Any) -> None:
        raise NotImplementedError

    def settle(self) -> None:
        """Answer the peer's close frame, if it waits for that."""
        raise NotImplementedError

    # ---- the inbox -------------------------------------------------------------------------

    def deliver(self, timer: Timer) -> None:
        """Put a turn of a timer in line with the messages."""
        if self._phase == OPEN and not self._discard:
            self._inbox.append(timer)
            self._host.wake(self)

    @property
    def has_messages(self) -> bool:
        """Whether something waits for the callbacks."""
        return bool(self._inbox)

    def _next_message(self) -> Message | Question | Pong | Timer | None:
        """Return the next thing to deliver, or None; reads on where there is room again."""
        inbox, work = self._inbox, self._work
        if self._in_hand:  # the last one has been handled
            self._waiting_size -= self._in_hand
            self._in_hand = 0
        observers = self._host.observers
        if observers.message_done:
            self._tell_done(observers)
        if not inbox:
            if self._paused:
                self._read_on()
            if not inbox:
                if work is not None:
                    work.entry = self._route
                return None
        message = inbox.pop(0)
        if type(message) is str or type(message) is bytes:
            if len(message) > LIGHT:
                self._in_hand = getsizeof(message)
        elif type(message) is Question:
            self._in_hand = weight(message)
        if self._paused:
            self._read_on()
        if work is not None:
            # To look at an attribute of a struct is a tenth of what it costs to set it, and within
            # a batch they stay as they are.
            has_more, is_heavy = bool(inbox), self._in_hand > 0
            if work.entry is not self._route:
                work.entry = self._route
            if work.has_more is not has_more:
                work.has_more = has_more
            if work.is_heavy is not is_heavy:
                work.is_heavy = is_heavy
            if observers.message_done:
                work.has_message = isinstance(message, (str, bytes, Question))
        return message

    def take_plain(self) -> Message | None:
        """Return the next message, called in the thread that has handled one; None to go back.

        What is large, or no message, is left to `next_message`. The event loop adds to the inbox
        meanwhile, and may empty it; nobody else takes from its beginning.
        """
        inbox = self._inbox
        try:
            message = inbox[0]
            if (type(message) is not str and type(message) is not bytes) or len(message) > LIGHT:
                return None
            inbox.pop(0)
        except IndexError:
            return None
        observers, work = self._host.observers, self._work
        if observers.message_done and work is not None:
            if work.has_message:  # the one before
                self._io.send_from_thread(observers.tell, observers.message_done, self)
            work.has_message = True
        return message

    def _tell_done(self, observers: Observers) -> None:
        work = self._work
        if work is not None and work.has_message:
            work.has_message = False
            observers.tell(observers.message_done, self)

    def _read_on(self) -> None:
        if len(self._inbox) <= INBOX // 2 and self._waiting_size <= INBOX_BYTES // 2:
            self._resume()

    def _drop_inbox(self) -> int:
        """Let go of what waits for the callbacks; return how many messages that were."""
        dropped = messages_in(self._inbox)
        self._inbox.clear()
        self._waiting_size = self._in_hand
        return dropped

    def drop_messages(self) -> None:
        """Let go of what waits for the callbacks: nobody will handle it."""
        self._drop_inbox()

    def _resume(self) -> None:
        self._paused = False
        if self._protocol.pending:
            self.data_received(b"")
        if not self._paused:
            # The time in which nothing was read says nothing about the peer.
            self._alive = True
            self._transport.resume_reading()

    # ---- its work: see `turns` -------------------------------------------------------------

    @property
    def work(self) -> Work | None:
        """What of the connection runs now; None for an idle one."""
        return self._work

    @property
    def chat_answers(self) -> Answers | None:
        """What marks its answers, for a client that wants to know where each ends."""
        return self._answers

    def _begin_work(self) -> Work | None:
        """Return the connection's work, to be done; None where somebody does it, or all is over.

        Until `end_work` the connection wakes nobody: what comes is found by `next_message`.
        """
        if self._work is not None or self._finished:
            return None
        work = self._work = Work(self._route, self._answers, self._opened)
        return work

    @property
    def has_opened(self) -> bool:
        """Whether its `open` has had its turn."""
        return self._opened

    def mark_opened(self) -> None:
        """Take note that its `open` has ended, or that there is none.

        Only now begin the timers of the route: a reload during `open` would start them, too.
        """
        self._opened = True
        self.start_timers()
        observers = self._host.observers
        if observers.ready:
            observers.tell(observers.ready, self)

    def _take_last_turn(self) -> bool:
        """Return whether the connection is lost, and its last turn is due; that is once.

        In a forked child it never is: there a connection is its parent's.
        """
        if self._phase == CLOSED and not self._finished:
            self._finished = True
            return True
        return False

    def _end_work(self, work: Work) -> bool:
        """Take the work back, and answer the peer's close frame if that waited for it.

        Args:
            work: What `begin_work` returned; one that was left to itself has no effect.

        Returns:
            Whether there is something to do after all, so that somebody must be woken.
        """
        if self._work is not work:
            return False
        if work.has_message:  # a kernel has it, and no room for another one
            self._tell_done(self._host.observers)
        self._work = None
        if self._inbox:
            return True
        if self._phase == PEER_CLOSED:
            self.settle()
        return self._phase == CLOSED and not self._finished

    def write_off_work(self) -> bool:
        """Leave what runs to itself: it does not end. The connection takes no messages any more.

        Returns:
            Whether it was the last turn that ran.
        """
        if self._work is not None:
            self._work.abandoned = True
            self._work = None
        self._opened = True  # it had its turn
        self._in_hand = 0
        self._drop_inbox()
        self._discard = True
        self.leave_seat()
        return self._finished

    def cancel(self, why: str) -> None:
        """Interrupt the running callback.

        Args:
            why: Tells callbacks/run.py what to make of it; see `Work.why`.
        """
        if self._work is not None:
            self._work.interrupt(why, self._io.loop.time())
