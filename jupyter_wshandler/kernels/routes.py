"""The routes of kernels: what a kernel may serve, and which kernel serves what."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol

import msgspec

from ..config.loader import load_route
from ..config.model import PresenceConfig, RouteConfig
from ..config.nodes import shorten
from ..connection.host import Host
from ..errors import CallbackError, RouteRefused
from ..routes import Route
from ..types import Filters
from .rivals import Rivals

_GROUP = re.compile(r"\(\?P<\w+>")

MAX_NAME = 200
"""Characters in the name of a route."""

EVENTS = frozenset(
    {"open", "on_message", "on_close", "on_error", "on_pong", "on_away", "on_resume"}
)
"""Callbacks that a route of a kernel may have; those of the handshake are the server's."""

Policy = Literal["off", "private", "any"]
"""What kernels may serve: nothing; routes for logged-in users of the same origin; or anything."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a kernel says of a route that it wants to serve."""

    name: str
    pattern: str
    options: dict[str, Any] = {}
    events: tuple[str, ...] = ()
    page: str | bool | None = None
    replace: bool = False
    shapes: bytes = b""


class Claimant(Host, Protocol):
    """One kernel that asks for routes."""

    label: str
    """What people call it."""

    log: logging.Logger | logging.LoggerAdapter[Any]

    def displaced(self, name: str, reason: str) -> None:
        """Tell the kernel that one of its routes is served no longer."""


class Table(Protocol):
    """The table of the routes that are served."""

    def put(self, route: Route) -> None:
        """Serve a route, behind all that are configured."""

    def remove(self, name: str, *, close: bool = True) -> None:
        """Serve a route no longer, and close its connections if they are not closed already."""

    def conflict(self, route: Route) -> str | None:
        """Return why a route cannot be served beside the configured ones."""


class _There:
    """A callback that lives in a kernel, as the server's route has it."""

    def __init__(self, event: str) -> None:
        self.name = self.event = event
        self.inline = True
        self.call: Callable[..., Any] = self._refuse

    def _refuse(self, *args: Any) -> Any:
        raise RuntimeError(f"{self.event} lives in a kernel")


class KernelRoutes:
    """What kernels may serve and do serve, as the route table has it.

    Args:
        table: The route table.
        policy: What kernels may serve.
        defaults: ``c.WSHandlerApp.defaults``.
        enforce: ``c.WSHandlerApp.enforce``.
        allow_public_routes: ``c.WSHandlerApp.allow_public_routes``.
        idle_timeout: As for `config.loader.load`.
        limit: Routes that one kernel may serve.
        headers: Names of header fields that kernels are told beside the harmless ones.
        elsewhere: Returns who else answers a route's path (Jupyter, another extension), or None.
        address: Returns where a client reaches a route: ``url`` and ``path``.
        filters: Returns the filters of all routes, or raises `CallbackError`; None for none.
    """

    def __init__(
        self,
        table: Table,
        *,
        policy: Policy = "private",
        defaults: Mapping[str, Any] | None = None,
        enforce: Mapping[str, Any] | None = None,
        allow_public_routes: bool = False,
        idle_timeout: float = 0.0,
        limit: int = 200,
        headers: Iterable[str] = (),
        elsewhere: Callable[[Route], str | None] = lambda route: None,
        address: Callable[[Route], dict[str, str]] = lambda route: {"url": "", "path": ""},
        filters: Callable[[], Filters | None] | None = None,
    ) -> None:
        self.filters = filters
        self._table = table
        self._policy = policy
        self._defaults = defaults
        self._enforce = enforce
        self._public = allow_public_routes
        self._idle_timeout = idle_timeout
        self._limit = limit
        self.headers = frozenset(name.lower() for name in headers)
        self._elsewhere = elsewhere
        self._address = address
        self._served: dict[str, tuple[Claimant, Route]] = {}
        self._names: dict[Claimant, set[str]] = {}
        self._rivals = Rivals()
        self._by_paths: dict[tuple[Claimant, str], str] = {}

    def claim(self, claimant: Claimant, claim: Claim) -> dict[str, str]:
        """Serve a route of a kernel, or the new version of one that it serves already.

        Args:
            claimant: The kernel.
            claim: What it asks for.

        Returns:
            Where clients reach it.

        Raises:
            RouteRefused: It may not; says why and what to do.
        """
        _check(claim)
        names = self._names.get(claimant, set())
        if claim.name not in names and len(names) >= self._limit:
            raise RouteRefused(
                f"this kernel serves {len(names)} routes, as many as one may; stop one of them, or "
                "ask the server's administrator to raise c.WSHandlerApp.kernel_routes_limit"
            )
        route = Route(
            self._config(claim),
            {event: _There(event) for event in claim.events},
            host=claimant,
            page=claim.page if isinstance(claim.page, str) else None,
            shapes=claim.shapes,
        )
        route.filters = self._filters_of_all()
        rivals = self._others(claimant, route)
        if rivals and not claim.replace:
            other, taken = rivals[0]
            raise RouteRefused(
                f"{taken.config.pattern} is served by {other.label}; choose another pattern, stop "
                "it there, or pass replace=True to take it over (one for each visitor: see "
                "docs/notebooks.md)"
            )
        twin = self._twin(claimant, route)
        if twin is not None and not claim.replace:
            raise RouteRefused(
                f"{twin.config.pattern} is served by the bot {twin.name!r} of this notebook, and "
                f"{route.name!r} would never be reached; stop the other one "
                f"(wsh.bots[{twin.name!r}].stop()), choose another pattern, or pass replace=True "
                "to take its place"
            )
        reason = self._table.conflict(route)
        if reason is not None:
            raise RouteRefused(f"{reason}; choose another pattern")
        owner = self._elsewhere(route)
        if owner is not None:
            raise RouteRefused(
                f"{claim.pattern} is answered by {owner} of this server; choose another pattern"
            )
        if twin is not None:
            rivals.append((claimant, twin))
        for other, taken in rivals:
            self._forget(taken.name)
            self._table.remove(taken.name)
            who = claimant.label if other is not claimant else f"the bot {route.name!r}"
            other.displaced(taken.name, f"{who} has taken it over")
        self._forget(route.name)
        self._served[route.name] = claimant, route
        self._names.setdefault(claimant, set()).add(route.name)
        self._rivals.add(route)
        self._by_paths[claimant, _paths(route)] = route.name
        self._table.put(route)
        claimant.log.info("Route %s serves %s from %s", route.name, claim.pattern, claimant.label)
        return {**self._address(route), "pattern": claim.pattern}

    def _filters_of_all(self) -> Filters | None:
        try:
            return None if self.filters is None else self.filters()
        except CallbackError as error:
            raise RouteRefused(
                f"a filter of all routes of this server (c.WSHandlerApp.filters) cannot be used: "
                f"{error}"
            ) from None

    def _config(self, claim: Claim) -> RouteConfig:
        if self._policy == "off":
            raise RouteRefused(
                "this server serves no routes of kernels (c.WSHandlerApp.kernel_routes is 'off')"
            )
        private = self._policy == "private"
        if private:
            for key, wanted in (("origins", "your own origin only"), ("auth", "a login")):
                if key == "auth" and claim.options.get("auth") is not False:
                    continue
                if key in claim.options:
                    raise RouteRefused(
                        f"{key} cannot be set here: routes of kernels need {wanted}, unless the "
                        "server's c.WSHandlerApp.kernel_routes is 'any'"
                    )
        options = {key: value for key, value in claim.options.items() if key != "page"}
        config = load_route(
            claim.name,
            claim.pattern,
            options,
            source="wsh.serve",
            defaults=self._defaults,
            enforce=self._enforce,
            allow_public_routes=self._public,
            idle_timeout=self._idle_timeout,
        )
        if not isinstance(config, RouteConfig):
            raise RouteRefused("; ".join(str(problem) for problem in config.problems))
        _refuse_functions(config)
        if config.presence is not None:  # its functions are of files, or of a kernel that lies
            presence = PresenceConfig(linger=config.presence.linger)
            config = msgspec.structs.replace(config, presence=presence)
        # Only what the kernel offers runs there: functions and pages of `defaults` are of files.
        # Whether there is a page is decided by the first of these that says it: `enforce`, the
        # kernel, `defaults`.
        bare = claim.page is False or (
            config.page is False and (claim.page is None or "page" in (self._enforce or {}))
        )
        config = msgspec.structs.replace(
            config, callbacks={}, every=(), page=False if bare else None
        )
        if private:
            # `auth` and `origins` of `defaults` may open routes of files to others, but not a
            # kernel's: only `enforce` counts for these.
            auth = msgspec.structs.replace(config.auth, required=True)
            origins = config.origins if "origins" in (self._enforce or {}) else None
            config = msgspec.structs.replace(config, auth=auth, origins=origins)
        return config

    def _others(self, claimant: Claimant, route: Route) -> list[tuple[Claimant, Route]]:
        """Return the routes of other kernels that have the same name or path."""
        same_name = self._served.get(route.name)
        found = [] if same_name is None else [same_name]
        found += [self._served[one.name] for one in self._rivals.of(route)]
        # The table orders the routes of one notebook as it does any.
        others = {taken.name: (other, taken) for other, taken in found if other is not claimant}
        return list(others.values())

    def _twin(self, claimant: Claimant, route: Route) -> Route | None:
        """Return another bot of the same kernel that has the very same paths."""
        name = self._by_paths.get((claimant, _paths(route)))
        return None if name in (None, route.name) else self._served[name][1]

    def route_of(self, claimant: Claimant, name: str) -> Route | None:
        """Return a route by its name, where it is this kernel's."""
        return self._served[name][1] if name in self._names.get(claimant, ()) else None

    def withdraw(self, claimant: Claimant, name: str) -> None:
        """Serve a route no longer, where it is this kernel's."""
        if name in self._names.get(claimant, ()):
            self._forget(name)
            self._table.remove(name)

    def forget(self, claimant: Claimant) -> None:
        """Serve nothing of a kernel any more; its bridge closes the connections."""
        for name in tuple(self._names.get(claimant, ())):
            self._forget(name)
            self._table.remove(name, close=False)

    def _forget(self, name: str) -> None:
        claimant, route = self._served.pop(name, (None, None))
        if claimant is None or route is None:
            return
        self._rivals.remove(route)
        del self._by_paths[claimant, _paths(route)]
        names = self._names[claimant]
        names.remove(name)
        if not names:
            del self._names[claimant]

    def displaced(self, route: Route, reason: str) -> None:
        """Take note that a kernel's route has been taken from it."""
        claimant, _ = self._served.get(route.name, (None, None))
        if claimant is not None:
            self._forget(route.name)
            claimant.displaced(route.name, reason)


def paths_of(pattern: re.Pattern[str]) -> str:
    """Return what is equal for patterns that differ in the names of their groups only."""
    return _GROUP.sub("(", pattern.pattern)


def _paths(route: Route) -> str:
    return "" if route.regex is None else paths_of(route.regex)


def _refuse_functions(config: RouteConfig) -> None:
    """Refuse what `defaults` and `enforce` say that no route of a kernel can have.

    Raises:
        RouteRefused: With what to use instead.
    """
    if config.auth.condition is not None:
        raise RouteRefused(
            "auth has a function of the server, which a route of a kernel cannot ask; "
            "decide in `open` instead, with handler.close(4403)"
        )
    if config.filters:
        raise RouteRefused(
            "filters of `defaults` and `enforce` are for routes of files; those for all routes "
            "stand in c.WSHandlerApp.filters, and a bot's own are wsh.serve(filters=[...])"
        )
    if config.may_join is not None:
        raise RouteRefused(
            "may_join is a function of the server, which a route of a kernel cannot ask; "
            "decide in `open` instead, with handler.close(4403)"
        )


def _check(claim: Claim) -> None:
    """Refuse what would be obeyed by a terminal, or misread by people, wherever it is shown.

    Raises:
        RouteRefused: The name or the pattern cannot be used.
    """
    if not 0 < len(claim.name) <= MAX_NAME or not claim.name.isprintable():
        raise RouteRefused(
            f"a route's name has 1 to {MAX_NAME} printable characters, found "
            f"{shorten(claim.name)}; pass name=..."
        )
    if not claim.pattern.isprintable():
        raise RouteRefused(
            f"a pattern has printable characters only, found {shorten(claim.pattern)}"
        )
    unknown = sorted({*claim.events} - EVENTS)
    if unknown:
        raise RouteRefused(f"a kernel has no callback named {shorten(unknown[0])}")
