"""The one list of configuration keys: unknown keys, reference and JSON schema come from it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jupyter_wshandler.config.described import Quantity, doc
from jupyter_wshandler.config.entries import (
    AuthEntry,
    CompressionEntry,
    ErrorEntry,
    FunctionEntry,
    HistoryEntry,
    MaxConnectionsEntry,
    PresenceEntry,
    QueueEntry,
    RatelimitEntry,
    ResumeEntry,
)


def _function(description: str) -> Meta:
    return doc(description, "a function", "none")


class KwargsEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What a route does. Callbacks see the mapping as `handler.kwargs`."""

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
        doc(
            "Called with the handler and the exception that a callback raised.",
            "a function, or a mapping with `close`",
            "none",
        ),
    ] = UNSET
    on_pong: Annotated[
        FunctionEntry | str | UnsetType,
        _function("Called with the handler and the bytes of a pong."),
    ] = UNSET
    on_away: Annotated[
        FunctionEntry | str | UnsetType,
        _function(
            "Called with the handler when its client is away and may come back; see `resume`."
        ),
    ] = UNSET
    on_resume: Annotated[
        FunctionEntry | str | UnsetType,
        _function("Called with the handler when its client has come back, instead of `open`."),
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
        doc(
            "Who may connect: `true` is every logged-in user, a mapping narrows that. "
            "`false` is everyone and needs `c.WSHandlerApp.allow_public_routes = True`.",
            "`true`, `false` or a mapping",
            "`true`",
        ),
    ] = UNSET
    origins: Annotated[
        list[str] | str | UnsetType,
        doc(
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
        doc(
            "What a browser with a login cookie has to bring. `origin`: it is a page that "
            "`origins` admits. `ticket`: also a ticket, which a page fetches with a POST that "
            "Jupyter's XSRF rule checks, so that the cookie alone opens nothing. Who sends a "
            "token needs none.",
            "`origin` or `ticket`",
        ),
    ] = UNSET
    subprotocols: Annotated[
        list[str] | UnsetType,
        doc(
            "Subprotocols the route speaks (RFC 6455 section 1.9). Of what the client offers, "
            "the first that is among them is agreed on.",
            "a list of names",
            "none",
        ),
    ] = UNSET
    compression: Annotated[
        CompressionEntry | bool | UnsetType,
        doc(
            "Whether to agree to permessage-deflate (RFC 7692); a mapping does, and says how.",
            "`true`, `false` or a mapping",
            "`false`",
        ),
    ] = UNSET
    page: Annotated[
        str | bool | UnsetType,
        doc(
            "What a logged-in browser gets that opens the route's address: a file, or a folder "
            "with an `index.html` and what that loads. The path is relative to the configuration "
            "file's folder. `none` or `false`: no page, such a browser gets 426.",
            "the path of a file or folder, or `none`",
            "the built-in chat",
        ),
    ] = UNSET
    run: Annotated[
        Literal["thread", "loop"] | UnsetType,
        doc(
            "Where a `def` callback runs: in a thread, or on the event loop, where it must "
            "return at once. An `async def` always runs on the loop.",
            "`thread` or `loop`",
        ),
    ] = UNSET
    threads: Annotated[
        int | UnsetType,
        doc(
            "Threads for the `def` callbacks of this route alone.",
            "a number from 1 to 1024",
            "the server's shared pool of 16",
            minimum=1,
            maximum=1024,
        ),
    ] = UNSET
    timeout: Annotated[
        Quantity | bool | UnsetType | None,
        doc(
            "How long a callback may take before the connection closes with 1011; 20 ms at least.",
            "a duration, or `off`",
            "`5m` for `def`, `off` for `async def`",
            examples=["30s"],
        ),
    ] = UNSET
    lost: Annotated[
        Literal["drop", "handle"] | UnsetType,
        doc(
            "What happens to messages that still wait when the connection is lost (1006). "
            "Messages before a close frame of the client are always handled.",
            "`drop` or `handle`",
        ),
    ] = UNSET
    returns: Annotated[
        Literal["send", "ignore"] | UnsetType,
        doc(
            "What happens with a value that a callback returns or yields. What `open` returns, "
            "and what `on_close` returns or yields, is always ignored.",
            "`send` or `ignore`",
        ),
    ] = UNSET
    stop_message: Annotated[
        str | UnsetType,
        doc(
            "A text message that is given to no callback: with it a client stops the answer that "
            "it is being given. Clients that speak `wsh.v1` have a frame for it, and need none.",
            "a text",
            "none",
            examples=["/stop"],
        ),
    ] = UNSET
    max_message: Annotated[
        Quantity | UnsetType,
        doc(
            "The largest message a client may send; a larger one closes with 1009.",
            "a size, at least 1",
            examples=["64KiB"],
        ),
    ] = UNSET
    ping_interval: Annotated[
        Quantity | bool | UnsetType,
        doc("Time between two pings, 20 ms at least.", "a duration, or `off`", examples=["20s"]),
    ] = UNSET
    ping_timeout: Annotated[
        Quantity | bool | UnsetType,
        doc(
            "How long the answer to a ping may take before the connection is given up; 20 ms "
            "at least.",
            "a duration, or `off`",
            examples=["20s"],
        ),
    ] = UNSET
    idle_timeout: Annotated[
        Quantity | bool | UnsetType,
        doc(
            "How long a connection may be without a message in either direction before it "
            "closes with 1000; 20 ms at least. Pings do not count.",
            "a duration, or `off`",
            "`off`; under JupyterHub `30m`, but with `keep_alive: connections` `off`",
            examples=["30m"],
        ),
    ] = UNSET
    keep_alive: Annotated[
        Literal["messages", "connections", "none"] | UnsetType,
        doc(
            "What keeps an idle server from being shut down or culled: each message, every "
            "open connection, or nothing of this route.",
            "`messages`, `connections` or `none`",
        ),
    ] = UNSET
    every: Annotated[
        dict[str, FunctionEntry | str] | UnsetType,
        doc(
            "Functions to call with the handler again and again while a connection is open, "
            "in order with its messages; each by the time between two calls, 10 ms at least: "
            "`{30s: bot.tick}`.",
            "a mapping of durations to functions",
            "none",
        ),
    ] = UNSET
    types: Annotated[
        dict[str, FunctionEntry | str] | UnsetType,
        doc(
            "Functions for messages of several kinds, in place of `on_message`. Each stands under "
            "what its messages, JSON objects, have as `type`, or as the tag that the annotation of "
            "its message names: `{ask: bot.ask, vote: bot.vote}`.",
            "a mapping of tags to functions",
            "none",
        ),
    ] = UNSET
    queue: Annotated[
        QueueEntry | UnsetType,
        doc("Bounds for what waits to be sent.", "a mapping", "see below"),
    ] = UNSET
    max_connections: Annotated[
        MaxConnectionsEntry | int | UnsetType,
        doc(
            "How many connections may be open at a time; one more is refused with 429 and "
            "`Retry-After`. A number is for each user.",
            "a number from 1 to 1000000, or a mapping",
            "no limit",
            minimum=1,
        ),
    ] = UNSET
    ratelimit: Annotated[
        RatelimitEntry | bool | str | UnsetType,
        doc(
            "How much clients may send per time. `off` lifts what holds for a route with "
            "`auth: false`.",
            "a mapping with messages or bytes, or `off`",
            "no limit; with `auth: false` 100 messages per second and connection",
        ),
    ] = UNSET

    rooms: Annotated[
        list[str] | str | UnsetType,
        doc(
            "Rooms that every connection is in from the start, before `open` runs: a name such as "
            "`lobby`, or one with groups of the pattern (`{room}`). `user:{user}` is the room of "
            "all connections of one user.",
            "a name or a list of at most 64 names",
            "none",
            examples=[["{room}"]],
        ),
    ] = UNSET
    may_join: Annotated[
        FunctionEntry | str | UnsetType,
        doc(
            "Called with the handler and the name of a room of `rooms`, before the connection "
            "opens; a false answer refuses it with 403.",
            "a function",
            "everybody may",
        ),
    ] = UNSET
    space: Annotated[
        str | UnsetType,
        doc(
            "Routes that name the same space share their rooms, with their history and presence.",
            "a name of at most 200 characters",
            "the route's own",
            examples=["chat"],
        ),
    ] = UNSET
    history: Annotated[
        HistoryEntry | bool | UnsetType,
        doc(
            "Whether rooms number and keep what is said in them. Of the routes of a space the "
            "first one that says it decides.",
            "`true`, `false` or a mapping",
            "`false`",
        ),
    ] = UNSET
    presence: Annotated[
        PresenceEntry | bool | UnsetType,
        doc(
            "Whether rooms know who is in them. Of the routes of a space the first one that says "
            "it decides.",
            "`true`, `false` or a mapping",
            "`false`",
        ),
    ] = UNSET
    resume: Annotated[
        ResumeEntry | bool | UnsetType,
        doc(
            "Whether a connection outlives a break: a client that speaks `wsh.v1` and comes back "
            "in time is sent what it has missed, once and in order, and so is the bot.",
            "`true`, `false` or a mapping",
            "`false`",
        ),
    ] = UNSET
    filters: Annotated[
        list[str] | str | UnsetType,
        doc(
            "What looks at every message of the route, in and out, and may change it: modules or "
            "classes with any of `on_open`, `incoming`, `outgoing`, `on_error` and `on_close`, or "
            "functions of the handler, the message and the way. The first one is the outermost.",
            "a name such as audit or audit.Cards, or a list of names",
            "none",
            examples=[["audit.Cards"]],
        ),
    ] = UNSET


class RouteEntry(msgspec.Struct, forbid_unknown_fields=True):
    """One route: an entry under `url:`, by a name of your choice."""

    pattern: Annotated[
        str,
        doc(
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
        doc(
            "Must be `WebSocketHandler`; entries with another handler are skipped.",
            "`WebSocketHandler`",
            "required",
            examples=["WebSocketHandler"],
        ),
    ] = UNSET
    service: Annotated[
        str | UnsetType, doc("Another spelling of `handler`.", "`WebSocketHandler`", "none")
    ] = UNSET
    priority: Annotated[
        int | float | UnsetType,
        doc(
            "Where several patterns match a path, the highest priority wins; among equals "
            "the one with more slashes, then with fewer wildcards, then with more literal "
            "characters.",
            "a number",
        ),
    ] = UNSET
    kwargs: Annotated[
        KwargsEntry | UnsetType, doc("What the route does.", "a mapping", "no callbacks")
    ] = UNSET


class FileEntry(msgspec.Struct):
    """A configuration file; top-level keys other than `url` are skipped."""

    url: Annotated[
        dict[str, RouteEntry], doc("The routes by name.", "a mapping of names to routes")
    ]
