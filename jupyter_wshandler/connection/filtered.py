"""Connections of routes with filters: each message that leaves goes through these first.

A route has a class of connections, so that one without filters asks nothing for a message. What
comes in has its filters around the callback (`functions.filtering`), or on its way to a kernel
(`kernels.filtered`).
"""

from __future__ import annotations

from typing import Any

from ..engine.payload import to_message
from ..engine.shared import SharedMessages
from ..functions.filters import passed
from ..guard import is_interrupt, tamed
from ..transports.direct import DirectTransport
from ..types import Callback, CloseCode, Message
from .background import Timer
from .connection import Connection
from .current import current_connection
from .phase import OPEN, PEER_CLOSED
from .sending import SENT, Sent

TURNS = 2
"""Turns of `on_error` for messages that could not leave which may wait at a time."""

PAUSE = 10.0
"""Seconds in which it is told once at most of messages that do not come of the connection's own."""


class ErrorTurn:
    """A turn of a route's `on_error` for what was raised beside its callbacks.

    Args:
        callback: The route's `on_error`.
        error: What was raised.
    """

    __slots__ = ("_callback", "_error", "event", "inline", "name")

    def __init__(self, callback: Callback, error: BaseException) -> None:
        self._callback = callback
        self._error = error
        self.event, self.inline, self.name = callback.event, callback.inline, callback.name

    def call(self, handler: Any) -> Any:
        """Call it."""
        return self._callback.call(handler, self._error)


class Filtering(Connection):
    """What a connection of a route with filters has beside others.

    Its slots are those of the classes below it, as one that has two such bases needs.

    Args:
        args: As for `Connection`.
        details: The same.
    """

    __slots__ = ()

    _muted: bool
    _told_at: float

    def __init__(self, *args: Any, **details: Any) -> None:
        super().__init__(*args, **details)
        self._muted = False  # a filter has failed: nothing leaves any more
        self._told_at = -PAUSE

    # ---- in --------------------------------------------------------------------------------

    def keep_filtered(self, message: Message | None) -> None:
        """Remember what filters have made of the message that is being handled.

        Args:
            message: The message; None as long as they have not let it through.
        """
        work = self._work
        if work is not None:  # with which it is forgotten: an idle connection keeps no message
            work.filtered = message

    def as_handled(self, message: Any) -> Any:
        """Return the message as its callback got it, which is what may be shown of it."""
        work = self._work
        filters = (self._route if work is None else work.entry).filters
        if filters is None or not filters.incoming:
            return message
        return None if work is None else work.filtered

    # ---- out -------------------------------------------------------------------------------

    def way_of_many(self) -> tuple[str, DirectTransport] | None:
        """Return that it is reached alone: what it is sent is nobody else's."""
        return None

    def _send(self, message: Message) -> Sent:
        if not OPEN <= self._phase <= PEER_CLOSED:
            self._check_open()
        self.deliver_said()  # it leaves first, and so goes through the filters first
        leaving = self._pass(message)
        return SENT if leaving is None else super()._send(leaving)

    def write_shared(self, shared: SharedMessages) -> bool:
        """Send messages that others get, too, each through the filters; on the event loop.

        Args:
            shared: The messages.

        Returns:
            Whether it is open; otherwise nothing is sent.
        """
        phase = self._phase
        if phase is not OPEN and phase is not PEER_CLOSED:
            return False
        if not shared.messages:
            return super().write_shared(shared)
        messages: list[Message] = []
        for message in shared.messages:
            leaving = self._pass(message)
            if leaving is None:
                return False
            messages.append(leaving)
        return super().write_shared(shared.having(messages))

    def _pass(self, message: Message) -> Message | None:
        """Return a message as the client gets it; None where nothing is to leave any more.

        Raises:
            RuntimeError: It was called by a filter that has a message in hand, of whichever
                connection; the failure is that filter's.
        """
        if self._muted:
            return None
        filters, io = self._route.filters, self._io
        if filters is None or not filters.outgoing:
            return message
        if io.held is not None:
            raise RuntimeError(
                "a filter has a message in hand that leaves, and cannot send another one, to "
                "whomever; return what is to be sent"
            )
        name = ""
        # What was said in rooms would come here again, for a connection that has one in hand.
        io.hold_pending()
        try:
            for name, function in filters.outgoing:
                message = passed(name, message, function(self, message))
                if type(message) is str and not message.isascii():
                    message.encode()  # what cannot be sent is the filter's fault
            return message
        except BaseException as raised:
            problem = tamed(raised, name)
            if is_interrupt(problem):
                raise
        finally:
            io.release_pending()
        return self._not_passed(name, problem, is_text=type(message) is str)

    def _not_passed(self, name: str, error: BaseException, is_text: bool) -> Message | None:
        """Take note that a message could not leave; return what is sent in its place."""
        problem = self.filter_failed(name, error)
        return None if problem is None else to_message(problem, binary=not is_text)

    def filter_failed(self, name: str, error: BaseException) -> dict[str, object] | None:
        """Take note that a filter has failed, as if a callback of the route had.

        Args:
            name: What its function is called.
            error: What it has raised.

        Returns:
            What the client is told; None where the connection was closed.
        """
        error_id = self._host.failed_beside(self, name, error)
        if self._answers is not None:
            self._answers.failed()
        closes = self._route.config.on_error_close
        if closes:
            self._muted = True
            self.end(CloseCode.INTERNAL_ERROR, f"internal error, id {error_id}")
        self._tell_on_error(error)
        return None if closes else {"error": "internal error", "id": error_id}

    def _tell_on_error(self, error: BaseException) -> None:
        """Have the route's `on_error` run in its turn; behind the end, where it has come to it.

        What an `on_error` sends itself, to whomever, and cannot, is not told to one: it would send
        that again, without end. By way of a room, a thread or a task nobody knows whose it was: so
        of what is sent from elsewhere only some is told, and connections that tell each other come
        to an end.
        """
        if _does_for_errors(self) or _does_for_errors(current_connection.get(None)):
            return
        now = self._io.loop.time()
        if _does_for_errors(self) is None:
            if now - self._told_at < PAUSE:
                return
            self._told_at = now
        callback = self._route.callbacks.get("on_error")
        waiting = sum(
            type(item) is Timer and type(item.callback) is ErrorTurn for item in self._inbox
        )
        if callback is not None and waiting < TURNS:
            self._inbox.append(Timer(None, 0.0, ErrorTurn(callback, error)))
            # Not within this call: the message that could not leave is still in hand.
            self._io.loop.call_soon(self._host.wake, self)


def _does_for_errors(connection: Connection | None) -> bool | None:
    """Return whether what a connection does at the moment is its `on_error`; None for nothing."""
    work = None if connection is None else connection.work
    if work is None or work.callback is None:
        return None
    return work.callback.event == "on_error"


class FilteredConnection(Filtering):
    """An open WebSocket of a route with filters, as callbacks see it: their `handler`."""

    __slots__ = ("_muted", "_told_at")
