"""Messages to rooms from a program that is no node, over real servers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError
from support.server import free_port
from support.stores import KINDS, Store, running_store
from support.strangers import NO_LENGTH, stranger
from support.tcpproxy import tcp_proxy

from jupyter_wshandler.backplane.base import Keep, Publication
from jupyter_wshandler.backplane.redis import link as links
from jupyter_wshandler.backplane.redis.address import Address
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.backplane.redis.publishing import SpaceFacts, spaces_request
from jupyter_wshandler.errors import BackplaneDown, BackplaneError
from jupyter_wshandler.manager.publish import Publisher, publish, publish_async
from jupyter_wshandler.rooms.names import channel_of
from jupyter_wshandler.testing.backplanes import Heard, until

KEEP = Keep(size=3, bytes=1024 * 1024, ttl=60.0)

BLUE = channel_of("chat", "blue")

SECRET = "a-word-that-only-the-store-knows"


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with running_store(request.param, f"requirepass {SECRET}") as store:
        yield store


@pytest.fixture
def url(store: Store) -> str:
    return store.url.replace("://", f"://:{SECRET}@")


prefixes = (f"p{number}" for number in itertools.count())


@pytest.fixture
async def nodes(url: str) -> AsyncIterator[list[RedisBackplane]]:
    """Return two nodes of one deployment, which serve two spaces."""
    prefix = next(prefixes)
    found = [RedisBackplane(url, prefix=prefix, patience=60, max_message=10_000) for _ in range(2)]
    for node in found:
        node.announce({"chat": KEEP, "plain": None})
        await node.history("any")  # it is there
    yield found
    for node in found:
        await node.close()


def prefix_of(nodes: list[RedisBackplane]) -> str:
    return nodes[0]._keys.prefix


def link_of(publisher: Publisher) -> links.Link:
    (link,) = publisher._publisher._links.values()
    return link


async def test_a_message_from_outside_is_numbered_with_the_others_and_it_says_how_many_heard_it(
    nodes, url
):
    heard = [Heard(), Heard()]
    for node, receiver in zip(nodes, heard, strict=True):
        await node.subscribe(BLUE, receiver)
    first = await nodes[0].publish(BLUE, Publication("from a node"), KEEP)
    sent = await publish_async(url, "chat", "blue", {"price": 42}, prefix=prefix_of(nodes))
    assert sent == (first.epoch, 2, 2)
    assert (await nodes[1].publish(BLUE, Publication(b"\xff"), KEEP)).offset == 3
    for receiver in heard:
        await until(lambda receiver=receiver: len(receiver.messages) == 3)
        assert receiver.messages == [("from a node", 1), ('{"price":42}', 2), (b"\xff", 3)]
    await nodes[1].unsubscribe(BLUE)
    await publish_async(url, "chat", "blue", b"\x00", prefix=prefix_of(nodes))
    await until(lambda: heard[0].messages[-1] == (b"\x00", 4))
    past = await nodes[0].history(BLUE)
    assert [one.offset for one in past.messages] == [2, 3, 4]  # as much is kept as the nodes say


async def test_a_room_that_nobody_is_in_keeps_it_and_one_without_history_forgets_it(nodes, url):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        kept = await publisher.publish("chat", "green", "later")
        gone = await publisher.publish("plain", "green", "never")
        assert (kept.offset, kept.nodes, gone) == (1, 0, ("", 0, 0))
        heard = Heard()
        await nodes[0].subscribe(channel_of("plain", "green"), heard)
        assert (await publisher.publish("plain", "green", "now")).nodes == 1
        await until(lambda: heard.messages == [("now", 0)])
    past = await nodes[0].history(channel_of("chat", "green"))
    assert [one.publication.message for one in past.messages] == ["later"]


async def test_an_id_is_published_once_also_where_it_begins_as_another_one_does(nodes, url):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        sent = [
            await publisher.publish("chat", "blue", text, id=id)
            for id, text in (("order-12", "a"), ("order-1", "b"), ("order-12", "a"), ("x", "c"))
        ]
        assert [(one.offset, one.nodes) for one in sent] == [(1, 0), (2, 0), (1, None), (3, 0)]
        with pytest.raises(ValueError, match="have no history, in which a message with an id"):
            await publisher.publish("plain", "blue", "a", id="order-12")
        with pytest.raises(ValueError, match="expected an id of 1 to 100 letters"):
            await publisher.publish("chat", "blue", "a", id="a b")
    past = await nodes[0].history(BLUE)
    assert [one.publication.message for one in past.messages] == ["a", "b", "c"]


async def test_an_id_is_free_again_once_the_room_does_not_keep_its_message(nodes, store, url):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        assert (await publisher.publish("chat", "blue", "a", id="report")).nodes == 0
        assert (await publisher.publish("chat", "blue", "a", id="report")).nodes is None
        await nodes[0].clear(BLUE)
        again = await publisher.publish("chat", "blue", "b", id="report")
        assert (again.offset, again.nodes) == (2, 0)
        with tcp_proxy(store.port) as proxy:  # the id counts as ever where an answer is lost
            cut_url = url.replace(str(store.port), str(proxy.port))
            async with Publisher(cut_url, prefix=prefix_of(nodes)) as cut:
                assert (await cut.publish("chat", "blue", "b", id="report")).nodes is None
                await nodes[0].clear(BLUE)
                proxy.swallows = True
                work = asyncio.create_task(
                    cut.publish("chat", "blue", "c", id="report", timeout=60)
                )
                await until_kept(nodes[0], "c")
                proxy.cut()
                assert (await work).offset == 3
    past = await nodes[0].history(BLUE)
    assert [one.publication.message for one in past.messages] == ["c"]


async def test_an_id_is_found_behind_what_cannot_be_read(nodes, store, url):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        for text in ("a", "b"):
            await publisher.publish("chat", "blue", text, id=text)
        log = nodes[0]._keys.log(BLUE)[1].decode()
        store.say("LSET", log, "1", "garbage", after=("AUTH", SECRET))
        assert (await publisher.publish("chat", "blue", "a", id="a")).nodes is None
        assert (await publisher.publish("chat", "blue", "c", id="c")).offset == 3
    past = await nodes[0].history(BLUE)
    assert [one.publication.message for one in past.messages] == ["a", "c"]


async def test_a_break_in_which_the_answer_is_lost_doubles_nothing(nodes, store, url):
    with tcp_proxy(store.port) as proxy:
        cut_url = url.replace(str(store.port), str(proxy.port))
        async with Publisher(cut_url, prefix=prefix_of(nodes)) as publisher:
            await publisher.publish("chat", "blue", "before")
            proxy.swallows = True  # what is asked arrives, and no answer comes back
            work = asyncio.create_task(publisher.publish("chat", "blue", "once", timeout=60))
            await until_kept(nodes[0], "once")
            proxy.cut()
            sent = await work
            assert (sent.offset, sent.nodes) == (2, None)
            assert (await publisher.publish("chat", "blue", "after")).offset == 3
            proxy.swallows = True
            heard = Heard()
            await nodes[0].subscribe(channel_of("plain", "blue"), heard)
            work = asyncio.create_task(publisher.publish("plain", "blue", "perhaps", timeout=60))
            await until(lambda: heard.messages == [("perhaps", 0)])
            proxy.cut()
            with pytest.raises(BackplaneDown, match="whether the message has arrived is not known"):
                await work
    past = await nodes[0].history(BLUE)
    assert [one.publication.message for one in past.messages] == ["before", "once", "after"]


async def until_kept(node: RedisBackplane, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in [m.publication.message for m in (await node.history(BLUE)).messages]:
            await asyncio.sleep(0.01)


async def test_what_cannot_be_is_said_without_the_message_and_without_the_password(
    nodes, store, url
):
    prefix = prefix_of(nodes)
    with pytest.raises(BackplaneError, match="at most 10000 bytes") as refusal:
        await publish_async(url, "chat", "blue", SECRET * 1000, prefix=prefix)
    assert SECRET not in str(refusal.value)
    with pytest.raises(LookupError, match="has the space 'chess'; there are: chat, plain"):
        await publish_async(url, "chess", "blue", "a", prefix=prefix)
    store.say("HSET", nodes[0]._keys.spaces.decode(), "odd", "garbage", after=("AUTH", SECRET))
    with pytest.raises(LookupError, match="has the space 'odd'; there are: chat, plain"):
        await publish_async(url, "odd", "blue", "a", prefix=prefix)
    with pytest.raises(LookupError, match="there are: none"):
        await publish_async(url, "chat", "blue", "a", prefix="another")
    with pytest.raises(ValueError, match="expected the name of a room"):
        await publish_async(url, "chat", "", "a", prefix=prefix)
    with pytest.raises(TypeError, match="None is no message"):
        await publish_async(url, "chat", "blue", None, prefix=prefix)
    with pytest.raises(BackplaneError, match="refuses") as refusal:
        await publish_async(url.replace(SECRET, "wrong-word"), "chat", "blue", "a", prefix=prefix)
    assert "wrong-word" not in str(refusal.value)
    away = f"redis://:{SECRET}@127.0.0.1:{free_port()}"
    with pytest.raises(BackplaneDown, match="cannot be used") as down:
        await publish_async(away, "chat", "blue", "a", prefix=prefix)
    assert SECRET not in str(down.value)
    with pytest.raises(ValueError, match="memory:// is the memory of one server"):
        await publish_async("memory://", "chat", "blue", "a")


async def test_what_is_no_store_is_told_without_the_password():
    with stranger(NO_LENGTH) as port:
        with pytest.raises(BackplaneDown, match="be used: expected Redis or Valkey, f") as down:
            await publish_async(f"redis://:{SECRET}@127.0.0.1:{port}", "chat", "blue", "a")
    assert SECRET not in str(down.value)


async def test_a_store_that_hangs_is_waited_for_as_long_as_was_said(nodes, store, url):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        await publisher.publish("chat", "blue", "a")
        store.stop()
        try:
            with pytest.raises(BackplaneDown, match=r"within 0\.2 s; whether .* is not known"):
                await publisher.publish("chat", "blue", "b", timeout=0.2)
            with pytest.raises(BackplaneDown, match=r"within 0\.1 s; the message was not sent"):
                await publisher.publish("chat", "blue", "never", timeout=0.1)
        finally:
            store.go_on()
        assert (await publisher.publish("chat", "blue", "c")).offset in (2, 3)
    past = await nodes[0].history(BLUE)
    assert "never" not in [one.publication.message for one in past.messages]


async def test_who_gives_up_before_their_turn_ends_nothing_of_those_before_them(nodes, store, url):
    """A message to a room without history could not be sent again."""
    heard = Heard()
    await nodes[0].subscribe(channel_of("plain", "blue"), heard)
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        await publisher.publish("plain", "blue", "a")
        link = link_of(publisher)
        store.stop()
        try:
            first = asyncio.create_task(publisher.publish("plain", "blue", "b", timeout=60))
            await until(lambda: publisher._publisher._turn.locked())
            with pytest.raises(BackplaneDown, match=r"within 0\.2 s; the message was not sent"):
                await publisher.publish("plain", "blue", "never", timeout=0.2)
            assert not first.done()
        finally:
            store.go_on()
        assert (await first).nodes == 1
        await publisher.publish("plain", "blue", "c")
        assert link_of(publisher) is link
    await until(lambda: len(heard.messages) == 3)
    assert [text for text, _ in heard.messages] == ["a", "b", "c"]


async def test_nodes_say_again_what_they_keep_when_the_store_has_lost_its_memory(nodes, store, url):
    store.restart()
    async with asyncio.timeout(60):
        while True:
            try:
                sent = await publish_async(url, "chat", "blue", "a", prefix=prefix_of(nodes))
                break
            except (LookupError, BackplaneDown):
                await asyncio.sleep(0.05)
    assert sent.offset == 1


async def test_nodes_say_again_what_they_keep_where_a_store_was_flushed_and_no_link_broke(
    nodes, url, caplog
):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        outside = publisher._publisher

        async def known() -> dict[str, SpaceFacts]:
            outside._spaces = {}  # else it is believed for seconds
            with contextlib.suppress(LookupError):
                await publisher.publish("chat", "blue", "a")
            return outside._spaces

        assert await known() == {"chat": (KEEP, 10_000), "plain": (None, 10_000)}
        assert await link_of(publisher).ask(links.Request(["FLUSHALL"])) == b"OK"
        assert await known() == {}
        async with asyncio.timeout(20):
            while len(await known()) < 2:
                await nodes[0].sweep()  # a server does so every five seconds
        # What another node says of a space stays as it is, and the administrator is told once.
        other = Keep(7, 700, 7.0)
        await link_of(publisher).ask(spaces_request(nodes[1]._keys, {"chat": other}, 77))
        for _ in range(2):
            await nodes[0].sweep()
            await nodes[0].history("any")
        (line,) = [one.getMessage() for one in caplog.records if "says of" in one.getMessage()]
        assert "'chat': a history of 7 messages and 700 bytes for 7 s, messages of 77 by" in line
        assert "this one: a history of 3 messages and 1048576 bytes for 60 s, mess" in line
        assert await known() == {"chat": (other, 77), "plain": (None, 10_000)}


async def test_without_await_it_works_in_a_script_and_says_what_to_do_on_an_event_loop(nodes, url):
    prefix = prefix_of(nodes)
    with pytest.raises(RuntimeError, match="await publish_async"):
        publish(url, "chat", "blue", "a", prefix=prefix)
    code = (
        "import sys, jupyter_wshandler as wsh\n"
        "print(wsh.publish(sys.argv[1], 'chat', 'blue', 'a', prefix=sys.argv[2]))\n"
        "assert not {'jupyter_server', 'tornado.web', 'IPython'} & set(sys.modules)\n"
    )
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, url, prefix],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert "offset=1, nodes=0" in done.stdout


async def test_a_script_that_was_forgotten_is_loaded_again(nodes, store, url):
    async with Publisher(url, prefix=prefix_of(nodes)) as publisher:
        await publisher.publish("chat", "blue", "a")
        link = link_of(publisher)
        await link.ask(links.Request(["SCRIPT", "FLUSH"]))
        assert (await publisher.publish("chat", "blue", "b")).offset == 2


async def test_the_rights_that_the_docs_name_for_a_publisher_are_enough_and_let_it_hear_nothing(
    nodes, store, url
):
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text()
    (line,) = re.findall(r"^ACL SETUSER pricing (.*)$", page, re.MULTILINE)
    rights = line.replace("wshandler:", f"{prefix_of(nodes)}:").split(" ")
    link = await links.Link.open(Address(url), lambda channel, data: None)
    try:
        await link.ask(links.Request(["ACL", "SETUSER", "pricing", "reset", *rights]))
        own = store.url.replace("://", "://pricing:password@")
        async with Publisher(own, prefix=prefix_of(nodes)) as publisher:
            assert (await publisher.publish("chat", "blue", "a")).offset == 1
            assert (await publisher.publish("chat", "blue", "a", id="one")).offset == 2
            assert (await publisher.publish("chat", "blue", "a", id="one")).nodes is None
            await publisher.publish("plain", "blue", "a")
        mine = await links.Link.open(Address(own), lambda channel, data: None)
        prefix, room = prefix_of(nodes), nodes[0]._keys.heard(BLUE)
        for words in (
            ("HGETALL", f"{prefix}:{{shares}}:values"),
            ("HGETALL", room + b":people"),
            ("HSET", f"{prefix}:spaces", "chat", "x"),
            ("PUBLISH", f"{prefix}:users", "x"),
        ):
            with pytest.raises(NoPermissionError):
                await mine.ask(links.Request(words))
        with pytest.raises(BackplaneDown, match="no permissions"):
            await mine.subscribe([room])
        await mine.close()
        narrow = " ".join(rights).replace("{*", "{4:chat:*").split(" ")
        await link.ask(links.Request(["ACL", "SETUSER", "pricing", "reset", *narrow]))
        async with Publisher(own, prefix=prefix) as publisher:
            assert (await publisher.publish("chat", "blue", "a")).offset == 3
            with pytest.raises(BackplaneError, match="refuses"):
                await publisher.publish("plain", "blue", "a")
    finally:
        await link.ask(links.Request(["ACL", "DELUSER", "pricing"]))
        await link.close()
