"""``jupyter wshandler check``: say what is wrong with a configuration before a server reads it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from jupyter_wshandler.config.loader import load
from jupyter_wshandler.config.model import BrokenRoute, Config, Problem, RouteConfig
from jupyter_wshandler.config.reserved import unreachable
from jupyter_wshandler.config.summary import printable, route_table
from jupyter_wshandler.errors import CallbackError

if TYPE_CHECKING:
    from jupyter_wshandler.callbacks.resolve import Resolver

_WIDTH = 96
_INDENT = "    "


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
    problems = _all_problems(config)
    notes = list(dict.fromkeys([*unreachable(config), *config.notes, *warnings]))
    printer = _Printer(stream or sys.stdout)
    printer.table(config)
    printer.problems(problems)
    printer.notes(notes)
    printer.verdict(config, problems, notes)
    return 1 if problems else 0


def _with_callbacks(config: Config) -> tuple[Config, list[str]]:
    """Import every callback; a route of which one fails becomes a broken one."""
    # Imported here: a configuration without functions needs none of it.
    from jupyter_wshandler.callbacks.resolve import Resolver

    resolver = Resolver(config.folders)
    routes: list[RouteConfig] = []
    broken = list(config.broken)
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
    checked = Config(
        routes=tuple(routes),
        broken=tuple(broken),
        problems=config.problems,
        notes=config.notes,
        folders=config.folders,
        files=config.files,
    )
    return checked, list(resolver.warnings)


def _callback_problems(route: RouteConfig, resolver: Resolver) -> list[Problem]:
    from jupyter_wshandler.callbacks.reload import functions

    problems = []
    for event, spec in functions(route).items():
        try:
            resolver.resolve(spec, event, route.run)
        except CallbackError as error:
            problems.append(Problem(spec.place, str(error), route.name))
    return problems


def _all_problems(config: Config) -> list[Problem]:
    found = list(config.problems)
    for route in config.broken:
        found += route.problems
    unique = list(dict.fromkeys(found))
    return sorted(unique, key=lambda p: (p.place.source, p.place.line or 0, p.place.column or 0))


class _Printer:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: dict[str, list[str]] = {}

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
            for line in textwrap.wrap(problem.message, _WIDTH - len(_INDENT)) or [""]:
                self._print(_INDENT + printable(line))
            self._print()

    def _excerpt(self, problem: Problem) -> None:
        """Show the line with a mark below the place, as compilers do."""
        place = problem.place
        if place.line is None:
            return
        lines = self._source(place.source)
        if place.line > len(lines):
            return
        text = printable(lines[place.line - 1].replace("\t", " "))[:_WIDTH]
        number = str(place.line)
        self._print(f"{_INDENT}{number} | {text}")
        column = (place.column or 1) - 1
        if column <= len(text):
            self._print(f"{_INDENT}{' ' * len(number)} | {' ' * column}^")

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
            wrapped = textwrap.wrap(
                lead + printable(note),
                _WIDTH,
                subsequent_indent=" " * len(lead),
                break_long_words=False,
                break_on_hyphens=False,
            )
            for line in wrapped:
                self._print(line)
        if notes:
            self._print()

    def verdict(self, config: Config, problems: list[Problem], notes: list[str]) -> None:
        total = len(config.routes) + len(config.broken)
        if not problems:
            extra = f", {_count(len(notes), 'note')}" if notes else ""
            self._print(f"OK: {_count(total, 'route')}, no problems{extra}")
            return
        if config.broken:
            where = f" in {len(config.broken)} of {_count(total, 'route')}"
            rest = "; the other routes work" if config.routes else ""
        else:
            where, rest = "", ""
        self._print(f"FAILED: {_count(len(problems), 'problem')}{where}{rest}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
