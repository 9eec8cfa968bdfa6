"""The control channel of one kernel: it answers there while a cell runs."""

from __future__ import annotations

import asyncio
from typing import Any

from .messages import KernelMessages, parent_of

ANSWER = 10.0
"""Seconds for a kernel to answer."""


class ControlChannel:
    """Requests to a kernel itself, and the answers to them.

    Args:
        kernel: Its kernel manager.
        messages: Writes and reads.
    """

    def __init__(self, kernel: Any, messages: KernelMessages) -> None:
        self._messages = messages
        self._replies: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._stream = kernel.connect_control()
        self._stream.on_recv(self.received)

    def tell(self, kind: str, content: dict[str, Any]) -> str:
        """Send a request whose answer nobody waits for; return its id.

        Args:
            kind: Its type.
            content: Its content.
        """
        return self._messages.send(self._stream, kind, content)

    async def ask(self, kind: str, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer to a request, or None where there is none in time.

        Args:
            kind: The request's type.
            content: Its content.
        """
        return await self.answer_to(self.tell(kind, content))

    async def answer_to(self, msg_id: str) -> dict[str, Any] | None:
        """Return the answer to a message on any channel, or None where there is none in time.

        Args:
            msg_id: The message.
        """
        reply = self._replies[msg_id] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(reply, ANSWER)
        except TimeoutError:
            return None
        finally:
            del self._replies[msg_id]

    def received(self, frames: list[bytes]) -> None:
        """Take what has come on a channel that brings nothing but answers."""
        message = self._messages.read(frames)
        if message is not None:
            self.take(message)

    def take(self, message: dict[str, Any]) -> None:
        """Hand an answer to whoever waits for it.

        Args:
            message: A message that may be one.
        """
        reply = self._replies.get(parent_of(message))
        if reply is not None and not reply.done() and isinstance(message["content"], dict):
            reply.set_result(message["content"])

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()
