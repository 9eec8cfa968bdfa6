"""``jupyter wshandler check``: say what is wrong with a configuration before a server reads it."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TextIO

from msgspec import structs

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.model import (
    BrokenRoute,
    Config,
    FunctionSpec,
    Problem,
    RouteConfig,
)
from jupyter_wshandler.config.origins import parse_entry
from jupyter_wshandler.config.printing import printable
from jupyter_wshandler.config.reserved import unreachable
from jupyter_wshandler.config.summary import route_table
from jupyter_wshandler.errors import CallbackError
from jupyter_wshandler.types import Callback

if TYPE_CHECKING:
    from jupyter_wshandler.functions.resolve import Resolver

_WIDTH = 96
_INDENT = "    "

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_OF_PAGES = (None, "http", "https")

_MODULE = re.compile(r"([\w.]+): (the module .*)", re.DOTALL)
"""A message about a function whose module is at fault, so that it is the same for all in it."""


def check(
    files: list[str], *, stream: TextIO | None = None, allow_public_routes: bool = False
) -> int:
    """Check configuration files, import their callbacks and print what was found.

    Args:
        files: Paths of YAML files, read as ``c.WSHandlerApp.config_file`` would.
        stream: Where to print; standard output if None.
        allow_public_routes: Whether ``auth: false`` is permitted.

    Returns:
        The exit status: 0 if all is well, 1 if there is a problem. Notes do not count.
    """
    config, warnings = _with_callbacks(load(files=files, allow_public_routes=allow_public_routes))
    hidden = [*unreachable(config), *config.hidden]
    problems = _merged(_all_problems(config, hidden))
    told = {str(Problem(problem.place, problem.message)) for problem in hidden}
    notes = [*config.notes, *_own_pages(config), *warnings]
    notes = [note for note in dict.fromkeys(notes) if note not in told]
    printer = _Printer(stream or sys.stdout)
    printer.table(_counted(config))
    printer.notes(notes)
    printer.problems(problems)
    printer.verdict(config, problems, notes)
    return 1 if problems else 0


def _with_callbacks(config: Config) -> tuple[Config, list[str]]:
    """Import every callback; a route of which one fails becomes a broken one."""
    # Imported here: a configuration without functions needs none of it.
    from jupyter_wshandler.functions.resolve import Resolver

    resolver = Resolver(config.folders)
    routes: list[RouteConfig] = []
    broken: list[BrokenRoute] = []
    for bad in config.broken:
        # What is wrong with its functions does not wait for its other mistakes to be mended.
        more = _function_problems(bad.name, bad.functions, bad.run, resolver)
        broken.append(structs.replace(bad, problems=(*bad.problems, *more)))
    for route in config.routes:
        problems = _callback_problems(route, resolver)
        if not problems:
            routes.append(route)
            continue
        broken.append(
            BrokenRoute(
                name=route.name,
                pattern=route.pattern,
                place=route.place,
                problems=tuple(problems),
                priority=route.priority,
            )
        )
    checked = structs.replace(config, routes=tuple(routes), broken=tuple(broken))
    return checked, list(resolver.warnings)


def _callback_problems(route: RouteConfig, resolver: Resolver) -> list[Problem]:
    from jupyter_wshandler.functions.reload import functions

    return _function_problems(route.name, functions(route), route.run, resolver)


def _function_problems(
    name: str,
    functions: Mapping[str, FunctionSpec],
    run: Literal["thread", "loop"],
    resolver: Resolver,
) -> list[Problem]:
    from jupyter_wshandler.functions.dispatch import with_types
    from jupyter_wshandler.functions.reload import FILTERS, resolve_filter

    problems = []
    found: dict[str, Callback] = {}
    for event, spec in functions.items():
        try:
            if event.startswith(FILTERS):
                resolve_filter(resolver, spec)
            else:
                found[event] = resolver.resolve(spec, event, run)
        except CallbackError as error:
            problems.append(Problem(spec.place, str(error), name))
    try:
        with_types({} if problems else found)
    except CallbackError as error:
        place = next(spec.place for event, spec in functions.items() if event[:6] == "types ")
        problems.append(Problem(place, str(error), name))
    return problems


def _merged(problems: Iterable[Problem]) -> list[Problem]:
    """Say once what is wrong with a module, and which functions wait for it."""
    merged: list[Problem] = []
    modules: dict[str, tuple[int, list[str]]] = {}
    for problem in problems:
        match = _MODULE.fullmatch(problem.message)
        if match is None:
            merged.append(problem)
            continue
        at, waiting = modules.setdefault(match[2], (len(merged), []))
        if not waiting:
            merged.append(problem)
        place = problem.place
        waiting.append(f"{match[1]} (line {place.line})" if place.line else match[1])
    for text, (at, waiting) in modules.items():
        if len(waiting) > 1:
            message = f"{text}. Needed by {', '.join(waiting)}"
            merged[at] = structs.replace(merged[at], message=message)
    return merged


def _counted(config: Config) -> Config:
    """Return the configuration with each route's problems as they are printed, for the table."""
    broken = [
        structs.replace(route, problems=tuple(_merged(dict.fromkeys(route.problems))))
        for route in config.broken
    ]
    return structs.replace(config, broken=tuple(broken))


def _own_pages(config: Config) -> list[str]:
    """Say which pages of this server are hardly among the `origins` of their own route."""
    notes = []
    for route in config.routes:
        if not isinstance(route.page, str) or not route.origins:
            continue
        rules = [parse_entry(entry) for entry in route.origins]
        if any(rule.host in (None, *_LOOPBACK) and rule.scheme in _OF_PAGES for rule in rules):
            continue
        notes.append(
            f"{route.place}: page: is a page of this server, and origins admits pages of "
            f"{', '.join(route.origins)} only; if people reach the server at another address, such "
            "as localhost:8888, the page cannot connect: list that address, too"
        )
    return notes


def _all_problems(config: Config, hidden: Iterable[Problem]) -> list[Problem]:
    found = [*config.problems, *hidden]
    for route in config.broken:
        found += route.problems
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda p: (p.place.source, p.place.line or 0, p.place.column or 0))


class _Printer:
    """What writes the findings as people read them: routes, problems, notes, verdict."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: dict[str, list[str]] = {}
        self._lists: set[str] = set()

    def _print(self, text: str = "") -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        safe = text.encode(encoding, "backslashreplace").decode(encoding)
        self._stream.write(safe + "\n")

    def table(self, config: Config) -> None:
        lines = route_table(config)
        for line in lines:
            self._print(line)
        if lines:
            self._print()

    def problems(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            place = problem.place
            key = f" {place.key}:" if place.line is not None and place.key else ""
            self._print(printable(f"{place}:{key}"))
            self._excerpt(problem)
            message = self._shortened(problem.message)
            for line in _wrapped(message, _WIDTH - len(_INDENT)) or [""]:
                self._print(_INDENT + printable(line))
            self._print()

    def _shortened(self, message: str) -> str:
        """Leave out a list of all keys, or of a module's functions, that stands above already."""
        head, mark, names = message.partition("; valid here: ")
        if not mark or names not in self._lists:
            self._lists.add(names)
            return message
        return f"{head}; valid are those listed above"

    def _excerpt(self, problem: Problem) -> None:
        """Show the line with a mark below the place, as compilers do."""
        place = problem.place
        if place.line is None:
            return
        lines = self._source(place.source)
        if place.line > len(lines):
            return
        text = printable(lines[place.line - 1].replace("\t", " "))
        number = str(place.line)
        column = min((place.column or 1) - 1, len(text))
        # Of a long line the part around the place is shown.
        start = 0 if column < _WIDTH - 20 else column - _WIDTH // 2
        cut = "..." if start else ""
        self._print(f"{_INDENT}{number} | {cut}{text[start:][: _WIDTH - len(cut)]}")
        self._print(f"{_INDENT}{' ' * len(number)} | {' ' * (column - start + len(cut))}^")

    def _source(self, path: str) -> list[str]:
        if path not in self._lines:
            try:
                with open(path, encoding="utf-8-sig", errors="replace") as file:
                    self._lines[path] = file.read(1 << 20).splitlines()
            except (OSError, ValueError):
                self._lines[path] = []
        return self._lines[path]

    def notes(self, notes: Iterable[str]) -> None:
        for note in notes:
            lead = "note: "
            for line in _wrapped(lead + printable(note), _WIDTH, " " * len(lead)):
                self._print(line)
        if notes:
            self._print()

    def verdict(self, config: Config, problems: list[Problem], notes: list[str]) -> None:
        total = len(config.routes) + len(config.broken)
        if not problems:
            extra = f", {_count(len(notes), 'note')}" if notes else ""
            self._print(f"OK: {_count(total, 'route')}, no problems{extra}")
            return
        affected = {route.name for route in config.broken}
        affected |= {problem.route for problem in problems if problem.route is not None}
        shared = {problem for route in config.broken for problem in route.problems}
        outside = [p for p in problems if p.route is None and p not in shared]
        where, rest = "", ""
        if affected:
            where = f" in {len(affected)} of {_count(total, 'route')}"
            rest = "; the other routes work" if len(affected) < total else ""
            if outside:
                inside = len(problems) - len(outside)
                where = f": {inside}{where}, {len(outside)} outside the routes"
        elif total:
            where = " outside the routes"
            rest = "; the routes work" if total > 1 else "; the route works"
        self._print(f"FAILED: {_count(len(problems), 'problem')}{where}{rest}")


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Break a text into lines, but no path or name in it: who copies one needs it whole."""
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
