"""Shares on Redis or Valkey, which all servers of a deployment have in common.

All keys have one hash tag, so that a cluster has them on one machine, and one script sees them:

- `values`, a hash by the shares' ids: whether it has ended (`0` or `1`), then as JSON the hash of
  its token and the share;
- `used`, a hash: how many guests each has let in, which only the scripts count;
- `changes`, a sorted set: the number of the last change of each, by which others hear of it;
- `state`, a hash: `n` the number of the last change, `e` the epoch, the life of all of it;
- `guests:ID`, a hash: who was counted by name;
- `op:NAME`, a hash: what has become of one count, for as long as it may be asked for again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from ..backplane.redis.conversation import Conversation, StoreError
from ..backplane.redis.keys import check_prefix
from ..backplane.redis.scripts import Script
from ..backplane.redis.talk import Call, script_of
from ..backplane.redis.ways import OtherLife
from ..sessions.sqlitefile import Log
from .share import Share
from .stores import Counted, Kept

OP_TTL = 3600 * 1000
"""Milliseconds for which the store remembers a count, in case that it is asked for again."""

MOST_UNSURE = 1000
"""Counts of which it is not known whether they were done, and which are taken back."""

_stored = msgspec.json.Decoder(tuple[str, Share])

_KEYS = ("state", "changes", "values", "used")

_CHANGED = """
-- KEYS: state, changes, values, used, and more. The last argument: a new epoch.
local function changed(id)
  local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
  if n == 1 then redis.call('HSET', KEYS[1], 'e', ARGV[#ARGV]) end
  redis.call('ZADD', KEYS[2], n, id)
end
local function state()
  local found = redis.call('HMGET', KEYS[1], 'n', 'e')
  return tonumber(found[1] or '0'), found[2] or ''
end
"""

# KEYS: ..., guests. ARGV: id, value, uses, whether these are the least that were counted.
# Returns the number of the change and the epoch, 0 where there is none: the last change, which is
# another server's then, is not told by that.
_PUT = """
local stored = redis.call('HGET', KEYS[3], ARGV[1])
local has_ended = string.sub(ARGV[2], 1, 1) == '1'
if stored and string.sub(stored, 1, 1) == '1' and not has_ended then return {0, ''} end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
local used = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0')
if not stored or (ARGV[4] == '1' and used < tonumber(ARGV[3])) then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
end
if has_ended then redis.call('DEL', KEYS[5]) end
changed(ARGV[1])
return {state()}
"""

# KEYS: ..., guests, op. ARGV: id, value and uses where nothing is stored, how many more, the most
# there may be, when it ends (seconds since 1970), the guest, ttl of the op. Returns the number of
# the change and the epoch, as `_PUT` does, and what has become of it.
_COUNT = """
local id, guest, n, e = ARGV[1], ARGV[7], 0, ''
local answer = redis.call('HGET', KEYS[6], 'r')
if not answer then
  local stored = redis.call('HGET', KEYS[3], id)
  local value = stored or ARGV[2]
  local used = tonumber(stored and redis.call('HGET', KEYS[4], id) or ARGV[3])
  local known = guest ~= '' and redis.call('HEXISTS', KEYS[5], guest) == 1
  local change = known and 0 or tonumber(ARGV[4])
  local most, ends = tonumber(ARGV[5]), tonumber(ARGV[6])
  used = math.max(0, used + change)
  local over = string.sub(value, 1, 1) == '1'
  if ends and ends <= tonumber(redis.call('TIME')[1]) then over = true end
  if over or (change > 0 and most and used > most) then
    answer = '0'
  else
    answer = '1'
    if not known then
      redis.call('HSET', KEYS[3], id, value)
      redis.call('HSET', KEYS[4], id, string.format('%.0f', used))
      if guest ~= '' then redis.call('HSET', KEYS[5], guest, 1) end
      changed(id)
      n, e = state()
    end
  end
  answer = answer .. (known and '1' or '0')
  redis.call('HSET', KEYS[6], 'r', answer)
  redis.call('PEXPIRE', KEYS[6], ARGV[8])
end
return {n, e, answer, redis.call('HGET', KEYS[3], id), redis.call('HGET', KEYS[4], id)}
"""

# Takes back a count that nobody has had an answer to: it is done now, later, or never, and counts
# for nothing. KEYS: ..., guests, op. ARGV: id, how many more it was, ttl of the op.
_UNDO = """
local answer = redis.call('HGET', KEYS[6], 'r')
redis.call('HSET', KEYS[6], 'r', '00')
redis.call('PEXPIRE', KEYS[6], ARGV[3])
if answer == '10' and redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then
  local used = tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0')
  local left = math.max(0, used - tonumber(ARGV[2]))
  redis.call('HSET', KEYS[4], ARGV[1], string.format('%.0f', left))
  changed(ARGV[1])
end
return {state()}
"""

# ARGV: the epoch and the number of the last change that is known. Returns ids, values and uses.
_READ = """
local n, e = state()
local found = {n, e}
if e == ARGV[1] and n == tonumber(ARGV[2]) then return found end
local ids
if e == ARGV[1] then
  ids = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf')
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '+inf')
end
for _, id in ipairs(ids) do
  found[#found + 1] = {
    id, redis.call('HGET', KEYS[3], id), redis.call('HGET', KEYS[4], id)
  }
end
return found
"""

_DELETE = """
for index = 1, #ARGV - 1 do
  redis.call('HDEL', KEYS[3], ARGV[index])
  redis.call('HDEL', KEYS[4], ARGV[index])
  redis.call('ZREM', KEYS[2], ARGV[index])
end
return {state()}
"""


def _script(body: str, *, frees: bool = False) -> Script:
    """Return a script; one that frees memory, or takes none, is run by a full store, too."""
    return script_of(f"#!lua{' flags=allow-oom' if frees else ''}\n{_CHANGED}{body}")


PUT, END = _script(_PUT), _script(_PUT, frees=True)
COUNT, UNDO = _script(_COUNT), _script(_UNDO, frees=True)
READ, DELETE = _script(_READ, frees=True), _script(_DELETE, frees=True)


class _Unsure(NamedTuple):
    """A count of which it is not known whether it was done."""

    op: str
    share: str
    change: int


class RedisShares:
    """Shares of a deployment: a link that one server makes opens on each of them.

    A use is counted in one step where the store is, for all servers. What the store has forgotten,
    as one that was started again without its files, or a replica that has lagged behind when it was
    made the primary, is stored again by whoever knows it, and before one more use is counted.

    Args:
        conversation: The way to the store.
        prefix: What the names of the deployment's keys begin with.
        log: Takes warnings.
        name: What stands behind the prefix; another one for shares that are only tried out.

    Raises:
        ValueError: The prefix can be none.
    """

    def __init__(
        self, conversation: Conversation, prefix: str, log: Log, name: str = "shares"
    ) -> None:
        self._store = conversation
        self._base = f"{check_prefix(prefix)}:{{{name}}}"
        self._log = log
        self._epoch = ""
        self._seen = 0
        self._life = ""
        self._known: dict[str, Kept] = {}
        self._unsure: list[_Unsure] = []
        self._owed: dict[str, Kept] = {}  # what the store has lost, and is to be told again
        self._news: list[Kept] = []  # what was read while something else was asked
        self._counting: list[str] = []  # what the last count has keys of, beside those of all

    # ---- read ------------------------------------------------------------------------------------

    def load(self) -> list[Kept]:
        """Return all of the deployment; one that cannot be read is left out, with a warning.

        Raises:
            StoreError: The store does not answer.
        """
        self._epoch, self._seen, self._news = "", 0, []
        return self._read()

    def changed(self) -> list[Kept] | None:
        """Return what others have written since this was asked last; None where that is nothing.

        Raises:
            StoreError: The store does not answer.
        """
        self._take_back()
        read = self._read()
        # The others as they are known now: uses have been counted since they were read.
        names = [kept.share.id for kept in self._news]
        found = [self._known[name] for name in names if name in self._known] + read
        self._news = []
        with suppress(StoreError):  # what was read is told all the same; the rest the next time
            self._tell_again()
        return found or None

    def _read(self) -> list[Kept]:
        had = self._epoch
        n, epoch, *rows = self._ask(READ, [], had, self._seen)
        is_whole = epoch.decode() != had
        if not is_whole and (n < self._seen or self._life_now() != self._life):
            # It was started again, perhaps with files that lack the last second; or it is a
            # replica that was made the primary, and has lagged behind.
            n, epoch, *rows = self._ask(READ, [], "", 0)
            is_whole = True
        found = []
        for name, value, used in rows:
            kept = None if value is None else self._kept(name.decode(), value, used)
            if kept is not None:
                found.append(kept)
        self._compare(found, is_whole)
        self._seen, self._epoch, self._life = n, epoch.decode(), self._life_now()
        return found

    def _compare(self, found: list[Kept], is_whole: bool) -> None:
        """Take note of what the store has, and of what it has lost."""
        before = dict(self._known)
        for kept in found:
            known = before.get(kept.share.id, kept).share
            lacks_end = bool(known.ended) and not kept.share.ended
            if lacks_end or (is_whole and known.used > kept.share.used):
                self._owed[known.id] = before[known.id]
            else:
                self._known[kept.share.id] = kept
        if is_whole:
            stored = {kept.share.id for kept in found}
            self._owed |= {name: kept for name, kept in before.items() if name not in stored}
            if self._owed:
                self._log.warning(
                    "The store %s has lost the shares, or what has become of them; what this "
                    "server knows of them is stored again",
                    self._store.shown,
                )

    def _tell_again(self) -> None:
        # A full store takes those that have ended, and none of the others.
        for name in sorted(self._owed, key=lambda name: not self._owed[name].share.ended):
            self._put(self._owed[name], again=True)
            del self._owed[name]

    def guests(self) -> dict[str, set[int]]:
        """Return nobody: who was counted by name is asked for one by one, see `has_guest`."""
        return {}

    def has_guest(self, share_id: str, guest: int) -> bool:
        """Return whether a guest was counted.

        Raises:
            StoreError: The store does not answer.
        """
        (found,) = self._store.ask(Call(["HEXISTS", self._key(f"guests:{share_id}"), guest]))
        return bool(found)

    # ---- written ---------------------------------------------------------------------------------

    def put(self, kept: Kept) -> None:
        """Store one; what has ended, stays so, and what was counted.

        Raises:
            StoreError: It cannot be stored.
        """
        self._put(kept)
        self._known[kept.share.id] = kept

    def _put(self, kept: Kept, *, again: bool = False) -> None:
        share = kept.share
        words = [share.id, _packed(kept), share.used, int(again)]
        n, epoch = self._ask(END if share.ended else PUT, [f"guests:{share.id}"], *words)
        self._wrote(n, epoch)

    def count(self, kept: Kept, change: int, guest: int | None = None) -> Counted:
        """Count uses, once; what was not answered is taken back, but for who counts by name.

        Raises:
            StoreError: They are not counted.
        """
        self._take_back()
        share, op = kept.share, secrets.token_hex(12)
        words: list[Any] = [share.id, _packed(kept), share.used, change]
        words += ["" if share.uses is None else share.uses]
        words += ["" if share.expires is None else share.expires]
        words += ["" if guest is None else guest, OP_TTL]
        self._counting = [f"guests:{share.id}", f"op:{op}"]
        is_unsure = False
        try:
            try:
                reply = self._ask(COUNT, self._counting, *words, life=self._life)
            except OtherLife:
                # It may have lost uses, which others would get again; so it is told of them first.
                is_unsure = True
                self._news += self._read()
                self._tell_again()
                reply = self._ask(COUNT, self._counting, *words)
        except StoreError as error:
            # Who counts by name and comes again is not counted a second time.
            is_unsure = is_unsure or error.is_unsure
            if is_unsure and guest is None and len(self._unsure) < MOST_UNSURE:
                self._unsure.append(_Unsure(op, share.id, change))
            raise
        n, epoch, answer, value, used = reply
        stored = kept if value is None else self._kept(share.id, value, used) or kept
        self._known[share.id] = stored
        self._wrote(n, epoch)
        return Counted(answer[:1] == b"1", stored, answer[1:] == b"1")

    def delete(self, share_ids: Iterable[str]) -> None:
        """Forget some.

        Raises:
            StoreError: The store does not answer.
        """
        names = list(share_ids)
        if not names:
            return
        self._ask(DELETE, [], *names)
        self._store.ask(*(Call(["DEL", self._key(f"guests:{name}")]) for name in names))
        for name in names:
            self._known.pop(name, None)
            self._owed.pop(name, None)

    def erase(self) -> None:
        """Leave nothing behind of shares that were only tried out.

        Raises:
            StoreError: The store does not answer.
        """
        self._store.ask(Call(["DEL", *map(self._key, (*_KEYS, *self._counting))]))

    def close(self) -> None:
        """Hang up; the next call connects again."""
        with suppress(StoreError):
            self._take_back()
        self._store.close()

    # ---- what went wrong -------------------------------------------------------------------------

    def _take_back(self) -> None:
        """Take back what was counted, perhaps, and told to nobody."""
        while self._unsure:
            op, share, change = self._unsure[0]
            self._ask(UNDO, [f"guests:{share}", f"op:{op}"], share, change, OP_TTL)
            self._unsure.pop(0)

    # ---- the store -------------------------------------------------------------------------------

    def _key(self, name: str) -> bytes:
        return f"{self._base}:{name}".encode()

    def _life_now(self) -> str:
        return self._store.life_of(self._key("state"))

    def _ask(self, script: Script, more: list[str], *words: Any, life: str = "") -> Any:
        keys = [self._key(name) for name in (*_KEYS, *more)]
        call = Call([*keys, *words, secrets.token_hex(8)], script, len(keys))
        (reply,) = self._store.ask(call, life=life)
        return reply

    def _wrote(self, n: int, epoch: bytes) -> None:
        """Take note of one's own change: where it is the next one, it is no news."""
        if n == self._seen + 1 and (epoch.decode() == self._epoch or (n == 1 and not self._epoch)):
            self._seen, self._epoch = n, epoch.decode()

    def _kept(self, name: str, value: bytes, used: bytes | None) -> Kept | None:
        try:
            digest, share = _stored.decode(value[1:])
        except (msgspec.MsgspecError, ValueError) as error:
            self._log.warning("The stored share %s cannot be read: %s", name, error)
            return None
        return Kept(msgspec.structs.replace(share, used=int(used or 0)), digest)


def _packed(kept: Kept) -> bytes:
    """Return what is stored of a share, but for its uses."""
    share = msgspec.structs.replace(kept.share, used=0)
    return (b"1" if share.ended else b"0") + msgspec.json.encode((kept.hash, share))
