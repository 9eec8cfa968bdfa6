"""A client that comes back after a break: who may, and what it finds."""

from __future__ import annotations

import secrets

from ..connection.connection import Connection
from ..engine.deflate import PerMessageDeflate
from ..engine.protocol import Protocol
from ..engine.resuming import ComeBack, can_resume, come_back
from ..types import Codec, Transport
from .access.admission import AdmissionHandler
from .access.identity import user_key
from .access.refused import Refused

SECRET_BYTES = 24
"""Random bytes in the secret of a connection."""


class ResumingHandler(AdmissionHandler):
    """A route's address, as far as clients come back to it after a break.

    Attributes:
        said: What the client says that comes back; None for one that is new.
        resumed: The connection that it takes up again; None where it gets a new one.
    """

    said: ComeBack | None = None
    resumed: Connection | None = None
    _refusal: str = ""

    @property
    def can_resume(self) -> bool:
        """Whether route and client can both do it."""
        return self.route.config.resume is not None and can_resume(self._offered())

    def _offered(self) -> list[str]:
        value = ",".join(self.request.headers.get_list("Sec-WebSocket-Protocol"))
        return [name.strip(" \t") for name in value.split(",")]

    def _names(self) -> tuple[str, ...]:
        """Return the names of who asks; one of them is enough to be the same."""
        names, claim = [*self.names], self.claim
        if claim is not None and claim.share is not None and claim.is_explicit:
            # A script keeps no cookie, and is another guest each time that it shows the token.
            names.append(f"share:{claim.share.id}")
        return tuple(names)

    async def look_for_resumed(self, connection: Connection) -> None:
        """Find the connection that the client takes up again, if it says so and may.

        Who it is and from where it asks is known by now, as of every client.

        Args:
            connection: What it would have instead.
        """
        said = come_back(self._offered()) if self.can_resume else None
        if said is None:
            return
        self.said = said
        manager = self.services.manager
        found = manager.resumes.find(said, connection, self._names())
        if isinstance(found, Connection):
            self.resumed = found
            return
        if found == "unknown":
            found = await manager.elsewhere.find(said, connection, self._names())
        if found == "lost":
            # It will not come back to that one: its place is free for what it gets instead.
            manager.resumes.give_up(said)
        self._refusal = found

    def refuse_if_gone(self, connection: Connection) -> None:
        """Refuse where the connection that was found has ended while others were asked.

        Raises:
            Refused: It comes again, and is told then what has become of it.
        """
        if self.resumed is None or self.said is None:
            return
        found = self.services.manager.resumes.find(self.said, connection, self._names())
        if found is not self.resumed:
            raise Refused(503, "the connection has ended; try again", {"Retry-After": "1"})

    def take_up(
        self,
        connection: Connection,
        transport: Transport,
        deflate: PerMessageDeflate | None,
        early: bytes,
    ) -> None:
        """Go on with the connection that was found.

        Args:
            connection: The one that was made for this handshake, which never opens.
            transport: The way to the client.
            deflate: The compression that was agreed on for it.
            early: What came behind the handshake.
        """
        resumed, said = self.resumed, self.said
        assert resumed is not None
        assert resumed.line is not None
        assert said is not None
        # What proves the identity from now on is what has proved it now.
        resumed.request = connection.request
        if connection.credential is not None:
            resumed.take_credential(connection.credential)
        old, new = resumed.current_user, connection.current_user
        if old is not None and new is not None and user_key(old) == user_key(new):
            resumed.current_user = new
        codec = Protocol(max_message=self.route.config.max_message, deflate=deflate)
        resumed.line.take_up(transport, codec, early, said)
        self._note("resumed", resumed.id)

    def outlive(
        self, connection: Connection, codec: Codec, transport: Transport
    ) -> tuple[Codec, Transport]:
        """Return the codec and the transport of a new connection that outlives breaks."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        wrapped = connection.outlive(codec, transport, secret, self._names())
        if self._refusal and connection.line is not None:
            connection.line.refusal = self._refusal
            self._note(self._refusal, connection.id)
        return wrapped

    def _note(self, outcome: str, name: str) -> None:
        route = self.route.config.name
        self.services.manager.resumes.count(route, outcome)
        if outcome == "resumed":
            self.log.info("Route %s: the client of %s has come back", route, name)
        else:
            self.log.info(
                "Route %s: a client has come back and could not take up its connection (%s); "
                "it has a new one, %s",
                route,
                outcome,
                name,
            )
