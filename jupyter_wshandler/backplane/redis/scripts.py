"""What is done in one step where the store is: the scripts, and what they are called by.

Each channel has four keys, whose names share the hash tag `{channel}`, so that a cluster has them
on one machine:

- `log`, a list: the messages that are kept. The last one has the offset that `logstate` says, and
  each one before it the next lower one, so that no number is stored with a message.
- `logstate`, a hash: `e` the epoch, `o` the last offset, `s` the offset at which the epoch began,
  `b` the bytes in the list, `i` the id of the last publish, `l` the life of the store.
- `people`, a hash: the entries of presence by key; `leases`, a sorted set: when each is over, in
  milliseconds of the store's own clock, which is the only one that counts.
- `peoplestate`, a hash: `e`, `o` and `l` as above, for the changes of presence.

One key is of the whole deployment: `spaces`, a hash by the names of spaces, in which nodes say how
much of their rooms is kept, for those who publish from outside (`publishing`).

**Epochs tell the truth.** A store that comes back after a crash may have lost the last second of
what it had acknowledged, and would give its numbers a second time; so may a replica that was made
the primary. So an epoch holds for one life of the store (`facts.Facts.life`), which is written into
the scripts. A script of an earlier life is unknown to the store (it keeps no scripts on disk), and
whoever calls one asks for the new life and loads it anew. So no publish pays for the question, and
none is numbered in the wrong epoch.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_STATE = """
local life = '%LIFE%'
local function state(key, epoch, keep)
  local found = redis.call('HMGET', key, 'e', 'o', 'l')
  local e, o = found[1], tonumber(found[2] or '0')
  if not e then
    if not keep then return '', 0, true end
    redis.call('HSET', key, 'e', epoch, 'o', 0, 's', 0, 'b', 0, 'l', life)
    return epoch, 0, true
  end
  if found[3] ~= life then
    redis.call('HSET', key, 'e', epoch, 's', o, 'l', life)
    return epoch, o, true
  end
  return e, o, false
end
"""

# The first write of a script decides whether a full store lets the rest pass: here it is none that
# frees memory. The store checks its limit before, as the script has no flag `allow-oom`.
_PUBLISH = """#!lua
%STATE%
-- KEYS: logstate, log. ARGV: pub/sub channel, a new epoch, id, publication, size, bytes,
-- ttl in ms, ttl of the numbers in ms, and 0 for a new message, 1 for one that is sent again, 2 for
-- one whose id is a caller's own: that counts as long as its message is kept, which `i` outlives.
-- Returns the epoch, the offset, and how many have heard it; -1 where it was there already.
local e, o, is_new = state(KEYS[1], ARGV[2], true)
if ARGV[9] == '1' and redis.call('HGET', KEYS[1], 'i') == ARGV[3] then return {e, o, -1} end
if ARGV[9] ~= '0' then
  local kept = redis.call('LRANGE', KEYS[2], 0, -1)
  for index = #kept, 1, -1 do
    local first = string.find(kept[index], ' ', 1, true)
    if first and string.sub(kept[index], first + 1, first + 1 + #ARGV[3]) == ARGV[3] .. ' ' then
      return {e, o - #kept + index, -1}
    end
  end
end
local now = redis.call('TIME')
local entry = now[1] .. '.' .. string.format('%06d', now[2]) .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]
o = redis.call('HINCRBY', KEYS[1], 'o', 1)
local count = redis.call('RPUSH', KEYS[2], entry)
local total = #entry
if count > 1 then total = total + tonumber(redis.call('HGET', KEYS[1], 'b')) end
while count > 0 and (count > tonumber(ARGV[5]) or total > tonumber(ARGV[6])) do
  total = total - #redis.call('LPOP', KEYS[2])
  count = count - 1
end
redis.call('HSET', KEYS[1], 'b', total, 'i', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[8])
local told = 'm' .. e .. ' ' .. o .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]
return {e, o, redis.call('PUBLISH', ARGV[1], told)}
"""

_PAST = """
-- Offset and epoch of the last message that is known, most messages that are wanted (-1: none),
-- whether of another epoch only what it began with is wanted.
-- Returns the epoch, the last offset, where the epoch began, the messages.
local function past(logstate, log, epoch, from, known, limit, begun)
  local e, o = state(logstate, epoch, false)
  if e == '' then return {e, 0, 0, {}} end
  local s = tonumber(redis.call('HGET', logstate, 's') or '0')
  from, limit = tonumber(from), tonumber(limit)
  if known ~= e then
    if begun == '1' then from = math.min(from, s) else from = 0 end
  elseif from > o then
    from = 0
  end
  if limit < 0 or from >= o then return {e, o, s, {}} end
  local wanted = math.min(redis.call('LLEN', log), o - from, limit)
  if wanted == 0 then return {e, o, s, {}} end
  return {e, o, s, redis.call('LRANGE', log, -wanted, -1)}
end
"""

_HISTORY = """#!lua flags=allow-oom
%STATE%%PAST%
-- KEYS: logstate, log. ARGV: a new epoch, and what `past` takes.
return past(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
"""

# In a cluster the channels would have to be of one slot, and are not.
_HISTORIES = """#!lua flags=allow-oom
%STATE%%PAST%
-- KEYS: logstate and log of each channel. ARGV: a new epoch, bytes after which no further log is
-- read, and for each channel what `past` takes. Returns for each what `past` does, or nothing
-- where it was not read.
local found, bytes = {}, 0
for index = 1, #KEYS / 2 do
  local at, reply = 4 * index - 1, false
  if bytes < tonumber(ARGV[2]) then
    local logstate, log = KEYS[2 * index - 1], KEYS[2 * index]
    reply = past(logstate, log, ARGV[1], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    for _, entry in ipairs(reply[4]) do bytes = bytes + #entry end
  end
  found[index] = reply
end
return found
"""

_PRESENCE = """
local e, o = state(KEYS[3], ARGV[2], %KEEP%)
local lease = tonumber(ARGV[3])
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local function tell(kind, key, entry)
  if e == '' then e, o = state(KEYS[3], ARGV[2], true) end
  o = redis.call('HINCRBY', KEYS[3], 'o', 1)
  local what = kind .. ' ' .. #key .. ' ' .. key .. entry
  redis.call('PUBLISH', ARGV[1], 'c' .. e .. ' ' .. o .. ' ' .. what)
end
local till = string.format('%.0f', now)
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', till, 'LIMIT', 0, 1000)
for _, key in ipairs(over) do
  local entry = redis.call('HGET', KEYS[1], key)
  redis.call('HDEL', KEYS[1], key)
  redis.call('ZREM', KEYS[2], key)
  if entry then tell('remove', key, entry) end
end
local function keep_on()
  if lease > 0 then
    redis.call('PEXPIRE', KEYS[1], 3 * lease)
    redis.call('PEXPIRE', KEYS[2], 3 * lease)
  end
  redis.call('PEXPIRE', KEYS[3], 86400000)
end
"""

# KEYS of each: people, leases, peoplestate. ARGV: pub/sub channel, a new epoch, the lease in ms.
_ADD = """#!lua
%STATE%%PRESENCE%
redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
if lease > 0 then redis.call('ZADD', KEYS[2], string.format('%.0f', now + lease), ARGV[4]) end
tell('add', ARGV[4], ARGV[5])
keep_on()
return {e, o}
"""

_REMOVE = """#!lua flags=allow-oom
%STATE%%PRESENCE%
for index = 4, #ARGV do
  local entry = redis.call('HGET', KEYS[1], ARGV[index])
  if entry then
    redis.call('HDEL', KEYS[1], ARGV[index])
    redis.call('ZREM', KEYS[2], ARGV[index])
    tell('remove', ARGV[index], entry)
  end
end
return {e, o}
"""

_RENEW = """#!lua flags=allow-oom
%STATE%%PRESENCE%
local lost = {}
for index = 4, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[index]) == 0 then
    lost[#lost + 1] = ARGV[index]
  elseif lease > 0 then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + lease), ARGV[index])
  end
end
keep_on()
return lost
"""

_ENTRIES = """#!lua flags=allow-oom
%STATE%%PRESENCE%
return {e, o, redis.call('HGETALL', KEYS[1])}
"""

_CLEAR = """#!lua flags=allow-oom
redis.call('DEL', KEYS[2])
return 0
"""

_SOURCES = {
    "publish": (_PUBLISH, "true"),
    "history": (_HISTORY, "false"),
    "histories": (_HISTORIES, "false"),
    "add": (_ADD, "true"),
    "remove": (_REMOVE, "false"),
    "renew": (_RENEW, "false"),
    "entries": (_ENTRIES, "false"),
    "clear": (_CLEAR, "false"),
}


class Script(NamedTuple):
    """A script, and the name that the store knows it by once it is loaded."""

    source: bytes
    sha: str


def scripts_for(life: str, is_sharded: bool = False) -> dict[str, Script]:
    """Return the scripts for one life of a store.

    Args:
        life: What names it; letters and digits.
        is_sharded: Whether the store is one of a cluster, which tells what it publishes to those
            who are connected to it, and to no other server.
    """
    if not life.isalnum():
        raise ValueError("expected the run_id of a store, of letters and digits")
    found = {}
    for name, (source, keep) in _SOURCES.items():
        text = source.replace("%PRESENCE%", _PRESENCE).replace("%STATE%", _STATE)
        text = text.replace("%PAST%", _PAST)
        if is_sharded:
            text = text.replace("call('PUBLISH'", "call('SPUBLISH'")
        whole = text.replace("%KEEP%", keep).replace("%LIFE%", life).encode()
        # SHA-1 is what EVALSHA takes; nothing rests on its strength.
        found[name] = Script(whole, hashlib.sha1(whole, usedforsecurity=False).hexdigest())
    return found
