"""Where a bot under test runs: a manager on an event loop, in a thread of its own.

The callbacks run as on a server: the same runner, connections, limits and sessions. Only the
bytes and the handshake are left out.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..callbacks.errorlog import CallbackFailure, users_part
from ..connection.connection import Connection
from ..connection.observer import Observer
from ..connection.opening import Opening
from ..engine.messages import MessageProtocol
from ..errors import ConnectionClosed
from ..guard import run_to_its_end, sheltered
from ..manager.manager import WebSocketManager
from ..routes import Route
from ..sessions.manager import SessionManager
from ..sessions.stores import MemoryStore
from .arrival import Arrival, groups_of, user_of
from .asking import Quiet
from .leaps import LeapingLoop
from .returning import ReturningWay
from .steps import Watch
from .transport import ChatTransport, Client

T = TypeVar("T")

C = TypeVar("C", bound=Client)

__tracebackhide__ = True

START = 10.0
"""Seconds for the thread to begin."""

GRACE = 0.2
"""Seconds for callbacks that still run when a bot is put away; then they are interrupted."""

LOOK = 0.002
"""Seconds between two looks at a callback that is waited for."""

TURNS = 10
"""Turns of the loop in which a callback gets as far as it can without waiting for anything."""

THREADS = 0.05
"""Seconds that what runs in threads has before time passes on."""

PATIENCE = 1.0
"""Seconds that it has while a time passes, in all."""


class Told(Observer):
    """What tells each client what has become of its messages.

    Args:
        clients: The clients by the ids of their connections.
    """

    def __init__(self, clients: dict[str, Client]) -> None:
        self._by_id = clients

    def ready(self, connection: Connection) -> None:
        """Tell that `open` has ended."""
        self._by_id[connection.id].opened()

    def message_done(self, connection: Connection, later: int | None = None) -> None:
        """Tell that one message is done with."""
        self._by_id[connection.id].handled()

    def ended(self, connection: Connection) -> None:
        """Tell that the last callback has run."""
        self._by_id.pop(connection.id).end()


class BotThread(Generic[C]):
    """The thread in which a bot runs while clients are connected.

    Args:
        route: The bot.
        raises: Whether errors of callbacks wait to be raised in the test.
    """

    def __init__(self, route: Route, *, raises: bool) -> None:
        self.route = route
        self.watch = Watch()
        self.store = MemoryStore()
        self.errors: list[CallbackFailure] = []
        self.clients: list[C] = []
        self.over = True
        self._raises = raises
        self._waiting: list[CallbackFailure] = []
        self._by_id: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._end: asyncio.Event
        self.loop: LeapingLoop
        self.manager: WebSocketManager

    # ---- the thread ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to run the bot; without effect if it runs.

        Raises:
            TimeoutError: The machine is too busy.
        """
        with self._lock:
            if not self.over:
                return
            ready: concurrent.futures.Future[None] = concurrent.futures.Future()
            name = f"wshandler chat {self.route.name}"
            self.over = False
            self._thread = threading.Thread(target=self._run, args=(ready,), name=name, daemon=True)
            self._thread.start()
            ready.result(START)
            _running.add(self)

    def _run(self, ready: concurrent.futures.Future[None]) -> None:
        self.loop = LeapingLoop()
        try:
            with contextlib.suppress(RuntimeError):  # the interpreter ends with a loop that runs
                run_to_its_end(self._main(ready), self._survived, self.loop)
        finally:
            self.over = True
            self.watch.thread = None
            self.watch.changed()

    def _survived(self, error: BaseException | None) -> None:
        logging.getLogger("jupyter_wshandler").error(
            "The event loop of the bot goes on after %s; it would end a server's",
            "stop()" if error is None else f"{type(error).__name__} in a function",
            exc_info=error,
        )

    async def _main(self, ready: concurrent.futures.Future[None]) -> None:
        self._end = asyncio.Event()
        self.watch.thread = threading.get_ident()
        try:
            self.manager = WebSocketManager(
                errors=self,
                sessions=lambda: SessionManager(self.store, log=self.manager.log),
                is_stand_in=True,
            )
            self.manager.observers.add(Told(self._by_id))
            self.manager.served.put(self.route)
            await self.manager.start()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result(None)
        await self._end.wait()
        await self.manager.stop(GRACE)

    def post(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function on the bot's loop, in the order of the calls; from any thread.

        Raises:
            ConnectionClosed: The bot has been put away.
        """
        try:
            self.loop.call_soon_threadsafe(function, *args, context=contextvars.Context())
        except RuntimeError:
            raise ConnectionClosed("the bot has been put away: all its clients are gone") from None

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine on the bot's loop, and tell the watch when it is done."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        future.add_done_callback(lambda _: self.watch.changed())
        return future

    def put_away(self) -> None:
        """Begin to end the thread; `over` tells when it has ended."""
        with contextlib.suppress(RuntimeError):  # it has ended
            if not self.over:
                self.loop.call_soon_threadsafe(self._end.set)

    def join(self, seconds: float) -> None:
        """Wait for the end of a thread that has been put away.

        Args:
            seconds: How long, at most.
        """
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(seconds)
        if thread.is_alive():
            logging.getLogger("jupyter_wshandler").warning(
                "the thread of the Chat with %s still runs; it is left to itself", self.route.name
            )

    # ---- connections -----------------------------------------------------------------------------

    async def open(self, client: C, arrival: Arrival) -> None:
        """Open the connection of a client; runs on the bot's loop.

        Args:
            client: The client.
            arrival: How it comes.

        Raises:
            LimitReached: The route's `max_connections` are open.
            ConnectionRefused: Its `may_join` says no.
        """
        path_args, path_kwargs = groups_of(self.route, arrival.path)
        user = user_of(arrival.user)
        opening = Opening(arrival.request(), user, None, path_args, path_kwargs)
        connection = self.manager.connection(self.route, opening)
        name = getattr(user, "username", None)
        key = "anonymous" if user is None else f"user:{name}"
        session_id, new, values = arrival.session_id()
        try:
            session = await self.manager.sessions.attach(session_id, key, new=new)
            connection.take_session(session)
            if values:
                session.update(values)
                self.manager.sessions.touch(session)
            self.manager.admit(connection, key)
            await self.manager.rooms.may_enter(connection)
        except BaseException:
            self.manager.release(connection)
            raise
        self._by_id[connection.id] = client
        if self.route.config.resume is None:
            transport = ChatTransport(self.loop, client.deliver, client.lost)
            client.began(connection, transport, session)
            protocol = connection.envelop(MessageProtocol(), confirms=False, kind=Quiet)
            self.manager.open(connection, protocol, transport, ())
            return
        way = ReturningWay(self.loop, client, (key,))
        client.began(connection, way, session)
        secret = secrets.token_urlsafe(24)
        codec, line = connection.outlive(MessageProtocol(), way.transport(), secret, (key,))
        self.manager.open(connection, codec, line, ())

    async def settle(self, seconds: float = THREADS) -> None:
        """Wait until what can be done now is done; runs on the bot's loop.

        Args:
            seconds: How long it may take what runs in threads.
        """
        until = time.monotonic() + seconds
        while True:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if time.monotonic() >= until or not any(map(_is_in_thread, self.clients)):
                return
            await asyncio.sleep(0.001)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass at once for the bot and all its clients; runs on the bot's loop."""
        until = time.monotonic() + PATIENCE

        async def settled() -> None:
            await self.settle(min(THREADS, until - time.monotonic()))

        await self.loop.leap(seconds, settled)

    async def until_over(self, client: Client, event: str) -> None:
        """Wait while a callback of a client runs; runs on the bot's loop.

        Args:
            client: The client.
            event: The callback's event.
        """
        while True:
            work = None if client.connection is None else client.connection.work
            if work is None or work.callback is None or work.callback.event != event:
                return
            await asyncio.sleep(LOOK)

    async def stop_answer(self, connection: Connection) -> bool:
        """Stop the answer that a connection is being given; return whether there is one."""
        return connection.stop_oldest()

    def add(self, client: C) -> None:
        """Count a client in; of those that have gone only the first one is remembered."""
        with self._lock:
            present = [known for known in self.clients[1:] if not known.finished]
            self.clients = [*self.clients[:1], *present, client]

    def is_empty(self) -> bool:
        """Return whether no client is left."""
        return all(client.finished for client in self.clients)

    def running(self) -> str:
        """Return what runs now as the end of a sentence, for those who have waited in vain."""
        now = self.loop.time()
        lines = []
        for client in self.clients:
            connection = client.connection
            work = None if connection is None else connection.work
            callback = None if work is None else work.callback
            if work is not None and callback is not None:
                where = "on the event loop" if callback.inline else "in a thread"
                since = max(0.0, now - work.since)
                lines.append(f"{callback.name} ({callback.event}) runs {where} for {since:.1f} s")
        return "; ".join(lines) or "no callback runs"

    # ---- what callbacks raise ----------------------------------------------------------------

    def write(self, failure: CallbackFailure, now: float) -> None:
        """Take one failure; see `callbacks.errorlog.ErrorSink`."""
        self.failed(failure)

    def failed(self, error: CallbackFailure) -> None:
        """Take one error of a callback, or of a task that one has left behind."""
        self.errors.append(error)
        if self._raises:
            self._waiting.append(error)
        self.watch.changed()

    @property
    def has_failed(self) -> bool:
        """Whether an error waits to be raised."""
        return bool(self._waiting)

    def forgive(self, handler: Connection | None) -> None:
        """Raise no more what callbacks of a connection have raised until now."""
        self._waiting = [error for error in self._waiting if error.handler is not handler]

    def raise_error(self) -> None:
        """Raise what a callback has raised, with the traceback of the bot's own code, once."""
        if not self._waiting:
            return
        (first, *others), self._waiting = self._waiting, []
        error = first.exception
        for other in others:
            error.add_note(f"{other.callback} failed, too: {_shown(other.exception)}")
        if isinstance(error, (Exception, *_outcomes())) and not isinstance(error, StopIteration):
            raise error.with_traceback(users_part(error.__traceback__) or error.__traceback__)
        # What would end the test run, or a generator, is told as an ordinary failure.
        raise RuntimeError(f"{first.callback} raised {type(error).__name__}") from error


def _is_in_thread(client: Client) -> bool:
    work = None if client.connection is None else client.connection.work
    return work is not None and work.callback is not None and not work.callback.inline


def _shown(error: BaseException) -> str:
    try:
        return sheltered("__repr__", repr, error)
    except Exception:
        return f"{type(error).__name__}, which cannot be shown"


def _outcomes() -> tuple[type[BaseException], ...]:
    """Return what `pytest.fail` and `pytest.skip` raise, where there is a pytest."""
    import sys

    outcomes = sys.modules.get("_pytest.outcomes")
    return () if outcomes is None else (outcomes.OutcomeException,)


_running: weakref.WeakSet[BotThread[Any]] = weakref.WeakSet()


@atexit.register
def _put_all_away() -> None:
    """End what a script has left open, so that `on_close` runs before the interpreter ends."""
    threads = [bot for bot in _running if not bot.over]
    for bot in threads:
        bot.put_away()
    for bot in threads:
        bot.join(2.0)
