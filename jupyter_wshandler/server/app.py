"""The extension as Jupyter Server sees it: traits, start and stop."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.utils import url_path_join
from traitlets import (
    Bool,
    CaselessStrEnum,
    Dict,
    Float,
    Integer,
    List,
    Unicode,
    Union,
)

from ..callbacks.questions import ANSWER_TIMEOUT
from ..config.loader import load
from ..config.logicalpath import absolute
from ..config.nodes import suggest
from ..kernels.routes import KernelRoutes
from ..manager.manager import WebSocketManager
from ..manager.served import Watching
from ..shares.stores import StoreFailed
from ..transports.handover import TRANSPORTS
from .access.pagetickets import PageTickets
from .access.publishing import Publishers, PublishingTraits
from .access.recheck import Recheck
from .access.refusals import Refusals
from .access.tickets import Tickets
from .addresses import address_for_cells, say_where
from .backlog import lengthen
from .bodies import Leftovers
from .botsonly import SCOPE, advice, shut
from .configfiles import lost, unloaded
from .directory.start import ByName, SharingTraits
from .filtertraits import FilterTraits
from .guestbook import open_guests
from .happenings import Happenings
from .hubservice import is_classic_hub_app
from .jupytersettings import plain, without_effect
from .kernels.sharing import KernelSharing
from .kernels.traits import KernelTraits
from .kernels.watch import KernelWatch
from .metrics import ManagerCollector
from .records import Records
from .routing import answered_by, unreachable
from .rules import install
from .services import Services
from .signals import stop_in_order_on_sigint, stop_once
from .statichandler import StaticHandler
from .storetraits import StoreTraits

HUB_IDLE = 1800.0
"""Seconds without a message after which a connection is idle, under JupyterHub."""

UNRELIABLE = "a setting of c.WSHandlerApp is wrong, and so none can be relied on: {}"

STATIC = os.path.join(os.path.dirname(__file__), "static")
"""Files for browsers."""


class WSHandlerApp(
    SharingTraits, PublishingTraits, StoreTraits, KernelTraits, FilterTraits, ExtensionApp
):
    """The extension: Python functions as WebSockets of this Jupyter server."""

    name = "wshandler"
    app_name = "WebSocket routes"
    description = "Serve Python functions as authenticated WebSockets of a Jupyter server."
    load_other_extensions = True
    file_url_prefix = "/wshandler"
    static_paths = [STATIC]
    announces = False
    """Whether the addresses of all bots are printed once the server is up."""

    url = Dict(
        help="Routes, of the same shape as `url:` in a config file; they win over the files."
    ).tag(config=True)

    defaults = Dict(help="kwargs for every route; a route's own win over them.").tag(config=True)

    enforce = Dict(
        help="""kwargs that no file and no route may override. It binds users only where it is
        given on the server's command line, or where the user's own config is not read."""
    ).tag(config=True)

    allow_public_routes = Bool(
        False,
        help="Allow routes with `auth: false`: anybody who reaches the server may use them.",
    ).tag(config=True)

    secure_cookie = Bool(
        None,
        allow_none=True,
        help="The session cookie's Secure attribute; unset, it follows the browser's connection.",
    ).tag(config=True)

    threads = Integer(16, min=1, help="Threads that run `def` callbacks of all routes.").tag(
        config=True
    )

    thread_patience = Float(
        30.0, min=0.1, help='Seconds that a message waits for a free thread before 1013 "busy".'
    ).tag(config=True)

    answer_timeout = Float(
        ANSWER_TIMEOUT,
        min=0.1,
        help="""Seconds that the identity provider, the Authorizer, and a route's own rule have to
        answer a request; then it gets 503. A route's `timeout:` wins for its own functions.""",
    ).tag(config=True)

    stop_timeout = Float(
        10.0, min=0.0, help="Seconds for callbacks to end when the server stops."
    ).tag(config=True)

    freeze_gc = Bool(
        True,
        help="""Keep what the server has loaded at its start out of later garbage collections.
        A full one walks all of Jupyter's objects, and every connection waits meanwhile (100 ms
        measured); what is frozen is still freed when its last reference goes.""",
    ).tag(config=True)

    switch_interval = Float(
        0.0005,
        allow_none=True,
        min=0.000001,
        help="""Seconds that a thread may keep Python to itself while another one waits for it
        (`sys.setswitchinterval`), for the whole server. With Python's own 5 ms each connection
        waits so long, several times a message, for each `def` that computes. None leaves it as it
        is.""",
    ).tag(config=True)

    transport = CaselessStrEnum(
        TRANSPORTS,
        "auto",
        help="""How bytes travel after the handshake: "auto" uses the socket directly where it
        can, plain or TLS; "stream" always goes through Tornado's stream.""",
    ).tag(config=True)

    header_timeout = Float(
        None,
        allow_none=True,
        min=0.1,
        help="""Seconds that a client has for the header of a request, for the whole server: also
        an idle HTTP connection is closed after that. Unset, it is Tornado's hour.""",
    ).tag(config=True)

    backlog = Integer(
        4096,
        min=0,
        help="""How many connections may wait until the server takes them, for the whole server:
        as many clients as come back at once after a restart. The operating system's own limit
        holds, too (Linux: `net.core.somaxconn`). 0 leaves it at Tornado's 128.""",
    ).tag(config=True)

    reload = Union(
        [CaselessStrEnum(["auto", "poll", "off"]), Bool()],
        default_value="auto",
        help="""Whether config files and callback modules are loaded again when they change.
        "auto" (or True): as the operating system tells of changes. "poll": by looking every
        second, for folders where it does not tell. "off" (or False): only at a restart.""",
    ).tag(config=True)

    kernel_routes = CaselessStrEnum(
        ["off", "private", "any"],
        "private",
        help="""What notebooks may serve with `wsh.serve`: "private" routes need a login and the
        same origin; "any" lets them set `auth` and `origins` themselves; "off" serves none.""",
    ).tag(config=True)

    bots_only = Bool(
        False,
        help="""Serve bots and nothing else: besides the routes there are login and logout, static
        files, the API of this extension and /metrics, and no other address of Jupyter's or of an
        extension's. `jupyter wshandler serve FILE --bots-only` sets it.""",
    ).tag(config=True)

    bots_only_by_command = False
    """The same, where no option or file can undo it."""

    config_file = Union(
        [Unicode(), List(Unicode())],
        default_value="",
        help="A YAML file with routes, or a list of them; later ones win.",
    ).tag(config=True)

    _stopping: asyncio.Task[None] | None = None

    def files(self) -> list[str]:
        """Return the config files, in order."""
        given = self.config_file
        files = [given] if isinstance(given, str) and given else list(given or ())
        # A callback may change the working directory before the files are read again.
        return [absolute(path) for path in files]

    def watching(self) -> Watching:
        """Return how changes of files are noticed."""
        given = self.reload
        return ("auto" if given else "off") if isinstance(given, bool) else given

    def idle_timeout(self) -> float:
        """Return the seconds without a message after which most routes close a connection.

        JupyterHub's proxy counts every pong as activity of the server, so that a forgotten tab
        would keep it from the culler for ever.
        """
        return HUB_IDLE if self.under_hub() else 0.0

    def _why_misconfigured(self) -> str:
        """Return why no route may be served, or "" where nothing stands against it.

        What an administrator meant to forbid must not be allowed because their words got lost.
        """
        if is_classic_hub_app(self.serverapp, self.settings.get("identity_provider")):
            return (
                "JupyterHub's classic single-user app does not tell the extension who asks; start "
                "servers without JUPYTERHUB_SINGLEUSER_EXTENSION=0, and with "
                "JUPYTERHUB_SINGLEUSER_APP unset or jupyter-server"
            )
        if self.misconfigured:  # Jupyter could not take the traits
            return self.misconfigured
        known = self.trait_names(config=True)
        unknown = sorted({*self.config.get("WSHandlerApp", {})} - {*known})
        if unknown:
            # It may be what the administrator meant to enforce.
            found = "; ".join(f"unknown key {name!r}; {suggest(name, known)}" for name in unknown)
            return UNRELIABLE.format(found)
        files = unloaded(self.serverapp, self._apps(), self.config_file_name)
        return "; ".join(files) + "; mend it, and start the server again" if files else ""

    def _link_jupyter_server_extension(self, serverapp: Any) -> None:
        # One wrong setting, and traitlets takes back those that came with it: `enforce` too. And
        # Jupyter goes on without.
        try:
            super()._link_jupyter_server_extension(serverapp)
        except Exception as error:
            hint = ""
            if re.search(r"'(enforce|defaults)' trait", str(error)):
                hint = " (write all of it as one mapping, or all of it as key=value)"
            self.misconfigured = UNRELIABLE.format(f"{error}{hint}")
            raise

    def _apps(self) -> list[Any]:
        """Return the applications of all extensions: what one of them reads counts for all."""
        assert self.serverapp is not None
        found = self.serverapp.extension_manager.extension_apps.values()
        return [self, *(app for apps in found for app in apps if app is not self)]

    def initialize(self) -> None:  # type: ignore[override]
        """Prepare the server; one with bots only is shut until all of it is there."""
        texts = lost(self.serverapp, self._apps(), self.config_file_name)
        self.gate = shut(self, texts)
        super().initialize()  # type: ignore[no-untyped-call]
        if self.gate is not None:
            self.gate.open(self)
            self.log.info("%s", SCOPE)

    def initialize_settings(self) -> None:
        """Load the configuration and make it known to the web application."""
        self.manager = WebSocketManager(
            log=self.log,
            threads=self.threads,
            patience=self.thread_patience,
            answer_timeout=self.answer_timeout,
            reload=self.watching(),
            rooms_per_space=self.rooms_per_space,
            backplane=self.open_backplane(),
            sessions=self.sessions(),
        )
        self.settings["wshandler_manager"] = self.manager
        self.manager.drain.waits = True
        self.manager.served.filter_all(self.filters_of_all())
        self.misconfigured = self._why_misconfigured()
        if self.misconfigured or self.gate is not None:
            self.kernel_routes = "off"
        if self.misconfigured:
            self.log.error("No routes are served: %s", self.misconfigured)
            self.guests = "off"
            return
        source = partial(
            load,
            files=self.files(),
            url=plain(self.url),
            defaults=plain(self.defaults),
            enforce=plain(self.enforce),
            allow_public_routes=self.allow_public_routes,
            idle_timeout=self.idle_timeout(),
        )
        self.manager.apply(source(), source)
        for sentence in without_effect(plain(self.serverapp.config if self.serverapp else {})):
            self.log.warning("%s", sentence)

    def initialize_handlers(self) -> None:
        """Put the rules of the routes behind all of Jupyter's."""
        assert self.serverapp is not None
        base_url = self.serverapp.web_app.settings["base_url"]
        self.manager.served.base_url = base_url
        secret = self.serverapp.web_app.settings["cookie_secret"]
        self.manager.elsewhere.alike = self.expect_same(secret)
        refusals = Refusals(self.manager, self.serverapp.event_logger)
        records = Records.of(self.manager.observers)
        refusals.heard_by(records.journal.refused)
        happenings = Happenings(refusals.events.emit, records.ledger)
        self.manager.observers.add(happenings)
        self.manager.served.reloaded = happenings.reloaded
        self.recheck = Recheck(self.serverapp.web_app, self.manager, refusals, self.answer_timeout)
        self.leftovers = Leftovers()
        self.has_metrics = False
        self.kernels: KernelWatch | None = None
        guests = open_guests(
            self.serverapp,
            self.manager,
            refusals,
            store=self.store_url(),
            prefix=self.backplane_prefix,
            policy=self.guests,
            secure_cookie=self.secure_cookie,
        )
        self.by_name = ByName(self, base_url, guests)
        self.collector = ManagerCollector(self.manager, guests, self.traffic())
        self.services = services = Services(
            manager=self.manager,
            recheck=self.recheck,
            tickets=Tickets(),
            refusals=refusals,
            shares=guests.book,
            guests=guests,
            guest_pages=PageTickets(self.manager.observers),
            leftovers=self.leftovers,
            secure_cookie=self.secure_cookie,
            transport=self.transport,
            publishers=Publishers.of(self.publishers, bots_only=self.gate is not None),
            static_url=self.static_url_prefix,
            records=records,
            named=self.by_name.guests,
        )
        install(self.serverapp.web_app, services, base_url, self.by_name.directory)
        # Before Jupyter's own rule for these files, which reads bodies.
        static = {"path": self.static_paths, "services": services}
        self.handlers.append((rf"/static/{self.name}/(.*)", StaticHandler, static))

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        # First: Jupyter goes on where this hook fails, and no login may go unasked then.
        self.recheck.start()
        await self.manager.start()
        with suppress(StoreFailed):  # who comes by a share has it read again
            await self.services.shares.start()
            self.services.shares.judge(self.manager.table)
        self.by_name.start()
        times = serverapp.web_app.settings["last_activity_times"]
        self.manager.active = lambda: times.update(wshandler=datetime.now(UTC))
        if self.header_timeout is not None:
            # Jupyter has no option for Tornado's `idle_connection_timeout`.
            serverapp.http_server.conn_params.header_timeout = self.header_timeout
        if self.backlog:
            lengthen(serverapp.http_server, self.backlog)
        stop_in_order_on_sigint()
        stop_once(serverapp, self._say_that_it_stops)
        if self.gate is None:
            self._watch_kernels(serverapp)
        else:
            self.gate.stand()
        self.has_metrics = self.collector.register()
        if self.switch_interval is not None:
            sys.setswitchinterval(self.switch_interval)
        if self.freeze_gc:
            gc.collect()
            gc.freeze()
        application = serverapp.web_app
        advise = partial(unreachable, application, self.manager, application.settings["base_url"])
        self.manager.served.advise = advise
        for sentence in (*advise(), *advice(self)):
            self.log.warning("%s", sentence)
        say_where(self, announces=self.announces)

    def _say_that_it_stops(self) -> None:
        self.log.info("The server stops already; callbacks have %g s", self.stop_timeout)

    def _watch_kernels(self, serverapp: Any) -> None:
        application = serverapp.web_app
        prefix = application.settings["base_url"].rstrip("/")
        script = url_path_join(self.static_url_prefix, "chat.js")
        routes = KernelRoutes(
            self.manager.served,
            policy=self.kernel_routes,
            defaults=plain(self.defaults),
            enforce=plain(self.enforce),
            allow_public_routes=self.allow_public_routes,
            idle_timeout=self.idle_timeout(),
            limit=self.kernel_routes_limit,
            headers=self.kernel_headers,
            elsewhere=lambda route: answered_by(application, prefix + route.sample_path()),
            address=address_for_cells(serverapp, script),
            filters=self.manager.served.filters_of_all if self.filters else None,
        )
        sharing = KernelSharing(self.services)
        self.kernels = KernelWatch(
            *(serverapp, self.manager, routes, self.thread_patience, sharing),
            pipes=self.kernel_pipes,
        )
        self.kernels.start()
        self.collector.kernels = self.kernels.bridges

    def current_activity(self) -> int:
        """Return how many connections keep the server alive by being open."""
        return self.manager.kept_alive()

    async def stop_extension(self) -> None:
        """Close every connection and end what the extension has started.

        Jupyter asks again at each further signal, while the first stop is under way: it is one and
        the same for all who ask.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_once(), name="wshandler stop")
        # Who asks may be cancelled, as the loop ends with the first who is done.
        await asyncio.shield(self._stopping)

    async def _stop_once(self) -> None:
        if self.has_metrics:
            self.collector.unregister()
        await self.recheck.stop()
        await self.leftovers.stop()
        # The connections of bots in kernels end with the others, while their kernels are there.
        await self.manager.stop(self.stop_timeout)
        if self.kernels is not None:
            await self.kernels.stop()
        await self.by_name.stop()
        await self.services.shares.stop()
        self.services.records.stop()


main = launch_new_instance = WSHandlerApp.launch_instance
