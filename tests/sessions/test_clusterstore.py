"""Sessions and shares on a cluster: while slots are moved, and when a primary dies."""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Callable, Iterator

import pytest
from redis.crc import key_slot
from support.clusters import ClusterOf
from support.server import free_port, wait_for
from support.sharebook import LOG, kept_of
from support.stores import MORE_RIGHTS, RIGHTS, Store

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.backplane.redis import talk
from jupyter_wshandler.backplane.redis.conversation import Conversation, StoreError
from jupyter_wshandler.backplane.redis.talk import Call, script_of
from jupyter_wshandler.cli.sessionstore import check_session_store
from jupyter_wshandler.sessions.stores import open_store
from jupyter_wshandler.shares.choose import open_shares
from jupyter_wshandler.shares.share import REVOKED

FAR = time.time() + 86400

ADD = script_of("#!lua\nreturn redis.call('HINCRBY', KEYS[1], 'n', ARGV[1])")

prefixes = (f"c{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a store on a machine that has much else to do, and ask it again soon."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.1)


@pytest.fixture
def cluster(shared_cluster: ClusterOf) -> ClusterOf:
    shared_cluster.clean()
    return shared_cluster


@pytest.fixture
def asked(cluster: ClusterOf) -> Iterator[Conversation]:
    asked = Conversation(cluster.url)
    yield asked
    asked.close()


@pytest.fixture
def move(cluster: ClusterOf) -> Iterator[Callable[[bytes], tuple[int, Store, Store]]]:
    """Return what begins to move the slot of a key, and have it go back in the end."""
    begun: list[tuple[int, Store]] = []

    def begin(key: bytes) -> tuple[int, Store, Store]:
        slot = key_slot(key)
        source = cluster.owner(slot)
        target = next(one for one in cluster.primaries if one is not source)
        begun.append((slot, source))
        cluster.begin_move(slot, source, target)
        return slot, source, target

    yield begin
    cluster.clean()
    for slot, source in begun:
        cluster.move(slot, source)


def checked(url: str) -> tuple[int, str]:
    stream = io.StringIO()
    code = check_session_store("backplane", url, stream=stream)
    return code, stream.getvalue()


def test_a_cluster_is_tried_out_as_a_store_of_sessions(cluster: ClusterOf) -> None:
    code, text = checked(cluster.url)
    assert code == 0, text
    assert f"session store {cluster.url}: Valkey " in text
    assert "good: a session is saved and read within" in text


def test_a_user_of_a_cluster_needs_no_more_rights_than_rooms_do(cluster: ClusterOf) -> None:
    for one in cluster.primaries:
        words = (
            "ACL",
            "SETUSER",
            "bots",
            "on",
            ">pass-word",
            *RIGHTS.split(),
            *MORE_RIGHTS.split(),
        )
        assert one.say(*words)[:1] == b"+"
        assert one.say("ACL", "DRYRUN", "bots", "ASKING")[:1] == b"+"
    try:
        code, text = checked(cluster.url.replace("://", "://bots:pass-word@"))
    finally:
        for one in cluster.primaries:
            one.say("ACL", "DELUSER", "bots")
    assert code == 0, text
    assert "pass-word" not in text


def test_what_is_wrong_with_the_url_of_a_cluster_is_told(cluster: ClusterOf) -> None:
    code, text = checked(cluster.primaries[0].url)
    assert code == 1
    assert "expected a server alone, found one of a cluster; write redis+cluster://" in text
    port = free_port()
    code, text = checked(f"redis+cluster://u:word@127.0.0.1:{port}")
    assert code == 1
    assert f"cannot be used: no server says who serves what: 127.0.0.1:{port}: " in text
    assert "word" not in text


def test_calls_go_each_to_the_server_that_has_its_key(
    cluster: ClusterOf, asked: Conversation
) -> None:
    keys = [f"k{number}".encode() for number in range(50)]
    assert {cluster.owner(key_slot(key)) for key in keys} == set(cluster.primaries)
    calls = [Call([key, number], ADD, 1) for number, key in enumerate(keys)]
    assert asked.ask(*calls) == list(range(50))
    assert asked.ask(*(Call(["HGET", key, "n"]) for key in reversed(keys))) == [
        str(number).encode() for number in reversed(range(50))
    ]
    assert len({asked.life_of(key) for key in keys}) == 3


def test_a_slot_that_was_moved_is_followed_and_lives_anew(
    cluster: ClusterOf, asked: Conversation, move: Callable[[bytes], tuple[int, Store, Store]]
) -> None:
    assert asked.ask(Call([b"k", 1], ADD, 1)) == [1]
    before = asked.life_of(b"k")
    slot, source, target = move(b"k")
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, source, target)
    assert asked.ask(Call([b"k", 1], ADD, 1), Call(["HGET", b"k", "n"])) == [2, b"2"]
    assert asked.life_of(b"k") != before


def test_a_key_that_has_been_moved_before_its_slot_is_asked_for_there(
    cluster: ClusterOf, asked: Conversation, move: Callable[[bytes], tuple[int, Store, Store]]
) -> None:
    asked.ask(Call([b"{k}1", 1], ADD, 1))
    slot, source, target = move(b"{k}1")
    cluster.move_keys(slot, source, target)
    script = script_of(f"{ADD.source.decode()}\n-- which nobody has loaded yet: {next(prefixes)}")
    assert asked.ask(Call([b"{k}1", 1], script, 1), Call([b"{k}2", 5], ADD, 1)) == [2, 5]
    cluster.end_move(slot, source, target)
    assert asked.ask(Call([b"{k}1", 1], ADD, 1), Call([b"{k}2", 1], ADD, 1)) == [3, 6]


def test_shares_whose_keys_are_on_both_sides_wait_and_are_counted_once(
    cluster: ClusterOf,
    monkeypatch: pytest.MonkeyPatch,
    move: Callable[[bytes], tuple[int, Store, Store]],
) -> None:
    prefix = next(prefixes)
    shares = open_shares(cluster.url, "", LOG, prefix)
    shares.load()
    shares.put(kept_of(uses=3))
    assert shares.count(kept_of(uses=3), 1).done
    slot, source, target = move(f"{prefix}:{{shares}}:values".encode())
    cluster.move_keys(slot, source, target, 2)
    monkeypatch.setattr(conversations, "TIMEOUT", 0.5)
    with pytest.raises(StoreError, match="the cluster has not moved this to another server within"):
        shares.count(kept_of(uses=3, used=1), 1)
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)
    while cluster.move_keys(slot, source, target):
        pass
    cluster.end_move(slot, source, target)
    time.sleep(0.1)  # the rest after a failure
    answers = [shares.count(kept_of(uses=3, used=1), 1).done for _ in range(3)]
    shares.close()
    assert answers == [True, True, False]


def test_when_a_primary_dies_sessions_and_shares_stand_on_its_replica(cluster: ClusterOf) -> None:
    prefix = next(prefixes)
    shares = open_shares(cluster.url, "", LOG, prefix)
    sessions = open_store(cluster.url, prefix=prefix)
    slot = key_slot(f"{prefix}:{{shares}}:values".encode())
    primary = cluster.owner(slot)
    names = [f"session {number}" for number in range(30)]
    saved = 0

    def save(number: int) -> None:
        text = json.dumps({"n": number})
        sessions.save(dict.fromkeys(names, (text, FAR)))

    def is_counted() -> bool:
        try:
            shares.count(kept_of(uses=2, used=1), 1, guest=2)
            save(2)
        except StoreError:
            return False
        return True

    shares.load()
    shares.put(kept_of(uses=2))
    shares.put(kept_of(id="over", ended=REVOKED))
    assert shares.count(kept_of(uses=2), 1, guest=1).done
    save(1)
    with cluster.replica_of(primary) as replica:
        try:
            primary.kill()
            wait_for(is_counted, 40, "a replica that has taken over", every=0.05)
            assert b"role:master" in replica.say("INFO", "replication")
            found = {kept.share.id: kept.share for kept in shares.load()}
            assert (found["s"].used, found["over"].ended) == (2, REVOKED)
            assert not shares.count(kept_of(uses=2, used=2), 1, guest=3).done
            saved = sum(sessions.load(name) == '{"n":2}' for name in names)
        finally:
            shares.close()
            sessions.close()
            cluster.give_back(primary, replica)
    assert saved == len(names)


def test_who_is_away_is_asked_first_so_that_the_store_is_away_as_a_whole(
    cluster: ClusterOf, asked: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "LOOK", 0.0)
    keys = [f"k{number}".encode() for number in range(50)]
    hung = cluster.owner(key_slot(keys[0]))
    other = next(key for key in keys if cluster.owner(key_slot(key)) is not hung)
    asked.ask(*(Call(["DEL", key]) for key in keys))
    monkeypatch.setattr(conversations, "TIMEOUT", 0.4)
    hung.stop()
    try:
        assert asked.ask(Call(["DEL", other])) == [0]
        for key in (keys[0], other):
            with pytest.raises(StoreError, match="cannot be used"):
                asked.ask(Call(["DEL", key]))
            time.sleep(0.1)  # the rest after a failure
    finally:
        hung.go_on()
        cluster.wait()
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)
    time.sleep(0.1)
    assert asked.ask(Call(["DEL", other]), Call(["DEL", keys[0]])) == [0, 0]
