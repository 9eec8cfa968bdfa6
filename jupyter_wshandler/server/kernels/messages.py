"""The messages of one kernel, as Jupyter's protocol writes them, signed with the kernel's key."""

from __future__ import annotations

import uuid
from time import monotonic
from typing import Any

from zmq.eventloop.zmqstream import ZMQStream

from ...kernels.batches import MAX_HEADER

QUIET = 60.0
"""Seconds between two lines of the same kind about a kernel that cannot be understood."""


class KernelMessages:
    """What is written to one kernel and read of it.

    Args:
        kernel: Its kernel manager.
        kernel_id: The kernel.
        log: Where lines go.
    """

    def __init__(self, kernel: Any, kernel_id: str, log: Any) -> None:
        # A session of its own: a shared one takes what it has seen elsewhere for a replay.
        self._session = kernel.session.clone()
        self._session.session = uuid.uuid4().hex
        self._kernel_id = kernel_id
        self._log = log
        self._said: dict[str, float] = {}

    def pack(self, value: Any) -> bytes:
        """Return a value as it is written in a message."""
        return bytes(self._session.pack(value))

    def send(
        self,
        stream: ZMQStream,
        kind: str,
        content: dict[str, Any],
        *,
        buffers: list[bytes] | None = None,
        subshell: str | None = None,
    ) -> str:
        """Send a message, and return its id.

        Args:
            stream: The channel.
            kind: The message's type.
            content: Its content.
            buffers: What travels beside it.
            subshell: The subshell that it is for (JEP 91); None for the main one.
        """
        message = self._session.msg(kind, content)
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self._session.send(stream, message, buffers=buffers)
        return str(message["header"]["msg_id"])

    def read(self, frames: list[bytes], *, content: bool = True) -> dict[str, Any] | None:
        """Return a message, or None where it is none of this kernel's.

        Args:
            frames: What has come.
            content: Whether its content is read, too.
        """
        try:
            _, rest = self._session.feed_identities(frames)
            if any(len(part) > MAX_HEADER for part in rest[:4]):
                raise ValueError("a header is too long")
            message: dict[str, Any] = self._session.deserialize(rest, content=content)
        except Exception as error:
            # Whoever has not the kernel's key is nobody: jupyter_client checks the signature.
            self.warn(
                "A message of kernel %s cannot be read: %s", self._kernel_id, type(error).__name__
            )
            return None
        return message

    def warn(self, sentence: str, *details: object) -> None:
        """Write a line that a kernel could make us write as often as it likes: once a minute.

        Args:
            sentence: The line.
            details: What stands in its gaps.
        """
        now = monotonic()
        if now >= self._said.get(sentence, now):
            self._said[sentence] = now + QUIET
            self._log.warning(sentence, *details)


def parent_of(message: dict[str, Any]) -> str:
    """Return the id of the message that another one answers; "" where it answers none."""
    parent = message["parent_header"]
    return str(parent.get("msg_id", "")) if isinstance(parent, dict) else ""
