"""Sessions on Redis or Valkey, which several servers have in common."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping

import msgspec

from ..backplane.redis.conversation import Call, Conversation, script_of
from ..backplane.redis.keys import check_prefix

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


class RedisSessions:
    """Sessions that all servers with the same store and prefix have in common.

    A session is a hash with a field for each of its values. What is saved is what has changed since
    it was read or saved here: so two servers that have the same session open at the same time do
    not write over each other, as long as they write other values. The store forgets what has
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
        # What the store has, as far as this server knows, of the sessions that are in use here.
        self._known: dict[str, str] = {}

    def _key(self, session_id: str) -> bytes:
        # The names of keys get about: into the store's slow log, say.
        digest = hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        return f"{self._prefix}:session:{digest}".encode()

    def load(self, session_id: str) -> str | None:
        """Return what is stored for a session, or None.

        Raises:
            StoreError: The store does not answer.
        """
        (flat,) = self._store.ask(Call(["HGETALL", self._key(session_id)]))
        self._known.pop(session_id, None)
        if not flat:
            return None
        pairs = zip(flat[::2], flat[1::2], strict=True)
        whole = b",".join(name + b":" + value for name, value in pairs if name != b"v")
        text = (b"{" + whole + b"}").decode("utf-8", "surrogatepass")
        self._known[session_id] = text
        return text if whole else None

    def save(self, items: Mapping[str, tuple[str, float]]) -> None:
        """Store what has changed in sessions.

        Raises:
            StoreError: The store does not answer, or refuses: it is full, say.
        """
        now = time.time()
        replies = self._store.ask(*(self._saving(name, *item, now) for name, item in items.items()))
        lost = [name for name, reply in zip(items, replies, strict=True) if reply == 0]
        for name in lost:
            # The store has lost its memory.
            self._known.pop(name, None)
        if lost:
            self._store.ask(*(self._saving(name, *items[name], now) for name in lost))
        # Where it fails, what is known stays: it is compared with that the next time, too.
        self._known |= {session_id: text for session_id, (text, _) in items.items()}

    def _saving(self, session_id: str, text: str, expires: float, now: float) -> Call:
        known = self._known.get(session_id)
        before, after = fields_of(known or "{}"), fields_of(text)
        gone = [name for name in before if name not in after]
        words = [self._key(session_id), int((expires - now) * 1000), int(known is not None)]
        words += [len(gone), *gone]
        for name, value in after.items():
            if before.get(name) != value:
                words += [name, value]
        return Call(words, _SAVE, 1)

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
