"""A server with bots and nothing else: which of its addresses are there, and that no other is.

Jupyter and its extensions add rules as they like, before and after this extension is loaded, and
some of their handlers ask no Authorizer. So nobody is asked for permission here: requests go by a
list of this module's own, and what is not on it does not exist.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jupyter_server.base.handlers import PrometheusMetricsHandler, RedirectWithParams
from jupyter_server.utils import url_path_join
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.routing import Matcher, PathMatches, Rule, RuleRouter
from tornado.web import Application, HTTPError, stream_request_body

from ..manager.manager import WebSocketManager
from . import pages
from .access.identity import hub_auth_of
from .bodies import Leftovers, UnreadBody, has_body
from .hubservice import account, service_name
from .requests import without_client
from .routing import ONLY

TRAIT = "bots_only"

NOTHING = "there is nothing at this address: this server has bots only"

SCOPE = (
    "Bots only: besides the routes there are login and logout, static files, the API of this "
    "extension, /metrics, and no other address; no kernels (so kernel_routes is off), no "
    "terminals, no files, nothing of other extensions"
)
"""What the log says at the start."""


class _Every(tuple[str, ...]):
    """Every method there may be; Tornado answers others with 405 before a handler is asked."""

    def __contains__(self, method: object) -> bool:
        return True


class NothingHandler(UnreadBody):
    """The answer at every other address: 404 for every verb, to everybody, without a question."""

    SUPPORTED_METHODS = _Every()

    def initialize(self, leftovers: Leftovers) -> None:
        """Take what skips bodies.

        Args:
            leftovers: That.
        """
        self.leftovers = leftovers
        self.lets_body_in = not has_body(self.request.headers)

    def check_xsrf_cookie(self) -> None:
        """Let the 404 come first."""

    def prepare(self) -> None:
        """Answer."""
        raise HTTPError(404)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one plain sentence."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish(f"{status_code}: {NOTHING}\n")


@stream_request_body
class NothingHandlerWithBody(NothingHandler):
    """The same for a request with a body, which is not read and costs the connection."""


class Gate(RuleRouter):
    """The only way to a handler of a server with bots only.

    It stands in the place of the application's `find_handler`, so that no rule counts that is
    added to the application, whenever that is. It lets nothing in until it is told what: where the
    extension cannot be loaded to its end, the server has no address at all.

    Args:
        application: Jupyter's web application, before any extension's part of it counts.
        provider: Jupyter's identity provider: its addresses are those of login and logout.
    """

    def __init__(self, application: Application, provider: Any) -> None:
        super().__init__()
        self._application = application
        self._leftovers = Leftovers()
        self.stand()
        self._login = [
            (url_path_join(application.settings["base_url"], path), handler)
            for path, handler, *_ in provider.get_handlers()
        ]
        self._core = [rule for rule in application.wildcard_router.rules if self._is_wanted(rule)]
        self._first: list[Rule] = []
        self._ours: list[Rule] = []
        self._directory = ""
        self._goes_first: Callable[[], bool] = bool
        application.settings[ONLY] = self

    def _is_wanted(self, rule: Rule) -> bool:
        """Return whether a rule of Jupyter's own is on the list."""
        pattern = getattr(getattr(rule.matcher, "regex", None), "pattern", "")
        if any(pattern == path + "$" and rule.target is target for path, target in self._login):
            return True
        settings = self._application.settings
        if rule.target is settings["static_handler_class"]:
            prefix = re.escape(settings["static_url_prefix"])
            return pattern in (prefix + r"(.*)$", r"/(favicon\.ico)$", r"/(robots\.txt)$")
        return rule.target is PrometheusMetricsHandler

    def stand(self) -> None:
        """Have every request come this way, also where something else has found another since."""
        self._application.find_handler = self.find_handler  # type: ignore[method-assign]

    def admit(self, rules: Iterable[Rule], first: Iterable[Rule] = ()) -> None:
        """Take rules of this extension on the list.

        Args:
            rules: Rules that stand behind Jupyter's.
            first: Rules that stand before them.
        """
        self._ours += rules
        self._first += first

    def lead_to(self, directory: str, goes_first: Callable[[], bool]) -> None:
        """Have the root lead to a page that lists bots, where Jupyter's `default_url` says nothing.

        Args:
            directory: The path of the page.
            goes_first: Returns whether it does so also where a bot has a page of its own.
        """
        self._directory, self._goes_first = directory, goes_first

    def home(self, manager: WebSocketManager) -> str:
        """Return where the root leads, if `default_url` does not say it; "" for nowhere.

        Args:
            manager: Owns the routes.
        """
        if self._directory and self._goes_first():
            return self._directory
        served = manager.served
        _, path = next(pages.openable(served.configured), (None, ""))
        return served.base_url.rstrip("/") + path if path else self._directory

    def open(self, app: Any) -> None:
        """Let requests in, to what is on the list, and to the files of the extension.

        Args:
            app: The extension, complete.
        """
        base_url = self._application.settings["base_url"]
        self._leftovers = app.leftovers
        own = [
            Rule(PathMatches(url_path_join(base_url, path)), handler, *settings)
            for path, handler, *settings in app.handlers
        ]
        home = Rule(HomeMatcher(self, app.manager, app.serverapp.default_url), RedirectWithParams)
        self.rules = [*self._first, *own, *self._core, home, *self._ours]

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return what answers a request: the 404 where no rule on the list matches."""
        found = super().find_handler(request, **kwargs)
        if found is not None:
            return found
        nothing = {"leftovers": self._leftovers}
        handler = NothingHandlerWithBody if has_body(request.headers) else NothingHandler
        return self._application.get_handler_delegate(request, handler, nothing)

    def get_target_delegate(self, target: Any, request: HTTPServerRequest, **params: Any) -> Any:
        """Return what has a handler of a rule's answer."""
        return self._application.get_handler_delegate(request, target, **params)

    def leads_somewhere(self, path: str) -> bool:
        """Return whether there is anything at an address but the root.

        Args:
            path: The path, with the server's base URL.
        """
        request = without_client(path.partition("?")[0], HTTPHeaders({"Host": "localhost"}))
        return any(
            rule.matcher.match(request) is not None
            for rule in self.rules
            if not isinstance(rule.matcher, HomeMatcher)
        )


class HomeMatcher(Matcher):
    """Matches the server's root, where a login leads, if there is a page to go on to.

    Args:
        gate: Knows what there is.
        manager: Owns the routes.
        default_url: Where Jupyter would lead.
    """

    def __init__(self, gate: Gate, manager: WebSocketManager, default_url: str) -> None:
        self._gate = gate
        self._manager = manager
        self._default_url = default_url

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return where to go, or None."""
        base_url = self._manager.served.base_url
        if request.path not in (base_url, base_url.rstrip("/")):
            return None
        url = self._default_url
        if url == base_url or not self._gate.leads_somewhere(url):
            url = self._gate.home(self._manager)
        return {"target_kwargs": {"url": url, "permanent": False}} if url else None


def shut(app: Any, lost: Iterable[bytes]) -> Gate | None:
    """Let no request in, where the administrator wants bots only; return the gate, or None.

    Args:
        app: The extension, linked and not initialized: what goes wrong later, does so behind it.
        lost: The texts of the config files that Jupyter could not load.
    """
    if not (
        app.bots_only
        or app.bots_only_by_command
        or _is_meant(app)
        or any(TRAIT.encode() in text for text in lost)
    ):
        return None
    provider = app.serverapp.identity_provider
    if getattr(provider, "allow_password_change", False):
        # Whoever logs in with the token could set a password, in a file of the account's.
        provider.allow_password_change = False
    application = app.serverapp.web_app
    application.settings["allow_password_change"] = False
    return Gate(application, provider)


def _is_meant(app: Any) -> bool:
    """Return whether a setting is there that only a slip keeps from being this one.

    One wrong setting, and traitlets takes back those that came with it; and Jupyter goes on.
    """
    others = {*app.trait_names(config=True)} - {TRAIT}
    return any(
        str(value).strip().lower() not in ("false", "0")
        for config in (app.config, app.serverapp.config)
        for name, value in dict(config.get("WSHandlerApp", {})).items()
        if name not in others
        and difflib.SequenceMatcher(None, str(name).lower(), TRAIT).ratio() > 0.7
    )


def advice(app: Any) -> Iterator[str]:
    """Yield what the administrator should know of, a sentence each.

    Args:
        app: The extension, started.
    """
    service = service_name()
    if app.gate is not None:
        policy = app.config.get("WSHandlerApp", {}).get("kernel_routes", "off")
        if policy != "off":
            yield (
                f"c.WSHandlerApp.kernel_routes = {str(policy)!r} has no effect: a server with "
                "bots only has no kernels"
            )
    elif service and hub_auth_of(app.serverapp.identity_provider) is not None:
        yield (
            f"Whoever JupyterHub lets use the service {service} can also open a terminal, run "
            f"code and read files on this server, as {account()}: start it with "
            "--WSHandlerApp.bots_only=True, or by `jupyter wshandler serve FILE --bots-only`"
        )
