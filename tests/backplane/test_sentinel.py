"""A backplane that follows the primary which Sentinels name, over real servers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Sequence

import pytest
from support.clusters import SERVICE, Service, running_service
from support.roomload import held_under_load
from support.server import free_port
from support.stores import KINDS
from support.strangers import FRIENDLY, NO_LENGTH, stranger

from jupyter_wshandler.backplane.base import Backplane, Keep, Publication
from jupyter_wshandler.backplane.redis.node import RedisBackplane
from jupyter_wshandler.backplane.redis.places import place_of
from jupyter_wshandler.backplane.redis.sentinel import Sentinels
from jupyter_wshandler.cli.backplane import check_backplane
from jupyter_wshandler.manager.publish import Publisher
from jupyter_wshandler.rooms.names import channel_of
from jupyter_wshandler.testing.backplanes import BackplaneContract, Heard

SLOWER = 3.0
"""How much more time a lease has here than the contract says: the machine may be busy."""

KEEP = Keep(size=1000, bytes=1024 * 1024, ttl=60.0)


@pytest.fixture(scope="module", params=KINDS)
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    with running_service(request.param) as service:
        yield service


prefixes = (f"t{number}" for number in range(1_000_000))


class TestSentinel(BackplaneContract):
    """The contract, over nodes that ask the same Sentinels."""

    @pytest.fixture(autouse=True)
    def _service(self, service: Service) -> None:
        self.url = service.url

    async def nodes(self, count: int, lease: float = 0.0) -> Sequence[Backplane]:
        options = {"prefix": next(prefixes), "lease": SLOWER * lease, "patience": 60}
        nodes = [RedisBackplane(self.url, **options) for _ in range(count)]
        for node in nodes:  # on a busy machine the first link takes its time
            await node.history("nothing")
        return nodes

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(SLOWER * seconds)


async def until(condition, seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def checked(url: str) -> tuple[int, str]:
    stream = io.StringIO()
    code = check_backplane(url, stream=stream)
    return code, stream.getvalue()


def test_a_service_that_will_do_is_named_and_measured(service):
    code, text = checked(service.url)
    assert code == 0, text
    assert f"/{SERVICE}: {service.stores[0].kind.title()} " in text
    assert "a message comes back after" in text


def test_a_service_that_no_sentinel_knows_is_told_with_those_that_they_know(service):
    code, text = checked(service.url.replace(f"/{SERVICE}", "/roms"))
    assert code == 1
    assert "no Sentinel names the primary of 'roms'" in text
    assert f"it knows no service of this name; it knows {SERVICE}" in text


def test_sentinels_and_stores_that_are_mixed_up_are_told_apart(service):
    sentinel, store = service.sentinels[0].port, service.stores[0].port
    code, text = checked(f"redis+sentinel://127.0.0.1:{store}/{SERVICE}")
    assert code == 1
    assert "it is no Sentinel" in text
    code, text = checked(f"redis://127.0.0.1:{sentinel}/0")
    assert code == 1
    assert "redis+sentinel://" in text


def test_sentinels_that_are_not_there_are_each_named(service):
    ports = [free_port(), free_port()]
    code, text = checked(f"redis+sentinel://u:word@127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}/s")
    assert code == 1
    assert all(f"127.0.0.1:{port}: " in text for port in ports)
    assert "word" not in text


def test_one_sentinel_that_answers_is_enough(service):
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{service.sentinels[2].port}"
    code, text = checked(f"redis+sentinel://{hosts}/{SERVICE}")
    assert code == 0, text


@pytest.mark.parametrize("answer", [NO_LENGTH, FRIENDLY], ids=["garbage", "friendly"])
def test_a_stranger_among_the_sentinels_is_named_and_the_next_one_is_asked(service, answer):
    with stranger(answer) as port:
        code, text = checked(f"redis+sentinel://127.0.0.1:{port}/{SERVICE}")
        assert code == 1
        assert f"127.0.0.1:{port}: expected Redis or Valkey, found something else" in text
        hosts = f"127.0.0.1:{port},127.0.0.1:{service.sentinels[2].port}"
        code, text = checked(f"redis+sentinel://{hosts}/{SERVICE}")
        assert code == 0, text


def test_a_password_of_the_sentinels_is_asked_for_and_taken(service):
    sentinel = service.sentinels[1]
    word = ("ACL", "SETUSER", "default", "resetpass", ">right-word")
    assert sentinel.say(*word)[:1] == b"+"
    try:
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}"
        for wrong in (url, f"{url}?sentinel_password=wrong-word"):
            code, text = checked(wrong)
            assert code == 1
            assert "wrong-word" not in text
            assert "Authentication" in text
        code, text = checked(f"{url}?sentinel_password=right%2Dword")
        assert code == 0, text
        assert "right" not in text
    finally:
        sentinel.say("ACL", "SETUSER", "default", "nopass", after=("AUTH", "right-word"))


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://u:secret@h:1",
        "redis+sentinel://u:secret@h:1/",
        "redis+sentinel://u:secret@/service",
        "redis+sentinel://u:secret@h:port/service",
        "redis+sentinel://u:secret@h:70000/service",
        "redis+sentinel://u:secret@h:1,/service",
        "redis+sentinel://u:sec/ret@h:1/service",
        "redis+sentinel://u:1/secret@h:1/service",
        "redis+sentinel://u:sec?secret@h:1/service",
        "redis+sentinel://u:sec@secret@h:1/service",
        "redis+sentinel://u:secret@h:1/service/0",
        "redis+sentinel://u:secret@h:1/service?protocol=3",
    ],
)
def test_a_url_that_cannot_be_is_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match=r"redis\+sentinel://\[user|unknown option") as refusal:
        place_of(url)
    assert "secret" not in str(refusal.value)


def test_what_is_shown_of_a_url_holds_no_secret():
    place = place_of("rediss+sentinel://u:word@a,[::1]:7/s?sentinel_password=word&db=3")
    assert isinstance(place, Sentinels)
    assert place.shown == "rediss+sentinel://a:26379,[::1]:7/s"
    assert repr(place) == "<Sentinels rediss+sentinel://a:26379,[::1]:7/s>"


async def test_after_a_failover_rooms_stand_on_the_new_primary_in_another_epoch(service):
    heard = [Heard(), Heard()]
    prefix, room = next(prefixes), channel_of("chat", "room")
    nodes = [RedisBackplane(service.url, prefix=prefix, patience=60) for _ in range(2)]
    outside = Publisher(service.url, prefix=prefix)
    try:
        for node, one in zip(nodes, heard, strict=True):
            node.announce({"chat": KEEP})
            await node.subscribe(room, one)
        before = await nodes[0].publish(room, Publication("a"), KEEP)
        sent = await outside.publish("chat", "room", "b")
        assert sent.offset == 2
        old = await asyncio.to_thread(service.kill_primary)
        after = await nodes[1].publish(room, Publication("c"), KEEP)
        assert service.primary is not old
        assert after.epoch != before.epoch
        sent = await outside.publish("chat", "room", "d", timeout=40)
        assert (sent.epoch, sent.offset) == (after.epoch, after.offset + 1)
        for one in heard:
            await until(lambda one=one: [text for text, _ in one.messages] == ["a", "b", "c", "d"])
            assert one.gaps
        past = await nodes[0].history(room, before)
        assert [one.publication.message for one in past.messages] == ["a", "b", "c", "d"]
        assert not past.complete
    finally:
        await outside.close()
        for node in nodes:
            await node.close()
        await asyncio.to_thread(service.mend)


async def test_a_primary_that_is_made_a_replica_by_hand_is_left(service, monkeypatch):
    """Its connections live, and what is published there reaches nobody else."""
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.lifeline.LOOK", 0.1)
    monkeypatch.setattr("jupyter_wshandler.backplane.redis.publisher.FRESH", 0)
    heard = Heard()
    prefix, room = next(prefixes), channel_of("plain", "room")
    nodes = [RedisBackplane(service.url, prefix=prefix, patience=60) for _ in range(2)]
    outside = Publisher(service.url, prefix=prefix)
    try:
        nodes[1].announce({"plain": None})
        await nodes[1].subscribe(room, heard)
        await nodes[0].publish(room, Publication("a"))
        await outside.publish("plain", "room", "b")
        await until(lambda: len(heard.messages) == 2)
        old = service.primary
        assert service.sentinels[0].say("SENTINEL", "FAILOVER", SERVICE)[:1] == b"+"
        await asyncio.to_thread(service.wait_for_other, old)
        await until(lambda: all(node.counts()["breaks"] and not node.trouble for node in nodes))
        await nodes[0].publish(room, Publication("c"))
        assert (await outside.publish("plain", "room", "d")).nodes == 1
        await until(lambda: [text for text, _ in heard.messages] == ["a", "b", "c", "d"])
    finally:
        await outside.close()
        for node in nodes:
            await node.close()
        await asyncio.to_thread(service.wait)


@pytest.mark.endurance
async def test_each_message_comes_once_or_its_client_is_told_over_a_failover(service):
    old = service.primary
    await held_under_load(
        service.url,
        service.stores[0].kind,
        kill=service.kill_primary,
        mend=lambda: service.wait_for_other(old),
        times=1,
        listeners=20,
        apart=0.7,
        prefix=next(prefixes),
        patience=60,  # a busy machine takes its time for a failover
    )
    await asyncio.to_thread(service.mend)
