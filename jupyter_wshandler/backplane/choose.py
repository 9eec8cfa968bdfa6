"""Which backplane a URL means."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .base import MAX_MESSAGE, PREFIX, Backplane
from .memory import MemoryBackplane

if TYPE_CHECKING:
    from .redis.conversation import Conversation

MEMORY = "memory://"
"""The URL of a server that is alone."""

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
        url: memory://, redis://, rediss:// or unix://.
        prefix: What the names of all keys of this deployment begin with.
        max_message: Bytes of a message between servers, at most.
        log: Where changes of its state go.

    Raises:
        ValueError: There is none, or its library is not installed; says what to do, and holds
            nothing of the URL.
    """
    if url == MEMORY:
        return MemoryBackplane()
    scheme = urlsplit(url).scheme if url.isprintable() and "://" in url else ""
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "expected memory://, redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, found "
            f"{'another scheme' if scheme else 'no URL'}"
        )
    with _told_what_is_missing():
        from .redis.node import RedisBackplane
    return RedisBackplane(url, prefix=prefix, log=log, max_message=max_message)


def open_conversation(url: str) -> Conversation:
    """Return a way to ask a Redis or Valkey server; nothing is connected yet.

    Args:
        url: As of a backplane.

    Raises:
        ValueError: It is none, or its library is not installed; says what to do, and holds nothing
            that is secret in the URL.
    """
    with _told_what_is_missing():
        from .redis.conversation import Conversation
    return Conversation(url)


@contextmanager
def _told_what_is_missing() -> Iterator[None]:
    """Say what to install where redis-py cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "redis":
            raise
        raise ValueError(EXTRA) from None
