"""The sending half of RFC 6455 after the handshake, the server's side: messages to frames."""

from __future__ import annotations

from .closestate import CLOSE_CAME, CLOSE_DONE, CLOSE_SENT, FLOWING, CloseState
from .deflate import PerMessageDeflate
from .frames import (
    BINARY,
    BINARY_HEADERS,
    FIN,
    RSV1,
    TEXT,
    TEXT_HEADERS,
    close_frame,
    header,
    ping_frame,
)


class Framing:
    """What frames the messages to one client.

    Args:
        deflate: The compression agreed on in the handshake, or None.

    Attributes:
        state: How far the two close frames are.
        form: A name for what becomes of a message; see `types.Codec`. It is looked at for each
            member of a room, so it is no property.
    """

    __slots__ = ("_deflate", "form", "state")

    def __init__(self, deflate: PerMessageDeflate | None) -> None:
        self.state: CloseState = FLOWING
        self._deflate = deflate
        self.form = "frame" if deflate is None else deflate.form

    def _drop_message(self) -> None:
        raise NotImplementedError

    def encode(self, message: str | bytes) -> bytes:
        """Return one whole message as a frame: str as text, bytes as binary.

        Args:
            message: Compressed where that was agreed on and it is not too short.

        Raises:
            UnicodeEncodeError: The text holds lone surrogates.
        """
        if isinstance(message, str):
            payload, first, headers = message.encode(), FIN | TEXT, TEXT_HEADERS
        else:
            payload, first, headers = message, FIN | BINARY, BINARY_HEADERS
        size = len(payload)
        if self._deflate is not None and size >= self._deflate.min_size:
            return self._compressed(self._deflate, first | RSV1, payload)
        if size < 126:
            return headers[size] + payload
        return header(first, size) + payload

    def _compressed(self, deflate: PerMessageDeflate, first: int, payload: bytes) -> bytes:
        packed = deflate.compress(payload)
        self.form = deflate.form
        return header(first, len(packed)) + packed

    @property
    def may_miss(self) -> bool:
        """Whether the peer reads later frames without an earlier one."""
        return self._deflate is None or self._deflate.server_no_context_takeover

    def start_afresh(self) -> str:
        """Have the next message be compressed without what was sent before; return the form."""
        if self._deflate is not None:
            self._deflate.start_afresh()
            self.form = self._deflate.form
        return self.form

    def rest(self) -> bool:
        """Give away what compression needs, as nothing comes or goes; return whether it was much.

        Not in the middle of a message.
        """
        if self._deflate is None or not self._deflate.rest():
            return False
        self.form = self._deflate.form
        return True

    def encode_ping(self, payload: bytes = b"") -> bytes:
        """Return a ping frame.

        Args:
            payload: At most 125 bytes.

        Raises:
            ValueError: The payload is longer.
        """
        return ping_frame(payload)

    def encode_close(self, code: int = 1000, reason: str = "") -> bytes:
        """Return our close frame and move the state; b"" where one was sent already.

        Args:
            code: See `may_travel`; 1005 makes an empty frame.
            reason: At most 123 bytes of UTF-8.

        Raises:
            ValueError: The code may not be sent, or the reason is too long.
        """
        frame = close_frame(code, reason)
        if self.state == FLOWING:
            self.state = CLOSE_SENT
            self._drop_message()
        elif self.state == CLOSE_CAME:
            self.state = CLOSE_DONE
        else:
            return b""
        return frame
