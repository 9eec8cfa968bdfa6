"""Which store of shares stands beside a store of sessions."""

from __future__ import annotations

from ..backplane.base import PREFIX
from ..backplane.choose import is_store, open_conversation
from ..sessions.sqlitefile import Log, SQLiteFile
from ..sessions.stores import file_of
from .stores import SQL, MemoryShares, ShareStore, SQLiteShares


def open_shares(url: str, server: str, log: Log, prefix: str = PREFIX) -> ShareStore:
    """Return the store of shares beside a store of sessions; it is opened when it is used.

    Args:
        url: The sessions' store; see `sessions.stores.open_store`.
        server: Names the server, the same after it was started again. On Redis or Valkey all with
            the same prefix have the same shares.
        log: Takes warnings.
        prefix: As of the sessions' store.

    Raises:
        ValueError: The URL names no store, or its library is not installed.
    """
    if is_store(url):
        conversation = open_conversation(url)
        from .redisstore import RedisShares  # once it is known that its library is there

        return RedisShares(conversation, prefix, log)
    path = file_of(url)
    return (
        MemoryShares()
        if path is None
        else SQLiteShares(SQLiteFile(path, SQL, log=log), server, log)
    )
