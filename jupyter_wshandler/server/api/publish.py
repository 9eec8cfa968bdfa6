"""Send to clients from outside: what all addresses that take a message have in common."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from tornado.web import HTTPError

from ...routes import Route
from ...types import Message
from ..access.authorize import WRITE, resource_of
from ..access.identity import user_keys
from ..bodies import WrongBody, decoded
from ..records.outcomes import OtherRequest
from .base import OTHERS_ROUTE, ApiHandler

MOST = 4 * 1024 * 1024
"""Bytes that the body with a message may have."""

DEEPEST = 200
"""Objects and lists inside each other in it, as many as `engine.jsontext` lets a bot send."""

LONG = 64 * 1024
"""Bytes from which on a body is read in a thread: it takes longer than others should wait."""

KEY = "Idempotency-Key"
"""The header field that names a message, so that it may be sent again."""

LONGEST_KEY = 255
"""Characters that such a name may have."""

ANOTHER = f"{KEY}: another message has had this key; a new message needs a new one"

EXPECTED = 'JSON such as {"message": "Hello"} or {"message": {"price": 42}}'


class Publication(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message from outside.

    Attributes:
        message: A text, or anything else that JSON can say: then its JSON text is sent.
        binary: In its place, what is sent as a binary frame; in base64 (RFC 4648 section 4).
    """

    message: msgspec.Raw = msgspec.Raw()
    binary: bytes | None = None


P = TypeVar("P", bound=Publication)


class PublishingHandler(ApiHandler):
    """An address that takes a message for clients, from who may write."""

    most = {"post": MOST}
    deepest = DEEPEST
    action = WRITE

    # A message to a bot's clients is activity, as one of a bot's own is.
    _track_activity = True

    def check_publisher(self) -> None:
        """Refuse whom the administrator lets send to nobody.

        Raises:
            HTTPError: 403.
        """
        why = self.services.publishers.why_not_at_all(self.current_user)
        if why:
            raise HTTPError(403, why)

    async def check_route(self, route: Route) -> None:
        """Refuse who may not send to the clients of a route, or whatever `action` is.

        Raises:
            HTTPError: 403.
        """
        resource = resource_of(route)
        with self.answering():
            # Who may not use it does not speak for it either, whatever the Authorizer says of
            # an action that it may know nothing of.
            if not (await self.may(resource, self.action) and await self.may(resource)):
                raise HTTPError(403, OTHERS_ROUTE)
        why = self.services.publishers.why_not(self.current_user, route)
        if why:
            raise HTTPError(403, why)

    async def publish_once(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Publish and answer; with an `Idempotency-Key` that was here before, answer only.

        A client that has not heard the answer may so send again what may have arrived. What was
        refused, or has failed, was not published, and is tried again.

        Args:
            work: Publishes, and returns the answer.

        Raises:
            HTTPError: 400, the key can be none; 422, another message has had it.
        """
        key = self._idempotency_key()
        if key is None:
            self.answer(await work())
            return
        with self.answering():
            who = user_keys(self)[0]
        digest = hashlib.sha256(self.body).digest()
        outcomes = self.services.records.outcomes
        try:
            answer, again = await outcomes.once((who, self.request.path, key), digest, work)
        except OtherRequest:
            raise HTTPError(422, ANOTHER) from None
        if again:
            self.set_header("Idempotent-Replayed", "true")
        self.answer(answer)

    def _idempotency_key(self) -> str | None:
        key = self.request.headers.get(KEY)
        if key is None:
            return None
        key = key.strip().removeprefix('"').removesuffix('"')
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            words = f"{KEY}: expected 1 to {LONGEST_KEY} printable ASCII characters, such as a UUID"
            raise HTTPError(400, words)
        return key

    async def publication(self, kind: type[P]) -> tuple[P, Message]:
        """Return what the body says, and its message as it is sent.

        Args:
            kind: What it should be.

        Raises:
            HTTPError: 400, it is not that.
        """
        try:
            if len(self.body) < LONG:
                return _read(self.body, kind)
            return await asyncio.to_thread(_read, self.body, kind)
        except WrongBody as error:
            raise HTTPError(400, str(error)) from None


def _read(body: bytes | bytearray, kind: type[P]) -> tuple[P, Message]:
    """Read a body.

    Raises:
        WrongBody: It is not what was expected.
    """
    said = decoded(body, kind, EXPECTED, DEEPEST)
    raw = bytes(said.message)
    if said.binary is not None:
        if raw:
            raise WrongBody(f"expected {EXPECTED}: found both message and binary")
        return said, said.binary
    if not raw:
        raise WrongBody(f"expected {EXPECTED}: neither message nor binary is there")
    # What msgspec keeps as it came it has not looked into.
    value = decoded(raw, object, f"{EXPECTED}, with JSON as the message", DEEPEST)
    if value is None:
        raise WrongBody(f'expected {EXPECTED}: null is no message; send "null" for its JSON text')
    if isinstance(value, str):
        return said, value
    # As it came, but for the spaces: no number of it is rounded.
    return said, msgspec.json.format(raw, indent=-1).decode()
