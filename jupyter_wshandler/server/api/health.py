"""Whether the server serves its routes, at ``<base_url>/wshandler/api/health``: for probes."""

from __future__ import annotations

import json
from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, stream_request_body

from ..bodies import UnreadBody, has_body, rules_for
from ..services import Services
from .base import error_body, tell_verbs


class HealthHandler(UnreadBody):
    """The address of a probe: open to all, so it says no name and no reason.

    Nobody is asked who asks: a Hub that is down would make every server look ill.
    """

    def initialize(self, services: Services) -> None:
        """Take what it tells of.

        Args:
            services: What the handlers share.
        """
        self.leftovers = services.leftovers
        self.lets_body_in = not has_body(self.request.headers)
        self._manager = services.manager

    def check_xsrf_cookie(self) -> None:
        """Let the 405 come first: nothing is changed here."""

    def prepare(self) -> None:
        """Refuse a body, and every other verb."""
        if not self.lets_body_in and self.request.method in ("GET", "HEAD"):
            raise HTTPError(400)
        if self.request.method not in ("GET", "HEAD"):
            raise HTTPError(405)

    @allow_unauthenticated
    def get(self) -> None:
        """Answer with `status`, "ok" or "degraded", and a state each of `backplane` and `sessions`.

        It is degraded where a route is broken, the backplane is in trouble, the sessions' store is
        "away" and not "up", or no route is served. The last is a 503: no use to send anybody here.
        So is "draining", of a server that takes nobody new. A server alone has the backplane
        "single"; see `backplane.measures.State` for the others.
        """
        nothing_served = bool(self.settings["wshandler"].misconfigured)
        broken = any(route.error for route in self._manager.served.configured)
        rooms = self._manager.rooms
        sessions = getattr(self._manager, "sessions", None)  # there once it has started
        is_away = sessions is not None and sessions.is_away
        broken = broken or bool(rooms.trouble) or is_away
        status = "degraded" if nothing_served or broken else "ok"
        if self._manager.drain.is_on or self._manager.stopping:
            status = "draining"
        if nothing_served or status == "draining":
            self.set_status(503)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        states = {
            "backplane": {"state": rooms.state},
            "sessions": {"state": "away" if is_away else "up"},
        }
        self.finish(json.dumps({"status": status, **states}))

    @allow_unauthenticated
    def head(self) -> None:
        """Answer as to a GET, without the text."""
        self.get()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer as all of the API does."""
        message = responses.get(status_code, "refused")
        if status_code == 405:
            message = tell_verbs(self)
        self.set_header("Content-Type", "application/json")
        self.finish(error_body(message))


@stream_request_body
class HealthHandlerWithBody(HealthHandler):
    """The same for a request with a body, which is refused unread."""


def health_rules(matcher: Matcher, services: Services) -> list[Rule]:
    """Return the rules of the address.

    Args:
        matcher: Matches the address.
        services: What the handlers share.
    """
    return rules_for(matcher, HealthHandler, HealthHandlerWithBody, {"services": services})
