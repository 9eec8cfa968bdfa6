"""The answer 101: what client and route agree on, and the hand-over of the bytes."""

from __future__ import annotations

from typing import Any

from ..callbacks.errorlog import write_whole
from ..connection.connection import Connection
from ..engine.asking import SUBPROTOCOL
from ..engine.deflate import PerMessageDeflate
from ..engine.handshake import Handshake, check_upgrade, select_subprotocol
from ..engine.protocol import Protocol
from ..engine.resuming import is_offer
from ..errors import HandshakeError
from ..guard import sheltered
from ..transports.handover import take_over
from ..types import Codec, Transport
from .access.asking import ClientGone
from .access.refused import Refused, StaleLogin
from .hints import lost_upgrade
from .resuming import ResumingHandler

COMES_AGAIN = "2"
"""Seconds after which a client may come again that was refused as the server stops."""


class UpgradeHandler(ResumingHandler):
    """A route's address, as far as it opens WebSockets for those who have been admitted."""

    def refuse_if_stopping(self) -> None:
        """Refuse while the server stops, or is emptied: a load balancer takes it elsewhere."""
        manager = self.services.manager
        if manager.stopping or manager.drain.is_on:
            words = "the server is stopping" if manager.stopping else "the server is draining"
            raise Refused(503, words, {"Retry-After": COMES_AGAIN})

    def refuse_if_logged_out(self, connection: Connection) -> None:
        """Refuse a credential that has ended, where the route asks for one at all."""
        if self.claim is not None:
            self.refuse_if_share_ended()  # it has no login, about which nobody is asked
            return
        is_good = self.services.recheck.note_login(self, connection)
        if not is_good and self.route.config.auth.required:
            raise StaleLogin("this login has ended; log in again")

    async def upgrade(self, connection: Connection) -> bool:
        """Complete the handshake and open the connection.

        Args:
            connection: The connection to open.

        Returns:
            Whether it is open: a client may leave in the middle.
        """
        method, version = self.request.method or "", self.request.version
        pairs = list(self.request.headers.get_all())
        try:
            handshake = check_upgrade(method, version, pairs)
        except HandshakeError as error:
            detail = lost_upgrade(self.request)
            raise Refused(error.status, error.reason, error.headers, detail=detail) from None
        envelopes = SUBPROTOCOL in handshake.subprotocols
        # It is between the client and us, and no business of the route's.
        offered = [name for name in handshake.subprotocols if not is_offer(name)]
        subprotocol = await self.choose_subprotocol(connection, offered)
        deflate, extensions = await self.choose_compression(connection, handshake)
        # Asked again: the route's own functions may have taken their time, and meanwhile the user
        # may have logged out, or the server begun to stop. Nothing is awaited from here on, so
        # that no logout is missed before the connection is among the open ones.
        self.refuse_if_stopping()
        self.refuse_if_logged_out(connection)
        if self.resumed is not None and subprotocol is not None:
            raise Refused(400, "a client that resumes offers no other subprotocols")
        self.refuse_if_gone(connection)
        agreed = subprotocol or (SUBPROTOCOL if envelopes else None)
        if subprotocol is not None:
            connection.subprotocol = subprotocol
        taken = self.switch(handshake.accept, agreed, extensions)
        if taken is None:
            return False
        transport, early = taken
        if self.resumed is not None:
            self.take_up(connection, transport, deflate, early)
            return False  # what was made for this handshake is not needed
        protocol: Codec = Protocol(max_message=self.route.config.max_message, deflate=deflate)
        if envelopes and subprotocol is None and self.can_resume:
            protocol, transport = self.outlive(connection, protocol, transport)
        elif envelopes and subprotocol is None:
            protocol = connection.envelop(protocol)
        self.services.manager.open(connection, protocol, transport, early)
        return True

    def switch(
        self, accept: str, subprotocol: str | None, extensions: str | None
    ) -> tuple[Transport, bytes] | None:
        """Answer with 101 (RFC 6455 section 4.2.2), and take the byte stream over.

        Args:
            accept: The answer to the client's key.
            subprotocol: What was agreed on; None where nothing was.
            extensions: What was agreed on of those.

        Returns:
            What `take_over` does: None where the client has left.
        """
        self.clear_header("Content-Type")
        self.set_status(101)
        self.set_header("Upgrade", "websocket")
        self.set_header("Connection", "Upgrade")
        self.set_header("Sec-WebSocket-Accept", accept)
        if subprotocol is not None:
            self.set_header("Sec-WebSocket-Protocol", subprotocol)
        if extensions:
            self.set_header("Sec-WebSocket-Extensions", extensions)
        io, kind = self.services.manager.io, self.services.transport
        if self._transforms:  # somebody's own; Jupyter has none
            self.finish()
            return take_over(self.detach(), io, kind)
        head = self._head()
        taken = take_over(self.detach(), io, kind)
        if taken is not None:
            taken[0].write(head)
        # As `finish` does, which would go by way of Tornado's stream.
        self._finished = self._headers_written = True
        self._log()
        self.on_finish()
        self._break_cycles()
        return taken

    def _head(self) -> bytes:
        """Return the answer as it is sent (RFC 9112 section 4)."""
        cookies = (("Set-Cookie", line) for line in self.take_cookies())
        fields = [*self._headers.get_all(), *cookies]
        lines = ["HTTP/1.1 101 Switching Protocols", *[f"{n}: {v}" for n, v in fields]]
        text = "\r\n".join([*lines, "", ""])
        if not text.count("\n") == text.count("\r") == len(lines) + 1:
            raise ValueError("a header field of the answer holds a line break")
        return text.encode("latin-1")

    async def choose_subprotocol(self, connection: Connection, offered: list[str]) -> str | None:
        """Return the subprotocol to answer with, or None (RFC 6455 section 4.2.2)."""
        if not offered:
            return None
        if "select_subprotocol" not in self.route.callbacks:
            spoken = self.route.config.subprotocols
            found = select_subprotocol(offered, spoken)
            if found is None:
                self.services.refusals.unspoken(self.route.config.name, offered, spoken)
            return found
        chosen = await self._ask_about(connection, "select_subprotocol", list(offered))
        # Only of a real str are `==` and `repr` known to do no more than they say.
        if chosen is not None and (type(chosen) is not str or chosen not in offered):
            self.log.error(
                "Route %s: select_subprotocol returned %s, which the client did not offer",
                self.route.config.name,
                repr(chosen) if type(chosen) is str else type(chosen).__name__,
            )
            raise Refused(500, "the route's select_subprotocol failed")
        if chosen is None:
            self.services.refusals.unspoken(self.route.config.name, offered, None)
            return None
        return str(chosen)

    async def choose_compression(
        self, connection: Connection, handshake: Handshake
    ) -> tuple[PerMessageDeflate | None, str | None]:
        """Return the compression that client and route agree on, and the header to say so."""
        options: dict[str, Any] | None = self.route.config.compression
        if "get_compression_options" in self.route.callbacks:
            options = await self._ask_about(connection, "get_compression_options")
            if options is not None and type(options) is not dict:
                options = self._plain(options)
        if options is None or not handshake.extensions:
            return None, None
        if self.route.config.queue.slow == "drop_oldest":
            # A dropped message must not be the one that later ones refer to.
            options = {**options, "server_no_context_takeover": True}
        try:
            return PerMessageDeflate.negotiate(handshake.extensions, options)
        except ValueError as error:
            self.log.error("Route %s: compression options: %s", self.route.config.name, error)
            raise Refused(500, "the route's compression options are wrong") from None

    def _plain(self, options: Any) -> dict[str, Any]:
        try:
            return sheltered("get_compression_options", dict, options)
        except Exception as error:
            name = self.route.config.name
            text = f"Route {name}: get_compression_options returned no mapping"
            write_whole(self.log, text, error)
            raise Refused(500, "the route's get_compression_options failed") from None

    async def _ask_about(self, connection: Connection, event: str, *args: Any) -> Any:
        try:
            return await self.ask_route(connection, event, *args)
        except (Refused, ClientGone):
            raise
        except Exception as error:
            write_whole(self.log, f"Route {self.route.config.name}: its {event} failed", error)
            raise Refused(500, f"the route's {event} failed") from None
