"""What users' servers ask of the directory, below ``<base_url>/wshandler/directory/servers/``.

There is no login here, and no cookie counts: a server proves itself with its own Hub token, and the
Hub is asked whose it is before a byte of a body is read.
"""

from __future__ import annotations

import msgspec
from jupyter_server.auth import User
from jupyter_server.auth.decorator import ws_authenticated
from tornado.web import HTTPError

from ..forwarded import read_forwarded
from .base import DirectoryHandler
from .hub import ServerId
from .messages import (
    MOST_CHECKS,
    About,
    Ids,
    Questions,
    Redemption,
    Registration,
    Verdicts,
    Wrong,
)


class ServerHandler(DirectoryHandler):
    """One address for users' servers, for those whose token the Hub knows as a server's."""

    server: ServerId

    async def prepare(self) -> None:  # type: ignore[override]
        """Ask the Hub whose server this is; no user of this service is meant."""
        read_forwarded(self)
        self.current_user = self._jupyter_current_user = None
        self.set_header("Cache-Control", "no-store")
        if not self.check_host():
            raise HTTPError(403, "this host is not known here")
        if "Origin" in self.request.headers:
            raise HTTPError(403, "this is for servers, and a page of a browser asks")
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("token", "bearer") or not token.strip():
            raise HTTPError(403, "send the Hub token of a user's server")
        with self.in_words():
            server = await self.directory.hub.server_of(token.strip())
        if server is None:
            raise HTTPError(403, "this is not the Hub token of a user's server")
        self.server = server
        self.current_user = self._jupyter_current_user = User(f"{server.owner}/{server.name}")

    @property
    def named(self) -> str:
        """What log lines call this request."""
        return "Directory"

    def answer(self, found: msgspec.Struct) -> None:
        """Answer with JSON."""
        self.finish(msgspec.json.encode(found))


class AboutHandler(ServerHandler):
    """Where browsers reach the directory."""

    @ws_authenticated
    def get(self) -> None:
        """Answer with that."""
        self.answer(About(self.directory.home))


class AllSharesHandler(ServerHandler):
    """All that a server shares."""

    @ws_authenticated
    async def get(self) -> None:
        """Answer with the ids."""
        with self.in_words():
            own = await self.directory.of(self.server)
        self.answer(Ids(tuple(listing.id for listing in own)))


class ShareHandler(ServerHandler):
    """One bot that a server shares."""

    most = {"put": 256 * 1024}

    @ws_authenticated
    async def put(self, share: str) -> None:
        """Share one, or take what has changed of it.

        Args:
            share: The id of the share.
        """
        asked = self.body_as(Registration, "a share as JSON")
        try:
            if asked.id != share:
                raise Wrong(f"expected the id of the address, {share!r}")
            with self.in_words():
                found = await self.directory.register(self.server, asked)
        except Wrong as wrong:
            raise HTTPError(400, str(wrong)) from None
        self.answer(found)

    @ws_authenticated
    async def delete(self, share: str) -> None:
        """Stop sharing one.

        Args:
            share: The id of the share.
        """
        own = self.server
        with self.in_words():
            found = await self.directory.withdraw(share, lambda it: (it.owner, it.server) == own)
        if not found:
            raise HTTPError(404, "this server shares nothing with this id")
        self.set_status(204)
        self.finish()


class RedeemHandler(ServerHandler):
    """Where a server learns who has come with a code."""

    most = {"post": 8192}

    @ws_authenticated
    async def post(self) -> None:
        """Answer with who it is; 403 with a sentence for the guest where the code is not good."""
        asked = self.body_as(Redemption, "a code as JSON")
        with self.in_words():
            person = await self.directory.redeem(self.server, asked)
        if person is None:
            raise HTTPError(403, "this code is not good here, or not any more; open the bot again")
        self.answer(person)


class CheckHandler(ServerHandler):
    """Where a server asks again whether its guests may stay."""

    most = {"post": 256 * 1024}

    @ws_authenticated
    async def post(self) -> None:
        """Answer each question, in their order."""
        asked = self.body_as(Questions, "questions as JSON").ask
        if len(asked) > MOST_CHECKS:
            raise HTTPError(400, f"expected at most {MOST_CHECKS} questions, found {len(asked)}")
        with self.in_words():
            verdicts = await self.directory.check(self.server, asked)
        for verdict in verdicts:
            if verdict.allowed is None:
                self.directory.note_silence(verdict.why)
        self.answer(Verdicts(tuple(verdicts)))
