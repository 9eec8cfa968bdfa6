"""One-time codes: how a browser tells another server who its user is, once.

The directory gives a code to a browser whose user it knows, and the browser takes it to the server
that the bot runs in. That server redeems it at the directory, server to server, so that nothing
which a browser carries is a name. A code is good for 30 s, once, at one server, for one share, and
in the browser in which that server began: `state` is the digest of a secret that the server has put
there, so that nobody can be sent in with somebody else's code (RFC 6749 section 10.12).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

SECONDS = 30.0
"""How long a code is good."""

FOR_EACH_USER = 20
"""Codes of one user that are good at the same time; the oldest are forgotten first."""

AT_MOST = 10_000
"""Codes of all; the oldest are forgotten first."""


class Grant(NamedTuple):
    """What a code stands for.

    Attributes:
        user: The Hub's name of who comes.
        share: The id of the share.
        owner: Whose server may redeem it.
        server: The name of that server.
        path: The path that is opened, below that server's base URL.
        state: The digest of the browser's secret.
    """

    user: str
    share: str
    owner: str
    server: str
    path: str
    state: str


class Codes:
    """The codes that are good now, each of them once; of each only its digest is kept.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._grants: OrderedDict[str, tuple[float, Grant]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._grants)

    def issue(self, grant: Grant) -> str:
        """Return a new code.

        Args:
            grant: What it stands for.
        """
        now = self._clock()
        while self._grants and next(iter(self._grants.values()))[0] <= now:
            self._grants.popitem(last=False)
        own = [key for key, (_, kept) in self._grants.items() if kept.user == grant.user]
        for key in own[: max(0, len(own) - FOR_EACH_USER + 1)]:
            del self._grants[key]
        while len(self._grants) >= AT_MOST:
            self._grants.popitem(last=False)
        code = secrets.token_urlsafe(24)
        self._grants[digest(code)] = (now + SECONDS, grant)
        return code

    def take(self, code: str, *, owner: str, server: str, share: str, path: str, state: str) -> str:
        """Take a code out of circulation; return whose it was, or "" where it is not good.

        Whoever comes with a code that is not for them has used it up: it has been somewhere where
        it should not have been.

        Args:
            code: What has come.
            owner: Whose server asks.
            server: The name of that server.
            share: What it has to be for.
            path: What was opened.
            state: The digest of the browser's secret.
        """
        until, grant = self._grants.pop(digest(code), (0.0, None))
        if grant is None or self._clock() >= until:
            return ""
        expected = (grant.owner, grant.server, grant.share, grant.path)
        if expected != (owner, server, share, path):
            return ""
        good = hmac.compare_digest(grant.state.encode(), state.encode("utf-8", "replace"))
        return grant.user if good else ""


def digest(secret: str) -> str:
    """Return what stands for a secret; it is no secret itself."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
