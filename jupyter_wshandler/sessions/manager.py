"""Sessions: what survives when a browser reconnects. Knows no Tornado and no cookie jar.

A session has one live object for all its connections. What a callback writes into it reaches
the store within seconds, and at the latest when the last connection has ended.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, SupportsIndex

from ..guard import is_interrupt
from .stores import (
    MAX_SIZE,
    Log,
    MemoryStore,
    SessionStore,
    SQLiteStore,
    StoreThread,
    TooLarge,
    is_heavy,
    mark_of,
    open_store,
    to_json_in_pieces,
    why_not_json,
)
from .stores import to_json as to_json_at_once

__all__ = [
    "MemoryStore",
    "SQLiteStore",
    "Session",
    "SessionManager",
    "SessionStore",
    "Sessions",
    "open_store",
]

MAX_AGE = 31 * 86400.0
"""Seconds that a stored session is kept after it last changed."""

MAX_UNSAVED = 1000
"""Most ended sessions that are kept because the store could not take them."""

PATIENCE = 2.0
"""Seconds that anybody waits for a store that does not answer."""

WATCHED = 5.0
"""Seconds after its last use for which each `flush` looks for changes in a session."""

MAX_REST = 5.0
"""Seconds between two encodings of one heavy session, at most, while it is in use."""

_RETRIES = 20
_BATCH = 100
_TIMEOUT = 2.0
_JOIN = 1.0
_ALL = object()  # stands for every key
_UNKNOWN = "?"  # no JSON text: what the store holds is not known
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class Session(dict[str, Any]):
    """Hold what survives reconnects: a dict whose values are JSON.

    ``session["id"]`` is always there and cannot be changed; `clear` leaves it. What is read
    back after a restart has gone through JSON: tuples are lists, and keys of dicts are str.

    Args:
        id: The session's name.
    """

    __slots__ = ("_gone", "_id", "_used", "_watched_until")

    def __init__(self, id: str) -> None:
        super().__init__(id=id)
        self._id = id
        self._used = False  # since `flush` last looked
        self._watched_until = 0.0  # looked at by each `flush`; afterwards by some
        self._gone: set[object] | None = None  # removed while what is stored has not been read

    @property
    def id(self) -> str:
        """The session's name, the same at each reconnect."""
        return self._id

    def _check(self, key: object, *value: object) -> None:
        self._used = True
        if key == "id" and value != (self._id,):
            raise TypeError(
                "session['id'] cannot be changed; keep your own value under another key"
            )

    def __setitem__(self, key: str, value: Any) -> None:
        self._check(key, value)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._check(key)
        if self._gone is not None:
            self._gone.add(key)
        super().__delitem__(key)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Take several values, as `dict.update` does."""
        values = dict(*args, **kwargs)
        if "id" in values:
            self._check("id", values["id"])
        self._used = True
        super().update(values)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return a value, and set it where there is none, as `dict.setdefault` does."""
        self._used = True
        return super().setdefault(key, default)

    def __ior__(self, other: Any) -> Session:  # type: ignore[override,misc]
        self.update(other)
        return self

    def pop(self, key: str, *default: Any) -> Any:
        """Remove a value and return it, as `dict.pop` does."""
        self._check(key)
        if self._gone is not None:
            self._gone.add(key)
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the newest value and return it with its key; never the id."""
        for key in reversed(self):
            if key != "id":
                return key, self.pop(key)
        raise KeyError("the session is empty")

    def clear(self) -> None:
        """Remove everything but the id."""
        self._used = True
        if self._gone is not None:
            self._gone.add(_ALL)
        super().clear()
        super().__setitem__("id", self._id)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        # A copy is a plain dict: there is one object of a session.
        return dict, (dict(self),)

    def _join(self, values: Mapping[str, Any]) -> None:
        """Take what was stored, but for what was written or removed before it came."""
        gone, self._gone = self._gone or (), None
        if _ALL not in gone:
            for key, value in values.items():
                if key not in gone:
                    self.setdefault(key, value)


class Sessions(Protocol):
    """Own the sessions that are in use.

    Attributes:
        hangs: How often the store has not answered for `PATIENCE` seconds.
    """

    hangs: int

    async def attach(self, session_id: str, user_key: str, *, new: bool = False) -> Session:
        """Return the live object of a session, for one more connection."""

    def detach(self, session: Session) -> None:
        """Let one connection go."""

    def touch(self, session: Session) -> None:
        """Note that a callback has the session in hands; may be called in any thread."""

    async def flush(self, *, wait: bool = True) -> None:
        """Save every session that has changed."""

    async def stop(self, timeout: float = 5.0) -> None:
        """Save what has changed, and end."""


class _Live:
    """One session that is in use, and what is known of its place in the store."""

    __slots__ = (
        "again",
        "loading",
        "mark",
        "references",
        "rest_until",
        "saved",
        "saving",
        "session",
        "storable",
        "user",
        "warned",
    )

    def __init__(self, session: Session, user: str) -> None:
        self.session = session
        self.user = user
        self.references = 0
        self.loading: asyncio.Future[str | None] | None = None
        self.saving = 0
        self.again = False
        self.storable = False
        self.saved: str | None = None
        self.warned: set[object] = set()
        self.mark: tuple[int, int] | None = None  # of what was last encoded
        self.rest_until = 0.0  # a heavy one is not encoded again at once


class SessionManager:
    """Own the sessions that are in use, and bring them to the store and back.

    All methods but `touch` belong to the event loop. The store is called in one thread of its
    own, in order.

    Args:
        store: Where sessions are kept; see `open_store`.
        log: Where problems go.
        max_age: Seconds that a stored session is kept after it last changed.
    """

    def __init__(self, store: SessionStore, *, log: Log, max_age: float = MAX_AGE) -> None:
        self._store = store
        self._log = log
        self._max_age = max_age
        self._worker = StoreThread()
        self._encoder = StoreThread("wshandler-sessions-json")
        self._hung = False
        self.hangs = 0
        self._live: dict[str, _Live] = {}
        self._touched: dict[str, Session] = {}
        self._ending: list[_Live] = []
        self._unsaved: dict[str, _Live] = {}
        self._writes: set[asyncio.Future[None]] = set()
        self._failing: set[str] = set()
        self._look_at_all = 0.0
        self._stopped = False

    # ---- names and cookies -----------------------------------------------------------------

    @staticmethod
    def new_id() -> str:
        """Return a name for a new session that nobody can guess."""
        return secrets.token_urlsafe(24)

    @staticmethod
    def cookie_value(session_id: str, user_key: str) -> str:
        """Return what the cookie holds; the server signs it.

        Args:
            session_id: The session's name.
            user_key: The user whom it belongs to.
        """
        return f"{session_id}.{_binding(session_id, user_key)}"

    @staticmethod
    def id_from_cookie(value: str, user_keys: Sequence[str]) -> str | None:
        """Return the session that a cookie names, if it belongs to this user.

        Another user's cookie, planted in this browser, names no session.

        Args:
            value: The cookie, its signature checked.
            user_keys: All names of the user who asks.
        """
        session_id, _, binding = value.rpartition(".")
        if not _ID.fullmatch(session_id):
            return None
        found = binding.encode("utf-8", "replace")
        for user_key in user_keys:
            if hmac.compare_digest(found, _binding(session_id, user_key).encode()):
                return session_id
        return None

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
            live = self._live[session_id] = _Live(Session(session_id), user_key)
            live.storable = new  # what exists in the store may be written over once it was read
            if not new and not self._stopped:
                live.session._gone = set()
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
            self._settle(live)
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
        session._used = True

    async def flush(self, *, wait: bool = True) -> None:
        """Save every session that was touched and has changed since it was last saved.

        Most of those in use are idle. What was not touched for `WATCHED` seconds may still be
        changed by who has a value of it in hands, and is looked at as seldom.

        Args:
            wait: Whether to return only when the store has taken them.
        """
        if self._stopped:
            return
        if self._worker.busy_for() > PATIENCE:
            self._is_hung()
        touched = []
        now = time.monotonic()
        if everything := wait or now >= self._look_at_all:
            self._look_at_all = now + WATCHED
        for name, session in self._touched.copy().items():
            live = self._live.get(name)
            if live is None:  # a thread came too late: the session has ended
                self._touched.pop(name, None)
                continue
            if session._used:
                session._used = False  # before it is looked at: what follows counts again
                session._watched_until = now + WATCHED
            if everything or now < session._watched_until:
                touched.append(live)
        candidates = list(dict.fromkeys([*touched, *self._unsaved.values()]))
        for live in candidates:
            if not live.storable and live.loading is None:
                self._load(live)
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
            self._encoder.stop(_JOIN)
        except TimeoutError:
            self._log.warning(
                "The session store did not answer within %g s; the last changes of sessions "
                "may be lost",
                timeout,
            )
        finally:
            self._stopped = True
            self._worker.stop(0)
            self._encoder.stop(0)

    # ---- from the store ----------------------------------------------------------------------

    def _load(self, live: _Live) -> None:
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

    def _loaded(self, live: _Live, future: asyncio.Future[str | None]) -> None:
        live.loading = None
        self._answered()
        error = future.exception()
        if error is not None:
            self._failed("read", error, "connections open without it; it is read again")
        else:
            self._failing.discard("read")
            live.saved = future.result()
            live.storable = True
            if live.saved is not None:
                self._fill(live, live.saved)
            live.session._gone = None
        if not live.references:
            if not self._stopped and live.session.id in self._touched:
                self._save([live])
            self._settle(live)

    def _fill(self, live: _Live, text: str) -> None:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            live.session._join(values)
        else:
            self._log.warning(
                "The stored session of %s is no JSON object; it begins anew", live.user
            )

    # ---- to the store ------------------------------------------------------------------------

    def _end(self) -> None:
        ending, self._ending = self._ending, []
        if not self._stopped:
            self._save(ending)
        for live in ending:
            self._settle(live)

    def _save(self, lives: Iterable[_Live], *, patient: bool = False) -> None:
        """Hand over to the store what has changed; `_saved` follows.

        Args:
            lives: The sessions; those whose place in the store is not known are left out.
            patient: Whether to leave out heavy ones that were encoded a moment ago.
        """
        ready: list[tuple[_Live, str | None]] = []
        for live in lives:
            if not live.storable:
                continue
            if live.saving:  # one write at a time: a store that hangs must not pile them up
                live.again = True
            elif is_heavy(live.session):
                if patient and time.monotonic() < live.rest_until:
                    continue
                live.mark = None
                live.saving += 1
                text = self._encoder.submit(self._dump_heavy, live)
                self._writes.add(text)
                text.add_done_callback(functools.partial(self._encoded, live))
            else:
                mark = mark_of(live.session)
                if mark is None or mark != live.mark or live.saved == _UNKNOWN:
                    live.mark = mark
                    ready.append((live, self._dump(live)))
        self._hand_over(ready)

    def _encoded(self, live: _Live, future: asyncio.Future[str | None]) -> None:
        self._writes.discard(future)
        live.saving -= 1
        error = future.exception()
        if error is not None:
            self._warn(live, None, f"cannot be encoded ({type(error).__name__})")
        elif not self._stopped:
            self._hand_over([(live, future.result())])
        self._after(live)

    def _hand_over(self, ready: Iterable[tuple[_Live, str | None]]) -> None:
        texts: dict[str, tuple[str, float]] = {}
        gone: list[str] = []
        changed: list[_Live] = []
        for live, text in ready:
            if text == live.saved:
                continue
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

    def _after(self, live: _Live) -> None:
        """Save once more what has changed during a save, then forget what nobody has."""
        if live.again and not live.saving:
            live.again = False
            if not self._stopped:
                self._save([live])
        if not live.references:
            self._settle(live)

    def _write(self, texts: Mapping[str, tuple[str, float]], gone: Sequence[str]) -> None:
        """Call the store; runs in its thread."""
        if texts:
            self._store.save(texts)
        if gone:
            self._store.delete(gone)

    def _saved(self, lives: Sequence[_Live], write: asyncio.Future[None]) -> None:
        self._writes.discard(write)
        self._answered()
        error = write.exception()
        if error is not None:
            self._failed("written", error, "changes are kept in memory, and tried again")
        elif "written" in self._failing:
            self._failing.discard("written")
            self._log.info("The session store can be written again")
        for live in lives:
            live.saving -= 1
            if error is not None:
                live.saved = _UNKNOWN
                live.again = False  # the next `flush` tries
            self._after(live)

    def _failed(self, what: str, error: BaseException, meanwhile: str) -> None:
        if what not in self._failing:
            self._failing.add(what)
            kind = type(error).__name__
            self._log.warning(
                "The session store cannot be %s (%s: %s); %s", what, kind, error, meanwhile
            )

    def _settle(self, live: _Live) -> None:
        """Forget a session that no connection has, once the store has it."""
        if live.references or live.saving or live.loading is not None or live in self._ending:
            return
        name = live.session.id
        unread = not live.storable and len(live.session) > 1
        if (live.saved == _UNKNOWN or unread) and not self._stopped:
            self._unsaved[name] = live
            if len(self._unsaved) <= MAX_UNSAVED:
                return
            live = self._unsaved.pop(next(iter(self._unsaved)))
            name = live.session.id
        self._unsaved.pop(name, None)
        self._touched.pop(name, None)
        if self._live.get(name) is live:
            del self._live[name]

    # ---- JSON --------------------------------------------------------------------------------

    def _dump_heavy(self, live: _Live) -> str | None:
        """Do what `_dump` does; runs in the encoder's thread, at most a tenth of the time."""
        began = time.monotonic()
        try:
            return self._dump(live, True)
        finally:
            now = time.monotonic()
            live.rest_until = now + min(MAX_REST, 10 * (now - began))

    def _dump(self, live: _Live, heavy: bool = False) -> str | None:
        """Return what is to be stored: JSON text, or None for nothing at all."""
        text = live.saved
        for _ in range(_RETRIES):
            try:
                values = dict(live.session)
                del values["id"]
                text = self._encode(live, values, heavy)
                break
            except RuntimeError:  # a callback in a thread changed it meanwhile
                continue
            except TooLarge:
                self._warn(live, None, f"takes over {MAX_SIZE} characters of JSON, which is most")
                return live.saved
        if text is not None and len(text) > MAX_SIZE:
            self._warn(live, None, f"takes {len(text)} characters, of {MAX_SIZE} at most")
            return live.saved
        return text

    def _encode(self, live: _Live, values: dict[str, Any], heavy: bool) -> str | None:
        to_json = to_json_in_pieces if heavy else to_json_at_once
        if not values:
            return None
        if all(isinstance(key, str) for key in values):
            try:
                return to_json(values)
            except RecursionError:
                pass
            except (RuntimeError, TooLarge):
                raise
            except BaseException as error:  # it is told apart key by key
                if is_interrupt(error):
                    raise
        texts = {}
        for key, value in values.items():
            reason = why_not_json(key, value, to_json)
            if reason is None:
                texts[key] = value
            else:
                self._warn(live, key, reason)
        return to_json(texts) if texts else None

    def _warn(self, live: _Live, key: object, reason: str) -> None:
        if key in live.warned or len(live.warned) >= 100:
            return
        live.warned.add(key)
        if key is None:
            self._log.warning("The session of %s is not saved: it %s", live.user, reason)
            return
        self._log.warning(
            "The value of session[%.100r] of %s is not saved: %s", key, live.user, reason
        )


def _binding(session_id: str, user_key: str) -> str:
    text = f"{session_id}\0{user_key}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32]
