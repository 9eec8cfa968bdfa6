"""What a store refuses, by its kind with any redis-py: where a key has gone, or what is in it."""

from __future__ import annotations

import re

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

Strayed = (AskError, TryAgainError)
"""What a server of a cluster says of keys that it does not have, or not all of them any more."""

_KINDS: dict[str, type[ResponseError]] = {
    "ASK": AskError,
    "CLUSTERDOWN": ClusterDownError,
    "MASTERDOWN": MasterDownError,
    "MOVED": MovedError,
    "TRYAGAIN": TryAgainError,
}


def known(refusal: ResponseError) -> ResponseError:
    """Return a refusal as its own kind.

    Before version 6, redis-py tells these kinds from each other only in its client for clusters; to
    a single connection each is a plain `ResponseError` whose text begins with the word for it.

    Args:
        refusal: As redis-py has read it.
    """
    if type(refusal) is not ResponseError:
        return refusal
    word, _, rest = str(refusal).partition(" ")
    kind = _KINDS.get(word)
    return refusal if kind is None else kind(rest)


_SPOILT = re.compile(r"WRONGTYPE |.*(value is not an integer|attempt to (perform|compare|get) )")


def is_of_one_key(refusal: ResponseError) -> bool:
    """Return whether a refusal is of one key alone: what is there, another version has written.

    Or somebody else who has the URL. Nothing is wrong with the store, nor with other rooms.
    """
    return _SPOILT.match(str(refusal)) is not None
