"""Refusals of a cluster's servers, as old and new redis-py read them."""

from __future__ import annotations

import pytest
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ResponseError,
    TryAgainError,
)

from jupyter_wshandler.backplane.redis.refusals import Strayed, known


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("MOVED 3999 127.0.0.1:6381", MovedError),
        ("ASK 3999 127.0.0.1:6381", AskError),
        ("TRYAGAIN Multiple keys request during rehashing of slot", TryAgainError),
        ("CLUSTERDOWN The cluster is down", ClusterDownError),
        ("MASTERDOWN Link with MASTER is down", MasterDownError),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", ResponseError),
        ("", ResponseError),
    ],
)
def test_a_refusal_is_of_its_kind_also_where_redis_py_reads_a_plain_one(said, kind):
    found = known(ResponseError(said))
    assert type(found) is kind
    assert isinstance(found, Strayed) is (kind in (MovedError, AskError, TryAgainError))


def test_where_a_key_has_gone_is_read_and_what_is_known_stays_what_it_is():
    moved = known(ResponseError("MOVED 3999 127.0.0.1:6381"))
    assert isinstance(moved, MovedError)
    assert (moved.slot_id, moved.host, moved.port) == (3999, "127.0.0.1", 6381)
    refusal = NoScriptError("No matching script")
    assert known(refusal) is refusal
