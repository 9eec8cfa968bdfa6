"""Which backplane a URL means."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from .base import MAX_MESSAGE, PREFIX, Backplane
from .memory import MemoryBackplane

if TYPE_CHECKING:
    from .redis.conversation import Conversation
    from .redis.publisher import RedisPublisher

MEMORY = "memory://"
"""The URL of a server that is alone."""

SCHEMES = frozenset(
    {"redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"}
    | {"redis+cluster", "rediss+cluster"}
)
"""Those of the stores that there are; the second s is for TLS."""

EXTRA = (
    'redis-py is not installed, which Redis and Valkey need: pip install "jupyter_wshandler[redis]"'
)


def is_store(url: str) -> bool:
    """Return whether a URL names a Redis or Valkey server, if it names anything."""
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    return scheme.partition("+")[0] in ("redis", "rediss", "unix")


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
    _check_scheme(url)
    try:
        from .redis.node import RedisBackplane
    except ModuleNotFoundError as error:
        raise _without_extra(error) from None
    return RedisBackplane(url, prefix=prefix, log=log, max_message=max_message)


def open_publisher(url: str, prefix: str = PREFIX) -> RedisPublisher:
    """Return what publishes to the rooms that a URL means; nothing is connected yet.

    Args:
        url: As `open_backplane` takes it, but for memory://.
        prefix: What the names of all keys of the deployment begin with.

    Raises:
        ValueError: There is none, or its library is not installed; says what to do, and holds
            nothing of the URL.
    """
    if url == MEMORY:
        raise ValueError(
            "memory:// is the memory of one server, and of no use elsewhere: ask that server, with "
            "wsh.room(...).send(...), or `jupyter wshandler send` without --backplane"
        )
    _check_scheme(url)
    try:
        from .redis.publisher import RedisPublisher
    except ModuleNotFoundError as error:
        raise _without_extra(error) from None
    return RedisPublisher(url, prefix=prefix)


def _check_scheme(url: str) -> None:
    scheme = url.partition("://")[0].lower() if url.isprintable() and "://" in url else ""
    if scheme not in SCHEMES:
        raise ValueError(
            "expected memory://, redis://HOST:PORT, rediss://HOST:PORT, unix:///PATH, "
            "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE or redis+cluster://HOST:PORT,HOST:PORT, "
            f"found {'another scheme' if scheme else 'no URL'}"
        )


def open_conversation(url: str) -> Conversation:
    """Return a way to ask a Redis or Valkey server; nothing is connected yet.

    Args:
        url: As of a backplane.

    Raises:
        ValueError: It is none, or its library is not installed; says what to do, and holds nothing
            that is secret in the URL.
    """
    try:
        from .redis.conversation import Conversation
    except ModuleNotFoundError as error:
        raise _without_extra(error) from None
    return Conversation(url)


def _without_extra(error: ModuleNotFoundError) -> Exception:
    """Return what is raised where a module of the store's is missing."""
    return ValueError(EXTRA) if (error.name or "").partition(".")[0] == "redis" else error
