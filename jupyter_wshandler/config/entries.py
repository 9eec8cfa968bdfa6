"""The mappings that a route's keys take as values: how a function is called, who may connect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from jupyter_wshandler.config.described import Quantity, Scalar, doc


class FunctionEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A function and how to call it; the long form of a plain dotted name."""

    function: Annotated[
        str,
        doc(
            "The function: a dotted name, or a call of one with literals and the names of that "
            "callback (`bots.chat.reply(handler, message, 'en')`). It is parsed, never evaluated.",
            "a dotted name or a call of one",
        ),
    ]
    args: Annotated[
        list[Any] | Scalar | UnsetType,
        doc(
            "What to pass by position in place of the callback's own arguments: `=handler` "
            "is a variable, anything else a literal. A single value is a list of one.",
            "a list, or one value",
            "the callback's own arguments",
        ),
    ] = UNSET
    kwargs: Annotated[
        dict[str, Any] | UnsetType,
        doc(
            "What to pass by name; `=message` is a variable, anything else a literal.",
            "a mapping of names to values",
            "nothing",
        ),
    ] = UNSET
    run: Annotated[
        Literal["thread", "loop"] | UnsetType,
        doc("Where a `def` runs, for this function only.", "`thread` or `loop`", "`run`"),
    ] = UNSET


class ErrorEntry(FunctionEntry, forbid_unknown_fields=True):
    """A function's keys and `close`; `function` may be left out."""

    function: Annotated[
        str | UnsetType,
        doc(
            "The function to call with the handler and the exception.",
            "a dotted name or a call of one",
            "none",
        ),
    ] = UNSET  # type: ignore[assignment]
    close: Annotated[
        bool | UnsetType,
        doc(
            "Whether a failed callback closes the connection with 1011. With `false` the "
            "client gets an error message and the connection stays open.",
            "`true` or `false`",
            "`true`",
        ),
    ] = UNSET


class AuthEntry(msgspec.Struct, forbid_unknown_fields=True):
    """The logged-in users who may connect; everyone else gets 403.

    Every key that is given must match.
    """

    users: Annotated[
        list[str] | str | UnsetType,
        doc(
            "Names of users. A service of JupyterHub is no user, whatever its name.",
            "a name or a list of names",
            "every user",
            examples=[["ada", "grace"]],
        ),
    ] = UNSET
    groups: Annotated[
        list[str] | str | UnsetType,
        doc(
            "Groups of JupyterHub, of which the user must be in one.",
            "a name or a list of names",
            "every user",
            examples=[["staff"]],
        ),
    ] = UNSET
    scopes: Annotated[
        list[str] | str | UnsetType,
        doc(
            "Scopes of JupyterHub, of which the user's login or token must have one. A scope "
            "without a filter includes those with one: who has `access:servers` has "
            "`access:servers!user=ada`.",
            "a scope or a list of scopes",
            "every user",
            examples=[["custom:pingbot:use"]],
        ),
    ] = UNSET
    membership: Annotated[
        dict[str, Any] | list[dict[str, Any]] | UnsetType,
        doc(
            "Attributes of the user (`username`, `name`, `groups`, `scopes`, `kind`) and the "
            "values they may have. In a mapping every key must match, and any value of a list "
            "does; of a list of mappings one must match. A user without the attribute is refused.",
            "a mapping, or a list of mappings",
            "every user",
        ),
    ] = UNSET
    condition: Annotated[
        FunctionEntry | str | UnsetType,
        doc(
            "A function that gets the handler and answers whether the user may connect; "
            "false and an exception both refuse.",
            "a function",
            "none",
        ),
    ] = UNSET
    function: Annotated[
        FunctionEntry | str | UnsetType,
        doc("Another spelling of `condition`.", "a function", "none"),
    ] = UNSET
    recheck: Annotated[
        float | int | str | bool | UnsetType,
        doc(
            "How often an open connection's login is asked for again. A user who has logged "
            "out, or whose token was revoked, is closed with 4401; one who is no longer allowed "
            "with 4403. 100 ms at least. `off` never asks again.",
            "a duration",
            "60 s",
        ),
    ] = UNSET
    recheck_grace: Annotated[
        float | int | str | bool | UnsetType,
        doc(
            "How long a connection stays open while nobody can be asked about its login: "
            "JupyterHub, the identity provider or the Authorizer does not answer, or fails. Then "
            "it is closed with 4401. It is looked at whenever a question remains unanswered. "
            "`off` waits for ever.",
            "a duration",
            "ten times `recheck`",
        ),
    ] = UNSET
    guests: Annotated[
        bool | UnsetType,
        doc(
            "Whether the route may be shared: `false` refuses whoever comes by a share, also by "
            "one that was issued before.",
            "`true` or `false`",
            "`true`",
        ),
    ] = UNSET


class QueueEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Bounds for what waits to be sent to one connection whose client reads slowly."""

    messages: Annotated[
        int | UnsetType,
        doc("Messages that may wait.", "a number from 1 to 1000000", minimum=1),
    ] = UNSET
    bytes: Annotated[
        Quantity | UnsetType,
        doc("Bytes that may wait.", "a size, at least 1KiB", examples=["1MiB"]),
    ] = UNSET
    slow: Annotated[
        Literal["close", "drop_oldest"] | UnsetType,
        doc(
            "What happens past the bound: close the connection with 1013, or drop the "
            "oldest waiting messages and count them.",
            "`close` or `drop_oldest`",
        ),
    ] = UNSET


class HistoryEntry(msgspec.Struct, forbid_unknown_fields=True):
    """How much of what was said in a room is kept, and shown to who joins it."""

    size: Annotated[
        int | UnsetType,
        doc("Messages that are kept for each room.", "a number from 1 to 10000", "100", minimum=1),
    ] = UNSET
    ttl: Annotated[
        Quantity | UnsetType,
        doc(
            "How long after its last message a room's are kept.",
            "a duration over 0",
            "`10m`",
            examples=["10m"],
        ),
    ] = UNSET
    bytes: Annotated[
        Quantity | UnsetType,
        doc(
            "Bytes of memory that are kept for each room; the oldest messages go first.",
            "a size, at least 1KiB",
            "`256KiB`",
            examples=["256KiB"],
        ),
    ] = UNSET
    replay: Annotated[
        int | UnsetType,
        doc(
            "How many of them who joins is sent, the newest ones, before anything else of the "
            "room; 0 sends none.",
            "a number from 0 to 10000",
            "0",
            minimum=0,
        ),
    ] = UNSET


class KeepEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What is kept of what a client has not acknowledged."""

    messages: Annotated[
        int | UnsetType,
        doc("Messages that are kept.", "a number from 1 to 100000", "1000", minimum=1),
    ] = UNSET
    bytes: Annotated[
        Quantity | UnsetType,
        doc(
            "Bytes in them; one message is always kept.",
            "a size, at least 1KiB",
            "`4MiB`",
            examples=["4MiB"],
        ),
    ] = UNSET


class CompressionEntry(msgspec.Struct, forbid_unknown_fields=True):
    """How messages are compressed; the names are those that `get_compression_options` returns."""

    compression_level: Annotated[
        int | UnsetType,
        doc(
            "How much time is spent on what is sent: 0 is none, 1 is fast, 9 is slow.",
            "a number from 0 to 9",
            "`6`",
            minimum=0,
            maximum=9,
        ),
    ] = UNSET
    mem_level: Annotated[
        int | UnsetType,
        doc(
            "Memory of a compressor beside its window: 1 KiB at 1, 16 KiB at 5, 256 KiB at 9.",
            "a number from 1 to 9",
            "`5`",
            minimum=1,
            maximum=9,
        ),
    ] = UNSET
    max_window_bits: Annotated[
        int | UnsetType,
        doc(
            "How far back a message may refer to earlier ones, as a power of 2 in bytes, either "
            "way. What compresses takes four times as much memory, what decompresses once. A "
            "client that does not offer `client_max_window_bits` sends with 15.",
            "a number from 9 to 15",
            "`12`",
            minimum=9,
            maximum=15,
        ),
    ] = UNSET
    min_size: Annotated[
        Quantity | UnsetType,
        doc("Messages below it go out as they are.", "a size of at most 1GiB", "`32`"),
    ] = UNSET
    server_no_context_takeover: Annotated[
        bool | UnsetType,
        doc(
            "Each message that is sent is compressed on its own: larger, without memory between "
            "messages.",
            "`true` or `false`",
            "`false`",
        ),
    ] = UNSET
    client_no_context_takeover: Annotated[
        bool | UnsetType,
        doc("The client is told to do the same.", "`true` or `false`", "`false`"),
    ] = UNSET


class ResumeEntry(msgspec.Struct, forbid_unknown_fields=True):
    """How a connection outlives a break: for how long, and with how much that was not delivered."""

    window: Annotated[
        Quantity | UnsetType,
        doc(
            "How long a connection waits for a client that is away.",
            "a duration from 100 ms to 1 hour",
            "`2m`",
            examples=["2m"],
        ),
    ] = UNSET
    keep: Annotated[
        KeepEntry | UnsetType,
        doc(
            "What is kept for a client until it acknowledges it. Where that is full, an awaited "
            "write waits; of others `queue: {slow:}` says what becomes.",
            "a mapping",
            "see below",
        ),
    ] = UNSET


class PresenceEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Who is in a room: people, however many tabs each has."""

    card: Annotated[
        FunctionEntry | str | UnsetType,
        doc(
            "Called with the handler when it joins; returns what the others see of its person, "
            "with a JSON form of at most 4 KiB.",
            "a function",
            "`{name: ...}`, the user's name",
        ),
    ] = UNSET
    linger: Annotated[
        Quantity | UnsetType,
        doc(
            "How long a person whose last connection is lost stays in the list: who reloads a "
            "page does not leave.",
            "a duration of at most 5 minutes",
            "0",
            examples=["5s"],
        ),
    ] = UNSET
    on_join: Annotated[
        FunctionEntry | str | UnsetType,
        doc(
            "Called with the room and the member when a person has joined, with the first of "
            "their connections.",
            "a function",
            "none",
        ),
    ] = UNSET
    on_leave: Annotated[
        FunctionEntry | str | UnsetType,
        doc(
            "Called with the room and the member when a person has left, with the last of their "
            "connections, and after `linger`.",
            "a function",
            "none",
        ),
    ] = UNSET


class MaxConnectionsEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Bounds for the connections of a route that are open at a time; one more gets 429.

    A connection counts from its handshake until its `on_close` has ended.
    """

    user: Annotated[
        int | UnsetType,
        doc(
            "Connections of one user. Visitors of a route with `auth: false` who have not logged "
            "in count by address.",
            "a number from 1 to 1000000",
            "no limit",
            minimum=1,
        ),
    ] = UNSET
    address: Annotated[
        int | UnsetType,
        doc(
            "Connections from one address. Behind a proxy that is the proxy's, unless Jupyter's "
            "`trust_xheaders` is on.",
            "a number from 1 to 1000000",
            "no limit",
            minimum=1,
        ),
    ] = UNSET
    route: Annotated[
        int | UnsetType,
        doc("Connections of all users.", "a number from 1 to 1000000", "no limit", minimum=1),
    ] = UNSET


class RatelimitEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Bounds for what clients may send per time: of `messages`, of `bytes` or of both."""

    messages: Annotated[
        Quantity | UnsetType,
        doc(
            "Messages: a number per second, or per `s`, `min`, `h` or `day`.",
            "a rate such as `100/s`",
            "no limit",
            examples=["100/s", "600/min"],
        ),
    ] = UNSET
    bytes: Annotated[
        Quantity | UnsetType,
        doc(
            "Bytes of messages, after decompression.",
            "a rate such as `1MiB/s`",
            "no limit",
            examples=["1MiB/s"],
        ),
    ] = UNSET
    per: Annotated[
        Literal["connection", "user", "address"] | UnsetType,
        doc(
            "Who shares one allowance: each connection has its own, or all connections of a user "
            "or an address to this route have one together. Visitors who have not logged in are "
            "told apart by address.",
            "`connection`, `user` or `address`",
            "`connection`",
        ),
    ] = UNSET
    burst: Annotated[
        Quantity | UnsetType,
        doc(
            "How much may come at once: what the rate allows in this time. One message of "
            "`max_message` always may.",
            "a duration over 0",
            "the rate's unit of time, at least `2s`",
            examples=["5s"],
        ),
    ] = UNSET
    then: Annotated[
        Literal["close", "error"] | UnsetType,
        doc(
            "What happens to a message that is too much: the connection closes with 1008, or the "
            'message is dropped and answered with `{"error": "ratelimit", "retry_after": 0.5}`, '
            "in seconds.",
            "`close` or `error`",
            "`close`",
        ),
    ] = UNSET
