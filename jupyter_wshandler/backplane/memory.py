"""The backplane of one server: everything is in memory, and every answer is there at once."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from .base import (
    Backplane,
    Change,
    Entries,
    Entry,
    Keep,
    Logged,
    Past,
    Position,
    Publication,
    Receiver,
    UserReceiver,
)

MAX_BYTES = 256 * 1024 * 1024
"""Bytes in all logs together; then the log that was written to longest ago is let go of."""

OVERHEAD = 200
"""Bytes of memory that a kept message takes beside its own."""


class _Log:
    """The last messages of one channel, and their numbers."""

    __slots__ = ("epoch", "expires", "kept", "offset", "size", "ttl")

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(8)
        self.offset = 0
        self.kept: deque[Logged] = deque()
        self.size = 0
        self.ttl = 0.0
        self.expires = 0.0

    def append(self, logged: Logged, keep: Keep) -> int:
        """Keep one message more, and drop what is too much; return by how much it has grown."""
        before = self.size
        self.kept.append(logged)
        self.size += weight(logged.publication)
        while len(self.kept) > keep.size or (self.size > keep.bytes and self.kept):
            self.drop_oldest()
        return self.size - before

    def drop_oldest(self) -> None:
        self.size -= weight(self.kept.popleft().publication)

    def forget(self) -> int:
        """Forget all messages; return the bytes that they took."""
        freed, self.size = self.size, 0
        self.kept.clear()
        return freed


def weight(publication: Publication) -> int:
    """Return the bytes of memory that a kept message counts for."""
    message = publication.message
    if isinstance(message, str) and not message.isascii():
        return OVERHEAD + 4 * len(message)
    return OVERHEAD + len(message)


class _Presence:
    """Who is present in one channel, with the numbers of the changes."""

    __slots__ = ("by_key", "epoch", "leases", "offset")

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(8)
        self.offset = 0
        self.by_key: dict[str, Entry] = {}
        self.leases: dict[str, float] = {}


class Hub:
    """What several nodes in one process share; one node alone has one of its own.

    Args:
        clock: Returns the seconds since 1970.
        max_bytes: Bytes in all logs together.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, max_bytes: int = MAX_BYTES
    ) -> None:
        self.clock = clock
        self.max_bytes = max_bytes
        self.nodes: list[MemoryBackplane] = []
        # The log that was written to last is the last one.
        self.logs: OrderedDict[str, _Log] = OrderedDict()
        self.bytes = 0
        self.presences: dict[str, _Presence] = {}

    def log_of(self, channel: str, now: float) -> _Log | None:
        """Return the log of a channel, without what its time is over of."""
        log = self.logs.get(channel)
        if log is not None and log.kept and now >= log.expires:
            self.bytes -= log.forget()
        return log

    def receivers(self, channel: str) -> list[Receiver]:
        """Return who hears of a channel, on all nodes."""
        found = [node.receivers.get(channel) for node in self.nodes]
        return [receiver for receiver in found if receiver is not None]

    def evict(self) -> None:
        """Let go of the logs that were written to longest ago, as long as there is too much."""
        while self.bytes > self.max_bytes and len(self.logs) > 1:
            _, log = self.logs.popitem(last=False)
            self.bytes -= log.size


class MemoryBackplane(Backplane):
    """A node whose store is the memory of this process.

    Args:
        hub: What the nodes share, where there are several, as in a test.
        lease: Seconds of a lease; 0 for none: what a node alone has dies with it.
    """

    def __init__(self, hub: Hub | None = None, *, lease: float = 0.0) -> None:
        self.node = secrets.token_hex(8)
        self.lease = lease
        self._hub = Hub() if hub is None else hub
        self.joins_servers = hub is not None
        self.receivers: dict[str, Receiver] = {}
        """Who hears of which channel on this node."""
        self.user_receiver: UserReceiver | None = None
        """Who hears of messages to users on this node."""
        self._hub.nodes.append(self)

    def publish(self, channel: str, publication: Publication, keep: Keep | None = None) -> Position:
        """Number a message, keep it, and give it to all who have subscribed."""
        hub, position = self._hub, Position()
        if keep is not None:
            now = hub.clock()
            log = hub.log_of(channel, now)
            if log is None:
                log = hub.logs[channel] = _Log()
            else:
                hub.logs.move_to_end(channel)
            log.offset += 1
            log.ttl, log.expires = keep.ttl, now + keep.ttl
            position = Position(log.epoch, log.offset)
            hub.bytes += log.append(Logged(log.offset, now, publication), keep)
            if hub.bytes > hub.max_bytes:
                hub.evict()
        for receiver in hub.receivers(channel):
            receiver.published(publication, position)
        return position

    def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Hear of a channel from now on."""
        self.receivers[channel] = receiver

    def unsubscribe(self, channel: str) -> None:
        """Hear of a channel no more."""
        self.receivers.pop(channel, None)

    def history(self, channel: str, since: Position | None = None, limit: int = 0) -> Past:
        """Return what was published after a position, the oldest first."""
        log = self._hub.log_of(channel, self._hub.clock())
        if log is None:
            return Past((), Position(), since is None or since == Position())
        end = Position(log.epoch, log.offset)
        found: Sequence[Logged] = tuple(log.kept)
        complete = True
        if since is not None:
            same = since.epoch == log.epoch and since.offset <= log.offset
            found = [one for one in found if not same or one.offset > since.offset]
            complete = same and len(found) == log.offset - since.offset
        if limit and len(found) > limit:
            found, complete = found[-limit:], complete and since is None
        return Past(found, end, complete)

    def clear(self, channel: str) -> None:
        """Forget what a channel's log holds; its numbers go on."""
        log = self._hub.logs.get(channel)
        if log is not None:
            self._hub.bytes -= log.forget()

    def add(self, channel: str, key: str, entry: Entry) -> Position:
        """Add an entry of presence, or put another in its place."""
        self._expire(channel)
        presence = self._hub.presences.setdefault(channel, _Presence())
        if self.lease:
            presence.leases[key] = self._hub.clock() + self.lease
        presence.by_key[key] = entry
        return self._tell(channel, presence, "add", key, entry)

    def _tell(
        self, channel: str, presence: _Presence, kind: str, key: str, entry: Entry
    ) -> Position:
        presence.offset += 1
        position = Position(presence.epoch, presence.offset)
        change = Change(position, kind, key, entry)  # type: ignore[arg-type] # one of its words
        for receiver in self._hub.receivers(channel):
            receiver.changed(change)
        return position

    def renew(self, channel: str, keys: Sequence[str]) -> Sequence[str]:
        """Lease entries anew; return the keys of those that are not there any more."""
        self._expire(channel)
        presence = self._hub.presences.get(channel)
        known = {} if presence is None else presence.by_key
        if presence is not None and self.lease:
            until = self._hub.clock() + self.lease
            presence.leases.update((key, until) for key in keys if key in known)
        return [key for key in keys if key not in known]

    def remove(self, channel: str, key: str) -> None:
        """Remove an entry; without effect where there is none."""
        self._expire(channel)
        presence = self._hub.presences.get(channel)
        if presence is not None and key in presence.by_key:
            self._take_out(channel, presence, key)

    def _take_out(self, channel: str, presence: _Presence, key: str) -> None:
        presence.leases.pop(key, None)
        self._tell(channel, presence, "remove", key, presence.by_key.pop(key))

    def entries(self, channel: str) -> Entries:
        """Return who is present."""
        self._expire(channel)
        presence = self._hub.presences.get(channel)
        if presence is None:
            return Entries({}, Position())
        return Entries(dict(presence.by_key), Position(presence.epoch, presence.offset))

    def _expire(self, channel: str) -> None:
        presence = self._hub.presences.get(channel)
        if presence is None or not presence.leases:
            return
        now = self._hub.clock()
        for key in [key for key, until in presence.leases.items() if until <= now]:
            self._take_out(channel, presence, key)

    def send_to_user(self, user: str, publication: Publication) -> None:
        """Give a message to every node."""
        for node in tuple(self._hub.nodes):
            if node.user_receiver is not None:
                node.user_receiver(user, publication)

    def receive_for_users(self, receiver: UserReceiver) -> None:
        """Hear of the messages that are sent to users."""
        self.user_receiver = receiver

    def sweep(self) -> None:
        """Let go of the logs and lists that nobody needs: empty, and heard of by nobody."""
        hub, now = self._hub, self._hub.clock()
        for channel in tuple(hub.logs):
            log = hub.log_of(channel, now)
            if log is not None and not log.kept and not hub.receivers(channel):
                del hub.logs[channel]
        for channel in tuple(hub.presences):
            self._expire(channel)
            if not hub.presences[channel].by_key and not hub.receivers(channel):
                del hub.presences[channel]

    def close(self) -> None:
        """Let go of everything of this node."""
        if self in self._hub.nodes:
            self._hub.nodes.remove(self)
        self.receivers.clear()
        self.user_receiver = None
