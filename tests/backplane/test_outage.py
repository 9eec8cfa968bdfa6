"""A store that is killed, stopped, full or wrong: rooms go on, and everybody is told the truth."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.server import free_port
from support.stores import KINDS, Store, running_store

from jupyter_wshandler.backplane.base import Entry, Keep, Position, Publication
from jupyter_wshandler.backplane.redis import catchup
from jupyter_wshandler.backplane.redis.channel import Channel
from jupyter_wshandler.backplane.redis.link import Link
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.errors import BackplaneDown, BackplaneError
from jupyter_wshandler.testing.backplanes import Heard

KEEP = Keep(size=1000, bytes=1024 * 1024, ttl=60.0)

AOF = ("appendonly yes", "appendfsync everysec")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A server without any file, which has forgotten everything when it comes back."""
    with running_store(request.param) as store:
        yield store


@pytest.fixture(params=KINDS)
def lasting(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A server that writes down what it is told, once a second."""
    with running_store(request.param, *AOF) as store:
        yield store


@asynccontextmanager
async def some_nodes(
    url: str, count: int = 2, patience: float = 60.0, is_there: bool = True
) -> AsyncIterator[Any]:
    found = [
        RedisBackplane(url, lease=30, patience=60 if is_there else patience) for _ in range(count)
    ]
    try:
        for node in found if is_there else ():
            await node.history("nothing")  # on a busy machine the first link takes its time
            await until(lambda node=node: node._router.lines[0].is_up)
            node._router.lines[0]._seconds = patience
        yield found
    finally:
        for node in found:
            await node.close()


async def until(condition: Callable[[], Any], seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def texts(heard: Heard) -> list[str]:
    return [str(text) for text, _ in heard.messages]


async def test_a_kill_with_files_loses_nothing_that_is_not_told(lasting):
    heard = [Heard(), Heard()]
    async with some_nodes(lasting.url) as nodes:
        for node, one in zip(nodes, heard, strict=True):
            await node.subscribe("room", one)
        before = [await nodes[0].publish("room", Publication(f"a{n}"), KEEP) for n in range(20)]
        await asyncio.to_thread(lasting.kill)
        waiting = [
            asyncio.create_task(nodes[n % 2].publish("room", Publication(f"b{n}"), KEEP))
            for n in range(10)
        ]
        await asyncio.to_thread(lasting.start)
        after = await asyncio.gather(*waiting)
        # Another life of the store is another epoch, whether or not it has lost anything.
        assert {place.epoch for place in after}.isdisjoint({place.epoch for place in before})
        for one in heard:
            await until(lambda one=one: set(texts(one)) >= {f"b{n}" for n in range(10)})
            assert len(texts(one)) == len(set(texts(one))) == 30
            assert one.gaps
        late = await nodes[0].history("room", before[3])
        assert not late.complete


async def test_a_kill_without_files_begins_another_epoch_and_tells_everybody(store):
    heard = [Heard(), Heard()]
    async with some_nodes(store.url) as nodes:
        for node, one in zip(nodes, heard, strict=True):
            await node.subscribe("room", one)
        before = await nodes[0].publish("room", Publication("a"), KEEP)
        await until(lambda: all(texts(one) == ["a"] for one in heard))
        await asyncio.to_thread(store.restart)
        await until(lambda: all(one.gaps for one in heard))
        after = await nodes[1].publish("room", Publication("b"), KEEP)
        assert after.epoch != before.epoch
        await until(lambda: all(texts(one) == ["a", "b"] for one in heard))
        assert not (await nodes[0].history("room", before)).complete


async def test_presence_is_made_again_by_a_store_that_has_forgotten_it(store):
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[0].add("room", "c0", Entry("ada"))
        await nodes[1].subscribe("room", Heard())
        await nodes[1].add("room", "c1", Entry("bob"))
        await nodes[0].entries("room")
        await asyncio.to_thread(store.restart)
        async with asyncio.timeout(40):
            while set((await nodes[0].entries("room")).by_key) != {"c0", "c1"}:
                await asyncio.sleep(0.05)
        await until(lambda: bool(heard.lists))
        found: dict[str, Entry] = {}

        def known() -> set[str]:
            found.clear()
            found.update(heard.lists[-1].by_key)
            for change in heard.changes:
                same = change.position.epoch == heard.lists[-1].position.epoch
                if same and change.position.offset > heard.lists[-1].position.offset:
                    found[change.key] = change.entry
            return set(found)

        await until(lambda: known() == {"c0", "c1"})


async def test_a_store_that_forgets_all_while_a_node_catches_up_has_it_wait_for_nothing(
    store, monkeypatch
):
    """What was held back of a life of the store that is over is neither a gap nor news."""
    heard = [Heard(), Heard()]
    async with some_nodes(store.url) as nodes:
        for number, (node, one) in enumerate(zip(nodes, heard, strict=True)):
            await node.subscribe("room", one)
            await node.entries("room")
            await node.add("room", f"c{number}", Entry("ada"))
            await node.publish("room", Publication(f"a{number}"), KEEP)
        make_all_again, gone = nodes[0]._catchup._make_all_again, []

        async def held_up(link: Link, channels: list[Channel]) -> None:
            if not gone:
                gone.append(link)
                await asyncio.wait((link.ended,))
            await make_all_again(link, channels)

        monkeypatch.setattr(nodes[0]._catchup, "_make_all_again", held_up)
        channel = nodes[0]._channels["room"]
        channel.is_blind = True  # else it would go on with the next message, and hold nothing
        store.say("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: gone and nodes[1].state == "up")
        await nodes[1].publish("room", Publication("b"), KEEP)
        await nodes[1].add("room", "c2", Entry("bob"))
        await nodes[1].remove("room", "c2")
        await until(lambda: len(channel._held) == 1 and len(channel._changes) == 2)
        store.say("FLUSHALL")
        store.say("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: nodes[1].counts()["breaks"] == 2)
        await until(lambda: all(node.state == "up" for node in nodes))
        await nodes[1].publish("room", Publication("c"), KEEP)
        for node, one in zip(nodes, heard, strict=True):
            await until(lambda one=one: texts(one)[-1] == "c")
            assert set((await node.entries("room")).by_key) == {"c0", "c1"}
            await until(lambda one=one: listed(one) == {"c0", "c1"})


def listed(heard: Heard) -> set[str]:
    """Return who is in by what a receiver has been told since its last list."""
    entries = heard.lists[-1]
    found = set(entries.by_key)
    for change in heard.changes:
        same = change.position.epoch == entries.position.epoch
        if same and change.position.offset > entries.position.offset:
            (found.add if change.kind == "add" else found.discard)(change.key)
    return found


async def test_a_list_of_a_new_epoch_is_told_as_a_whole(store):
    """The store has forgotten who is in, and no link has broken: some may be gone for good."""
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[0].entries("room")
        for number in range(3):
            await nodes[1].add("room", f"c{number}", Entry("ada"))
        await until(lambda: len(heard.changes) == 3)
        assert not heard.lists
        store.say("FLUSHALL")
        await nodes[1].add("room", "c1", Entry("ada"))
        await until(lambda: heard.lists and listed(heard) == {"c1"})
        await nodes[1].add("room", "c3", Entry("bob"))
        await until(lambda: listed(heard) == {"c1", "c3"})
        assert len(heard.lists) == 1


@pytest.mark.parametrize("at_once", [1 << 20, 10])
async def test_many_rooms_catch_up_by_few_scripts(store, monkeypatch, at_once):
    """One script reads several logs; where it has read enough, the rest is read one by one."""
    monkeypatch.setattr(catchup, "MAX_READ", at_once)
    names = [f"room-{number}" for number in range(50)]
    heard = {name: Heard() for name in names}
    async with some_nodes(store.url) as nodes:
        for name, one in heard.items():
            await nodes[0].subscribe(name, one)
            await nodes[1].publish(name, Publication("a"), KEEP)
        await until(lambda: all(texts(one) == ["a"] for one in heard.values()))
        scripts = scripts_run(store)
        go_on = cut_off(nodes[0], monkeypatch)
        for text in ("b", "c"):
            await asyncio.gather(
                *(nodes[1].publish(name, Publication(text), KEEP) for name in names[:20])
            )
        go_on.set()
        await until(lambda: all(texts(heard[name]) == ["a", "b", "c"] for name in names[:20]))
        assert all(texts(heard[name]) == ["a"] and not heard[name].gaps for name in names[20:])
        assert not any(heard[name].gaps for name in names)
        reads = scripts_run(store) - scripts - 40
        assert reads < 5 if at_once > 10 else reads > 20


def cut_off(node: RedisBackplane, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """End a node's link; return what is set so that it catches up once it has another one."""
    go_on, restore = asyncio.Event(), node._catchup.restore

    async def restore_late(*args: Any) -> None:
        await go_on.wait()
        await restore(*args)

    monkeypatch.setattr(node._catchup, "restore", restore_late)
    node._router.lines[0].end("a test has ended it")
    return go_on


def scripts_run(store: Store) -> int:
    """Return how many scripts a store has run."""
    return int(store.say("INFO", "commandstats").split(b"cmdstat_evalsha:calls=")[1].split(b",")[0])


async def test_a_short_break_is_waited_for_and_each_message_comes_once(lasting):
    """Stopped in the middle of a hundred messages, and killed: answers are lost on their way."""
    heard = Heard()
    async with some_nodes(lasting.url) as nodes:
        await nodes[1].subscribe("room", heard)
        await nodes[0].publish("room", Publication("first"), KEEP)
        said = [
            asyncio.create_task(nodes[0].publish("room", Publication(f"m{n}"), KEEP))
            for n in range(100)
        ]
        await asyncio.sleep(0.002)
        lasting.stop()
        await asyncio.sleep(0.05)
        lasting.go_on()
        await asyncio.to_thread(lasting.restart)
        await asyncio.gather(*said)
        await until(lambda: set(texts(heard)) >= {f"m{n}" for n in range(100)})
        past = await nodes[0].history("room")
        kept = [one.publication.message for one in past.messages]
        assert len(kept) == len(set(kept))


async def test_a_message_without_a_number_is_not_sent_twice(store):
    """Its answer is lost, and nobody could tell whether it has arrived."""
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[1].subscribe("plain", heard)
        line = nodes[0]._router.lines[0]
        link, before = line.link, len(line.link._owed)
        store.stop()
        said = asyncio.create_task(nodes[0].publish("plain", Publication("a")))
        await until(lambda: len(link._owed) > before)
        line.end("a test has ended it")
        await said
        store.go_on()
        await until(lambda: all(node.state == "up" for node in nodes))
        await nodes[0].publish("plain", Publication("b"))
        await until(lambda: texts(heard)[-1:] == ["b"])
        assert texts(heard) == ["a", "b"]


async def test_alone_a_node_delivers_to_its_own_and_the_others_get_it_later(store, caplog):
    caplog.set_level(logging.INFO)
    heard = [Heard(), Heard()]
    async with some_nodes(store.url, patience=0.3) as nodes:
        for node, one in zip(nodes, heard, strict=True):
            await node.subscribe("room", one)
            await node.subscribe("plain", one)
        await nodes[0].publish("room", Publication("before"), KEEP)
        await until(lambda: all(texts(one) == ["before"] for one in heard))
        assert sum(nodes[0].publish_times.counts) == 1
        assert nodes[0].publish_times.counts[-1] == 0
        await asyncio.to_thread(store.kill)
        place = await nodes[0].publish("room", Publication("kept"), KEEP)
        assert place == Position()
        await nodes[0].publish("plain", Publication("plain"))
        assert texts(heard[0]) == ["before", "kept", "plain"]
        assert texts(heard[1]) == ["before"]
        assert all(node.trouble for node in nodes)
        assert nodes[0].state == "alone"
        assert sum(nodes[0].publish_times.counts) == 1  # what nobody has taken has no time
        assert nodes[0].counts()["outbox_messages"] >= 1
        await nodes[0].add("room", "c0", Entry("ada"))
        assert [change.key for change in heard[0].changes] == ["c0"]
        assert set((await nodes[0].entries("room")).by_key) == {"c0"}
        with pytest.raises(BackplaneDown, match="away"):
            await nodes[0].history("room")
        await asyncio.to_thread(store.start)
        await until(lambda: texts(heard[1]) == ["before", "kept"])
        await until(lambda: not any(node.trouble for node in nodes))
        counts = nodes[1].counts()
        assert counts["resubscriptions"] >= counts["channels"] == 2
        assert counts["epochs_changed"] == 1  # that of the room with a history
        assert counts["outbox_messages"] == counts["outbox_bytes"] == 0
        # Nobody gets it a second time, and its own clients are told that something is odd.
        assert texts(heard[0]) == ["before", "kept", "plain"]
        assert heard[0].gaps
        assert set((await nodes[1].entries("room")).by_key) == {"c0"}
    lines = [one.getMessage() for one in caplog.records if "backplane" in one.getMessage()]
    assert len([one for one in lines if "cannot be used" in one]) == 2  # one of each node
    assert len([one for one in lines if "is back after" in one]) == 2


async def test_who_comes_while_a_node_is_alone_comes_after_the_list_that_was_asked_for(store):
    heard = Heard()
    async with some_nodes(store.url, patience=0.3) as nodes:
        for number in range(5):
            await nodes[1].add("room", f"c{number}", Entry("ada"))
        await nodes[0].subscribe("room", heard)
        known = (await nodes[0].entries("room")).position
        await asyncio.to_thread(store.kill)
        await nodes[0].add("room", "late", Entry("bob"))
        (change,) = [change for change in heard.changes if change.key == "late"]
        assert change.position.offset > known.offset == 5


async def test_who_has_left_while_a_node_was_alone_is_forgotten_once_the_store_is_back(store):
    """Also in a room that nobody of the node hears any more, and of who has come again."""
    async with some_nodes(store.url, count=1, patience=0.3) as (node,):
        rooms = ("heard", "unheard", "again")
        for room in rooms:
            await node.subscribe(room, Heard())
            await node.add(room, "c0", Entry("ada"))
        await asyncio.to_thread(store.kill)
        await until(lambda: node.state == "alone")
        for room in rooms:
            await node.remove(room, "c0")
        await node.unsubscribe("unheard")
        await node.add("again", "c0", Entry("ada"))
        assert all(node._people.is_in(room) for room in rooms)
        await asyncio.to_thread(store.start)
        await until(lambda: node.state == "up")
        assert [room for room in rooms if node._people.is_in(room)] == ["again"]
        await node.remove("again", "c0")
        assert not node._people.is_in("again")


async def test_a_store_that_is_not_there_at_the_start_is_used_once_it_is(store):
    await asyncio.to_thread(store.kill)
    heard = Heard()
    async with some_nodes(store.url, patience=0.2, is_there=False) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[1].subscribe("room", Heard())
        await nodes[0].publish("room", Publication("alone"), KEEP)
        assert texts(heard) == ["alone"]
        assert nodes[0].trouble
        await asyncio.to_thread(store.start)
        await until(lambda: not any(node.trouble for node in nodes))
        await nodes[1].publish("room", Publication("together"), KEEP)
        await until(lambda: texts(heard) == ["alone", "together"])


async def test_a_stopped_store_is_noticed_and_used_again(store):
    """SIGSTOP closes no socket and answers nothing."""
    heard = Heard()
    async with some_nodes(store.url, patience=0.2) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[1].publish("room", Publication("a"), KEEP)
        await until(lambda: texts(heard) == ["a"])
        store.stop()
        await until(lambda: nodes[0].counts()["lag_seconds"] >= 1)
        await until(lambda: all(node.trouble for node in nodes))
        await nodes[0].publish("room", Publication("b"), KEEP)
        assert texts(heard) == ["a", "b"]
        store.go_on()
        await until(lambda: not any(node.trouble for node in nodes))
        await nodes[1].publish("room", Publication("c"), KEEP)
        await until(lambda: texts(heard) == ["a", "b", "c"])


async def test_a_link_that_owes_an_answer_is_given_up_though_it_hears(store, monkeypatch):
    """One of its connections hangs: what is published comes back by the other one."""
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.link.LATE", 1)
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[1].subscribe("room", heard)
        nodes[0]._router.lines[0].link._commands._reader._transport.pause_reading()
        place = await nodes[0].publish("room", Publication("a"), KEEP)
        assert nodes[0].counts()["breaks"] == 1
        await nodes[0].publish("room", Publication("b"), KEEP)
        await until(lambda: texts(heard)[-1:] == ["b"])
        assert heard.messages == [("a", place.offset), ("b", place.offset + 1)]


async def test_a_store_that_is_made_a_replica_is_noticed_though_its_connections_live(
    store, monkeypatch
):
    """What is published to a replica succeeds, and reaches nobody but those who hear it there."""
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.LOOK", 0.1)
    heard = Heard()
    with running_store(store.kind) as primary:
        async with some_nodes(store.url, count=1) as (node,):
            await node.subscribe("plain", heard)
            assert store.say("REPLICAOF", "127.0.0.1", str(primary.port)) == b"+OK\r\n"
            assert store.say("PUBLISH", "wshandler:{plain}", "m 0 x x")[:1] == b":"
            await until(lambda: "expected a primary, found a slave" in node.trouble)
            assert node.state == "away"
            assert store.say("REPLICAOF", "NO", "ONE") == b"+OK\r\n"
            await node.publish("plain", Publication("a"))
            await until(lambda: texts(heard) == ["a"])


async def test_a_pause_of_all_clients_is_waited_for(store):
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[0].publish("room", Publication("a"), KEEP)
        store.say("CLIENT", "PAUSE", "1500", "ALL")
        places = await asyncio.gather(
            *(nodes[1].publish("room", Publication(str(n)), KEEP) for n in range(5))
        )
        assert sorted(place.offset for place in places) == [2, 3, 4, 5, 6]
        await until(lambda: len(heard.messages) == 6)


async def test_a_deaf_subscription_is_noticed_by_its_own_messages(store, monkeypatch):
    """The store forgets who subscribes to what, and both sockets live."""
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.DEAF", 2)
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[1].publish("room", Publication("a"), KEEP)
        await until(lambda: texts(heard) == ["a"])
        await nodes[0]._router.lines[0].link._bus_commands(["UNSUBSCRIBE"])
        await nodes[1].publish("room", Publication("b"), KEEP)
        await until(lambda: texts(heard) == ["a", "b"])
        assert nodes[0].counts()["breaks"] == 1


async def test_a_full_store_refuses_messages_to_their_sender_and_says_so_once(
    store, caplog, monkeypatch
):
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.CALM", 0.0)
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[1].subscribe("room", heard)
        await nodes[0].publish("room", Publication("a"), KEEP)
        store.say("CONFIG", "SET", "maxmemory", "1")
        for _ in range(3):
            with pytest.raises(BackplaneError, match="memory is full"):
                await nodes[0].publish("room", Publication("b"), KEEP)
        assert "memory is full" in nodes[0].trouble
        assert nodes[0].state == "refusing"
        assert nodes[1].state == "up"
        past = await nodes[1].history("room")  # what it has can be read
        assert [one.publication.message for one in past.messages] == ["a"]
        store.say("CONFIG", "SET", "maxmemory", "0")
        await nodes[0].publish("room", Publication("c"), KEEP)
        assert nodes[0].trouble == ""
        assert nodes[0].state == "up"
        await until(lambda: texts(heard) == ["a", "c"])
    lines = [one.getMessage() for one in caplog.records if "refuses" in one.getMessage()]
    assert len(lines) == 1


async def test_a_store_that_takes_one_message_and_refuses_the_next_is_full_until_it_is_calm(
    store, caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    async with some_nodes(store.url, count=1) as (node,):
        for _ in range(3):
            store.say("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(BackplaneError, match="memory is full"):
                await node.publish("room", Publication("a"), KEEP)
            store.say("CONFIG", "SET", "maxmemory", "0")
            await node.publish("room", Publication("b"), KEEP)
            assert node.state == "refusing"
        monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.CALM", 0.0)
        # A server sweeps every five seconds, also where nobody says anything.
        store.say("CONFIG", "SET", "maxmemory", "1")
        await node.sweep()
        assert node.state == "refusing"
        store.say("CONFIG", "SET", "maxmemory", "0")
        await node.sweep()
        assert node.state == "up"
    said = [one.getMessage() for one in caplog.records]
    assert len([line for line in said if "refuses" in line]) == 1
    assert len([line for line in said if "takes messages again" in line]) == 1


async def test_a_key_that_holds_something_else_spoils_its_own_room_and_no_other(store, caplog):
    """Another version keeps it in another form, or somebody else has written it."""
    heard = {"good": Heard(), "bad": Heard()}
    async with some_nodes(store.url) as nodes:
        for room, one in heard.items():
            await nodes[0].subscribe(room, one)
            await nodes[0].entries(room)
            await nodes[0].add(room, "c0", Entry("ada"))
            await nodes[1].publish(room, Publication("a"), KEEP)
        await until(lambda: all(one.messages and one.changes for one in heard.values()))
        for key in ("log", "people"):
            assert store.say("SET", f"wshandler:{{bad}}:{key}", "x") == b"+OK\r\n"
        for _ in range(2):
            with pytest.raises(BackplaneError, match="WRONGTYPE"):
                await nodes[1].publish("bad", Publication("b"), KEEP)
            assert nodes[1].state == "up"
        store.say("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: all(node.counts()["breaks"] == 1 for node in nodes))
        await until(lambda: all(node.state == "up" for node in nodes))
        assert heard["bad"].gaps
        await nodes[1].publish("good", Publication("b"), KEEP)
        await until(lambda: texts(heard["good"]) == ["a", "b"])
        assert not heard["good"].gaps
        assert set((await nodes[1].entries("good")).by_key) == {"c0"}
        store.say("DEL", *(f"wshandler:{{bad}}:{key}" for key in ("log", "people")))
        await nodes[1].publish("bad", Publication("c"), KEEP)
        assert await nodes[0].renew("bad", ["c0"]) == ["c0"]
        await nodes[0].add("bad", "c0", Entry("ada"))
        await until(lambda: texts(heard["bad"]) == ["a", "c"] and heard["bad"].changes[1:])
        assert [node.counts()["breaks"] for node in nodes] == [1, 1]
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len([line for line in lines if "holds what no room has" in line]) == 1
    assert not [line for line in lines if "refuses" in line]


async def test_a_full_store_that_has_lost_who_is_in_leaves_no_node_alone(store):
    """What cannot be put back on a new link is put back by who renews it, once there is room."""
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[0].add("room", "c0", Entry("ada"))
        await nodes[0].publish("room", Publication("a"), KEEP)
        store.say("CONFIG", "SET", "maxmemory", "1")
        store.say("DEL", *(f"wshandler:{{room}}:{name}" for name in ("people", "leases")))
        store.say("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: nodes[0].counts()["breaks"] == 1)
        await until(lambda: nodes[0].state == "up")
        past = await nodes[0].history("room")
        assert [one.publication.message for one in past.messages] == ["a"]
        assert await nodes[0].renew("room", ["c0"]) == ["c0"]
        store.say("CONFIG", "SET", "maxmemory", "0")
        await nodes[0].add("room", "c0", Entry("ada"))
        assert set((await nodes[1].entries("room")).by_key) == {"c0"}


async def test_what_cannot_be_read_in_the_store_ends_no_link(store, monkeypatch):
    """Another version has written it, or somebody else who has the URL."""
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[0].entries("room")
        await nodes[1].add("room", "c1", Entry("bob"))
        await nodes[1].publish("room", Publication("a"), KEEP)
        await until(lambda: texts(heard) == ["a"] and heard.changes)
        go_on = cut_off(nodes[0], monkeypatch)
        await until(lambda: nodes[0].state == "away")
        places = [await nodes[1].publish("room", Publication(text), KEEP) for text in ("b", "c")]
        assert store.say("LSET", "wshandler:{room}:log", "1", "garbage") == b"+OK\r\n"
        assert store.say("HSET", "wshandler:{room}:people", "k", "garbage") == b":1\r\n"
        go_on.set()
        await until(lambda: heard.lists and texts(heard)[-1] == "c")
        await until(lambda: nodes[0].state == "up")
        assert texts(heard) == ["a", "c"]
        assert heard.gaps == [places[0]]
        assert [set(entries.by_key) for entries in heard.lists] == [{"c1"}]
        past = await nodes[0].history("room")
        assert [one.publication.message for one in past.messages] == ["a", "c"]
        assert not past.complete
        assert set((await nodes[1].entries("room")).by_key) == {"c1"}
        assert [node.counts()["breaks"] for node in nodes] == [1, 0]


async def test_a_wrong_password_leaves_a_node_alone_and_is_in_no_log(store, caplog):
    caplog.set_level(logging.DEBUG)
    store.say("CONFIG", "SET", "requirepass", "right-word")
    heard = Heard()
    url = store.url.replace("://", "://:wrong-word@")
    async with some_nodes(url, count=1, patience=0.2, is_there=False) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[0].publish("room", Publication("a"), KEEP)
        assert texts(heard) == ["a"]
        await until(lambda: "Authentication" in nodes[0].trouble or "pass" in nodes[0].trouble)
        assert "wrong-word" not in caplog.text + nodes[0].trouble + repr(
            nodes[0]._router.lines[0]._address
        )


async def test_a_subscriber_whose_buffer_ran_over_gets_what_it_has_missed(store):
    """The store hangs up on who reads too slowly; the history fills the gap."""
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[1].publish("room", Publication("first"), KEEP)
        await until(lambda: texts(heard) == ["first"])
        store.say("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1")
        # The node does not read for a while, as when a callback blocks its event loop.
        nodes[0]._router.lines[0].link._bus._reader._transport.pause_reading()
        keep, broken = Keep(1000, 64 * 1024 * 1024, 60), nodes[0].counts()["breaks"]
        sent = ["first"]
        for number in range(40):
            sent.append(f"{number} " + "x" * 500_000)
            await nodes[1].publish("room", Publication(sent[-1]), keep)
        await until(lambda: nodes[0].counts()["breaks"] > broken)
        await until(lambda: len(heard.messages) >= 41)
        assert texts(heard) == sent
        assert nodes[0].counts()["messages_filled"] >= 1


async def test_a_node_that_dies_leaves_the_lists_of_the_others_with_its_lease(store):
    heard = Heard()
    dead = RedisBackplane(store.url, lease=1.0, patience=60)
    alive = RedisBackplane(store.url, lease=1.0, patience=60)
    await alive.subscribe("room", heard)
    await dead.add("room", "c0", Entry("ada"))
    await until(lambda: len(heard.changes) == 1)
    await dead.close()
    async with asyncio.timeout(20):
        while (await alive.entries("room")).by_key:
            await asyncio.sleep(0.1)
    await until(lambda: [change.kind for change in heard.changes] == ["add", "remove"])
    await alive.close()


async def test_nothing_is_left_running_when_a_node_is_closed_in_an_outage(store):
    before = {task for task in asyncio.all_tasks() if not task.done()}
    async with some_nodes(store.url, patience=60) as nodes:
        await nodes[0].subscribe("room", Heard())
        await asyncio.to_thread(store.kill)
        waiting = asyncio.create_task(nodes[0].publish("room", Publication("a"), KEEP))
        await until(lambda: bool(nodes[0].trouble))
        assert nodes[0].state == "away"
        await until(lambda: nodes[0].counts()["outbox_messages"] == 1)
        assert nodes[0].counts()["publishing"] == 1
    with pytest.raises(BackplaneDown):
        await waiting
    assert {task for task in asyncio.all_tasks() if not task.done()} == before


async def test_what_nobody_has_thought_of_is_in_the_log_once(monkeypatch, caplog):
    tries = []

    async def fails(*_: Any) -> Link:
        tries.append(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Link, "open", fails)
    async with some_nodes("redis://127.0.0.1:1/0", 1, 0.1, is_there=False) as (node,):
        await node.publish("room", Publication("a"))
        await until(lambda: len(tries) > 2)
        assert "RuntimeError: a bug" in node.trouble
    assert caplog.text.count("Traceback") == 1


async def test_what_waits_in_an_outage_is_bounded(monkeypatch):
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.MAX_WAITING", 10)
    url = f"redis://127.0.0.1:{free_port()}/0"
    async with some_nodes(url, count=1, is_there=False) as nodes:
        waiting = [
            asyncio.create_task(nodes[0].publish("room", Publication(str(n)), KEEP))
            for n in range(15)
        ]
        await until(lambda: sum(task.done() for task in waiting) == 5)
        for task in waiting:
            if task.done():
                with pytest.raises(BackplaneError, match="too much waits"):
                    task.result()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_event_loop_that_was_blocked_is_not_taken_for_a_deaf_link(store):
    heard = Heard()
    async with some_nodes(store.url) as nodes:
        await nodes[0].subscribe("room", heard)
        await nodes[1].publish("room", Publication("a"), KEEP)
        await asyncio.sleep(0.1)
        time.sleep(6)
        for number in range(10):
            await nodes[1].publish("room", Publication(str(number)), KEEP)
        await until(lambda: len(heard.messages) == 11)
        assert [node.counts()["breaks"] for node in nodes] == [0, 0]
