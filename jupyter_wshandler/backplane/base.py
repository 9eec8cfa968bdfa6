"""The contract of a backplane: what rooms, their history and their presence stand on.

A backplane carries messages between the nodes of one deployment, numbers them, keeps the last
ones, and knows who is where. It knows nothing of connections, routes or WebSockets; what reaches it
has been checked. The contract, which `testing.backplanes` checks of any implementation:

- **Channels.** Everything belongs to a channel, a text. Each object is one node; several objects
  may share one store. All methods belong to one event loop, which is that of the node.
- **Answers.** A method returns its answer, or an awaitable of it where it has to ask somebody. One
  that answers at once has done what it was asked for before it returns, its own node's receivers
  included, so that a message in memory costs no turn of the loop. `answered` waits for either.
- **Publish is one step.** The message is numbered, appended to the channel's log, and given to all
  who have subscribed, in the order of the numbers, its own node included. Two nodes that publish at
  once are given one order. Without `Keep` the message has no number (offset 0), and the order holds
  for each sender alone.
- **Delivery is at most once.** A node that misses something sees a gap between two offsets, and
  asks `history`. So: subscribe first, read then, and merge by offset. An implementation fills the
  gaps of a receiver by itself, and calls `missed` where it cannot, and `listed` for presence.
- **Epochs.** A log that was lost (a restart, an eviction, its `ttl`) begins again at 1 with another
  epoch. Offsets of different epochs say nothing of each other.
- **Presence.** Entries of a channel, by key, are numbered on their own: each change has the next
  offset, is given to all who have subscribed, and `entries` says up to which offset it is right:
  changes of another epoch that were told before are over. An entry that nobody renews within its
  lease is removed by whoever looks next, with a change like any. Where who is in was lost, the new
  epoch begins with the whole list, by `listed`: who was in before may be in no more.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from .measures import Histogram, State

T = TypeVar("T")

PREFIX = "wshandler"
"""What the names in a store begin with, where nothing else is said."""

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of a message between servers, where nothing else is said."""

Answer: TypeAlias = T | Awaitable[T]
"""What a method returns: the answer, or an awaitable of it."""


async def answered(answer: Answer[T]) -> T:
    """Wait for an answer, where it is not there already."""
    return await answer if inspect.isawaitable(answer) else answer


class Position(NamedTuple):
    """A place in a log: its life, and the number of a message in it; 0 is before the first."""

    epoch: str = ""
    offset: int = 0


class Keep(NamedTuple):
    """How much of a channel's log is kept: messages, bytes in them, and seconds since the last."""

    size: int
    bytes: int
    ttl: float


class Publication(msgspec.Struct, frozen=True, array_like=True):
    """A message on its way: what is sent, and who is left out.

    `node` and `serial` name it for the node that has published it.
    """

    message: str | bytes
    exclude: str = ""
    node: str = ""
    serial: int = 0


class Logged(NamedTuple):
    """A message in a log."""

    offset: int
    at: float
    """Seconds since 1970."""
    publication: Publication


class Past(NamedTuple):
    """What a log still has after a position, and whether that is all that came after it."""

    messages: Sequence[Logged]
    position: Position
    """The end of the log: later messages have higher offsets."""
    complete: bool


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One connection that is present: whose it is, and what is shown of them."""

    person: str
    card: Any = None
    since: float = 0.0
    """Seconds since 1970."""
    away: bool = False
    """Whether the connection is lost, and its person expected back."""


class Change(NamedTuple):
    """A change of presence: an entry that is there now, or one that is not any more."""

    position: Position
    kind: Literal["add", "remove"]
    key: str
    entry: Entry
    """The entry; the last one there was where it was removed."""


class Entries(NamedTuple):
    """Who is present, and the last change that is counted in."""

    by_key: dict[str, Entry]
    position: Position


class Receiver(Protocol):
    """Who hears of a channel; called on the event loop, and must return at once."""

    def published(self, publication: Publication, position: Position) -> None:
        """Take a message; its offset is 0 where the log keeps nothing."""

    def changed(self, change: Change) -> None:
        """Take a change of presence."""

    def missed(self, position: Position) -> None:
        """Take note that messages were missed that are not there any more.

        Args:
            position: The place behind which what follows is whole again.
        """

    def listed(self, entries: Entries) -> None:
        """Take the list of who is present anew: changes of it were missed."""


class Backplane(ABC):
    """One node's end of what joins several; see the module for the contract."""

    node: str
    """The name of this node, unique in the deployment."""

    lease: float
    """Seconds after which an entry of presence that nobody renews is removed; 0 is never."""

    joins_servers: bool = True
    """Whether there may be another node, of another server."""

    @property
    def trouble(self) -> str:
        """What is wrong with it now, in words for an administrator; empty where nothing is."""
        return ""

    @property
    def state(self) -> State:
        """How this node stands to the others."""
        return "single"

    def counts(self) -> dict[str, float]:
        """Return numbers for the metrics, by name; a node alone has none."""
        return {}

    @property
    def publish_times(self) -> Histogram | None:
        """How many seconds publishing has taken; None where it takes none."""
        return None

    @abstractmethod
    def publish(
        self, channel: str, publication: Publication, keep: Keep | None = None
    ) -> Answer[Position]:
        """Number a message, keep it, and give it to all who have subscribed.

        Args:
            channel: Where it belongs.
            publication: What is sent.
            keep: How much of the log is kept from now on; None numbers and keeps nothing.

        Returns:
            Its place in the log; offset 0 where nothing is kept.
        """

    @abstractmethod
    def subscribe(self, channel: str, receiver: Receiver) -> Answer[None]:
        """Hear of a channel from now on; once subscribed, nothing that follows is left out.

        Args:
            channel: Of a node one receiver hears of a channel; another one takes its place.
            receiver: Who hears of it.
        """

    @abstractmethod
    def unsubscribe(self, channel: str) -> Answer[None]:
        """Hear of a channel no more; without effect where nobody does."""

    @abstractmethod
    def history(self, channel: str, since: Position | None = None, limit: int = 0) -> Answer[Past]:
        """Return what was published after a position, the oldest first.

        Args:
            channel: Whose log is read.
            since: The last message that is known; None for all that there is, which is complete.
            limit: Messages to return at most, the newest ones; 0 is no limit.
        """

    @abstractmethod
    def clear(self, channel: str) -> Answer[None]:
        """Forget what a channel's log holds; its numbers go on, so that the gap can be seen."""

    @abstractmethod
    def add(self, channel: str, key: str, entry: Entry) -> Answer[Position]:
        """Add an entry of presence, or put another in its place; it is leased from now on."""

    @abstractmethod
    def renew(self, channel: str, keys: Sequence[str]) -> Answer[Sequence[str]]:
        """Lease entries anew; return the keys of those that are not there any more."""

    @abstractmethod
    def remove(self, channel: str, key: str) -> Answer[None]:
        """Remove an entry; without effect, and without a change, where there is none."""

    @abstractmethod
    def entries(self, channel: str) -> Answer[Entries]:
        """Return who is present."""

    @abstractmethod
    def send_to_user(self, user: str, publication: Publication) -> Answer[None]:
        """Give a message to the node of every connection of a user, this one's included."""

    @abstractmethod
    def receive_for_users(self, receiver: UserReceiver) -> Answer[None]:
        """Hear of the messages that are sent to users."""

    def announce(self, spaces: Mapping[str, Keep | None]) -> Answer[None]:
        """Say what is served here, for those who publish from outside; nobody does to one alone.

        Args:
            spaces: How much is kept in the rooms of each space; None for nothing.
        """
        return None

    @abstractmethod
    def sweep(self) -> Answer[None]:
        """Let go of what is over: called every few seconds."""

    @abstractmethod
    def close(self) -> Answer[None]:
        """Let go of everything of this node; nothing is called any more."""


class UserReceiver(Protocol):
    """Who hears of messages to users."""

    def __call__(self, user: str, publication: Publication) -> None:
        """Take a message for the connections of a user."""
