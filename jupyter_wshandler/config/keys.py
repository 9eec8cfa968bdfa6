"""The one list of configuration keys: unknown keys, reference and JSON schema come from it."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

Quantity: TypeAlias = int | float | str
Scalar: TypeAlias = str | int | float | bool


def _doc(description: str, takes: str, default: str = "", **schema: Any) -> Meta:
    """Describe a key: what it does, what it takes in words, and its default as written."""
    return Meta(
        description=description,
        extra={"takes": takes, "default": default},
        extra_json_schema=schema or None,
    )


class FunctionEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Name a function and say how to call it; the long form of a plain dotted name."""

    function: Annotated[
        str,
        _doc(
            "The function: a dotted name, or a call of one with literals and the names of that "
            "callback (`bots.chat.reply(handler, message, 'en')`). It is parsed, never evaluated.",
            "a dotted name or a call of one",
        ),
    ]
    args: Annotated[
        list[Any] | Scalar | UnsetType,
        _doc(
            "What to pass by position in place of the callback's own arguments: `=handler` "
            "is a variable, anything else a literal. A single value is a list of one.",
            "a list, or one value",
            "the callback's own arguments",
        ),
    ] = UNSET
    kwargs: Annotated[
        dict[str, Any] | UnsetType,
        _doc(
            "What to pass by name; `=message` is a variable, anything else a literal.",
            "a mapping of names to values",
            "nothing",
        ),
    ] = UNSET
    run: Annotated[
        Literal["thread", "loop"] | UnsetType,
        _doc("Where a `def` runs, for this function only.", "`thread` or `loop`", "`run`"),
    ] = UNSET


class ErrorEntry(FunctionEntry, forbid_unknown_fields=True):
    """Take a function's keys and `close`; `function` may be left out."""

    function: Annotated[
        str | UnsetType,
        _doc(
            "The function to call with the handler and the exception.",
            "a dotted name or a call of one",
            "none",
        ),
    ] = UNSET  # type: ignore[assignment]
    close: Annotated[
        bool | UnsetType,
        _doc(
            "Whether a failed callback closes the connection with 1011. With `false` the "
            "client gets an error message and the connection stays open.",
            "`true` or `false`",
            "`true`",
        ),
    ] = UNSET


class AuthEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Say which of the logged-in users may connect; everyone else gets 403.

    Every key that is given must match.
    """

    users: Annotated[
        list[str] | str | UnsetType,
        _doc(
            "Names of users. A service of JupyterHub is no user, whatever its name.",
            "a name or a list of names",
            "every user",
            examples=[["ada", "grace"]],
        ),
    ] = UNSET
    groups: Annotated[
        list[str] | str | UnsetType,
        _doc(
            "Groups of JupyterHub, of which the user must be in one.",
            "a name or a list of names",
            "every user",
            examples=[["staff"]],
        ),
    ] = UNSET
    scopes: Annotated[
        list[str] | str | UnsetType,
        _doc(
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
        _doc(
            "Attributes of the user (`username`, `name`, `groups`, `scopes`, `kind`) and the "
            "values they may have. In a mapping every key must match, and any value of a list "
            "does; of a list of mappings one must match. A user without the attribute is refused.",
            "a mapping, or a list of mappings",
            "every user",
        ),
    ] = UNSET
    condition: Annotated[
        FunctionEntry | str | UnsetType,
        _doc(
            "A function that gets the handler and answers whether the user may connect; "
            "false and an exception both refuse.",
            "a function",
            "none",
        ),
    ] = UNSET
    function: Annotated[
        FunctionEntry | str | UnsetType,
        _doc("Another spelling of `condition`.", "a function", "none"),
    ] = UNSET
    recheck: Annotated[
        float | int | str | bool | UnsetType,
        _doc(
            "How often an open connection's login is asked for again. A user who has logged "
            "out, or whose token was revoked, is closed with 4401; one who is no longer allowed "
            "with 4403. 100 ms at least. `off` never asks again.",
            "a duration",
            "60 s",
        ),
    ] = UNSET
    recheck_grace: Annotated[
        float | int | str | bool | UnsetType,
        _doc(
            "How long a connection stays open while nobody can be asked about its login: "
            "JupyterHub, the identity provider or the Authorizer does not answer, or fails. Then "
            "it is closed with 4401. It is looked at whenever a question remains unanswered. "
            "`off` waits for ever.",
            "a duration",
            "ten times `recheck`",
        ),
    ] = UNSET


class QueueEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Bound what waits to be sent to one connection whose client reads slowly."""

    messages: Annotated[
        int | UnsetType,
        _doc("Messages that may wait.", "a number from 1 to 1000000", minimum=1),
    ] = UNSET
    bytes: Annotated[
        Quantity | UnsetType,
        _doc("Bytes that may wait.", "a size, at least 1KiB", examples=["1MiB"]),
    ] = UNSET
    slow: Annotated[
        Literal["close", "drop_oldest"] | UnsetType,
        _doc(
            "What happens past the bound: close the connection with 1013, or drop the "
            "oldest waiting messages and count them.",
            "`close` or `drop_oldest`",
        ),
    ] = UNSET


class MaxConnectionsEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Bound the connections of a route that are open at a time; one more is refused with 429.

    A connection counts from its handshake until its `on_close` has ended.
    """

    user: Annotated[
        int | UnsetType,
        _doc(
            "Connections of one user. Visitors of a route with `auth: false` who have not logged "
            "in count by address.",
            "a number from 1 to 1000000",
            "no limit",
            minimum=1,
        ),
    ] = UNSET
    address: Annotated[
        int | UnsetType,
        _doc(
            "Connections from one address. Behind a proxy that is the proxy's, unless Jupyter's "
            "`trust_xheaders` is on.",
            "a number from 1 to 1000000",
            "no limit",
            minimum=1,
        ),
    ] = UNSET
    route: Annotated[
        int | UnsetType,
        _doc("Connections of all users.", "a number from 1 to 1000000", "no limit", minimum=1),
    ] = UNSET


class RatelimitEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Bound what clients may send per time; at least one of `messages` and `bytes` is given."""

    messages: Annotated[
        Quantity | UnsetType,
        _doc(
            "Messages: a number per second, or per `s`, `min`, `h` or `day`.",
            "a rate such as `100/s`",
            "no limit",
            examples=["100/s", "600/min"],
        ),
    ] = UNSET
    bytes: Annotated[
        Quantity | UnsetType,
        _doc(
            "Bytes of messages, after decompression.",
            "a rate such as `1MiB/s`",
            "no limit",
            examples=["1MiB/s"],
        ),
    ] = UNSET
    per: Annotated[
        Literal["connection", "user", "address"] | UnsetType,
        _doc(
            "Who shares one allowance: each connection has its own, or all connections of a user "
            "or an address to this route have one together. Visitors who have not logged in are "
            "told apart by address.",
            "`connection`, `user` or `address`",
            "`connection`",
        ),
    ] = UNSET
    burst: Annotated[
        Quantity | UnsetType,
        _doc(
            "How much may come at once: what the rate allows in this time. One message of "
            "`max_message` always may.",
            "a duration over 0",
            "the rate's unit of time, at least `2s`",
            examples=["5s"],
        ),
    ] = UNSET
    then: Annotated[
        Literal["close", "error"] | UnsetType,
        _doc(
            "What happens to a message that is too much: the connection closes with 1008, or the "
            'message is dropped and answered with `{"error": "ratelimit", "retry_after": 0.5}`, '
            "in seconds.",
            "`close` or `error`",
            "`close`",
        ),
    ] = UNSET


def _function(description: str) -> Meta:
    return _doc(description, "a function", "none")


class KwargsEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Say what a route does. Callbacks see the mapping as `handler.kwargs`."""

    open: Annotated[
        FunctionEntry | str | UnsetType,
        _function("Called with the handler when a connection opens, before its first message."),
    ] = UNSET
    on_open: Annotated[
        FunctionEntry | str | UnsetType,
        _function("Another spelling of `open`; a module may then keep Python's own `open()`."),
    ] = UNSET
    on_message: Annotated[
        FunctionEntry | str | UnsetType,
        _function(
            "Called with the handler and the message: `str` for text, `bytes` for binary. "
            "Without it a message closes the connection with 1003."
        ),
    ] = UNSET
    on_close: Annotated[
        FunctionEntry | str | UnsetType,
        _function("Called with the handler exactly once, after the last message."),
    ] = UNSET
    on_error: Annotated[
        ErrorEntry | str | UnsetType,
        _doc(
            "Called with the handler and the exception that a callback raised.",
            "a function, or a mapping with `close`",
            "none",
        ),
    ] = UNSET
    on_pong: Annotated[
        FunctionEntry | str | UnsetType,
        _function("Called with the handler and the bytes of a pong."),
    ] = UNSET
    select_subprotocol: Annotated[
        FunctionEntry | str | UnsetType,
        _function(
            "Called with the handler and the list of subprotocols that the client offers; "
            "returns one of them or None. Excludes `subprotocols`."
        ),
    ] = UNSET
    get_compression_options: Annotated[
        FunctionEntry | str | UnsetType,
        _function(
            "Called with the handler; None switches compression off, a mapping switches it "
            "on. Excludes `compression`."
        ),
    ] = UNSET
    auth: Annotated[
        AuthEntry | bool | UnsetType,
        _doc(
            "Who may connect: `true` is every logged-in user, a mapping narrows that. "
            "`false` is everyone and needs `c.WSHandlerApp.allow_public_routes = True`.",
            "`true`, `false` or a mapping",
            "`true`",
        ),
    ] = UNSET
    origins: Annotated[
        list[str] | str | UnsetType,
        _doc(
            "The only web pages that may connect, by host: `example.org` is that host, "
            "`*.example.org` its subdomains, `'*'` any page. A scheme and a port are compared "
            "where they are written. Unset or `[]`: pages of this server, and what Jupyter's "
            "`allow_origin` and `allow_origin_pat` add.",
            "a text or a list of texts",
            "pages of this server",
        ),
    ] = UNSET
    xsrf: Annotated[
        Literal["origin", "ticket"] | UnsetType,
        _doc(
            "What a browser with a login cookie has to bring. `origin`: it is a page that "
            "`origins` admits. `ticket`: also a ticket, which a page fetches with a POST that "
            "Jupyter's XSRF rule checks, so that the cookie alone opens nothing. Who sends a "
            "token needs none.",
            "`origin` or `ticket`",
        ),
    ] = UNSET
    subprotocols: Annotated[
        list[str] | UnsetType,
        _doc(
            "Subprotocols the route speaks (RFC 6455 section 1.9). Of what the client offers, "
            "the first that is among them is agreed on.",
            "a list of names",
            "none",
        ),
    ] = UNSET
    compression: Annotated[
        bool | UnsetType,
        _doc("Whether to agree to permessage-deflate (RFC 7692).", "`true` or `false`"),
    ] = UNSET
    page: Annotated[
        str | bool | UnsetType,
        _doc(
            "What a logged-in browser gets that opens the route's address: a file, or a folder "
            "with an `index.html` and what that loads. The path is relative to the configuration "
            "file's folder. `none` or `false`: no page, such a browser gets 426.",
            "the path of a file or folder, or `none`",
            "the built-in chat",
        ),
    ] = UNSET
    run: Annotated[
        Literal["thread", "loop"] | UnsetType,
        _doc(
            "Where a `def` callback runs: in a thread, or on the event loop, where it must "
            "return at once. An `async def` always runs on the loop.",
            "`thread` or `loop`",
        ),
    ] = UNSET
    threads: Annotated[
        int | UnsetType,
        _doc(
            "Threads for the `def` callbacks of this route alone.",
            "a number from 1 to 1024",
            "the server's shared pool of 16",
            minimum=1,
            maximum=1024,
        ),
    ] = UNSET
    timeout: Annotated[
        Quantity | bool | UnsetType | None,
        _doc(
            "How long a callback may take before the connection closes with 1011; 20 ms at least.",
            "a duration, or `off`",
            "`5m` for `def`, `off` for `async def`",
            examples=["30s"],
        ),
    ] = UNSET
    lost: Annotated[
        Literal["drop", "handle"] | UnsetType,
        _doc(
            "What happens to messages that still wait when the connection is lost (1006). "
            "Messages before a close frame of the client are always handled.",
            "`drop` or `handle`",
        ),
    ] = UNSET
    returns: Annotated[
        Literal["send", "ignore"] | UnsetType,
        _doc(
            "What happens with a value that a callback returns or yields. What `open` returns, "
            "and what `on_close` returns or yields, is always ignored.",
            "`send` or `ignore`",
        ),
    ] = UNSET
    max_message: Annotated[
        Quantity | UnsetType,
        _doc(
            "The largest message a client may send; a larger one closes with 1009.",
            "a size, at least 1",
            examples=["64KiB"],
        ),
    ] = UNSET
    ping_interval: Annotated[
        Quantity | bool | UnsetType,
        _doc("Time between two pings, 20 ms at least.", "a duration, or `off`", examples=["20s"]),
    ] = UNSET
    ping_timeout: Annotated[
        Quantity | bool | UnsetType,
        _doc(
            "How long the answer to a ping may take before the connection is given up; 20 ms "
            "at least.",
            "a duration, or `off`",
            examples=["20s"],
        ),
    ] = UNSET
    idle_timeout: Annotated[
        Quantity | bool | UnsetType,
        _doc(
            "How long a connection may be without a message in either direction before it "
            "closes with 1000; 20 ms at least. Pings do not count.",
            "a duration, or `off`",
            "`off`; under JupyterHub `30m`, but with `keep_alive: connections` `off`",
            examples=["30m"],
        ),
    ] = UNSET
    keep_alive: Annotated[
        Literal["messages", "connections", "none"] | UnsetType,
        _doc(
            "What keeps an idle server from being shut down or culled: each message, every "
            "open connection, or nothing of this route.",
            "`messages`, `connections` or `none`",
        ),
    ] = UNSET
    every: Annotated[
        dict[str, FunctionEntry | str] | UnsetType,
        _doc(
            "Functions to call with the handler again and again while a connection is open, "
            "in order with its messages; each by the time between two calls, 10 ms at least: "
            "`{30s: bot.tick}`.",
            "a mapping of durations to functions",
            "none",
        ),
    ] = UNSET
    queue: Annotated[
        QueueEntry | UnsetType,
        _doc("Bounds for what waits to be sent.", "a mapping", "see below"),
    ] = UNSET
    max_connections: Annotated[
        MaxConnectionsEntry | int | UnsetType,
        _doc(
            "How many connections may be open at a time; one more is refused with 429 and "
            "`Retry-After`. A number is for each user.",
            "a number from 1 to 1000000, or a mapping",
            "no limit",
            minimum=1,
        ),
    ] = UNSET
    ratelimit: Annotated[
        RatelimitEntry | bool | str | UnsetType,
        _doc(
            "How much clients may send per time. `off` lifts what holds for a route with "
            "`auth: false`.",
            "a mapping with messages or bytes, or `off`",
            "no limit; with `auth: false` 100 messages per second and connection",
        ),
    ] = UNSET


class RouteEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Describe one route: an entry under `url:`, by a name of your choice."""

    pattern: Annotated[
        str,
        _doc(
            "The path, relative to the server's `base_url`: a regular expression that must match "
            "the whole path. `{room}` stands for one segment and names it; what could be a path "
            "(`..`, a slash or a control character, escaped or not) is none, and the next "
            "pattern is tried. `$YAMLURL` in front means the base.",
            "a text that begins with /",
            examples=["/chat/{room}"],
        ),
    ]
    handler: Annotated[
        str | UnsetType,
        _doc(
            "Must be `WebSocketHandler`; entries with another handler are skipped.",
            "`WebSocketHandler`",
            "required",
            examples=["WebSocketHandler"],
        ),
    ] = UNSET
    service: Annotated[
        str | UnsetType, _doc("Another spelling of `handler`.", "`WebSocketHandler`", "none")
    ] = UNSET
    priority: Annotated[
        int | float | UnsetType,
        _doc(
            "Where several patterns match a path, the highest priority wins; among equals "
            "the one with more slashes, then with fewer wildcards, then with more literal "
            "characters.",
            "a number",
        ),
    ] = UNSET
    kwargs: Annotated[
        KwargsEntry | UnsetType, _doc("What the route does.", "a mapping", "no callbacks")
    ] = UNSET


class FileEntry(msgspec.Struct):
    """Describe a configuration file; top-level keys other than `url` are skipped."""

    url: Annotated[
        dict[str, RouteEntry], _doc("The routes by name.", "a mapping of names to routes")
    ]


class Key(NamedTuple):
    """Describe one key for a reader: see `_doc`."""

    name: str
    takes: str
    default: str
    description: str
    type: Any
    required: bool


@cache
def keys_of(struct: type[msgspec.Struct]) -> dict[str, Key]:
    """Return the keys of one kind of mapping, in the order of their declaration."""
    hints = get_type_hints(struct, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(struct):
        written, meta = get_args(hints[field.name])
        found[field.name] = Key(
            field.name,
            meta.extra["takes"],
            meta.extra["default"],
            meta.description,
            written,
            field.required,
        )
    return found


def key_names(struct: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the keys of one kind of mapping."""
    return tuple(keys_of(struct))


MEANINGLESS = {
    name: f"{name} has no meaning on a WebSocket route; remove it"
    for name in (
        "methods",
        "cors",
        "headers",
        "validate",
        "redirect",
        "transform",
        "set_xsrf",
        "xsrf_cookies",
        "error",
        "log",
    )
}
"""Keys of Gramex's other handlers, each with the sentence that refuses it."""

MEANINGLESS_AUTH = {
    name: f"auth.{name} has no meaning on a WebSocket route, where nobody is redirected; remove it"
    for name in ("login_url", "template", "methods", "query")
}
"""The same for keys below auth."""

UNSUPPORTED = {
    name: f"{name} is not supported by this version; remove it" for name in ("notebook", "kernel")
}
"""Keys that one might rightly expect; silence about them would be a trap."""

GRAMEX_RATELIMIT = dict.fromkeys(
    ("keys", "limit", "pool"),
    "keys, limit and pool are Gramex's, where connections per time are counted; to bound those "
    "that are open write max_connections: {user: 20}, to bound what they send write "
    "ratelimit: {messages: 100/s, per: user}",
)
"""Keys below ratelimit that have become others."""
