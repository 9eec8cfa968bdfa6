"""Check the values of a route's kwargs, one method for each kind of value."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from jupyter_wshandler.config.auth import AuthChecks
from jupyter_wshandler.config.checks import READERS, Value, reads
from jupyter_wshandler.config.compression import CompressionChecks
from jupyter_wshandler.config.described import keys_of
from jupyter_wshandler.config.entries import ErrorEntry, QueueEntry
from jupyter_wshandler.config.filters import FilterChecks
from jupyter_wshandler.config.functions import parse_function
from jupyter_wshandler.config.keys import KwargsEntry
from jupyter_wshandler.config.limits import LimitChecks
from jupyter_wshandler.config.model import (
    EVENTS,
    PUBLIC_RATELIMIT,
    AuthConfig,
    FunctionSpec,
    QueueConfig,
)
from jupyter_wshandler.config.nodes import Node, Report, describe, shorten, suggest
from jupyter_wshandler.config.origins import parse_entry
from jupyter_wshandler.config.resume import ResumeChecks
from jupyter_wshandler.config.rooms import RoomChecks
from jupyter_wshandler.config.units import parse_duration, parse_size

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")

PLAIN_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?")

NO_PAGE = "none"

MIN_PING = 0.02
"""Seconds of a `ping_interval`, `ping_timeout`, `idle_timeout` or `timeout`, at least: the server
looks at every connection four times in the shortest of them."""

MIN_TURN = 0.01
"""Seconds between two calls of a function under `every`, at least."""


class KwargsReader(
    AuthChecks, CompressionChecks, FilterChecks, LimitChecks, ResumeChecks, RoomChecks
):
    """What turns the merged kwargs of one route into the fields of a `RouteConfig`.

    Args:
        report: Takes the problems and notes.
        allow_public_routes: Whether ``auth: false`` is permitted.
    """

    def __init__(self, report: Report, allow_public_routes: bool) -> None:
        super().__init__(report, allow_public_routes)
        self._callbacks: dict[str, FunctionSpec] = {}
        self._fields: dict[str, Any] = {}

    def read(self, values: dict[str, Value]) -> dict[str, Any]:
        """Return the fields that the values set; what is wrong goes to the report.

        Args:
            values: The kwargs by canonical name (``open``, never ``on_open``).
        """
        for name, value in values.items():
            result = READERS[name](self, name, value)
            if result is not None:
                self._fields.update(result)
        self._conflicts(values)
        if "ratelimit" not in values and not self._fields.get("auth", AuthConfig()).required:
            self._fields["ratelimit"] = PUBLIC_RATELIMIT
        if "ratelimit" in values and "ratelimit" in self._fields:
            self._fields["guest_ratelimit"] = self._fields["ratelimit"]
        ordered = {event: self._callbacks[event] for event in EVENTS if event in self._callbacks}
        return {**self._fields, "callbacks": ordered}

    def _conflicts(self, values: dict[str, Value]) -> None:
        for function, plain in (
            ("select_subprotocol", "subprotocols"),
            ("get_compression_options", "compression"),
            ("on_message", "types"),
        ):
            if function in values and plain in values:
                message = f"{plain} and {function} exclude each other; remove one of the two"
                self._report.problem(values[plain].node.place, message)

    @reads(*(event for event in EVENTS if event != "on_error"))
    def _function(self, name: str, value: Value) -> None:
        spec = parse_function(value.node, name, self._report)
        if spec is not None:
            self._callbacks[name] = spec

    @reads("on_error")
    def _on_error(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if not isinstance(node.value, dict):
            self._function(name, value)
            return None
        fields: dict[str, Any] = {}
        children = dict(node.value)
        close = children.pop("close", None)
        if close is not None:
            typed = self._typed(keys_of(ErrorEntry)["close"], close)
            if typed is not msgspec.UNSET:
                fields["on_error_close"] = typed
        if children or close is None:
            rest = Node(children, node.place, node.keys)
            self._function(name, Value(rest, value.folder))
        return fields

    @reads("xsrf", "run", "lost", "returns", "keep_alive")
    def _simple(self, name: str, value: Value) -> dict[str, Any] | None:
        typed = self._typed(keys_of(KwargsEntry)[name], value.node)
        return None if typed is msgspec.UNSET else {name: typed}

    @reads("stop_message")
    def _stop_message(self, name: str, value: Value) -> dict[str, Any] | None:
        typed = self._typed(keys_of(KwargsEntry)[name], value.node)
        if typed == "":
            self._report.problem(value.node.place, "expected a text such as /stop, found none")
        return {name: typed} if typed and typed is not msgspec.UNSET else None

    @reads("threads")
    def _threads(self, name: str, value: Value) -> dict[str, Any] | None:
        number = self._integer(keys_of(KwargsEntry)[name], value.node, 1024)
        return None if number is None else {name: number}

    @reads("timeout")
    def _timeout(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if node.value is None or node.value is False or node.value == "off":
            return {name: None}
        seconds = self._at_least(name, node)
        return None if seconds is None else {name: seconds or None}

    @reads("ping_interval", "ping_timeout", "idle_timeout")
    def _ping(self, name: str, value: Value) -> dict[str, Any] | None:
        if value.node.value is False or value.node.value == "off":
            return {name: 0.0}
        seconds = self._at_least(name, value.node)
        return None if seconds is None else {name: seconds}

    def _at_least(self, name: str, node: Node) -> float | None:
        key = keys_of(KwargsEntry)[name]
        seconds = self._parsed(key, node, parse_duration)
        if seconds is not None and 0 < seconds < MIN_PING:
            expected = f"expected {key.takes} of at least {MIN_PING * 1000:g} ms"
            self._report.problem(node.place, f"{expected}, found {describe(node)}")
            return None
        return seconds

    @reads("every")
    def _every(self, name: str, value: Value) -> dict[str, Any] | None:
        node, key = value.node, keys_of(KwargsEntry)[name]
        if not isinstance(node.value, dict) or not node.value:
            self._expected(key, node)
            return None
        turns: dict[float, FunctionSpec] = {}
        for text, child in node.value.items():
            try:
                # A key is always text, so that a number of seconds is one, too.
                seconds = float(text) if PLAIN_NUMBER.fullmatch(text) else parse_duration(text)
            except ValueError as error:
                self._report.problem(node.keys[text], str(error))
                continue
            if seconds < MIN_TURN or seconds in turns:
                wrong = "stands twice" if seconds in turns else f"is under {MIN_TURN} s"
                self._report.problem(node.keys[text], f"the time {text} {wrong}")
                continue
            spec = parse_function(child, name, self._report)
            if spec is not None:
                turns[seconds] = spec
        return {name: tuple(turns.items())}

    @reads("types")
    def _types(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if not isinstance(node.value, dict) or not node.value:
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        found: dict[str, FunctionSpec] = {}
        for tag, child in node.value.items():
            spec = parse_function(child, name, self._report)
            if spec is not None:
                found[tag] = spec
        return {name: found}

    @reads("max_message")
    def _max_message(self, name: str, value: Value) -> dict[str, Any] | None:
        key = keys_of(KwargsEntry)[name]
        size = self._parsed(key, value.node, parse_size)
        if size == 0:
            self._expected(key, value.node)
            return None
        return None if size is None else {name: size}

    @reads("queue")
    def _queue(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if not isinstance(node.value, dict):
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        keys = keys_of(QueueEntry)
        fields: dict[str, Any] = {}
        for child_name, child in node.value.items():
            if child_name not in keys:
                hint = suggest(child_name, keys)
                self._report.problem(node.keys[child_name], f"unknown key {child_name!r}; {hint}")
                continue
            key = keys[child_name]
            result: Any
            if child_name == "messages":
                result = self._integer(key, child, 1_000_000)
            elif child_name == "bytes":
                result = self._parsed(key, child, parse_size)
                if result is not None and result < 1024:
                    self._expected(key, child)
            else:
                result = self._typed(key, child)
            fields[child_name] = result
        if self._report.problems:
            return None
        return {name: QueueConfig(**fields)}

    @reads("origins")
    def _origins(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        entries = node.value if isinstance(node.value, list) else [node]
        if node.value == []:
            return {name: None}
        texts: list[str] = []
        for entry in entries:
            if not isinstance(entry.value, str):
                expected = "expected a host such as example.org"
                self._report.problem(entry.place, f"{expected}, found {describe(entry)}")
                continue
            try:
                parse_entry(entry.value)
            except ValueError as error:
                self._report.problem(entry.place, str(error))
            texts.append(entry.value)
        return {name: tuple(texts)}

    @reads("subprotocols")
    def _subprotocols(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if not isinstance(node.value, list):
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        names: list[str] = []
        for entry in node.value:
            if not isinstance(entry.value, str) or not _TOKEN.fullmatch(entry.value):
                what = "expected a subprotocol's name without spaces and separators (RFC 7230)"
                self._report.problem(entry.place, f"{what}, found {describe(entry)}")
            elif entry.value in names:
                self._report.problem(entry.place, f"{shorten(entry.value)} stands twice")
            else:
                names.append(entry.value)
        return {name: tuple(names)}

    @reads("page")
    def _page(self, name: str, value: Value) -> dict[str, Any] | None:
        node = value.node
        if node.value is False or node.value == NO_PAGE:
            return {name: False}
        if not isinstance(node.value, str) or not node.value:
            self._expected(keys_of(KwargsEntry)[name], node)
            return None
        path = os.path.abspath(os.path.join(value.folder, node.value))
        if os.path.isdir(path) and os.path.isfile(os.path.join(path, "index.html")):
            if _holds(path, value.folder):
                self._report.problem(
                    node.place,
                    f"expected a folder of its own, found {path!r}, from which every visitor could "
                    "read this configuration and what lies beside it; move the page's files into a "
                    "folder such as dist",
                )
                return None
            return {name: os.path.join(path, "")}
        if not os.path.isfile(path):
            folder = os.path.isdir(path)
            what = "a folder without an index.html" if folder else "nothing"
            self._report.problem(
                node.place,
                f"expected a file, or a folder with an index.html, at {path!r}, found {what}",
            )
            return None
        return {name: path}


def _holds(folder: str, path: str) -> bool:
    """Say whether a path is a folder, or lies in it, whatever links lead there."""
    return Path(path).resolve().is_relative_to(Path(folder).resolve())
