"""Which backplane a URL means."""

from __future__ import annotations

import logging
from typing import Any

from .base import MAX_MESSAGE, PREFIX, Backplane
from .memory import MemoryBackplane

MEMORY = "memory://"
"""The URL of a server that is alone."""

SCHEMES = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"}
    | {"redis+cluster", "rediss+cluster"}
)
"""Those of the stores that there are; the second s is for TLS."""

EXTRA = 'redis-py is not installed, which a backplane needs: pip install "jupyter_wshandler[redis]"'


def open_backplane(
    url: str,
    *,
    prefix: str = PREFIX,
    max_message: int = MAX_MESSAGE,
    log: logging.Logger | logging.LoggerAdapter[Any] | None = None,
) -> Backplane:
    """Return the backplane that a URL means; nothing is connected yet.

    Args:
        url: memory://, redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.
        prefix: What the names of all keys of this deployment begin with.
        max_message: Bytes of a message between servers, at most.
        log: Where changes of its state go.

    Raises:
        ValueError: There is none, or its library is not installed; says what to do, and holds
            nothing of the URL.
    """
    if url == MEMORY:
        return MemoryBackplane()
    scheme = url.partition("://")[0].lower() if url.isprintable() and "://" in url else ""
    if scheme not in SCHEMES:
        raise ValueError(
            "expected memory://, redis://HOST:PORT, rediss://HOST:PORT, unix:///PATH, "
            "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or redis+cluster://HOST:PORT,HOST:PORT, "
            f"found {'another scheme' if scheme else 'no URL'}"
        )
    try:
        from .redis.node import RedisBackplane
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ValueError(EXTRA) from None
    return RedisBackplane(url, prefix=prefix, log=log, max_message=max_message)
