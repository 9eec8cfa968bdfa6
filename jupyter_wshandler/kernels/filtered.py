"""Filters of all routes around the connections of bots in kernels; they run here, in the server.

What a kernel sends goes through them before it reaches its client, and what a client sends before
it reaches the kernel. A kernel knows nothing of them, and cannot go round them.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Set
from typing import Any

import msgspec

from ..connection.filtered import Filtering
from ..connection.observer import Observer
from ..connection.phase import CLOSED
from ..engine.asking import HEADER, How
from ..engine.envelope import EnvelopeCodec, encode_json
from ..errors import RefuseMessage
from ..functions.filters import passed
from ..functions.resolve import kind_of
from ..guard import guarded, is_being_closed, is_interrupt, tamed
from ..types import CloseCode, FilterStep, Message, Question
from .connection import KernelConnection
from .courier import Courier
from .outgoing import Outgoing

PARTS = ("message", "reply", "piece")
"""What in an envelope is a message of the bot's."""

PATIENCE = 30.0
"""Seconds that a filter is awaited where its connection has ended."""


class FilteredKernelConnection(Filtering, KernelConnection):
    """An open WebSocket whose messages are handled in a kernel, and filtered here.

    Attributes:
        was_asked: Whether `on_open` of the filters was called, or is being awaited.
        may_open: Whether that has ended well.
    """

    __slots__ = ("_muted", "_told_at", "_waits", "may_open", "was_asked")

    def __init__(self, *args: Any, **details: Any) -> None:
        super().__init__(*args, **details)
        self._waits: asyncio.Task[Any] | None = None
        self.was_asked = self.may_open = False

    def has_room(self) -> bool:
        """Return whether the kernel may be given one more message."""
        return not self.is_held and super().has_room()

    def _pass(self, message: Message) -> Message | None:
        codec = self._protocol
        if not isinstance(codec, EnvelopeCodec) or not codec.whole:
            return super()._pass(message)
        if isinstance(message, bytes):
            leaving = super()._pass(message[HEADER.size :])
            return message[: HEADER.size] + leaving if isinstance(leaving, bytes) else None
        try:
            envelope = msgspec.json.decode(message, type=dict[str, Any])
        except (msgspec.DecodeError, ValueError) as error:
            self.filter_failed("the envelope of a kernel's message", error)
            return None
        for part in PARTS:
            if isinstance(envelope.get(part), str):
                envelope[part] = super()._pass(envelope[part])
                if envelope[part] is None:
                    return None
        return encode_json(envelope).decode()

    @property
    def is_held(self) -> bool:
        """Whether a filter is waited for, so that the kernel is given nothing meanwhile."""
        return self._waits is not None

    @property
    def has_messages(self) -> bool:
        """Whether something waits for the kernel, or for a filter before it."""
        return self.is_held or super().has_messages

    def wait_for_filter(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the connection wait for a filter, in order with its messages.

        Args:
            work: What is waited for, also where the client has gone and its messages are still to
                be handled. The kernel is given nothing meanwhile.
        """
        self.give(0)  # so that a client's close frame waits for it, too
        name = f"wshandler {self.id} waits for a filter"
        self._waits = _begin(self._io.loop, work, name)
        self._waits.add_done_callback(self._waited)  # also of one that was never begun
        if self._phase is CLOSED:
            self._io.loop.call_later(PATIENCE, self._waits.cancel)

    def _waited(self, task: asyncio.Task[Any]) -> None:
        self._waits = None
        self.take(1)
        # One of an open connection is cancelled by nobody else than the filter.
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None and not self.closed:
            self.filter_failed("a filter", error)
        elif error is not None:
            self._host.log.warning("Route %s: a filter did not end with %s", self.route, self.id)
        self._host.wake(self)  # its last turn may wait for this, too

    def settle(self) -> None:
        """Answer the client's close frame; a kernel that knows nothing of it has no say yet."""
        if self.has_opened or not self.is_held or self._io.loop.time() >= self._deadline:
            super().settle()

    def connection_lost(self) -> None:
        """Handle the end of the byte stream; see `connection.Connection`."""
        if self._waits is not None:
            self._io.loop.call_later(PATIENCE, self._waits.cancel)
        super().connection_lost()

    def _tell_on_error(self, error: BaseException) -> None:
        # Its bot's own is in the kernel, and hears of what has failed there.
        filters = self._route.filters
        for name, function in () if filters is None else filters.failed:
            try:
                result = function(self, error)
            except Exception as another:
                self._host.failed_beside(self, name, another)
                continue
            if inspect.isawaitable(result):
                # No task of the connection's: that is closed for the failure.
                _begin(self._io.loop, self._told(name, result), name)

    async def _told(self, name: str, result: Any) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await guarded(result, name)
        except Exception as another:
            self._host.failed_beside(self, name, another)


_tasks: set[asyncio.Task[Any]] = set()
"""What filters do meanwhile; an event loop refers to tasks weakly."""


def _begin(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], name: str
) -> asyncio.Task[Any]:
    task = loop.create_task(work, name=name)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def connection_kind(filtered: bool) -> type[KernelConnection]:
    """Return what a connection of a kernel's route is."""
    return FilteredKernelConnection if filtered else KernelConnection


def outgoing_of(courier: Courier, *, filtered: bool) -> Outgoing:
    """Return the way of clients' messages to a kernel.

    Args:
        courier: Sends events to the kernel.
        filtered: Whether there are filters of all routes.
    """
    return FilteredOutgoing(courier) if filtered else Outgoing(courier)


class FilteredOutgoing(Outgoing):
    """Messages of clients that go through filters before a kernel is given them."""

    def open(self, connection: KernelConnection, headers: Set[str]) -> None:
        """Tell the kernel of a new connection, once `on_open` of the filters has ended.

        One for which that has failed it never hears of.

        Args:
            connection: The connection.
            headers: As for `Outgoing.open`.
        """
        if isinstance(connection, FilteredKernelConnection):
            if not connection.was_asked:
                connection.was_asked = True
                self._ask(connection)
            if connection.is_held:
                return  # it comes here again
            if not connection.may_open:
                connection.end(CloseCode.INTERNAL_ERROR, "a filter has failed")
                connection.ended_there = True
                connection.drop_messages()
                connection.mark_opened()
                return
        super().open(connection, headers)

    def _ask(self, connection: FilteredKernelConnection) -> None:
        filters = connection.entry.filters
        functions: tuple[FilterStep, ...] = () if filters is None else filters.opened
        if _some_wait(functions):
            connection.wait_for_filter(_ask_later(connection, functions))
        else:
            connection.may_open = _call(connection, functions, each=False)

    def _put(self, connection: KernelConnection, message: Any) -> None:
        filters = connection.entry.filters
        is_message = isinstance(message, (str, bytes, Question))
        if (
            filters is None
            or not is_message
            or not isinstance(connection, FilteredKernelConnection)
        ):
            super()._put(connection, message)
            return
        functions = filters.incoming
        if _some_wait(functions):
            connection.wait_for_filter(self._let_in_later(connection, message, functions))
            return
        inner = message.message if isinstance(message, Question) else message
        name = ""
        try:
            for name, function in functions:
                inner = passed(name, inner, function(connection, inner))
        except BaseException as error:
            self._not_let_in(connection, message, name, error)
        else:
            super()._put(connection, _with(message, inner))

    async def _let_in_later(
        self,
        connection: FilteredKernelConnection,
        message: Message | Question,
        functions: tuple[FilterStep, ...],
    ) -> None:
        inner = message.message if isinstance(message, Question) else message
        name = ""
        try:
            for name, function in functions:
                made = function(connection, inner)
                if inspect.isawaitable(made):
                    made = await guarded(made, name)
                inner = passed(name, inner, made)
        except asyncio.CancelledError:  # its client is gone
            raise
        except BaseException as error:
            self._not_let_in(connection, message, name, error)
        else:
            super()._put(connection, _with(message, inner))

    def _not_let_in(
        self,
        connection: FilteredKernelConnection,
        message: Message | Question,
        name: str,
        error: BaseException,
    ) -> None:
        error = tamed(error, name)
        if is_interrupt(error):
            raise error
        how: How = "failed"
        problem: dict[str, object] | None
        if isinstance(error, RefuseMessage):
            problem, how = error.problem(), "refused"
        else:
            problem = connection.filter_failed(name, error)
        if problem is None or connection.closed:
            return
        answers = connection.chat_answers
        if isinstance(message, Question) and message.number and answers is not None:
            answers.end(message.number, how, problem)
        else:
            connection.write_message(problem)


def _with(message: Message | Question, inner: Message) -> Message | Question:
    """Return a message with another one in its envelope, where it has one."""
    return Question(message.number, inner, message.size) if isinstance(message, Question) else inner


def _some_wait(functions: tuple[FilterStep, ...]) -> bool:
    return any(kind_of(function) == "async" for _, function in functions)


def _call(
    connection: FilteredKernelConnection, functions: tuple[FilterStep, ...], *, each: bool
) -> bool:
    """Call functions of filters, one after the other.

    Args:
        connection: What they get.
        functions: The functions, none an ``async def``.
        each: Whether each is called, whatever the one before has raised.

    Returns:
        Whether none has failed.
    """
    fine = True
    for name, function in functions:
        try:
            function(connection)
        except BaseException as error:
            fine = False
            _failed(connection, name, error)
            if not each:
                break
    return fine


async def _call_later(
    connection: FilteredKernelConnection, functions: tuple[FilterStep, ...], *, each: bool
) -> bool:
    """Do what `_call` does, where some are an ``async def``; each waits for the one before."""
    fine = True
    for name, function in functions:
        try:
            result = function(connection)
            if inspect.isawaitable(result):
                await guarded(result, name)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            fine = False
            _failed(connection, name, error)
            if not each:
                break
    return fine


async def _ask_later(
    connection: FilteredKernelConnection, functions: tuple[FilterStep, ...]
) -> None:
    connection.may_open = await _call_later(connection, functions, each=False)


def _failed(connection: FilteredKernelConnection, name: str, raised: BaseException) -> None:
    error = tamed(raised, name)
    if is_interrupt(error) or is_being_closed(error):
        raise error
    connection.filter_failed(name, error)


class FilteredKernels(Observer):
    """What calls `on_close` of the filters of kernels' routes where a connection has ended.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def ended(self, connection: Any) -> None:
        """Call `on_close` of the filters."""
        filters = connection.entry.filters
        if not isinstance(connection, FilteredKernelConnection) or filters is None:
            return
        if _some_wait(filters.closed):
            work = _call_later(connection, filters.closed, each=True)
            _begin(self._loop, work, f"wshandler {connection.id} filters")
        else:
            _call(connection, filters.closed, each=True)

    async def stop(self) -> None:
        """Wait a second for what filters still do, and end it."""
        tasks = [task for task in _tasks if task.get_loop() is self._loop]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=1.0)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
