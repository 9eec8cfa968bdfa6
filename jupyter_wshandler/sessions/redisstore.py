"""Sessions on Redis or Valkey, which several servers have in common."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from ..backplane.redis.conversation import Conversation
from ..backplane.redis.keys import check_prefix
from ..backplane.redis.talk import Call, script_of

_SAVE = script_of("""#!lua
-- KEYS: the session. ARGV: ttl in ms, whether it is known to be stored, how many values are gone,
-- their keys, then keys and values. Returns 0 where it is not stored any more.
if ARGV[2] == '1' and redis.call('HEXISTS', KEYS[1], 'v') == 0 then return 0 end
local gone = tonumber(ARGV[3])
for index = 4, gone + 3 do
  redis.call('HDEL', KEYS[1], ARGV[index])
end
redis.call('HSET', KEYS[1], 'v', 1)
for index = gone + 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[index], ARGV[index + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")
"""`v` is the version of the form, and says that there is a session which holds nothing else."""

_EMPTY = script_of("""#!lua flags=allow-oom
-- KEYS: the session. ARGV: for how many ms others are to know that it was emptied.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'v', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""")

EMPTY = 86400 * 1000
"""Milliseconds for which a session that was emptied is told apart from one that the store has lost:
a server that has it open stores the lost one again, and not what was in the emptied one."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Known(NamedTuple):
    """What the store has of a session, as far as this server knows."""

    text: str
    life: str
    """The life of the store in which it had it."""
    own: frozenset[bytes] = frozenset()
    """The names of the values that were written or removed here."""


class _Saving(NamedTuple):
    """A session on its way to the store."""

    call: Call
    life: str
    """The life of the store, as it was known before."""
    own: frozenset[bytes]
    """As of what is known when it has arrived."""


class RedisSessions:
    """Sessions that all servers with the same store and prefix have in common.

    A session is a hash with a field for each of its values. What is saved is what has changed since
    it was read or saved here: so two servers that have the same session open at the same time do
    not write over each other, as long as they write other values. Where the store lives anew, what
    was written here is saved once more, as it may lack the last of it. The store forgets what has
    expired by itself, and by its own clock.

    Args:
        conversation: The way to the store.
        prefix: What the names of the deployment's keys begin with.

    Raises:
        ValueError: The prefix can be none.
    """

    def __init__(self, conversation: Conversation, prefix: str) -> None:
        self._store = conversation
        self._prefix = check_prefix(prefix)
        self._known: dict[str, _Known] = {}  # of the sessions that are in use here

    def _key(self, session_id: str) -> bytes:
        # The names of keys get about: into the store's slow log, say.
        digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        return f"{self._prefix}:session:{digest}".encode()

    def load(self, session_id: str) -> str | None:
        """Return what is stored for a session, or None.

        Raises:
            StoreError: The store does not answer.
        """
        key = self._key(session_id)
        (flat,) = self._store.ask(Call(["HGETALL", key]))
        self._known.pop(session_id, None)
        if not flat:
            return None
        pairs = zip(flat[::2], flat[1::2], strict=True)
        whole = b",".join(name + b":" + value for name, value in pairs if name != b"v")
        text = (b"{" + whole + b"}").decode("utf-8", "surrogatepass")
        self._known[session_id] = _Known(text, self._store.life_of(key))
        return text if whole else None

    def save(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Store what has changed in sessions.

        Raises:
            StoreError: The store does not answer, or refuses: it is full, say.
        """
        now = time.time()
        savings = {name: self._saving(name, *item, now) for name, item in items.items()}
        replies = self._store.ask(*(saving.call for saving in savings.values()))
        anew = []
        for (name, saving), reply in zip(savings.items(), replies, strict=True):
            if reply == 0:
                # The store has lost its memory.
                self._known.pop(name, None)
                anew.append(name)
            elif self._store.life_of(self._key(name)) != saving.life and name in self._known:
                anew.append(name)
        if anew:
            more = {name: self._saving(name, *items[name], now) for name in anew}
            self._store.ask(*(saving.call for saving in more.values()))
            savings |= more
        # Where it fails, what is known stays: it is compared with that the next time, too.
        for name, (text, _) in items.items():
            life = self._store.life_of(self._key(name))
            self._known[name] = _Known(text, life, savings[name].own)

    def _saving(self, session_id: str, text: str, expires: float, now: float) -> _Saving:
        key, known = self._key(session_id), self._known.get(session_id)
        life = self._store.life_of(key)
        before, after = fields_of(known.text if known else "{}"), fields_of(text)
        own = set(known.own) if known else set()
        again = set(own) if known and known.life != life else set()
        gone = [name for name in before.keys() | again if name not in after]
        words = [key, int((expires - now) * 1000), int(known is not None)]
        words += [len(gone), *gone]
        for name, value in after.items():
            if before.get(name) != value or name in again:
                words += [name, value]
                own.add(name)
        return _Saving(Call(words, _SAVE, 1), life, frozenset(own.union(gone)))

    def delete(self, session_ids: Iterable[str]) -> None:
        """Empty sessions, all of each: also what another server has written.

        Raises:
            StoreError: The store does not answer.
        """
        names = list(session_ids)
        if names:
            self._store.ask(*(Call([self._key(name), EMPTY], _EMPTY, 1) for name in names))
            for name in names:
                self._known.pop(name, None)

    def erase(self, session_id: str) -> None:
        """Leave nothing behind of a session that was only tried out.

        Raises:
            StoreError: The store does not answer.
        """
        self._store.ask(Call(["DEL", self._key(session_id)]))
        self._known.pop(session_id, None)

    def forget(self, session_id: str) -> None:
        """Take note that a session is in use here no more."""
        self._known.pop(session_id, None)

    def close(self) -> None:
        """Hang up; the next call connects again."""
        self._store.close()


def fields_of(text: str) -> dict[bytes, bytes]:
    """Return the values of a session: the JSON text of each, by the JSON text of its key.

    Args:
        text: A JSON object.
    """
    data = text.encode("utf-8", "surrogatepass")
    try:
        return {json.dumps(key).encode(): bytes(raw) for key, raw in _fields.decode(data).items()}
    except (msgspec.MsgspecError, ValueError):
        # Half a surrogate pair, which Python's JSON takes.
        found = json.loads(text)
        return {json.dumps(key).encode(): json.dumps(found[key]).encode() for key in found}
