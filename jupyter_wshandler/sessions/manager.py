"""The manager of sessions: what survives when a browser reconnects.

A session has one live object for all its connections. What a callback writes into it reaches
the store within seconds, and at the latest when the last connection has ended.
"""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .encoding import SessionEncoder
from .live import UNKNOWN, LiveSession
from .session import Session, Sessions
from .sqlitefile import Log
from .stores import SessionStore
from .thread import StoreThread
from .values import is_heavy, mark_of

__all__ = ["MAX_AGE", "Session", "SessionManager", "Sessions"]

MAX_AGE = 31 * 86400.0
"""Seconds that a stored session is kept after it last changed."""

MAX_UNSAVED = 1000
"""Most ended sessions that are kept because the store could not take them."""

PATIENCE = 2.0
"""Seconds that anybody waits for a store that does not answer."""

WATCHED = 5.0
"""Seconds after its last use for which each `flush` looks for changes in a session."""

PROBE_EVERY = 2.0
"""Seconds after which a store that others have, too, is asked, whether anybody needs it or not."""

PROBE = ""
"""The id of no session."""

_BATCH = 100
_TIMEOUT = 2.0
_JOIN = 1.0


class SessionManager:
    """The owner of the sessions that are in use, who brings them to the store and back.

    All methods but `touch` belong to the event loop. The store is called in one thread of its
    own, in order.

    Args:
        store: Where sessions are kept; see `stores.open_store`.
        log: Where problems go.
        max_age: Seconds that a stored session is kept after it last changed.
        probes: Whether it is to be known whether the store is away also while nobody needs it.
    """

    def __init__(
        self, store: SessionStore, *, log: Log, max_age: float = MAX_AGE, probes: bool = False
    ) -> None:
        self._store = store
        self._log = log
        self._max_age = max_age
        self._probes = probes
        self._probe_at = 0.0
        self._worker = StoreThread()
        self._encoder = SessionEncoder(log)
        # Heavy sessions are encoded in a thread of their own: one that takes seconds would hold
        # up the loop, and in the store's thread everybody who waits for the store.
        self._encoding_worker = StoreThread("wshandler-sessions-json")
        self._hung = False
        self.hangs = 0
        self._live: dict[str, LiveSession] = {}
        self._touched: dict[str, Session] = {}
        self._ending: list[LiveSession] = []  # saved together, at the loop's next turn
        self._unsaved: dict[str, LiveSession] = {}  # ended, and the store did not take them
        self._writes: set[asyncio.Future[None]] = set()
        self._failing: set[str] = set()
        self._look_at_all = 0.0
        self._stopped = False

    @property
    def is_away(self) -> bool:
        """Whether the store cannot be read or written, as far as is known."""
        return self._hung or not self._failing.isdisjoint({"read", "written"})

    # ---- connections come and go -------------------------------------------------------------

    async def attach(self, session_id: str, user_key: str, *, new: bool = False) -> Session:
        """Return the live object of a session, for one more connection.

        If the store cannot be read, or not within `PATIENCE`, the session is an empty one. Once
        it can, what was stored joins it, and what was written meanwhile is saved.

        Args:
            session_id: The session's name.
            user_key: The user, for log lines.
            new: Whether the id has just been made: then nothing can be stored of it.
        """
        live = self._live.get(session_id)
        if live is None:
            live = self._live[session_id] = LiveSession(Session(session_id), user_key)
            live.storable = new  # what exists in the store may be written over once it was read
            if not new and not self._stopped:
                live.session.expect_stored()
                self._load(live)
        self._unsaved.pop(session_id, None)
        live.references += 1
        try:
            if live.loading is not None and not self._hung:
                done, _ = await asyncio.wait([live.loading], timeout=PATIENCE)
                if not done:
                    self._is_hung()
        except BaseException:
            self.detach(live.session)
            raise
        return live.session

    def detach(self, session: Session) -> None:
        """Let one connection go; the last one saves the session if it has changed.

        Args:
            session: What `attach` returned.
        """
        live = self._live.get(session.id)
        if live is None or live.session is not session or not live.references:
            return
        live.references -= 1
        if live.references:
            return
        if session.id not in self._touched or self._stopped:
            self._forget_if_unused(live)
            return
        if not self._ending:  # many may end together, and are saved together
            asyncio.get_running_loop().call_soon(self._end)
        self._ending.append(live)

    def touch(self, session: Session) -> None:
        """Note that a callback has the session in hands; may be called in any thread.

        From now on `flush` looks for changes in it: whoever has it may change it later.

        Args:
            session: What `attach` returned.
        """
        self._touched[session.id] = session
        session.used = True

    async def flush(self, *, wait: bool = True) -> None:
        """Save every session that was touched and has changed since it was last saved.

        A session cannot say that it has changed: ``session["items"].append(1)`` calls no method
        of it. So changes are found by looking. As most sessions in use are idle, only those that
        were touched within the last `WATCHED` seconds are looked at each time; the others, of
        which somebody may still have a value in hands, every `WATCHED` seconds.

        Args:
            wait: Whether to return only when the store has taken them.
        """
        if self._stopped:
            return
        if self._worker.busy_for() > PATIENCE:
            self._is_hung()
        touched = []
        now = time.monotonic()
        if now >= self._probe_at and not self._worker.waiting() and not self._worker.busy_for():
            self._probe_at = now + PROBE_EVERY
            if self._probes or "read" in self._failing:
                self._worker.submit(self._store.load, PROBE).add_done_callback(self._probed)
        if everything := wait or now >= self._look_at_all:
            self._look_at_all = now + WATCHED
        for name, session in self._touched.copy().items():
            live = self._live.get(name)
            if live is None:  # a thread came too late: the session has ended
                self._touched.pop(name, None)
                continue
            if session.used:
                session.used = False  # before it is looked at: what follows counts again
                live.watched_until = now + WATCHED
            if everything or now < live.watched_until:
                touched.append(live)
        candidates = list(dict.fromkeys([*touched, *self._unsaved.values()]))
        for live in candidates:
            if not live.storable and live.loading is None:
                self._load(live)  # again: it could not be read, and must be before it is saved
        # In batches, as looking takes the event loop's time: others get turns in between.
        for start in range(0, len(candidates), _BATCH):
            self._save(candidates[start : start + _BATCH], patient=not wait)
            await asyncio.sleep(0)
        while wait and self._writes:
            await asyncio.wait([*self._writes])
            await asyncio.sleep(0)  # what was encoded goes to the store in a callback

    async def stop(self, timeout: float = _TIMEOUT) -> None:
        """Save what has changed and close the store.

        Args:
            timeout: Seconds for the store to take it.
        """
        if self._stopped:
            return
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
                self._stopped = True
                await asyncio.wait([self._worker.submit(self._store.close)])
            self._worker.stop(_JOIN)
            self._encoding_worker.stop(_JOIN)
        except TimeoutError:
            self._log.warning(
                "The session store did not answer within %g s; the last changes of sessions "
                "may be lost",
                timeout,
            )
        finally:
            self._stopped = True
            self._worker.stop(0)
            self._encoding_worker.stop(0)

    # ---- from the store ----------------------------------------------------------------------

    def _load(self, live: LiveSession) -> None:
        if self._hung and self._worker.waiting() >= MAX_UNSAVED:
            return  # tried again by a later `flush`
        live.loading = self._worker.submit(self._store.load, live.session.id)
        live.loading.add_done_callback(functools.partial(self._loaded, live))

    def _is_hung(self) -> None:
        """Go on without the store until it answers, and say so once."""
        if not self._hung:
            self._hung = True
            self.hangs += 1
            self._log.warning(
                "The session store has not answered for %g s; connections open without what it "
                "holds, which joins them when it answers; until then nothing is saved",
                PATIENCE,
            )

    def _answered(self) -> None:
        if self._hung:
            self._hung = False
            self._log.info("The session store answers again")

    def _probed(self, future: asyncio.Future[str | None]) -> bool:
        """Take note of whether the store can be read."""
        self._answered()
        error = future.exception()
        if error is not None:
            self._failed("read", error, "connections open without it; it is read again")
        elif "read" in self._failing:
            self._failing.discard("read")
            self._log.info("The session store can be read again")
        return error is None

    def _loaded(self, live: LiveSession, future: asyncio.Future[str | None]) -> None:
        live.loading = None
        if self._probed(future):
            live.saved = future.result()
            live.storable = True
            self._fill(live, live.saved)
        if not live.references:
            if not self._stopped and live.session.id in self._touched:
                self._save([live])
            self._forget_if_unused(live)

    def _fill(self, live: LiveSession, text: str | None) -> None:
        values: Any = {}
        if text is not None:
            try:
                values = json.loads(text)
            except (ValueError, RecursionError):
                values = None
        if not isinstance(values, dict):
            self._log.warning(
                "The stored session of %s is no JSON object; it begins anew", live.user
            )
            values = {}
        live.session.merge_stored(values)

    # ---- to the store ------------------------------------------------------------------------

    def _end(self) -> None:
        ending, self._ending = self._ending, []
        if not self._stopped:
            self._save(ending)
        for live in ending:
            self._forget_if_unused(live)

    def _save(self, lives: Iterable[LiveSession], *, patient: bool = False) -> None:
        """Hand over to the store what has changed; `_saved` follows.

        Args:
            lives: The sessions; those whose place in the store is not known are left out.
            patient: Whether the caller comes again soon: what is being saved, and heavy ones that
                were encoded a moment ago, are left out.
        """
        ready: list[tuple[LiveSession, str | None]] = []
        for live in lives:
            if not live.storable:
                continue
            if live.saving:  # one save at a time: a store that hangs must not pile them up
                # The clock comes by again; were its wish kept, an encoding that takes longer than
                # a round of it would be followed by another one for ever.
                live.again = live.again or not patient
            elif is_heavy(live.session):
                if patient and time.monotonic() < live.rest_until:
                    continue
                live.mark = None
                live.saving += 1
                encoding = self._encoding_worker.submit(self._encoder.dump_heavy, live)
                self._writes.add(encoding)
                encoding.add_done_callback(functools.partial(self._encoded, live))
            else:
                # The mark costs a tenth of the JSON, and mostly shows that nothing has changed.
                mark = mark_of(live.session)
                if mark is None or mark != live.mark or live.saved == UNKNOWN:
                    try:
                        text = self._encoder.dump(live)
                    except Exception as error:  # what is wrong with one costs no other its changes
                        self._cannot_encode(live, error)
                        continue
                    live.mark = mark
                    ready.append((live, text))
        self._hand_over(ready)

    def _encoded(self, live: LiveSession, future: asyncio.Future[str | None]) -> None:
        self._writes.discard(future)
        live.saving -= 1
        error = future.exception()
        if error is not None:
            self._cannot_encode(live, error)
        elif not self._stopped:
            self._hand_over([(live, future.result())])
        self._after(live)

    def _cannot_encode(self, live: LiveSession, error: BaseException) -> None:
        # The exception's words may hold what the session holds.
        self._encoder.warn(live, None, f"cannot be encoded ({type(error).__name__})")

    def _hand_over(self, ready: Iterable[tuple[LiveSession, str | None]]) -> None:
        texts: dict[str, tuple[str, float]] = {}
        gone: list[str] = []
        changed: list[LiveSession] = []
        for live, text in ready:
            if text == live.saved:
                continue
            # An empty session takes no room in the store: whoever never wrote has no row.
            if text is None:
                gone.append(live.session.id)
            else:
                texts[live.session.id] = (text, time.time() + self._max_age)
            live.saved = text
            live.saving += 1
            changed.append(live)
        if changed:
            write = self._worker.submit(self._write, texts, gone)
            self._writes.add(write)
            write.add_done_callback(functools.partial(self._saved, changed))

    def _after(self, live: LiveSession) -> None:
        """Save once more what has changed during a save, then forget what nobody has."""
        if live.again and not live.saving:
            live.again = False
            if not self._stopped:
                self._save([live])
        if not live.references:
            self._forget_if_unused(live)

    def _write(self, texts: Mapping[str, tuple[str, float]], gone: Sequence[str]) -> None:
        """Call the store; runs in its thread."""
        if texts:
            self._store.save(texts)
        if gone:
            self._store.delete(gone)

    def _saved(self, lives: Sequence[LiveSession], write: asyncio.Future[None]) -> None:
        self._writes.discard(write)
        self._answered()
        error = write.exception()
        if error is not None:
            self._failed("written", error, "changes are kept in memory, and tried again")
        elif "written" in self._failing:
            self._failing -= {"written", "kept"}
            self._log.info("The session store can be written again")
        for live in lives:
            live.saving -= 1
            if error is not None:
                live.saved = UNKNOWN
                live.again = False  # the next `flush` tries
            self._after(live)

    def _failed(self, what: str, error: BaseException, meanwhile: str) -> None:
        if what not in self._failing:
            self._failing.add(what)
            kind = type(error).__name__
            self._log.warning(
                "The session store cannot be %s (%s: %s); %s", what, kind, error, meanwhile
            )

    def _forget_if_unused(self, live: LiveSession) -> None:
        """Forget a session that no connection has, once the store has it."""
        if live.references or live.saving or live.loading is not None or live in self._ending:
            return
        name = live.session.id
        unread = not live.storable and len(live.session) > 1
        if (live.saved == UNKNOWN or unread) and not self._stopped:
            self._unsaved[name] = live
            if len(self._unsaved) <= MAX_UNSAVED:
                return
            live = self._unsaved.pop(next(iter(self._unsaved)))
            name = live.session.id
            if "kept" not in self._failing:
                self._failing.add("kept")
                self._log.warning(
                    "Over %d sessions wait for a store that does not take them; the changes of "
                    "those that ended first are lost",
                    MAX_UNSAVED,
                )
        self._unsaved.pop(name, None)
        self._touched.pop(name, None)
        if self._live.get(name) is live:
            del self._live[name]
            self._store.forget(name)
