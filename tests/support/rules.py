"""What a server really serves: its rules and their verbs, seen from inside."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from support.bots import bot_text
from support.server import wait_for

VERBS = ("get", "head", "post", "put", "patch", "delete", "options")


def launcher(folder: Path) -> list[str]:
    """Write a program that starts a server and tells its rules; return the command that runs it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "launch_and_tell.py"
    path.write_text(bot_text("launch_and_tell"))
    return [sys.executable, str(path), str(Path(__file__).parents[1])]


def described(application) -> list[dict]:
    """Describe every rule of a web application: what matches, who answers, and how."""
    return [
        {
            "matcher": type(rule.matcher).__name__,
            "pattern": getattr(getattr(rule.matcher, "regex", None), "pattern", ""),
            "module": getattr(rule.target, "__module__", ""),
            "handler": getattr(rule.target, "__qualname__", str(rule.target)),
            "paths": paths(rule.matcher, application.settings["base_url"]),
            "verbs": verbs(rule.target),
        }
        for rule in _flat(application.default_router.rules)
    ]


def paths(matcher, base_url: str) -> list[str]:
    """Return paths that a matcher of this extension matches: of a rule of routes, one each."""
    inner = getattr(matcher, "matcher", matcher)
    if hasattr(inner, "manager"):
        prefix = base_url.rstrip("/")
        return [
            prefix + route.sample_path()
            for route in inner.manager.table
            if route.config.auth.required is not inner.public
        ]
    if hasattr(inner, "files"):
        # What guests' pages ask for, with a secret that nobody has.
        rest = "echo" if inner.files else "ticket"
        return [f"{base_url.rstrip('/')}/wshandler/guest/x/{rest}"]
    regex = getattr(inner, "regex", None)
    if regex is None:
        return []
    found = sample(regex.pattern)
    return [found] if regex.match(found) else []


GROUP = re.compile(r"(?<!\\)\((?:\?P<\w+>)?(?:[^()\\]|\\.)*\)")


def sample(pattern: str, group: str = "x") -> str:
    """Return a path that a simple pattern matches: every group of it becomes an x."""
    text = GROUP.sub(group, pattern.strip("^$"))
    return re.sub(r"\\(.)", r"\1", text)


def example(pattern: str) -> str:
    """Return a path that a pattern of Jupyter's or of an extension's matches, "" for none found."""
    # Not for the server's process, which loads this module, too.
    from hypothesis import find
    from hypothesis.errors import NoSuchExample
    from hypothesis.strategies import from_regex

    regex = re.compile(pattern)
    for group in ("x", "x-x-x-x-x", "/x", "1", "favicon.ico"):
        found = sample(pattern, group).removesuffix("?").replace(".*", "x")
        if found.startswith("/") and regex.match(found):
            return found
    try:
        found = find(from_regex(regex, fullmatch=True), _is_path)
    except NoSuchExample:
        return ""
    return found.rstrip("\n")


def _is_path(text: str) -> bool:
    return re.fullmatch(r"/[A-Za-z0-9/._~-]*", text) is not None


def _flat(rules) -> Iterable:
    for rule in rules:
        inner = getattr(rule.target, "rules", None)
        if inner is None:
            yield rule
        else:
            yield from _flat(inner)


def verbs(handler: type) -> dict[str, bool | None]:
    """Return of each verb a class serves whether it is open to all; None is undecorated."""
    from tornado.web import RequestHandler

    return {
        verb: getattr(getattr(handler, verb), "__allow_unauthenticated", None)
        for verb in VERBS
        if getattr(handler, verb, None) not in (None, getattr(RequestHandler, verb))
    }


def read(folder: Path) -> list[dict]:
    """Return what a server of `launcher` has told of its rules.

    It answers requests while it still starts, and tells them at the end of that.
    """
    path = folder / "rules.json"
    wait_for(path.exists, 20, "the list of rules")
    return json.loads(path.read_text())
