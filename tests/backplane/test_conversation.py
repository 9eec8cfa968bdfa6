"""Calls to a store that wait: bounded, made once more where an answer is lost, told plainly."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from support.server import free_port
from support.stores import KINDS, Store, running_store
from support.strangers import NO_LENGTH, stranger
from support.tcpproxy import LosingProxy, running_proxy

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.backplane.redis.conversation import Conversation, StoreError
from jupyter_wshandler.backplane.redis.talk import Call, script_of

SECRET = "a-word-that-only-the-store-knows"

ADD = script_of("#!lua\nreturn redis.call('HINCRBY', KEYS[1], 'n', ARGV[1])")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a store on a machine that has much else to do."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with running_store(request.param) as store:
        yield store


@pytest.fixture
def talk(store: Store) -> Iterator[Conversation]:
    store.say("FLUSHALL")
    talk = Conversation(store.url)
    yield talk
    talk.close()


def test_calls_are_answered_in_their_order(talk: Conversation) -> None:
    set_, get = Call(["HSET", "k", "a", b"\xff\r\n"]), Call(["HGETALL", "k"])
    assert talk.ask(set_, get, Call([b"k", 2], ADD, 1)) == [1, [b"a", b"\xff\r\n"], 2]


def test_a_script_that_the_store_has_forgotten_is_loaded_again(
    store: Store, talk: Conversation
) -> None:
    assert talk.ask(Call(["k", 1], ADD, 1)) == [1]
    store.say("SCRIPT", "FLUSH")
    add = Call(["k", 1], ADD, 1)
    assert talk.ask(add, Call(["HGETALL", "k"]), add) == [2, [b"n", b"1"], 3]


def test_a_refusal_says_what_and_the_next_call_is_answered(talk: Conversation) -> None:
    talk.ask(Call(["HSET", "k", "a", 1]))
    with pytest.raises(StoreError, match=r"^the store redis://127\.0\.0\.1:\d+/0 refuses: .*WRONG"):
        talk.ask(Call(["LRANGE", "k", 0, 1]))
    assert talk.ask(Call(["HGETALL", "k"])) == [[b"a", b"1"]]


def test_a_store_that_was_started_again_is_asked_again_at_once(
    store: Store, talk: Conversation
) -> None:
    assert talk.ask(Call(["k", 1], ADD, 1)) == [1]
    store.restart()
    assert talk.ask(Call(["k", 1], ADD, 1)) == [1]


def test_after_close_the_next_call_connects_again(talk: Conversation) -> None:
    talk.ask(Call(["k", 1], ADD, 1))
    talk.close()
    talk.close()
    assert talk.ask(Call(["k", 1], ADD, 1)) == [2]


def test_a_lost_answer_is_asked_for_once_more_and_then_told_as_unsure(store: Store) -> None:
    with running_proxy(LosingProxy, store.port) as proxy:
        talk = Conversation(f"redis://127.0.0.1:{proxy.port}/0")
        talk.ask(Call(["DEL", "k"]))
        proxy.loses = 1
        assert talk.ask(Call(["HSET", "k", "a", 1])) == [0]  # it was there already
        proxy.loses = 9
        with pytest.raises(StoreError) as caught:
            talk.ask(Call(["HSET", "k", "b", 1]))
        assert caught.value.is_unsure
        talk.close()


def test_a_store_that_hangs_is_waited_for_once_and_not_by_all_who_ask(
    store: Store, talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.ask(Call(["DEL", "k"]))
    monkeypatch.setattr(conversations, "TIMEOUT", 0.2)
    monkeypatch.setattr(conversations, "FIRST_REST", 30.0)
    store.stop()
    try:
        with pytest.raises(StoreError, match=r"cannot be used: no answer within 0\.2 s"):
            talk.ask(Call(["DEL", "k"]))
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(StoreError, match="no answer within"):
                talk.ask(Call(["DEL", "k"]))
        assert time.monotonic() - began < 0.2
    finally:
        store.go_on()


def test_a_store_that_comes_back_is_asked_again_after_a_rest(
    talk: Conversation, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "FIRST_REST", 0.01)
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.01)
    talk.ask(Call(["DEL", "k"]))
    store.kill()
    with pytest.raises(StoreError, match="cannot be used"):
        talk.ask(Call(["DEL", "k"]))
    store.start()
    deadline = time.monotonic() + 20
    while True:
        try:
            assert talk.ask(Call(["DEL", "k"])) == [0]
            break
        except StoreError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", NO_LENGTH, b"*2\r\n"])
def test_what_is_no_store_is_told_and_asked_anew(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.0)
    with stranger(answer) as port:
        talk = Conversation(f"redis://127.0.0.1:{port}/0")
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot be used"):
                talk.ask(Call(["DEL", "k"]))
        talk.close()


def test_nothing_of_a_login_is_in_what_is_said() -> None:
    talk = Conversation(f"redis://ada:{SECRET}@127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreError, match=r"cannot be used: .* 111 ") as caught:
        talk.ask(Call(["DEL", "k"]))
    assert not caught.value.is_unsure
    assert SECRET not in str(caught.value)
    assert "ada" not in str(caught.value)
    talk.close()


def test_a_wrong_password_is_told_without_it(store: Store) -> None:
    store.say("ACL", "SETUSER", "bots", "on", f">{SECRET}", "~*", "+@all")
    talk = Conversation(store.url.replace("://", "://bots:wrong-word@"))
    with pytest.raises(StoreError, match=r"cannot be used: .*(WRONGPASS|password)") as caught:
        talk.ask(Call(["DEL", "k"]))
    assert "wrong-word" not in str(caught.value)
    talk.close()


def test_a_full_store_refuses_what_takes_memory(store: Store, talk: Conversation) -> None:
    talk.ask(Call(["k", 1], ADD, 1))
    store.say("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreError, match="refuses: its memory is full"):
            talk.ask(Call(["k", 1], ADD, 1))
        assert talk.ask(Call(["HGETALL", "k"])) == [[b"n", b"1"]]
    finally:
        store.say("CONFIG", "SET", "maxmemory", "0")


def test_a_replica_is_not_written_to(store: Store, talk: Conversation) -> None:
    talk.ask(Call(["k", 1], ADD, 1))
    store.say("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(StoreError):
            talk.ask(Call(["k", 1], ADD, 1))
        with pytest.raises(StoreError, match="expected a primary, found a slave"):
            talk.ask(Call(["k", 1], ADD, 1))
    finally:
        store.say("REPLICAOF", "NO", "ONE")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_harms_no_connection_of_its_parent(talk: Conversation) -> None:
    talk.ask(Call(["k", 1], ADD, 1))
    child = os.fork()
    if not child:
        try:
            talk.forked()
            del talk
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert talk.ask(Call(["k", 1], ADD, 1)) == [2]
