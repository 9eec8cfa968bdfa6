"""The configuration as the rest of the package sees it: checked, complete, immutable."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Place(msgspec.Struct, frozen=True):
    """Where in the configuration something stands.

    `source` is a file's path or a trait's name (``c.WSHandlerApp.url``); `line` and `column`
    count from 1 and are None for traits; `key` is the path of keys inside the source.
    """

    source: str
    line: int | None = None
    column: int | None = None
    key: str = ""

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.source}:{self.line}:{self.column or 1}"
        return f"{self.source}{self.key}"


class Problem(msgspec.Struct, frozen=True):
    """One mistake: where, what was expected, what was found and what to do."""

    place: Place
    message: str
    route: str | None = None

    def __str__(self) -> str:
        key = f" {self.place.key}:" if self.place.line is not None and self.place.key else ""
        return f"{self.place}:{key} {self.message}"


class Variable(msgspec.Struct, frozen=True):
    """A value of the call, by name: ``handler``, ``message`` and the like."""

    name: str


class FunctionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A function of the user's and how to call it.

    `args` None means: pass what the callback gets by position. Otherwise each entry is a
    literal or a `Variable`; the same holds for the values of `kwargs`.
    """

    function: str
    args: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] = {}
    run: Literal["thread", "loop"] | None = None
    place: Place


class AuthConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who may open a connection.

    `required` False makes the route public. `users`, `groups` and `scopes` are the values that
    match, empty for any. `membership` is a tuple of rules of which one must match; in a rule
    every key must match, and any listed value does. `recheck` and `recheck_grace` are in seconds;
    `recheck_grace` None means ten times `recheck`. `guests` False refuses whoever comes by a share.
    """

    required: bool = True
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    membership: tuple[dict[str, tuple[Any, ...]], ...] = ()
    condition: FunctionSpec | None = None
    recheck: float = 60.0
    recheck_grace: float | None = None
    guests: bool = True

    @property
    def grace(self) -> float:
        """Return the seconds that a login holds while nobody can be asked about it; 0: always."""
        return 10 * self.recheck if self.recheck_grace is None else self.recheck_grace


class QueueConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for what waits to be sent to one connection, and what happens past them."""

    messages: int = 256
    bytes: int = 1024 * 1024
    slow: Literal["close", "drop_oldest"] = "close"


class MaxConnections(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for the connections that are open at a time; 0 is no limit."""

    user: int = 0
    address: int = 0
    route: int = 0


class Rate(msgspec.Struct, frozen=True):
    """An amount, of messages or of bytes, in a time in seconds."""

    amount: float
    seconds: float = 1.0


class Ratelimit(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds for what clients may send per time; None is no limit.

    `burst` is the time whose worth may come at once; None means the rate's own unit of time, at
    least 2 s.
    """

    messages: Rate | None = None
    bytes: Rate | None = None
    per: Literal["connection", "user", "address"] = "connection"
    burst: float | None = None
    then: Literal["close", "error"] = "close"


class HistoryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is said in a room is kept, and how much of it who joins is sent."""

    size: int = 100
    ttl: float = 600.0
    bytes: int = 256 * 1024
    replay: int = 0


class ResumeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How long a connection waits for a client that is away, in seconds, and what it keeps."""

    window: float = 120.0
    messages: int = 1000
    bytes: int = 4 * 1024 * 1024


class PresenceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who is in a room; `linger` is in seconds."""

    linger: float = 0.0
    card: FunctionSpec | None = None
    on_join: FunctionSpec | None = None
    on_leave: FunctionSpec | None = None


PUBLIC_RATELIMIT = Ratelimit(messages=Rate(100.0))
"""What holds for a route with ``auth: false`` that has no `ratelimit` of its own."""

GUEST_RATELIMIT = Ratelimit(messages=Rate(100.0), per="user")
"""What holds for each guest of a route that has no `ratelimit` of its own."""


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One route, checked. Times are in seconds, sizes in bytes; 0 turns a limit or timer off.

    `callbacks` maps an event (see `EVENTS`) to its function; `kwargs` is the mapping as written
    (with defaults and enforced keys merged), which callbacks see as ``handler.kwargs``.
    `timeout` UNSET means 300 s for ``def`` and none for ``async def``.
    """

    name: str
    pattern: str
    place: Place
    priority: float = 0
    kwargs: dict[str, Any] = {}
    callbacks: dict[str, FunctionSpec] = {}
    on_error_close: bool = True
    origins: tuple[str, ...] | None = None
    auth: AuthConfig = AuthConfig()
    xsrf: Literal["origin", "ticket"] = "origin"
    subprotocols: tuple[str, ...] = ()
    compression: dict[str, int] | None = None
    """The options of what compresses, as `get_compression_options` returns them; None for none."""
    page: str | Literal[False] | None = None
    """A file, a folder (with a slash at its end), False for none, or None for the built-in chat."""
    run: Literal["thread", "loop"] = "thread"
    threads: int | None = None
    timeout: float | msgspec.UnsetType | None = msgspec.UNSET
    lost: Literal["drop", "handle"] = "drop"
    returns: Literal["send", "ignore"] = "send"
    stop_message: str = ""
    max_message: int = 1024 * 1024
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    idle_timeout: float = 0.0
    keep_alive: Literal["messages", "connections", "none"] = "messages"
    every: tuple[tuple[float, FunctionSpec], ...] = ()
    types: dict[str, FunctionSpec] = {}
    """The functions for messages of several kinds, by their tags."""
    queue: QueueConfig = QueueConfig()
    max_connections: MaxConnections = MaxConnections()
    ratelimit: Ratelimit | None = None
    guest_ratelimit: Ratelimit | None = GUEST_RATELIMIT
    """What holds for guests: the route's own `ratelimit`, where it says one."""
    rooms: tuple[str, ...] = ()
    may_join: FunctionSpec | None = None
    space: str = ""
    """The space of its rooms, where it is not the route's own."""
    history: HistoryConfig | None = None
    presence: PresenceConfig | None = None
    resume: ResumeConfig | None = None
    filters: tuple[FunctionSpec, ...] = ()
    """What looks at every message in and out; each names a module, a class, an object or a
    function."""


EVENTS = (
    "open",
    "on_message",
    "on_close",
    "on_error",
    "on_pong",
    "on_away",
    "on_resume",
    "select_subprotocol",
    "get_compression_options",
)
"""The functions a route may name; `on_open` is another spelling of `open`."""


class BrokenRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A route that could not be used: its name, its pattern if known, and why.

    `functions` are those that it names, by event, as far as they could be read: they may be
    wrong, too.
    """

    name: str
    pattern: str | None
    place: Place
    problems: tuple[Problem, ...]
    priority: float = 0
    functions: dict[str, FunctionSpec] = {}
    run: Literal["thread", "loop"] = "thread"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one load of the configuration gave.

    `notes` are sentences for the log that are not errors (skipped entries, warnings);
    `folders` are the folders of the config files, for callback modules; `files` the files read.
    `problems` are those outside any route (a file that does not parse, an unknown trait key);
    `hidden` are routes that another one hides, which stands among the notes, too.
    """

    routes: tuple[RouteConfig, ...] = ()
    broken: tuple[BrokenRoute, ...] = ()
    problems: tuple[Problem, ...] = ()
    hidden: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
