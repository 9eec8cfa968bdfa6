"""The backplane on Redis and Valkey keeps the contract, over real servers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from support.stores import KINDS, Store, running_store

from jupyter_wshandler.backplane.base import Backplane, Entry, Keep, Position, Publication, answered
from jupyter_wshandler.backplane.redis.keys import pack
from jupyter_wshandler.backplane.redis.link import Link
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.backplane.redis.publishing import publish_request
from jupyter_wshandler.errors import BackplaneError
from jupyter_wshandler.testing.backplanes import BackplaneContract, Heard, until

SLOWER = 3.0
"""How much more time a lease has here than the contract says: the machine may be busy."""

KEEP = Keep(size=100, bytes=1024 * 1024, ttl=60.0)


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A server for all tests of this file; each test has a prefix of its own."""
    with running_store(request.param) as store:
        yield store


prefixes = (f"t{number}" for number in range(1_000_000))


class TestRedis(BackplaneContract):
    """The contract, over nodes that share one server."""

    @pytest.fixture(autouse=True)
    def _store(self, store: Store) -> None:
        self.url = store.url

    async def nodes(self, count: int, lease: float = 0.0) -> Sequence[Backplane]:
        options = {"prefix": next(prefixes), "lease": SLOWER * lease, "patience": 60}
        return [RedisBackplane(self.url, **options) for _ in range(count)]

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(SLOWER * seconds)


class TestUnixSocket(TestRedis):
    """The same over the server's Unix socket."""

    @pytest.fixture(autouse=True)
    def _store(self, store: Store) -> None:
        self.url = store.unix_url


@pytest.fixture
async def nodes(store: Store) -> AsyncIterator[list[RedisBackplane]]:
    """Return two nodes of one deployment."""
    prefix = next(prefixes)
    found = [RedisBackplane(store.url, prefix=prefix, lease=30, patience=60) for _ in range(2)]
    yield found
    for node in found:
        await node.close()


async def test_a_large_message_comes_whole_and_one_over_the_cap_is_refused_to_its_sender(store):
    node = RedisBackplane(store.url, prefix=next(prefixes), max_message=300_000, patience=60)
    heard = Heard()
    await node.subscribe("room", heard)
    text = "é\U0001f600" * 30_000
    await node.publish("room", Publication(text), KEEP)
    await node.publish("room", Publication(bytes(200_000)), KEEP)
    with pytest.raises(BackplaneError, match="at most 300000 bytes") as refusal:
        await node.publish("room", Publication("secret" * 60_000), KEEP)
    assert "secret" not in str(refusal.value)
    await until(lambda: len(heard.messages) == 2)
    assert heard.messages == [(text, 1), (bytes(200_000), 2)]
    await node.close()


@pytest.mark.parametrize("name", ["a}b", "}", "{x}", "ü😀", "a\nb", 'q"\\', "x" * 500, " "])
async def test_channels_of_any_name_are_kept_apart(nodes, name):
    first, other = Heard(), Heard()
    await nodes[0].subscribe(name, first)
    await nodes[0].subscribe(name + "x", other)
    place = await nodes[1].publish(name, Publication("a"), KEEP)
    await nodes[1].add(name, "k}\n ü", Entry("ada", {"n": 1}))
    await until(lambda: len(first.messages) == 1 and len(first.changes) == 1)
    assert other.messages == other.changes == []
    assert [one.publication.message for one in (await nodes[0].history(name)).messages] == ["a"]
    assert (await nodes[0].entries(name)).by_key == {"k}\n ü": Entry("ada", {"n": 1})}
    assert place.offset == 1


@pytest.mark.parametrize("differ_in", ["prefix", "a prefix that begins as the other", "database"])
async def test_two_deployments_on_one_store_hear_nothing_of_each_other(store, differ_in):
    """Redis has keys of each database, and pub/sub channels of all together."""
    prefix = next(prefixes)
    there = {
        "prefix": (store.url, next(prefixes)),
        "a prefix that begins as the other": (store.url, f"{prefix}-2"),
        "database": (store.url.replace("/0", "/1"), prefix),
    }
    one = RedisBackplane(store.url, prefix=prefix, patience=60)
    url, prefix = there[differ_in]
    other = RedisBackplane(url, prefix=prefix, patience=60)
    heard, users = Heard(), Heard()
    await other.subscribe("room", heard)
    await answered(other.receive_for_users(users.to_user))
    await one.publish("room", Publication("a"), KEEP)
    await one.publish("room", Publication("not kept"))
    await one.add("room", "c1", Entry("ada"))
    await one.send_to_user("ada", Publication("a"))
    await other.publish("room", Publication("b"), KEEP)
    await other.send_to_user("ada", Publication("b"))
    await until(lambda: bool(heard.messages and users.for_users))
    assert heard.messages == [("b", 1)]
    assert heard.changes == []
    assert (await other.entries("room")).by_key == {}
    assert users.for_users == [("ada", "b")]
    await one.close()
    await other.close()


async def test_many_channels_at_once_need_two_connections(store, nodes):
    heard = [Heard() for _ in range(300)]
    await asyncio.gather(*(nodes[0].subscribe(f"r{n}", one) for n, one in enumerate(heard)))
    before = store.say("CLIENT", "LIST").count(b"\nid=")
    await asyncio.gather(
        *(nodes[1].publish(f"r{n}", Publication(str(n)), KEEP) for n in range(300))
    )
    await until(lambda: all(len(one.messages) == 1 for one in heard))
    assert store.say("CLIENT", "LIST").count(b"\nid=") <= before + 2


async def test_a_script_that_the_store_has_forgotten_is_loaded_again(store, nodes):
    await nodes[0].publish("room", Publication("a"), KEEP)
    assert store.say("SCRIPT", "FLUSH").startswith(b"+OK")
    places = await asyncio.gather(
        *(nodes[0].publish("room", Publication(str(n)), KEEP) for n in range(20)),
        nodes[1].publish("room", Publication("z"), KEEP),
    )
    assert sorted(place.offset for place in places) == list(range(2, 23))


async def test_a_room_is_subscribed_to_before_its_log_is_read(nodes, monkeypatch):
    """What comes between the two would be missed until the next message shows the gap."""
    heard, subscribe = Heard(), Link.subscribe

    async def late(link: Link, channels: Sequence[bytes]) -> None:
        await nodes[1].publish("room", Publication("a"), KEEP)
        await subscribe(link, channels)

    await nodes[0].history("any")
    await nodes[1].history("any")
    monkeypatch.setattr(Link, "subscribe", late)
    await nodes[0].subscribe("room", heard)
    await nodes[1].publish("room", Publication("b"), KEEP)
    await until(lambda: heard.messages == [("b", 2)])
    assert nodes[0].counts()["gaps"] == 0


async def test_what_anybody_else_publishes_there_harms_nobody(store, nodes, caplog):
    heard = Heard()
    await nodes[0].subscribe("room", heard)
    name = nodes[0]._keys.heard("room").decode()
    for junk in ("", "m", "m 1", "m x y z w", "c 1 2 3 4", "cz", "m e 7 id \x81", "?" * 1000):
        store.say("PUBLISH", name, junk)
        store.say("PUBLISH", nodes[0]._keys.users.decode(), junk)
    await nodes[1].publish("room", Publication("a"), KEEP)
    await until(lambda: heard.messages == [("a", 1)])
    records = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert len(records) == 1
    assert "?" not in records[0].getMessage()


async def test_a_flushed_store_begins_another_epoch_and_nobody_takes_it_for_the_old_one(
    store, nodes
):
    heard = Heard()
    await nodes[0].subscribe("room", heard)
    before = await nodes[1].publish("room", Publication("a"), KEEP)
    await nodes[1].publish("room", Publication("b"), KEEP)
    store.say("FLUSHALL")
    after = await nodes[1].publish("room", Publication("c"), KEEP)
    assert after.epoch != before.epoch
    assert after.offset == 1
    past = await nodes[0].history("room", before)
    assert [one.publication.message for one in past.messages] == ["c"]
    assert not past.complete
    await until(lambda: [text for text, _ in heard.messages] == ["a", "b", "c"])


@pytest.mark.parametrize("wrong", [-60, 60])
async def test_leases_and_times_go_by_the_clock_of_the_store(nodes, monkeypatch, wrong):
    """A node whose clock is wrong by a minute changes nothing: who writes, and who looks."""
    real = time.time
    with monkeypatch.context() as clock:
        clock.setattr(time, "time", lambda: real() + wrong)
        await nodes[0].add("room", "c1", Entry("ada"))
        await nodes[0].publish("room", Publication("a"), KEEP)
        assert set((await nodes[0].entries("room")).by_key) == {"c1"}
        assert await nodes[0].renew("room", ["c1"]) == []
        assert [one.offset for one in (await nodes[0].history("room")).messages] == [1]
    assert set((await nodes[1].entries("room")).by_key) == {"c1"}
    (one,) = (await nodes[1].history("room")).messages
    assert abs(one.at - real()) < 30


async def test_nothing_that_was_kept_stays_in_the_store_for_ever(store, nodes):
    await nodes[0].publish("room", Publication("a"), Keep(10, 1000, 0.05))
    await nodes[0].add("room", "c1", Entry("ada"))
    heard = nodes[0]._keys.heard("room").decode()
    for key in ("log", "logstate", "people", "leases", "peoplestate"):
        left = int(store.say("PTTL", f"{heard}:{key}")[1:-2])
        assert left == -2 or 0 < left <= 24 * 3600 * 1000 + 50


async def test_an_id_that_begins_as_another_is_no_repetition(nodes):
    await nodes[0].subscribe("room", Heard())
    line, packed = nodes[0]._router.lines[0], pack(Publication("a"))
    for later in (b"id-10", b"id-1f", b"id-2"):  # they came while the answer to the first was lost
        await line.do(publish_request(nodes[0]._keys, "room", later, packed, KEEP))
    first = publish_request(nodes[0]._keys, "room", b"id-1", packed, KEEP)
    _, offset, _ = await line.do(first.copied())
    assert offset == 4
    assert len((await nodes[0].history("room")).messages) == 4


async def test_a_repeated_publish_is_one_entry_with_one_number(nodes):
    """What is sent again after a break was done before, perhaps: the store knows its id."""
    heard = Heard()
    await nodes[0].subscribe("room", heard)
    packed = pack(Publication("a"))
    request = publish_request(nodes[0]._keys, "room", b"id-1", packed, KEEP)
    first = await nodes[0]._router.lines[0].do(request)
    await nodes[1].publish("room", Publication("b"), KEEP)
    for _ in range(2):
        again = request.copied()
        reply = await nodes[0]._router.lines[0].do(again)
        assert reply == [*first[:2], -1]  # it was there already
    past = await nodes[0].history("room", Position(first[0].decode(), 0))
    assert [one.publication.message for one in past.messages] == ["a", "b"]
    await until(lambda: len(heard.messages) >= 2)
    assert heard.messages == [("a", 1), ("b", 2)]


async def test_a_gap_on_a_link_that_lives_is_filled_in_order_and_once(nodes):
    """Messages that never came, of the log and of presence at once."""
    heard = Heard()
    await nodes[0].subscribe("room", heard)
    await nodes[0].entries("room")
    await nodes[1].publish("room", Publication("0"), KEEP)
    await nodes[1].add("room", "c0", Entry("ada"))
    await until(lambda: len(heard.messages) == len(heard.changes) == 1)
    hear, lost = nodes[0]._router.lines[0]._hear, [5]

    def forgetful(channel: bytes, data: bytes) -> None:
        if lost[0]:
            lost[0] -= 1
        else:
            hear(channel, data)

    nodes[0]._router.lines[0]._hear = forgetful
    for number in range(1, 4):
        await nodes[1].publish("room", Publication(str(number)), KEEP)
        await nodes[1].add("room", f"c{number}", Entry("bob"))
    await asyncio.gather(
        *(nodes[1].publish("room", Publication(str(number)), KEEP) for number in range(4, 30)),
        *(nodes[1].add("room", f"c{number}", Entry("bob")) for number in range(4, 30)),
    )
    await until(lambda: len(heard.messages) == 30)
    assert [offset for _, offset in heard.messages] == list(range(1, 31))
    assert not heard.gaps
    assert nodes[0].counts()["messages_filled"] >= 2

    def people() -> set[str]:
        found = set(heard.lists[-1].by_key) if heard.lists else set()
        position = heard.lists[-1].position if heard.lists else Position()
        later = [change for change in heard.changes if change.position.offset > position.offset]
        return found | {change.key for change in later}

    await until(lambda: people() == {f"c{number}" for number in range(30)})
