"""What a server of a cluster refuses, by its kind with any redis-py."""

from __future__ import annotations

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
