"""Load routes with their functions, and load them again when their files have changed.

The modules in the folders of the config files are one version: they are imported again all
together, as fresh objects, and only if every function that worked still does. Otherwise the last
good version goes on, and the error says where it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..config.model import Config, FunctionSpec, Place, PresenceConfig, RouteConfig
from ..errors import CallbackError
from ..routes import Route
from ..types import Callback, Filters
from .dispatch import with_types
from .filtering import filters_of, with_filters
from .filters import Filter, filter_of
from .places import file_of
from .resolve import Resolver, home_of
from .sources import Reading, Stamp, read_stamp, recorded, stamp_of

Source = Callable[[], Config]
"""Loads the configuration; called in a thread."""

FILTERS = "filters "
"""What the filters of a route are called among its functions, before their number."""

EVERYWHERE = "everywhere "
"""The same for those of all routes."""

TRIES = 5
"""Attempts to read files that change while they are read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one look at the files gave.

    Attributes:
        config: The configuration to serve.
        routes: One for each of its routes, new objects; None if nothing is to be swapped.
        afresh: Whether all modules were imported again.
        files: The files that had changed.
        errors: Why the last good configuration or code goes on; empty if it does not.
    """

    config: Config
    routes: list[Route] | None
    afresh: bool
    files: tuple[str, ...]
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reload:
    """What a reload did.

    Attributes:
        files: The files that had changed.
        code: Whether the callback modules were imported again.
        added: Names of new routes.
        changed: Names of routes whose configuration changed.
        removed: Names of routes that are gone.
        closed: How many connections were closed with 1012.
        errors: Why the last good configuration or code goes on; empty if it does not.
    """

    files: tuple[str, ...] = ()
    code: bool = False
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    closed: int = 0
    errors: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = ["new code"] if self.code else []
        for word in ("added", "changed", "removed"):
            names = getattr(self, word)
            if names:
                parts.append(f"{word} {', '.join(names)}")
        if self.closed:
            parts.append(f"connections closed with 1012: {self.closed}")
        return f"{', '.join(self.files) or 'nothing changed'}: {'; '.join(parts) or 'no change'}"


@dataclass(slots=True)
class _Attempt:
    """The routes of a configuration, and what went wrong with each function."""

    routes: list[Route] = field(default_factory=list)
    failed: dict[tuple[str, str], CallbackError] = field(default_factory=dict)
    homes: dict[tuple[str, str], str] = field(default_factory=dict)
    everywhere: list[Filter] = field(default_factory=list)
    unusable: dict[str, tuple[FunctionSpec, CallbackError]] = field(default_factory=dict)


class RouteLoader:
    """What makes the routes of a configuration, and knows which files they depend on.

    All methods but `close` may run in a thread, one at a time.
    """

    def __init__(self) -> None:
        self.resolver: Resolver | None = None
        self.everywhere: tuple[FunctionSpec | Filter, ...] = ()
        """The filters of all routes, around each route's own."""
        self._for_all: Filters | None = None
        self._unusable: CallbackError | None = None
        self._closed = False
        self._code: dict[str, Stamp | None] = {}
        self._yaml: dict[str, Stamp | None] = {}
        self._folders: tuple[str, ...] = ()
        # Why what is on disk is not what is served; they stay until it is looked at again.
        self._yaml_errors: list[str] = []
        self._code_errors: list[str] = []

    def close(self) -> None:
        """Take the config's folders off `sys.path`, and forget their modules."""
        self._closed = True
        if self.resolver is not None:
            self.resolver.close()

    # ---- the first time ------------------------------------------------------------------

    def load(self, config: Config) -> list[Route]:
        """Make the routes of a configuration; broken ones say why.

        Args:
            config: What `config.loader.load` returned.
        """
        self._open(config)
        self._yaml = _stamps(config.files)
        with recorded(Reading()) as reading:
            attempt = self._attempt(config)
        self._learn(reading)
        self._keep_filters(attempt)
        return attempt.routes

    def filters_of_all(self) -> Filters | None:
        """Return the filters of all routes, for one that no file describes; None for none.

        Raises:
            CallbackError: One of them cannot be used, and never could.
        """
        if self._unusable is not None:
            raise self._unusable
        return self._for_all

    def _keep_filters(self, attempt: _Attempt) -> None:
        if not attempt.unusable:
            self._for_all, self._unusable = filters_of(attempt.everywhere), None
        elif self._for_all is None:
            self._unusable = next(iter(attempt.unusable.values()))[1]

    def mend(self, route: Route) -> None:
        """Look the functions of a broken route up again.

        Modules that were imported stay as they are, so that routes never differ in their version.

        Args:
            route: A route that is broken, and not by its configuration.
        """
        with recorded(Reading()) as reading:
            attempt = self._begin()
            self._look_up(route, attempt)
        self._code |= reading.expected()

    def _open(self, config: Config) -> None:
        folders = tuple(config.folders)
        if self.resolver is None or folders != self._folders:
            before, self._folders = self.resolver, folders
            self.resolver = Resolver(folders)
            if before is not None:
                before.close()

    # ---- what a file that changes would change -------------------------------------------

    def look(self) -> tuple[str, ...]:
        """Return the files that have changed since they were read, appeared or went."""
        if self.resolver is not None:
            for name, module in self.resolver.modules().items():
                # A function may have imported it only now.
                file = file_of(name, module)
                if file is not None and file not in self._code:
                    self._code[file] = read_stamp(file) or stamp_of(file)
        return self._changed(self._yaml) + self._changed(self._code)

    def files(self) -> frozenset[str]:
        """Return every file that `look` looks at, whether it exists or not."""
        return frozenset({*self._yaml, *self._code})

    def _changed(self, expected: Mapping[str, Stamp | None]) -> tuple[str, ...]:
        return tuple(path for path, stamp in expected.items() if stamp_of(path) != stamp)

    def _learn(self, reading: Reading) -> None:
        """Take what was read last for what the files are."""
        self._code = reading.expected()
        assert self.resolver is not None
        for name, module in self.resolver.modules().items():
            file = file_of(name, module)
            if file is not None:
                # Not read by the import, which failed before it came there; it counts as tried,
                # too.
                self._code.setdefault(file, stamp_of(file))

    # ---- again -----------------------------------------------------------------------------

    def reload(
        self, source: Source | None, config: Config, current: Mapping[str, Route], force: bool
    ) -> Loaded:
        """Look at the files, and load again what has changed.

        First the configuration, since it says which folders and functions there are. Then the
        code: only where a module has changed, but then all modules, as one may hold objects of
        another. Last the functions alone, where the configuration names others of the same code.
        Each step that fails leaves what was served before.

        Args:
            source: Loads the configuration; None if it cannot change.
            config: The configuration that is served.
            current: The routes that are served, by name.
            force: Whether to load everything again, changed or not.
        """
        changed = self.look()
        new = config
        if source is not None and (force or any(path in self._yaml for path in changed)):
            new = self._load_config(source)
            self._yaml_errors = unusable(new, config)
            if self._yaml_errors:
                new = config  # a file that is half written must not take its routes away
        self._open(new)
        afresh: _Attempt | None = None
        if force or any(path in self._code for path in changed):
            afresh = self._import_afresh(new, current)
        attempt = afresh
        if afresh is None and new is not config:
            with recorded(Reading()) as reading:
                attempt = self._attempt(new)
            self._code |= reading.expected()
        routes = None if attempt is None else attempt.routes
        if attempt is not None:
            self._keep_filters(attempt)
        errors = (*self._yaml_errors, *self._code_errors)
        return Loaded(new, routes, afresh is not None, changed, errors)

    def _load_config(self, source: Source) -> Config:
        for _ in range(TRIES):
            before = _stamps(self._yaml)
            config = source()
            if _stamps(before) == before:
                break
        # What changed since is found by the next look.
        self._yaml = _stamps(config.files) | before
        return config

    def _import_afresh(self, config: Config, current: Mapping[str, Route]) -> _Attempt | None:
        """Import all modules again; go on with the old ones if a function no longer works."""
        resolver = self.resolver
        assert resolver is not None
        for remaining in reversed(range(TRIES)):
            # Connections go on with the old modules, which their callbacks refer to, while the
            # fresh ones are imported.
            before = resolver.set_aside()
            is_good = False
            try:
                with recorded(Reading()) as reading:
                    attempt = self._attempt(config)
                if remaining and self._changed(reading.files):
                    continue  # saved while it was read: the modules may be of two versions
                self._code_errors = _blockers(attempt, config, current)
                is_good = not self._code_errors
            finally:
                if not is_good:
                    # Somebody who has closed this meanwhile wants none of them.
                    resolver.put_back({} if self._closed else before)
            break
        self._learn(reading)
        return attempt if is_good else None

    # ---- functions -------------------------------------------------------------------------

    def _attempt(self, config: Config) -> _Attempt:
        attempt = self._begin()
        for route in config.routes:
            attempt.routes.append(self._look_up(Route(route), attempt))
        attempt.routes += [Route.from_broken(broken) for broken in config.broken]
        return attempt

    def _look_up(self, route: Route, attempt: _Attempt) -> Route:
        config = route.config
        callbacks: dict[str, Callback] = {}
        errors = []
        filters = list(attempt.everywhere)
        for event, (spec, wrong) in attempt.unusable.items():
            attempt.failed[config.name, event] = wrong
            attempt.homes[config.name, event] = home_of(spec)
            errors.append(f"{spec.place}: {wrong}")
        for event, spec in functions(config).items():
            try:
                if event.startswith(FILTERS):
                    filters.append(resolve_filter(self._resolver, spec))
                else:
                    callbacks[event] = self._resolve(spec, event, config.run, attempt)
            except CallbackError as error:
                attempt.failed[config.name, event] = error
                attempt.homes[config.name, event] = home_of(spec)
                errors.append(f"{spec.place}: {error}")
        if config.types and not errors:
            event, spec = next((f"types {tag}", spec) for tag, spec in config.types.items())
            try:
                callbacks = with_types(callbacks)
            except CallbackError as error:
                attempt.failed[config.name, event] = error
                attempt.homes[config.name, event] = home_of(spec)
                errors.append(f"{spec.place}: {error}")
        route.filters = found = filters_of(filters)
        route.callbacks = with_filters(callbacks, found, config.run)
        route.error = "\n".join(errors)
        route.state = "broken" if errors else "ready"
        return route

    @property
    def _resolver(self) -> Resolver:
        assert self.resolver is not None
        return self.resolver

    def _begin(self) -> _Attempt:
        """Return an attempt, with the filters of all routes."""
        attempt = _Attempt()
        for number, spec in enumerate(self.everywhere):
            if isinstance(spec, Filter):
                attempt.everywhere.append(spec)
                continue
            try:
                attempt.everywhere.append(resolve_filter(self._resolver, spec))
            except CallbackError as error:
                attempt.unusable[f"{EVERYWHERE}{number}"] = spec, error
        return attempt

    def _resolve(self, spec: FunctionSpec, event: str, run: str, attempt: _Attempt) -> Callback:
        module = spec.function.rpartition(".")[0]
        top = module.partition(".")[0]
        if top not in sys.modules:
            # A module that cannot be imported is not run again for each of its functions.
            for key, other in attempt.failed.items():
                name, _, why = str(other).partition(": ")
                if name.rpartition(".")[0] == module and attempt.homes[key] == home_of(spec):
                    raise CallbackError(f"{spec.function}: {why}")
        return self._resolver.resolve(spec, event, run)


def resolve_filter(resolver: Resolver, spec: FunctionSpec) -> Filter:
    """Find a filter and check that it can be called.

    Args:
        resolver: Finds what is named.
        spec: What the configuration says.

    Raises:
        CallbackError: It cannot be used; says why and what to do.
    """
    return filter_of(spec.function, resolver.named(spec))


def functions(config: RouteConfig) -> dict[str, FunctionSpec]:
    """Return the functions that a route names, by event."""
    found = dict(config.callbacks)
    if config.auth.condition is not None:
        found["condition"] = config.auth.condition
    for seconds, spec in config.every:
        found[f"every {seconds:g}"] = spec
    for tag, spec in config.types.items():
        found[f"types {tag}"] = spec
    presence = config.presence or PresenceConfig()
    for event, function in (
        ("may_join", config.may_join),
        ("card", presence.card),
        ("on_join", presence.on_join),
        ("on_leave", presence.on_leave),
    ):
        if function is not None:
            found[event] = function
    for number, spec in enumerate(config.filters):
        found[f"{FILTERS}{number}"] = spec
    return found


def same(one: Any, other: Any) -> bool:
    """Say whether two parts of a configuration mean the same, wherever they stand in the file."""
    return bool(_meaning(one) == _meaning(other))


def _meaning(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {
            name: _meaning(getattr(value, name))
            for name in value.__struct_fields__
            if not isinstance(getattr(value, name), Place)
        }
    if isinstance(value, Mapping):
        return {key: _meaning(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_meaning(entry) for entry in value]
    # In Python 1, 1.0 and True are equal, and a configuration may mean the difference.
    return type(value), value


def unusable(new: Config, old: Config) -> list[str]:
    """Return why a configuration must not replace another: a file of its routes is unreadable.

    Args:
        new: What was loaded now.
        old: What is served.
    """
    lost = (_sources(old) - _sources(new)) & set(new.files)
    return [str(problem) for problem in new.problems if problem.place.source in lost]


def _sources(config: Config) -> set[str]:
    """Return the files and traits that at least one route comes from."""
    return {r.place.source for r in config.routes} | {r.place.source for r in config.broken}


def _blockers(attempt: _Attempt, config: Config, current: Mapping[str, Route]) -> list[str]:
    """Return why fresh modules must not be used: what worked, and is still asked for, does not."""
    specs = {route.name: functions(route) for route in config.routes}
    reasons: dict[str, str] = {}
    for (name, event), error in attempt.failed.items():
        served = current.get(name)
        if served is None or served.state != "ready":
            continue
        before = functions(served.config).get(event)
        is_for_all = event.startswith(EVERYWHERE)
        if is_for_all or (before is not None and same(before, specs[name][event])):
            text = str(error)
            reasons.setdefault(text.partition(": ")[2] or text, text)
    return list(reasons.values())


def _stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    return {os.path.abspath(path): stamp_of(path) for path in paths}
