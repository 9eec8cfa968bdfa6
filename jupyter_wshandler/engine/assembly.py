"""A message that comes in pieces, in one growing buffer and without a second copy at its end."""

from __future__ import annotations

from codecs import utf_8_decode
from io import BytesIO

SETTLE = 256 * 1024
"""Bytes of a text that wait to be decoded, at least: a few large steps cost less than many."""


class BinaryAssembly:
    """A binary message that comes in pieces.

    Attributes:
        size: Its bytes so far.
    """

    __slots__ = ("_buffer", "size")

    def __init__(self) -> None:
        self._buffer = BytesIO()
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Append some bytes."""
        self.size += len(piece)
        self._buffer.write(piece)

    def check(self) -> None:
        """Accept what came: there is nothing that is wrong in bytes."""

    def recent(self, count: int) -> bytes:
        """Return the last bytes, at most so many."""
        return bytes(self._buffer.getbuffer()[-count:])

    def finish(self) -> bytes:
        """Return the message; the buffer itself, as a `BytesIO` gives it away without a copy."""
        return self._buffer.getvalue()


class TextAssembly:
    """A text that comes in pieces.

    It is decoded as it comes, in steps that grow with it: decoded at its end, a message of 10 MiB
    would be there twice. The decoded part grows in place where the interpreter can do that, and is
    copied a few times in all where it cannot.

    Attributes:
        size: Its bytes so far.
    """

    __slots__ = ("_checked", "_tail", "_text", "size")

    def __init__(self) -> None:
        self._text = ""
        self._tail = bytearray()  # not decoded yet
        self._checked = 0  # bytes of it that are known to be UTF-8
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Append some bytes.

        Raises:
            UnicodeDecodeError: They are not UTF-8; not every wrong byte is found before `check`.
        """
        self.size += len(piece)
        tail = self._tail
        tail += piece
        if len(tail) >= SETTLE and len(tail) >= len(self._text) >> 3:
            self._settle()

    def check(self) -> None:
        """Look at what came: a wrong byte is found when it comes, not when the message ends.

        Raises:
            UnicodeDecodeError: There is one.
        """
        fresh = self._tail[self._checked :]
        good = len(fresh) if fresh.isascii() else utf_8_decode(fresh, "strict")[1]
        self._checked += good
        if fresh[good:] >= b"\xed\xa0" and fresh[good] == 0xED:
            # Python's decoder waits for the third byte of a surrogate.
            raise UnicodeDecodeError("utf-8", bytes(fresh), good, good + 2, "surrogate")

    def recent(self, count: int) -> bytes:
        """Return the last bytes, at most so many."""
        return ((self._text[-count:].encode() if self._text else b"") + self._tail)[-count:]

    def finish(self) -> str:
        """Return the message.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
        """
        if not self._text:
            return self._tail.decode()
        self._settle(final=True)
        return self._text

    def _settle(self, final: bool = False) -> None:
        part, used = utf_8_decode(self._tail, "strict", final)
        del self._tail[:used]
        self._checked = 0
        # Named by this variable alone, the text grows where it is.
        text, self._text = self._text, ""
        text += part
        self._text = text


Assembly = BinaryAssembly | TextAssembly
