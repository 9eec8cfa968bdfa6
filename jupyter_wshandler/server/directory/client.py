"""How a user's server speaks with the directory: a few requests, each with an end.

The server proves itself with its own Hub token, which therefore goes to the address that the
administrator has named and nowhere else: redirects are not followed.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from .messages import (
    SERVERS,
    About,
    Ids,
    Person,
    Question,
    Questions,
    Redemption,
    Registration,
    Verdict,
    Verdicts,
)

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds that the directory has to answer; it has to ask the Hub first."""

MOST_BYTES = 2 * 1024 * 1024
"""Bytes of an answer that are read."""


class DirectoryError(Exception):
    """The directory has not done what it was asked for.

    Args:
        sentence: Why, in words that hold no secret.
        status: What it has answered with; 0 where it has not answered.
    """

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.status = status

    @property
    def is_refusal(self) -> bool:
        """Whether it is the directory's own no, and not that it could not be asked."""
        return 400 <= self.status < 500


class DirectoryClient:
    """The requests of one user's server.

    Args:
        url: Where the service is, for this server: with its prefix, such as
            ``http://proxy-public/services/bots/``.
        hub_auth: JupyterHub's HubAuth, which has the token of this server.
    """

    def __init__(self, url: str, hub_auth: Any) -> None:
        self.url = url.rstrip("/") + "/"
        self._token = str(hub_auth.api_token)
        self._ssl = _ssl_of(hub_auth) if self.url.startswith("https:") else None
        self._client = AsyncHTTPClient(force_instance=True, max_clients=10)
        self._home = ""

    async def home(self) -> str:
        """Return where browsers reach the directory: a URL or a path, with a slash at its end.

        Raises:
            DirectoryError: It cannot be asked.
        """
        if not self._home:
            found = (await self._ask("GET", "about", About)).home
            parts = urlsplit(found)
            is_url = parts.scheme in ("http", "https") and bool(parts.netloc)
            is_path = not parts.scheme and not parts.netloc and found.startswith("/")
            if not (is_url or is_path) or "\\" in found or not found.endswith("/"):
                raise DirectoryError("the directory does not say where browsers reach it")
            self._home = found
        return self._home

    async def shares(self) -> tuple[str, ...]:
        """Return the ids of what this server shares, by the directory's word.

        Raises:
            DirectoryError: It cannot be asked.
        """
        return (await self._ask("GET", "shares", Ids)).shares

    async def register(self, share: Registration) -> None:
        """Tell the directory of a bot that is shared.

        Args:
            share: What is shared.

        Raises:
            DirectoryError: It does not take it, or cannot be asked.
        """
        await self._send("PUT", f"shares/{quote(share.id, safe='')}", share)

    async def withdraw(self, share: str) -> None:
        """Tell the directory that a bot is not shared any more; one that it does not know is none.

        Args:
            share: The id of the share.

        Raises:
            DirectoryError: It cannot be asked.
        """
        try:
            await self._send("DELETE", f"shares/{quote(share, safe='')}")
        except DirectoryError as error:
            if error.status != 404:
                raise

    async def redeem(self, code: Redemption) -> Person:
        """Return who has come with a code.

        Args:
            code: What has come.

        Raises:
            DirectoryError: The code is not good, or the directory cannot be asked.
        """
        return await self._ask("POST", "redeem", Person, code)

    async def check(self, questions: Sequence[Question]) -> tuple[Verdict, ...]:
        """Return whether guests may stay, in the order of the questions.

        Args:
            questions: The questions; at most `MOST_CHECKS`.

        Raises:
            DirectoryError: It cannot be asked.
        """
        answers = (await self._ask("POST", "check", Verdicts, Questions(tuple(questions)))).answers
        if len(answers) != len(questions):
            raise DirectoryError("the directory has answered other questions than were asked")
        return answers

    def close(self) -> None:
        """Ask nothing any more."""
        self._client.close()

    async def _ask(
        self, verb: str, what: str, expected: type[T], body: msgspec.Struct | None = None
    ) -> T:
        answer = await self._send(verb, what, body)
        try:
            return msgspec.json.decode(answer, type=expected)
        except msgspec.MsgspecError:
            raise DirectoryError("the directory has answered what nobody expects") from None

    async def _send(self, verb: str, what: str, body: msgspec.Struct | None = None) -> bytes:
        request = HTTPRequest(
            f"{self.url}{SERVERS}/{what}",
            method=verb,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else msgspec.json.encode(body),
            connect_timeout=PATIENCE,
            request_timeout=PATIENCE,
            follow_redirects=False,
            ssl_options=self._ssl,
        )
        try:
            answer = await self._client.fetch(request)
        except HTTPClientError as error:
            raise DirectoryError(_said(error), error.code if error.code != 599 else 0) from None
        except OSError as error:
            # Its text may hold the address and no more; its name is enough.
            name = type(error).__name__
            raise DirectoryError(f"the directory cannot be reached: {name}") from None
        if len(answer.body) > MOST_BYTES:
            raise DirectoryError("the directory has answered more than is read")
        return answer.body


def _said(error: HTTPClientError) -> str:
    """Return what an answer says, where it is the directory's."""
    if error.code == 599:
        return "the directory does not answer"
    body = b"" if error.response is None else error.response.body or b""
    try:
        found = msgspec.json.decode(body[:4096], type=dict[str, Any])
        message = str(found.get("message") or "")
    except msgspec.MsgspecError:
        message = ""
    if message and len(message) <= 300 and message.isprintable():
        return message
    return f"the directory has answered {error.code}"


def _ssl_of(hub_auth: Any) -> ssl.SSLContext:
    """Return what trusts everybody's certificates, and the Hub's own where it has its own."""
    context = ssl.create_default_context()
    if hub_auth.client_ca:
        context.load_verify_locations(cafile=hub_auth.client_ca)
    if hub_auth.certfile and hub_auth.keyfile:
        context.load_cert_chain(hub_auth.certfile, hub_auth.keyfile)
    return context
