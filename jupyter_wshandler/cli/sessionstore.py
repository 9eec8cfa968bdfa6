"""``jupyter wshandler check --session-store``: try out where sessions and shares are kept."""

from __future__ import annotations

import logging
import secrets
import sys
import time
from contextlib import suppress
from functools import partial
from typing import TextIO

import msgspec

from ..backplane.base import PREFIX
from ..backplane.choose import is_store, open_conversation
from ..errors import BackplaneError
from ..sessions.stores import file_of, open_store
from ..shares.share import REVOKED, Share
from ..shares.stores import Kept

BACKPLANE = "backplane"
"""The setting that means the backplane's own store."""

SOON = 10.0
"""Seconds after which the store forgets the session that was tried out, where nobody erases it."""


def check_session_store(
    url: str, backplane: str = "", prefix: str = "", *, stream: TextIO | None = None
) -> int:
    """Try a store of sessions and shares out and print what was found; no login is shown.

    Args:
        url: Where it is, as `c.WSHandlerApp.session_store` has it.
        backplane: Where it is if that says "backplane"; empty for nowhere.
        prefix: What the names of its keys begin with; what a server takes by itself where empty.
        stream: Where to print; standard output if None.

    Returns:
        The exit status: 0 if all is well, 1 if there is a problem.
    """
    stream, prefix = stream or sys.stdout, prefix or PREFIX
    if url == BACKPLANE:
        url = backplane
        if not is_store(url):
            print(
                'session store: expected a backplane for "backplane", found none; name one with '
                "--backplane or $WSHANDLER_BACKPLANE",
                file=stream,
            )
            return 1
    try:
        open_store(url, prefix=prefix)  # which opens nothing yet
        if is_store(url):
            return _try_out(url, prefix, stream)
        file = file_of(url)
    except ValueError as error:
        print(f"session store: {error}", file=stream)
        return 1
    where = "this server's own memory" if file is None else f"the file {file}"
    print(f"session store: {where}; no other machine has it", file=stream)
    return 0


def _try_out(url: str, prefix: str, stream: TextIO) -> int:
    """Do with a store, once, all that sessions and shares do with it."""
    from ..backplane.redis.talk import Call
    from ..sessions.redisstore import RedisSessions
    from ..shares.redisstore import RedisShares

    conversation = open_conversation(url)
    name = f"check-{secrets.token_hex(4)}"
    sessions = RedisSessions(conversation, prefix)
    shares = RedisShares(conversation, prefix, logging.getLogger(__name__), name)
    problem, took = "", 0.0
    try:
        # A script that the store has already needs no right to load it, until the store restarts.
        conversation.ask(Call(["SCRIPT", "LOAD", "return 1"]))
        began = time.perf_counter()
        sessions.save({name: ('{"check":1}', time.time() + SOON)})
        if sessions.load(name) != '{"check":1}':
            problem = "a session was saved, and is not there"
        took = time.perf_counter() - began
        share = Share(id=name, route="check", path="/check", created=time.time(), uses=1, terms="")
        shares.load()
        shares.put(Kept(share, ""))
        shares.count(Kept(share, ""), 1, guest=1)
        if not shares.has_guest(name, 1):
            problem = problem or "a guest was counted, and is not there"
        shares.put(Kept(msgspec.structs.replace(share, ended=REVOKED), ""))
        shares.delete([name])
    except BackplaneError as error:
        problem = str(error)
    finally:
        # Where something is refused in the middle, what was written would be there for ever.
        for erase in (partial(sessions.erase, name), shares.erase):
            with suppress(BackplaneError):
                erase()
        sessions.close()
    facts = conversation.facts
    print(f"session store {conversation.shown}: {facts.name or 'not reached'}", file=stream)
    for sentence in facts.advice():
        print(f"  note: {sentence}", file=stream)
    if problem:
        print(f"  problem: {problem}", file=stream)
        return 1
    print(f"  good: a session is saved and read within {1000 * took:.1f} ms", file=stream)
    return 0
