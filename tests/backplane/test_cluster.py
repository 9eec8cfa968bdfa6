"""A backplane on a cluster: rooms on three primaries, moved and failed over under load."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from redis.crc import key_slot
from support.clusters import ClusterOf, clustered, running_cluster
from support.roomload import held_under_load
from support.server import free_port, wait_for
from support.stores import KINDS, MORE_RIGHTS, RIGHTS, running_store
from support.strangers import FRIENDLY, NO_LENGTH, stranger

from jupyter_wshandler.backplane.base import Backplane, Entry, Keep, Publication, answered
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.backplane.redis.places import place_of
from jupyter_wshandler.cli.backplane import check_backplane
from jupyter_wshandler.errors import BackplaneError
from jupyter_wshandler.manager.publish import Publisher
from jupyter_wshandler.rooms.names import channel_of
from jupyter_wshandler.testing.backplanes import BackplaneContract, Heard

SLOWER = 3.0
"""How much more time a lease has here than the contract says: the machine may be busy."""

KEEP = Keep(size=1000, bytes=1024 * 1024, ttl=60.0)


@pytest.fixture(scope="module", params=KINDS)
def the_cluster(request: pytest.FixtureRequest) -> Iterator[ClusterOf]:
    with running_cluster(request.param) as cluster:
        yield cluster


@pytest.fixture
def cluster(the_cluster: ClusterOf) -> ClusterOf:
    """Return the cluster of the module, as no test before has left anything."""
    the_cluster.clean()
    return the_cluster


prefixes = (f"t{number}" for number in range(1_000_000))


class TestCluster(BackplaneContract):
    """The contract, over nodes whose rooms are on three primaries."""

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: ClusterOf) -> None:
        self.url = cluster.url

    async def nodes(self, count: int, lease: float = 0.0) -> Sequence[Backplane]:
        options = {"prefix": next(prefixes), "lease": SLOWER * lease, "patience": 60}
        nodes = [RedisBackplane(self.url, **options) for _ in range(count)]
        for node in nodes:  # on a busy machine the first links take their time
            await node.history("nothing")
            await until(lambda node=node: node.counts()["up"])
        return nodes

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(SLOWER * seconds)


@pytest.fixture
async def nodes(cluster: ClusterOf) -> AsyncIterator[list[RedisBackplane]]:
    """Return two nodes of one deployment."""
    prefix = next(prefixes)
    found = [RedisBackplane(cluster.url, prefix=prefix, lease=30, patience=60) for _ in range(2)]
    yield found
    for node in found:
        await node.close()


async def until(condition, seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def texts(heard: Heard) -> list[str]:
    return [str(text) for text, _ in heard.messages]


def checked(url: str) -> tuple[int, str]:
    stream = io.StringIO()
    code = check_backplane(url, stream=stream)
    return code, stream.getvalue()


def slot_of(node: RedisBackplane, channel: str) -> int:
    return key_slot(node._keys.heard(channel))


def channel_in(node: RedisBackplane, slots: range) -> str:
    """Return a channel of some slots."""
    return next(
        name for name in map("c{}".format, itertools.count()) if slot_of(node, name) in slots
    )


async def test_rooms_are_on_all_primaries_and_a_link_to_each_is_enough(cluster, nodes):
    heard = [Heard() for _ in range(60)]
    names = [f"r{number}" for number in range(60)]
    await asyncio.gather(*map(nodes[0].subscribe, names, heard))
    await asyncio.gather(*(nodes[1].publish(name, Publication(name), KEEP) for name in names))
    await until(lambda: all(len(one.messages) == 1 for one in heard))
    assert [texts(one) for one in heard] == [[name] for name in names]
    for store in cluster.primaries:
        assert int(store.say("DBSIZE")[1:-2]) > 10
        assert store.say("CLIENT", "LIST").count(b" ssub=") >= 1


async def test_what_the_spaces_keep_is_said_where_it_belongs_and_again_on_a_new_link(
    cluster, nodes
):
    nodes[0].announce({"chat": KEEP, "plain": None})
    key = nodes[0]._keys.spaces
    store = cluster.owner(key_slot(key))
    await until(lambda: store.say("HLEN", key.decode()) == b":2\r\n")
    store.say("DEL", key.decode())
    store.say("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: store.say("HLEN", key.decode()) == b":2\r\n")


async def test_the_worst_of_the_ways_counts_and_the_numbers_of_all_are_added(
    cluster, nodes, monkeypatch
):
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.CALM", 0.0)
    names = [f"r{number}" for number in range(30)]
    for name in names:
        await nodes[0].subscribe(name, Heard())
    await until(lambda: nodes[0].state == "up")
    assert nodes[0].trouble == ""
    store = cluster.primaries[1]
    store.say("CONFIG", "SET", "maxmemory", "1")
    try:
        for name in names:
            with contextlib.suppress(BackplaneError):
                await nodes[0].publish(name, Publication("a"), KEEP)
        assert nodes[0].state == "refusing"
        assert "memory is full" in nodes[0].trouble
    finally:
        store.say("CONFIG", "SET", "maxmemory", "0")
    await nodes[0].sweep()  # tries the one that has refused, as a server does every five seconds
    assert nodes[0].state == "up"
    for name in names:
        await nodes[0].publish(name, Publication("b"), KEEP)
    for store in cluster.primaries:
        store.say("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: nodes[0].counts()["breaks"] == len(cluster.primaries))
    await until(lambda: nodes[0].counts()["up"])
    counts = nodes[0].counts()
    assert counts["resubscriptions"] >= counts["channels"] == len(names)
    assert counts["publishing"] == counts["outbox_messages"] == counts["outbox_bytes"] == 0
    assert sum(nodes[0].publish_times.counts) >= len(names)


@pytest.mark.parametrize("name", ["a}b", "}", "{x}", "{}x", "", "%7D", "ü😀", 'q"\\', " "])
async def test_all_keys_of_a_channel_of_any_name_are_on_one_server(nodes, name):
    heard, other = Heard(), Heard()
    await nodes[0].subscribe(name, heard)
    await nodes[0].subscribe(name + "x", other)
    await nodes[1].publish(name, Publication("a"), KEEP)
    await nodes[1].add(name, "k", Entry("ada"))
    await until(lambda: len(heard.messages) == 1 and len(heard.changes) == 1)
    assert other.messages == other.changes == []


async def test_a_room_whose_slot_is_moved_under_way_loses_nothing(cluster, nodes):
    heard = [Heard(), Heard()]
    for node, one in zip(nodes, heard, strict=True):
        await node.subscribe("room", one)
        await node.add("room", f"c{len(one.changes)}-{node.node}", Entry("ada"))
    slot = slot_of(nodes[0], "room")
    stop = asyncio.Event()
    said: list[str] = []

    async def speak() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            await nodes[number % 2].publish("room", Publication(str(number)), KEEP)
            said.append(str(number))
            await asyncio.sleep(0.002)

    speaking = asyncio.create_task(speak())
    source = await asyncio.to_thread(cluster.owner, slot)
    target = next(one for one in cluster.primaries if one is not source)
    for one in (target, source):
        await until(lambda: len(said) > 50)
        await asyncio.to_thread(cluster.move, slot, one)
        said_then = len(said)
        await until(lambda n=said_then: len(said) > n + 50)
    stop.set()
    await speaking
    for one in heard:
        await until(lambda one=one: len(one.messages) >= len(said))
        assert texts(one) == said
    past = await nodes[0].history("room")
    assert [one.publication.message for one in past.messages] == said[-1000:]
    assert [len((await node.entries("room")).by_key) for node in nodes] == [2, 2]


async def test_a_room_waits_while_its_keys_are_between_two_servers(cluster, nodes):
    """Some are here, some are there: nobody can take a message (TRYAGAIN), or ask (ASK)."""
    heard = Heard()
    await nodes[0].subscribe("room", heard)
    await nodes[0].publish("room", Publication("a"), KEEP)
    slot = slot_of(nodes[0], "room")
    source = await asyncio.to_thread(cluster.owner, slot)
    target = next(one for one in cluster.primaries if one is not source)
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    await asyncio.to_thread(cluster.move_keys, slot, source, target, 1)
    waiting = [
        asyncio.create_task(nodes[n % 2].publish("room", Publication(f"b{n}"), KEEP))
        for n in range(6)
    ]
    late = Heard()
    waiting.append(asyncio.create_task(nodes[1].subscribe("room", late)))
    turned_away = "errorstat_TRYAGAIN"
    await until(lambda: turned_away in source.say("INFO", "errorstats").decode())
    assert not any(task.done() for task in waiting[:6])
    while await asyncio.to_thread(cluster.move_keys, slot, source, target):
        pass
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    await asyncio.gather(*waiting)
    await until(lambda: len(heard.messages) == 7)
    for number in range(2):  # of each sender in the order in which it was said
        own = [text for text in texts(heard)[1:] if int(text[1:]) % 2 == number]
        assert own == sorted(own)
    await nodes[0].publish("room", Publication("c"), KEEP)
    await until(lambda: texts(late)[-1:] == ["c"])
    await asyncio.to_thread(cluster.move, slot, source)


async def test_what_waits_for_a_room_on_its_way_is_counted_and_bounded_in_bytes(
    cluster, nodes, monkeypatch
):
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.router.MAX_WAITING_BYTES", 5000)
    await nodes[0].publish("room", Publication("a"), KEEP)
    slot, long = slot_of(nodes[0], "room"), "x" * 2000
    source = await asyncio.to_thread(cluster.owner, slot)
    target = next(one for one in cluster.primaries if one is not source)
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    await asyncio.to_thread(cluster.move_keys, slot, source, target, 1)
    waiting = [
        asyncio.create_task(nodes[0].publish("room", Publication(long), KEEP)) for _ in range(4)
    ]
    await until(lambda: sum(task.done() for task in waiting) == 2)
    await until(lambda: nodes[0].counts()["outbox_messages"] == 2)
    assert 4000 < nodes[0].counts()["outbox_bytes"] <= 5000
    while await asyncio.to_thread(cluster.move_keys, slot, source, target):
        pass
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [str(one) for one in found if isinstance(one, BackplaneError)]
    assert len(refused) == 2
    assert all("too much waits for the backplane already" in text for text in refused)
    past = await nodes[1].history("room")
    assert [one.publication.message for one in past.messages] == ["a", long, long]
    await until(lambda: not nodes[0].counts()["outbox_messages"])
    assert not nodes[0].counts()["outbox_bytes"]
    await asyncio.to_thread(cluster.move, slot, source)


async def test_messages_to_users_come_wherever_their_slot_is(cluster, nodes):
    heard = [Heard(), Heard()]
    for node, one in zip(nodes, heard, strict=True):
        await answered(node.receive_for_users(one.to_user))
    await nodes[0].send_to_user("ada", Publication("a"))
    await until(lambda: all(len(one.for_users) == 1 for one in heard))
    slot = key_slot(nodes[0]._keys.users)
    source = await asyncio.to_thread(cluster.owner, slot)
    target = next(one for one in cluster.primaries if one is not source)
    await asyncio.to_thread(cluster.move, slot, target)
    sent = 0

    async def arrived() -> bool:
        nonlocal sent
        sent += 1
        await nodes[0].send_to_user("ada", Publication(f"b{sent}"))
        await asyncio.sleep(0.05)
        return all(len(one.for_users) > 1 for one in heard)

    async with asyncio.timeout(20):
        while not await arrived():
            pass
    await asyncio.to_thread(cluster.move, slot, source)


@pytest.mark.endurance
async def test_each_message_comes_once_or_its_client_is_told_while_slots_move(cluster):
    prefix = next(prefixes)
    node = RedisBackplane(cluster.url, prefix=prefix)
    slot = slot_of(node, channel_of("m", "blue"))
    source = cluster.owner(slot)
    target = next(one for one in cluster.primaries if one is not source)
    turns = itertools.cycle([target, source])
    await held_under_load(
        cluster.url,
        "cluster, slot moved",
        kill=lambda: None,
        mend=lambda: cluster.move(slot, next(turns)),
        times=2,
        listeners=20,
        apart=0.4,
        prefix=prefix,
    )


async def test_rooms_of_other_primaries_go_on_while_one_is_away(cluster, nodes):
    """Until the cluster itself takes note, and refuses everything."""
    for store in cluster.primaries:
        store.say("CONFIG", "SET", "cluster-require-full-coverage", "no")
    gone = cluster.primaries[2]
    slots = [range(5461), range(5461, 10923), range(10923, 16384)]
    away = channel_in(nodes[0], next(s for s in slots if cluster.owner(s[100]) is gone))
    here = channel_in(nodes[0], next(s for s in slots if cluster.owner(s[100]) is not gone))
    heard = Heard()
    await nodes[1].subscribe(here, heard)
    await nodes[1].subscribe(away, heard)
    await nodes[0].publish(away, Publication("a"), KEEP)
    gone.stop()
    try:
        waiting = asyncio.create_task(nodes[0].publish(away, Publication("b"), KEEP))
        await nodes[0].publish(here, Publication("c"), KEEP)
        await until(lambda: "c" in texts(heard))
        await until(lambda: str(gone.port) in nodes[0].trouble or nodes[0].trouble)
        assert nodes[0].counts()["up"] == 0
        assert not waiting.done()
    finally:
        gone.go_on()
    await waiting
    await until(lambda: sorted(texts(heard)) == ["a", "b", "c"])
    await until(lambda: not nodes[0].trouble)
    for store in cluster.primaries:
        store.say("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    await asyncio.to_thread(cluster.wait)


async def test_nothing_is_left_running_when_a_node_is_closed(cluster):
    before = {task for task in asyncio.all_tasks() if not task.done()}
    node = RedisBackplane(cluster.url, prefix=next(prefixes), patience=60)
    await node.subscribe("room", Heard())
    await node.publish("room", Publication("a"), KEEP)
    await node.close()
    assert {task for task in asyncio.all_tasks() if not task.done()} == before


def test_a_cluster_that_will_do_is_named_and_each_primary_is_tried(cluster):
    code, text = checked(cluster.url)
    assert code == 0, text
    assert f"backplane {cluster.url}: " in text
    assert ", 3 primaries" in text
    assert "a message comes back after" in text


def test_a_server_alone_and_one_of_a_cluster_are_told_apart(cluster):
    kind = cluster.primaries[0].kind
    code, text = checked(cluster.primaries[0].url)
    assert code == 1
    assert "write redis+cluster://" in text
    with running_store(kind) as store:
        code, text = checked(f"redis+cluster://127.0.0.1:{store.port}")
        assert code == 1
        assert "no cluster; write redis://" in text


def test_a_cluster_that_is_not_whole_is_refused_with_the_reason(cluster):
    with running_store(cluster.primaries[0].kind, *clustered()) as store:
        store.say("CLUSTER", "ADDSLOTSRANGE", "0", "100")
        code, text = checked(f"redis+cluster://u:word@127.0.0.1:{store.port}")
        assert code == 1
        assert "Authentication" in text
        store.say("ACL", "SETUSER", "u", "on", ">word", "~*", "&*", "+@all")
        code, text = checked(f"redis+cluster://u:word@127.0.0.1:{store.port}")
        assert code == 1
        assert "the cluster is not whole: 101 of 16384 slots are served" in text
        assert "word" not in text
        store.say("CLUSTER", "ADDSLOTSRANGE", "101", "16383")
        wait_for(lambda: b"cluster_state:ok" in store.say("CLUSTER", "INFO"), 20, "a cluster")
        code, text = checked(f"redis+cluster://u:word@127.0.0.1:{store.port}")
        assert code == 0, text
        assert ", 1 primary" in text


def test_servers_that_are_not_there_are_each_named():
    ports = [free_port(), free_port()]
    code, text = checked(f"redis+cluster://u:word@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}")
    assert code == 1
    assert all(f"127.0.0.1:{port}: " in text for port in ports)
    assert "word" not in text


@pytest.mark.parametrize("answer", [NO_LENGTH, FRIENDLY], ids=["garbage", "friendly"])
def test_a_stranger_among_the_servers_is_named_and_another_one_is_asked(
    cluster, answer, monkeypatch
):
    with stranger(answer) as port:
        code, text = checked(f"redis+cluster://127.0.0.1:{port}")
        assert code == 1
        assert f"127.0.0.1:{port}: expected Redis or Valkey, found something else" in text
        # It is the first one that is asked, whatever chance would say.
        monkeypatch.setattr(random, "shuffle", lambda hosts: hosts.sort(key=lambda h: h[1] != port))
        code, text = checked(cluster.url.replace("://", f"://127.0.0.1:{port},"))
        assert code == 0, text


def test_the_rights_that_the_docs_name_are_enough(cluster):
    assert MORE_RIGHTS in (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    for store in cluster.primaries:
        words = ("ACL", "SETUSER", "enough", "on", ">pass-word", *RIGHTS.split())
        assert store.say(*words, *MORE_RIGHTS.split()).startswith(b"+OK")
    url = cluster.url.replace("://", "://enough:pass-word@")
    code, text = checked(url)
    assert code == 0, text
    for store in cluster.primaries:
        store.say("ACL", "SETUSER", "enough", "-spublish")
    code, text = checked(url)
    assert code == 1
    assert "publish to a room" in text
    assert "pass-word" not in text


# ---- publish from outside ------------------------------------------------------------------------


async def test_a_program_outside_finds_the_server_of_each_room(cluster, nodes):
    """With the rights that the docs name for it, over one link to each primary."""
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    rights = re.search(r"^ACL SETUSER pricing (.*)$", page, re.MULTILINE)
    more = re.search(r"In a cluster it needs `(.*?)` as well", page)
    assert rights is not None
    assert more is not None
    prefix = nodes[0]._keys.prefix
    words = f"{rights[1]} {more[1]}".replace("wshandler:", f"{prefix}:").split(" ")
    for store in cluster.primaries:
        assert store.say("ACL", "SETUSER", "pricing", "reset", *words) == b"+OK\r\n"
    nodes[0].announce({"chat": KEEP, "plain": None})
    await nodes[0].history("nothing")
    heard = {name: Heard() for name in map("room-{}".format, range(12))}
    for name, one in heard.items():
        for space in ("chat", "plain"):
            await nodes[0].subscribe(channel_of(space, name), one)
    url = cluster.url.replace("://", "://pricing:password@")
    async with Publisher(url, prefix=prefix) as publisher:
        for name in heard:
            assert (await publisher.publish("chat", name, "a", id="one"))[1:] == (1, 1)
            assert (await publisher.publish("chat", name, "a", id="one"))[1:] == (1, None)
            assert await publisher.publish("plain", name, "b") == ("", 0, 1)
        assert len(publisher._publisher._links) == 3
    for one in heard.values():
        await until(lambda one=one: texts(one) == ["a", "b"])


async def test_a_program_outside_waits_for_a_room_that_is_moved(cluster, nodes):
    prefix, heard, room = nodes[0]._keys.prefix, Heard(), channel_of("chat", "blue")
    slot = slot_of(nodes[0], room)
    source = cluster.owner(slot)
    target = next(one for one in cluster.primaries if one is not source)
    nodes[0].announce({"chat": KEEP})
    await nodes[0].subscribe(room, heard)
    async with Publisher(cluster.url, prefix=prefix) as publisher:
        await publisher.publish("chat", "blue", "a")
        moving = asyncio.create_task(asyncio.to_thread(cluster.move, slot, target))
        said = ["a"]
        while not moving.done() or len(said) < 20:
            said.append(str(len(said)))
            await publisher.publish("chat", "blue", said[-1], timeout=40)
        await moving
        await until(lambda: texts(heard) == said)
    past = await nodes[1].history(room)
    assert [one.publication.message for one in past.messages] == said
    await asyncio.to_thread(cluster.move, slot, source)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://u:secret@h:1/0",
        "redis+cluster://u:secret@",
        "redis+cluster://u:secret@h:port",
        "redis+cluster://u:sec/ret@h:1",
        "redis+cluster://u:1/secret@h:1",
        "redis+cluster://u:secret@h:1?db=1",
        "redis+cluster://u:secret@h:1?sentinel_password=secret",
    ],
)
def test_a_url_that_cannot_be_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match=r"redis\+cluster://\[user|unknown option") as refusal:
        place_of(url)
    assert "secret" not in str(refusal.value).replace("sentinel_password", "")


async def test_a_slot_that_is_on_its_way_for_too_long_is_told_to_the_sender(
    cluster, nodes, monkeypatch
):
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.router.MOVING", 0.1)
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.router.PAUSES", (0.5, 0.5))
    await nodes[0].publish("room", Publication("a"), KEEP)
    slot = slot_of(nodes[0], "room")
    source = await asyncio.to_thread(cluster.owner, slot)
    target = next(one for one in cluster.primaries if one is not source)
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    await asyncio.to_thread(cluster.move_keys, slot, source, target, 1)
    with pytest.raises(BackplaneError, match="has been moving this room"):
        await nodes[0].publish("room", Publication("b"), KEEP)
    while await asyncio.to_thread(cluster.move_keys, slot, source, target):
        pass
    await asyncio.to_thread(cluster.end_move, slot, source, target)
    # It waits for the next look, for longer than the bound, and is taken then.
    await nodes[0].publish("room", Publication("c"), KEEP)
    past = await nodes[1].history("room")
    assert [one.publication.message for one in past.messages] == ["a", "c"]
    await asyncio.to_thread(cluster.move, slot, source)


@pytest.mark.endurance
async def test_each_message_comes_once_or_its_client_is_told_over_a_failover(cluster):
    """The last test of this file: one of the primaries does not come back."""
    prefix = next(prefixes)
    slot = slot_of(RedisBackplane(cluster.url, prefix=prefix), channel_of("m", "blue"))
    primary = cluster.primaries[0]
    await asyncio.to_thread(cluster.move, slot, primary)
    with cluster.replica_of(primary) as replica:

        def wait_for_replica() -> None:
            role = b"role:master"
            wait_for(lambda: role in replica.say("INFO", "replication"), 30, "a failover")

        await held_under_load(
            cluster.url,
            "cluster, primary killed",
            kill=primary.kill,
            mend=wait_for_replica,
            times=1,
            listeners=20,
            apart=0.7,
            prefix=prefix,
            patience=60,  # a busy machine takes its time for a failover
        )
