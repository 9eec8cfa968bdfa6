"""What every address of the REST API below ``<base_url>/wshandler/api/`` has in common."""

from __future__ import annotations

import json
from http.client import responses
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import APIHandler
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, RequestHandler, stream_request_body

from ..access.authorize import ACTION, RESOURCE
from ..access.inquiry import InquiringHandler
from ..access.refused import words_of
from ..bodies import DEEPEST, LastAnswer, T, UnreadBody, WrongBody, decoded, rules_for
from ..forwarded import read_forwarded
from ..services import Services

OTHERS_ROUTE = "this user is not authorized for this route"
"""What somebody is told whom the Authorizer does not let use a route."""

FAULT = "something in the server has failed; its log says what"
"""What somebody is told where the fault is ours."""

BODY_SECONDS = 10.0
"""Seconds that a client has to send a body."""


def error_body(message: str, reason: str | None = None) -> str:
    """Return the body of every answer of the API that is an error.

    Args:
        message: What is wrong, and what to do.
        reason: The reason phrase of the status line, where it is not the usual one.
    """
    return json.dumps({"message": message, "reason": reason})


def has_verb(handler: type[RequestHandler], verb: str) -> bool:
    """Return whether a handler answers a verb, in letters of any case."""
    return getattr(handler, verb.lower()) is not getattr(RequestHandler, verb.lower())


def tell_verbs(handler: RequestHandler) -> str:
    """Say in the answer which verbs its address has (RFC 9110, 15.5.6); return it in words.

    Args:
        handler: Answers with 405.
    """
    verbs = (verb for verb in handler.SUPPORTED_METHODS if verb != "OPTIONS")
    there_are = ", ".join(verb for verb in verbs if has_verb(type(handler), verb))
    handler.set_header("Allow", there_are)
    return f"this address takes {there_are}"


class ApiHandler(InquiringHandler, APIHandler):
    """One address of the API, for those who may: asked before a byte of a body is read.

    Jupyter's `prepare` checks Host, login, Origin and, for a login by cookie, XSRF; then the
    Authorizer is asked. A subclass says in `most` how large the bodies of its verbs may be, and
    takes one with `body_as`. `rules` makes its rules.
    """

    most: dict[str, int] = {}
    """Bytes that a body may have, by verb, such as {"post": 4096}; other verbs have none."""

    deepest = DEEPEST
    """Objects and lists inside each other that a body may have."""

    action = ACTION
    """What the Authorizer is asked about, before anything else."""

    # Messages are activity; what only leads to a socket is not.
    _track_activity = False

    body: bytes | bytearray = b""

    @property
    def recheck_period(self) -> float:
        """How old the Hub's answer about who asks may be, in seconds; 0 leaves it to the Hub."""
        periods = [
            route.config.auth.recheck
            for route in self.services.manager.table
            if route.config.auth.required and route.config.auth.recheck
        ]
        return min(periods, default=0.0)

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, by answers as fresh as the strictest route asks for."""
        read_forwarded(self)
        with self.answering():
            with self.services.recheck.fresh(self.recheck_period):
                await self.find_out_who(super().prepare)
            if self._finished:
                return
            if self.current_user is None:
                self.refuse_stranger()
                return
            if not await self.may(RESOURCE, self.action):
                raise HTTPError(403, "this user is not authorized for this")

    def refuse_stranger(self) -> None:
        """Refuse who is not logged in.

        Raises:
            HTTPError: 403.
        """
        raise HTTPError(403, "log in first, or send a token")

    @property
    def named(self) -> str:
        """What log lines call this request."""
        return f"API {self.request.path}"

    def body_as(self, kind: type[T], expected: str) -> T:
        """Return what the body says.

        Args:
            kind: A msgspec.Struct.
            expected: What it should be, for who has sent something else.

        Raises:
            HTTPError: 400, it is not that.
        """
        try:
            return decoded(self.body, kind, expected, self.deepest)
        except WrongBody as error:
            raise HTTPError(400, str(error)) from None

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer as Jupyter does, in JSON, with the sentence as it was written."""
        error = (kwargs.get("exc_info") or (None, None))[1]
        message, reason = FAULT, None
        if isinstance(error, HTTPError):
            message = words_of(error) or responses.get(status_code, "refused")
            reason = error.reason
        if status_code == 405:
            message = tell_verbs(self)
        self.set_header("Content-Type", "application/json")
        self.finish(error_body(message, reason))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Write one line a refusal; Tornado's own would hold the query, and so the token."""
        if isinstance(value, HTTPError):
            why = words_of(value) or value.reason or responses.get(value.status_code, "refused")
            self.log.info("API %s: %d: %s", self.request.path, value.status_code, why)
        else:
            self.log.error("API %s failed", self.request.path, exc_info=(typ, value, tb))

    def answer(self, value: Any) -> None:
        """Answer with JSON that nobody keeps."""
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(value))

    @ws_authenticated
    def options(self) -> None:
        """Refuse: pages of other sites send tokens, and need nothing of what is here."""
        raise HTTPError(405)


class WithBodyHandler(UnreadBody, ApiHandler):
    """An address of the API for requests with a body: read if it is small, from those who may."""

    async def prepare(self) -> None:  # type: ignore[override]
        """Decide who may, and whether the body can be what is expected."""
        await super().prepare()
        if self._finished:
            return
        verb = (self.request.method or "").lower()
        if verb == "options" or not has_verb(type(self), verb):
            raise HTTPError(405)
        if verb not in self.most:
            raise HTTPError(400, "a body means nothing here")
        if self.request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise HTTPError(415, "send the body as it is, without a Content-Encoding")
        self._may_have = self.most[verb]
        length = self.request.headers.get("Content-Length", "").strip()
        if length.isascii() and length.isdigit() and int(length[:20]) > self._may_have:
            raise self._too_large()
        self._received = bytearray()
        connection: Any = self.request.connection
        connection.set_body_timeout(BODY_SECONDS)
        self.lets_body_in = True

    def _too_large(self) -> HTTPError:
        return HTTPError(413, f"a body of more than {self._may_have} bytes is not read")

    def data_received(self, chunk: bytes) -> Any:
        """Take a piece of the body."""
        if self._finished:
            return None
        self._received += chunk
        if len(self._received) > self._may_have:
            # It had no length, and so could not be refused before.
            return self._refuse_the_rest()
        self.body = self._received
        return None

    async def _refuse_the_rest(self) -> None:
        connection: Any = self.request.connection
        self._received.clear()
        error = self._too_large()
        self.refuse_now(error)
        # Tornado waits with reading on until this is done, and finds the stream closed.
        await self.leftovers.skipped(connection.stream)

    def refuse_now(self, error: HTTPError) -> None:
        """Answer while the body still comes.

        Args:
            error: The answer.
        """
        connection: Any = self.request.connection
        self.log_exception(type(error), error, None)
        self.request.connection = LastAnswer(connection, None)
        self.send_error(error.status_code, exc_info=(type(error), error, None))


def rules(
    matcher: Matcher, handler: type[ApiHandler], services: Services, **settings: Any
) -> list[Rule]:
    """Return the rules of an address of the API.

    Args:
        matcher: Matches the address.
        handler: Serves it.
        services: What the handlers share.
        settings: What else the handler gets in `initialize`.
    """
    with_body = type(f"{handler.__name__}WithBody", (WithBodyHandler, handler), {})
    given = {"services": services, **settings}
    return rules_for(matcher, handler, stream_request_body(with_body), given)
