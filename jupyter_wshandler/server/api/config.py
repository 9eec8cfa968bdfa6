"""How a server is set up, without its secrets, at ``<base_url>/wshandler/api/config``."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

import msgspec
from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError
from traitlets import HasTraits

from ... import __version__
from ...config.model import FunctionSpec, RouteConfig
from ...routes import Route
from ..filtertraits import shown_filter
from .looking import LookingHandler

PACKAGES = ("jupyter_server", "tornado", "msgspec", "traitlets", "ipykernel", "jupyterhub", "redis")
"""Other packages whose versions are told, where they are installed."""

SECRET = re.compile(r"token|passw|secret|credential|api_?key|private_?key|cookie|auth(?:oriz|enti)")
"""What the name of a value has in it that is not shown."""

NOT_EXECUTE = (
    "the configuration is for who may execute wshandler; the Authorizer does not let this user"
)
"""What others are told."""

HIDDEN = "***"
"""Stands in the place of what is not shown."""

OWN = frozenset({"name", "pattern", "place", "kwargs", "callbacks", "guest_ratelimit"})
"""Fields of a route's configuration that are no options, or may hold anything: `kwargs` are as the
file has them, with what is meant for the bot alone."""


class ConfigHandler(LookingHandler):
    """The address where versions, settings and the options of routes are told.

    Names of files and lines, and what is wrong in them, are for those who may see where code has
    failed.
    """

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may."""
        await super().prepare()
        if not self._finished and not await self.may_execute():
            raise HTTPError(403, NOT_EXECUTE)

    @ws_authenticated
    async def get(self) -> None:
        """Answer with ``{"versions", "settings", "files", "problems", "routes"}``.

        Of the settings of `c.WSHandlerApp` and of each route those are told that have another value
        than by default. Of functions the names are told, and not what they are called with.
        """
        manager, app = self.services.manager, self.settings["wshandler"]
        routes = await self.routes(None)
        self.answer(
            {
                "versions": versions(),
                "base_url": self.base_url,
                "settings": settings_of(app),
                "files": list(manager.config.files),
                "problems": [
                    *filter(None, [app.misconfigured]),
                    *(str(problem) for problem in manager.config.problems),
                    *manager.reload_errors,
                ],
                "routes": {name: options_of(route) for name, route in routes.items()},
            }
        )


def versions() -> dict[str, str]:
    """Return the versions of this package, of Python, and of what it stands on."""
    found = {"jupyter_wshandler": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def settings_of(app: Any) -> dict[str, Any]:
    """Return the settings of the extension that are not as they are by themselves.

    Args:
        app: The `WSHandlerApp`, or another object with traits.
    """
    classes: list[type[HasTraits]] = [
        c
        for c in type(app).__mro__
        if issubclass(c, HasTraits) and c.__module__.startswith("jupyter_wshandler.")
    ]
    found = {}
    for name in sorted({name for c in classes for name in c.class_own_traits(config=True)}):
        value = getattr(app, name)
        if value == app.traits()[name].default():
            continue
        # Routes stand under `routes`; of what else is a mapping the keys say enough.
        found[name] = sorted(map(str, value)) if isinstance(value, Mapping) else shown(name, value)
    return found


def options_of(route: Route) -> dict[str, Any]:
    """Return how a route is configured: its functions, and what is not as it is by default.

    Args:
        route: The route.
    """
    config, usual = route.config, RouteConfig(name="", pattern="", place=route.config.place)
    options = {}
    for field in msgspec.structs.fields(RouteConfig):
        value = getattr(config, field.name)
        if field.name not in OWN and value != getattr(usual, field.name):
            options[field.name] = shown(field.name, value)
    return {
        "pattern": config.pattern,
        "place": str(config.place),
        "host": "module" if route.host is None else "kernel",
        "functions": {event: spec.function for event, spec in config.callbacks.items()},
        "options": options,
    }


def shown(name: str, value: Any) -> Any:
    """Return a value as it is told: as JSON has it, without what is secret in it.

    Args:
        name: What it is called.
        value: A setting, an option, or a part of one.
    """
    if isinstance(value, bool | int | float) or value is None:
        return value
    if SECRET.search(name.lower()):
        return HIDDEN
    if isinstance(value, str):
        return without_login(value)
    if value is msgspec.UNSET:
        return None
    if isinstance(value, FunctionSpec):
        return value.function
    if isinstance(value, msgspec.Struct):
        return {key: shown(key, getattr(value, key)) for key in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(key): shown(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [shown(name, one) for one in value]
    return shown_filter(value) or f"({type(value).__name__})"


def without_login(text: str) -> str:
    """Return a text; of a URL neither user and password nor what stands behind a question mark.

    Args:
        text: Any text.
    """
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return HIDDEN  # nobody can say where its password ends
    host = parts.hostname or ""
    if "@" in parts.path or ("@" in text and "@" not in parts.netloc):
        return HIDDEN
    host = f"[{host}]" if ":" in host else host
    login = f"{HIDDEN}@" if "@" in parts.netloc else ""
    query = f"?{HIDDEN}" if parts.query or parts.fragment else ""
    return f"{parts.scheme}://{login}{host}{port}{parts.path}{query}"
