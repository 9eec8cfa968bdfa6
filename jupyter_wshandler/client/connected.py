"""What both kinds of client have: their state and their words."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from ..errors import ConnectionClosed
from ..types import Message
from .core import Core
from .ends import ends_well
from .states import State


class _Unset(Enum):
    DEFAULT = "the connection's own"


DEFAULT: Final = _Unset.DEFAULT
Timeout: TypeAlias = float | Literal[_Unset.DEFAULT] | None


class Connected:
    """What both kinds of client have; `timeout` is the default of `recv`, in seconds.

    Args:
        core: The connection.
        timeout: Seconds, or None.
    """

    def __init__(self, core: Core, timeout: float | None) -> None:
        self._core = core
        self.timeout = timeout

    @property
    def url(self) -> str:
        """The socket's URL; it holds no token."""
        return self._core.url

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server chose."""
        return self._core.subprotocol

    @property
    def speaks(self) -> bool:
        """Whether the server says where answers end (`wsh.v1`), so that `ask` works."""
        return self._core.speaks

    @property
    def state(self) -> State:
        """Whether it is "open", "away" (lost, and being opened again) or "closed"."""
        return self._core.state

    @property
    def close_code(self) -> int | None:
        """How the connection ended (RFC 6455 section 7.1.5); None while it is open or away."""
        closing = self._core.closing
        return None if closing is None else closing.code

    @property
    def close_reason(self) -> str | None:
        """The reason that came with it; None while it is open or away."""
        closing = self._core.closing
        return None if closing is None else closing.reason

    def __repr__(self) -> str:
        state = self.state if self.close_code is None else f"closed {self.close_code}"
        return f"<{type(self).__name__} {self.url.partition('?')[0]} {state}>"

    def _ends_well(self, error: ConnectionClosed) -> bool:
        return ends_well(self._core.closing, error.code)

    def _wait(self, timeout: Timeout) -> float | None:
        return self.timeout if timeout is DEFAULT else timeout


def decoded(message: Message) -> Any:
    """Return what a message holds as JSON; raise ValueError where it holds none."""
    try:
        return json.loads(message)
    except ValueError as error:
        raise ValueError(f"expected JSON, found {message[:80]!r} ({error})") from None
