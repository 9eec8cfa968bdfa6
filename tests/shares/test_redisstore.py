"""Shares on Redis and Valkey: one book for all servers of a deployment."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from support.clusters import SHARED
from support.sharebook import LOG, card, kept_of, opened, route
from support.stores import KINDS, running_store
from support.tcpproxy import LosingProxy, running_proxy

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.backplane.redis.conversation import StoreError
from jupyter_wshandler.shares import counts, others, writer
from jupyter_wshandler.shares.choose import open_shares
from jupyter_wshandler.shares.redisstore import COUNT
from jupyter_wshandler.shares.share import REVOKED, USED_UP, ShareEnded
from jupyter_wshandler.shares.stores import StoreFailed


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Wait for a store on a machine that has much else to do."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)


alone = pytest.mark.parametrize("redis", KINDS, indirect=True)
"""Of a test that kills a server, or fills it, or has a proxy before it."""


@pytest.fixture(scope="module", params=(*KINDS, *SHARED))
def redis(request):
    """Return a server, a service with Sentinels, or a cluster."""
    if request.param in SHARED:
        yield request.getfixturevalue(request.param)
    else:
        with running_store(request.param) as redis:
            yield redis


@pytest.fixture
def url(redis):
    redis.say("FLUSHALL")
    return redis.url


@pytest.fixture
def both(url):
    """The ends of two servers."""
    found = [open_shares(url, "", LOG) for _ in range(2)]
    for store in found:
        assert store.load() == []
    yield found
    for store in found:
        store.close()


@pytest.fixture
async def books(url):
    """Two servers that know nothing of each other but by the store."""
    found = [await opened(open_shares(url, "", LOG)) for _ in range(2)]
    yield found
    for book in found:
        await book.stop()


# ---- the store -----------------------------------------------------------------------------------


def test_others_are_told_what_has_changed_and_nothing_else(both):
    one, two = both
    for name in ("a", "b", "c"):
        one.put(kept_of(id=name))
    assert {kept.share.id for kept in two.changed()} == {"a", "b", "c"}
    assert two.changed() is None
    one.count(kept_of(id="b"), 2)
    (found,) = two.changed()
    assert (found.share.id, found.share.used, found.hash) == ("b", 2, "a hash")
    assert one.changed() is two.changed() is None
    two.put(kept_of(id="a", ended=REVOKED))
    assert [(kept.share.id, kept.share.ended) for kept in one.changed()] == [("a", REVOKED)]


def test_what_has_ended_stays_so_and_who_was_counted_is_forgotten(both):
    one, two = both
    one.put(kept_of())
    assert one.count(kept_of(), 1, guest=-7).done
    assert two.has_guest("s", -7)
    one.put(kept_of(ended=REVOKED))
    two.put(kept_of())
    assert [kept.share.ended for kept in two.load()] == [REVOKED]
    assert not two.has_guest("s", -7)
    assert not two.count(kept_of(), 1).done


def test_a_guest_is_counted_once_on_whichever_server(both):
    one, two = both
    one.put(kept_of(uses=1))
    assert one.count(kept_of(uses=1), 1, guest=5) == (True, kept_of(uses=1, used=1), False)
    assert two.count(kept_of(uses=1), 1, guest=5) == (True, kept_of(uses=1, used=1), True)
    assert not two.count(kept_of(uses=1), 1, guest=6).done


def test_a_revocation_is_heard_of_behind_a_write_that_has_changed_nothing(both):
    one, two = both
    for name in ("a", "b", "c"):
        one.put(kept_of(id=name))
    one.count(kept_of(id="a"), 1, guest=5)
    two.changed()
    one.put(kept_of(id="b", ended=REVOKED))
    assert two.count(kept_of(id="a"), 1, guest=5).before
    assert [kept.share.id for kept in two.changed()] == ["b"]
    one.put(kept_of(id="c", ended=REVOKED))
    two.put(kept_of(id="c"))
    assert [(kept.share.id, kept.share.ended) for kept in two.changed()] == [("c", REVOKED)]


def test_a_full_store_takes_no_share_and_ends_those_that_it_has(both, redis):
    one, two = both
    one.put(kept_of())
    redis.say("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreError, match="its memory is full"):
            one.put(kept_of(id="t"))
        with pytest.raises(StoreError, match="its memory is full"):
            one.count(kept_of(), 1)
        one.put(kept_of(ended=REVOKED))
        assert [kept.share.ended for kept in two.load()] == [REVOKED]
    finally:
        redis.say("CONFIG", "SET", "maxmemory", "0")


def test_a_store_that_has_lost_its_memory_is_told_by_all_who_know(both, redis, caplog):
    one, two = both
    for name in ("a", "b"):
        one.put(kept_of(id=name))
    one.count(kept_of(id="a"), 3)
    two.changed()
    two.put(kept_of(id="c"))
    two.put(kept_of(id="b", ended=REVOKED))
    redis.say("FLUSHALL")
    two.changed()
    one.changed()
    late = open_shares(redis.url, "", LOG)
    found = {kept.share.id: kept.share for kept in late.load()}
    late.close()
    assert {name: share.ended for name, share in found.items()} == {"a": "", "b": REVOKED, "c": ""}
    assert found["a"].used == 3
    assert "has lost the shares" in caplog.text


@pytest.mark.parametrize("first", [0, 1])
def test_a_revocation_outlives_a_store_that_has_lost_its_memory_whoever_tells_it_first(
    both, redis, first
):
    one, two = both
    one.put(kept_of())
    two.changed()
    two.put(kept_of(ended=REVOKED))  # which the other one has not heard of
    redis.say("FLUSHALL")
    for store in (both[first], both[1 - first]):
        store.changed()
    one.changed()
    assert [kept.share.ended for kept in one.load()] == [REVOKED]


@alone
def test_a_store_that_comes_back_without_its_last_second_is_told_of_it(both, redis, caplog):
    one, two = both
    for name in ("s", "t"):
        one.put(kept_of(id=name))
    two.changed()
    redis.say("SAVE")
    one.put(kept_of(ended=REVOKED))
    one.count(kept_of(id="t"), 3)
    redis.restart()
    (redis.folder / "dump.rdb").unlink()
    for name in ("u", "v"):  # as many changes as were lost
        two.put(kept_of(id=name))
    assert {kept.share.id for kept in one.changed()} >= {"u", "v"}
    assert "has lost the shares, or what has become of them" in caplog.text
    two.changed()
    found = {kept.share.id: (kept.share.ended, kept.share.used) for kept in two.load()}
    assert found == {"s": (REVOKED, 0), "t": ("", 3), "u": ("", 0), "v": ("", 0)}


@alone
def test_what_is_counted_in_another_life_of_the_store_is_not_told_as_it_was_before(both, redis):
    one, two = both
    redis.restart()
    two.put(kept_of(uses=2))
    assert one.count(kept_of(uses=2), 1) == (True, kept_of(uses=2, used=1), False)
    assert one.changed() == [kept_of(uses=2, used=1)]
    assert one.changed() is None
    assert two.changed() == [kept_of(uses=2, used=1)]


def test_what_cannot_be_read_is_left_out_with_a_warning(both, redis, caplog):
    one, two = both
    one.put(kept_of())
    redis.say("HSET", "wshandler:{shares}:values", "junk", "0{")
    redis.say("ZADD", "wshandler:{shares}:changes", "1", "junk")
    assert [kept.share.id for kept in two.load()] == ["s"]
    assert "The stored share junk cannot be read" in caplog.text


# ---- answers that are lost -----------------------------------------------------------------------


@pytest.fixture
def proxied(url, redis, monkeypatch):
    """A server whose way to the store loses answers, and one with a good way."""
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.0)
    redis.say("SCRIPT", "LOAD", COUNT.source.decode())  # or the answer that it is unknown is lost
    with running_proxy(LosingProxy, redis.port) as proxy:
        store = open_shares(f"redis://127.0.0.1:{proxy.port}/0", "", LOG)
        good = open_shares(url, "", LOG)
        yield proxy, store, good
        proxy.loses = 0
        store.close()
        good.close()


@alone
def test_a_count_whose_answer_was_lost_once_is_counted_once(proxied):
    proxy, store, good = proxied
    store.put(kept_of(uses=5))
    proxy.loses = 1
    answer = store.count(kept_of(uses=5), 1)
    assert (answer.done, answer.kept.share.used) == (True, 1)
    assert [kept.share.used for kept in good.load()] == [1]


@alone
def test_a_count_that_nobody_was_told_of_is_taken_back(proxied):
    proxy, store, good = proxied
    store.put(kept_of(uses=1))
    proxy.loses = 9
    with pytest.raises(StoreError):
        store.count(kept_of(uses=1), 1)
    assert [kept.share.used for kept in good.load()] == [1]  # it was done all the same
    proxy.loses = 0
    store.changed()
    assert [kept.share.used for kept in good.load()] == [0]
    assert good.count(kept_of(uses=1), 1).done
    store.changed()
    assert [kept.share.used for kept in good.load()] == [1]


@alone
def test_a_guest_who_was_counted_untold_is_not_counted_again(proxied):
    proxy, store, good = proxied
    store.put(kept_of(uses=1))
    proxy.loses = 9
    with pytest.raises(StoreError):
        store.count(kept_of(uses=1), 1, guest=5)
    proxy.loses = 0
    answer = store.count(kept_of(uses=1), 1, guest=5)
    assert (answer.done, answer.before, answer.kept.share.used) == (True, True, 1)
    assert not good.count(kept_of(uses=1), 1, guest=6).done


@alone
async def test_uses_of_a_share_without_a_bound_are_counted_once_through_lost_answers(
    proxied, monkeypatch
):
    monkeypatch.setattr(counts, "COUNT_EVERY", 0.01)
    monkeypatch.setattr(counts, "RETRY_EVERY", 0.01)
    proxy, store, good = proxied
    book = await opened(store)
    share = (await book.issue(route())).share
    proxy.loses = 12
    for n in range(4):
        await book.use(share, card(str(n), pending=n % 2 == 0))
        await asyncio.sleep(0.02)
    async with asyncio.timeout(20):
        while True:
            (kept,) = await asyncio.to_thread(good.load)
            if kept.share.used == 4 and not proxy.loses:
                break
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)  # nothing more is on its way
    (kept,) = await asyncio.to_thread(good.load)
    assert kept.share.used == book.get(share.id).used == 4
    await book.stop()


# ---- two servers ---------------------------------------------------------------------------------


async def test_a_link_that_one_server_has_made_opens_on_the_other_one_at_once(books):
    one, two = books
    share, token = msgspec.structs.astuple(await one.issue(route(), uses=2))
    assert two.find(token) is None
    await two.look_up(token, None)
    assert two.find(token) == share
    await two.use(share, card("ann", pending=True))
    with pytest.raises(ShareEnded, match=USED_UP):
        await asyncio.gather(*(book.use(share, card("bob")) for book in books))


async def test_a_guest_who_came_by_one_server_is_in_on_the_other_one_when_all_is_used(books):
    one, two = books
    share = (await one.issue(route(), uses=1)).share
    ann, bob = (card(name, pending=True, share=share.id) for name in ("ann", "bob"))
    assert await one.use(share, ann)
    await two.look_up(None, ann)
    assert two.has_counted(two.get(share.id), ann)
    assert not await two.use(share, ann)
    await two.look_up(None, bob)
    with pytest.raises(ShareEnded, match=USED_UP):
        await two.use(share, bob)


async def test_a_revocation_is_heard_by_all_servers_within_a_second_or_two(books):
    one, two = books
    share, token = msgspec.structs.astuple(await one.issue(route()))
    await two.look_up(token, None)
    ended = []
    two.watch(lambda share, words: ended.append((share.id, words)))
    await one.revoke(share.id)
    async with asyncio.timeout(2):
        while not ended:
            await asyncio.sleep(0.01)
    assert ended == [(share.id, REVOKED)]


async def test_a_share_can_be_revoked_by_a_server_that_has_not_heard_of_it(books):
    one, two = books
    share = (await one.issue(route())).share
    assert await two.revoke(share.id)
    await one.look()
    assert one.get(share.id).ended == REVOKED
    assert await two.revoke("nothing") is False


@alone
async def test_a_store_that_is_away_lets_in_whom_no_bound_keeps_out(books, redis, monkeypatch):
    monkeypatch.setattr(conversations, "TIMEOUT", 3.0)
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.0)
    monkeypatch.setattr(counts, "RETRY_EVERY", 0.02)
    monkeypatch.setattr(writer, "RETRY_EVERY", 0.02)
    monkeypatch.setattr(others, "COMPARE_EVERY", 0.02)
    one, two = books
    free, token = msgspec.structs.astuple(await one.issue(route()))
    bound = (await one.issue(route(), uses=2)).share
    await two.look_up(token, None)
    await asyncio.to_thread(redis.kill)
    with pytest.raises(StoreFailed):
        await one.look_up("x" * 22, None)
    ann = card("ann", pending=True, share=free.id)
    await two.look_up(token, ann)
    assert await two.use(free, ann)
    with pytest.raises(StoreFailed):
        await one.use(bound, card("bob"))
    with pytest.raises(StoreFailed):
        await one.issue(route())
    with pytest.raises(StoreFailed):
        await one.revoke(bound.id)  # which holds on this server at once
    with pytest.raises(ShareEnded, match=REVOKED):
        await one.use(bound, card("bob"))
    await asyncio.to_thread(redis.start)  # it has no files, and is told all of it again
    wrong = "nothing has happened"
    try:
        async with asyncio.timeout(40):
            while wrong:
                await asyncio.sleep(0.02)
                both = [(book.get(free.id).used, book.get(bound.id).ended) for book in books]
                wrong = "" if both == [(1, REVOKED)] * 2 else repr(both)
    except TimeoutError:
        pytest.fail(wrong)
