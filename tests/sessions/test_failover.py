"""Sessions and shares when another server of the store takes over: by Sentinels, and with a lag."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from support.clusters import SERVICE, Service, says
from support.server import free_port, wait_for
from support.sharebook import LOG, card, kept_of, opened, route
from support.stores import KINDS, Store, running_store
from support.tcpproxy import TcpProxy, running_proxy

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.backplane.redis import talk
from jupyter_wshandler.backplane.redis.conversation import Conversation, StoreError
from jupyter_wshandler.backplane.redis.talk import Call
from jupyter_wshandler.cli.sessionstore import check_session_store
from jupyter_wshandler.sessions.manager import SessionManager
from jupyter_wshandler.sessions.stores import open_store
from jupyter_wshandler.shares import counts, others, writer
from jupyter_wshandler.shares.book import ShareBook
from jupyter_wshandler.shares.choose import open_shares
from jupyter_wshandler.shares.share import REVOKED, ShareEnded
from jupyter_wshandler.shares.stores import StoreFailed

FAR = time.time() + 86400

PASSWORD = "a-word-that-only-the-store-knows"

prefixes = (f"t{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a store on a machine that has much else to do, and ask it again soon."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.1)


# ---- a replica that has lagged behind ------------------------------------------------------------


class Lagging:
    """A primary, and a replica that lacks the last of it and takes its place.

    Args:
        stores: Both.
        proxy: The place where the primary is looked for.
    """

    def __init__(self, stores: list[Store], proxy: TcpProxy) -> None:
        self.primary, self.replica = stores
        self.proxy = proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"

    def leave_behind(self) -> None:
        """Have the replica hear nothing from now on, and have all that was before."""
        self.replica.say("REPLICAOF", "127.0.0.1", str(self.primary.port))
        up = "master_link_status:up"
        wait_for(lambda: says(self.replica, up), 20, "a replica that has all", every=0.005)
        self.replica.say("REPLICAOF", "NO", "ONE")

    def fail_over(self) -> None:
        """Have the replica take the place of the primary."""
        self.proxy.upstream = self.replica.port
        self.proxy.cut()


@pytest.fixture(scope="module", params=KINDS)
def stores(request: pytest.FixtureRequest) -> Iterator[list[Store]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(running_store(request.param, "repl-diskless-sync-delay 0"))
            for _ in range(2)
        ]


@pytest.fixture
def lagging(stores: list[Store]) -> Iterator[Lagging]:
    for store in stores:
        store.say("REPLICAOF", "NO", "ONE")
        store.say("FLUSHALL")
    with running_proxy(TcpProxy, stores[0].port) as proxy:
        yield Lagging(stores, proxy)


def test_what_was_saved_here_is_saved_again_where_it_was_lost_and_nothing_else(
    lagging: Lagging,
) -> None:
    one, other = open_store(lagging.url), open_store(lagging.replica.url)
    one.save({"a": (json.dumps({"n": 1, "gone": 1, "of": "both"}), FAR)})
    two = open_store(lagging.url)
    assert two.load("a") is not None
    two.save({"a": (json.dumps({"n": 1, "gone": 1, "of": "two"}), FAR)})
    lagging.leave_behind()
    one.save({"a": (json.dumps({"n": 2, "m": 2, "of": "both"}), FAR)})
    lagging.fail_over()
    two.save({"a": (json.dumps({"n": 1, "gone": 1, "of": "two", "k": 3}), FAR)})
    assert json.loads(other.load("a") or "") == {"n": 1, "gone": 1, "of": "two", "k": 3}
    one.save({"a": (json.dumps({"n": 2, "m": 2, "of": "both", "x": 3}), FAR)})
    found = json.loads(other.load("a") or "")
    for store in (one, two, other):
        store.close()
    assert found == {"n": 2, "m": 2, "of": "both", "k": 3, "x": 3}


def test_a_use_that_the_new_primary_lacks_is_no_ones_else(lagging: Lagging) -> None:
    one = open_shares(lagging.url, "", LOG)
    one.load()
    one.put(kept_of(uses=2))
    assert one.count(kept_of(uses=2), 1).done
    lagging.leave_behind()
    assert one.count(kept_of(uses=2, used=1), 1, guest=7).done
    lagging.fail_over()
    assert not one.count(kept_of(uses=2, used=2), 1, guest=8).done
    other = open_shares(lagging.replica.url, "", LOG)
    assert [kept.share.used for kept in other.load()] == [2]
    for store in (one, other):
        store.close()


def test_what_is_read_while_a_use_is_counted_anew_is_told_as_ever(lagging: Lagging) -> None:
    one, other = open_shares(lagging.url, "", LOG), open_shares(lagging.replica.url, "", LOG)
    one.load()
    one.put(kept_of())
    lagging.leave_behind()
    other.load()
    other.put(kept_of(id="new"))
    lagging.fail_over()
    one.count(kept_of(), 1)
    assert "new" in {kept.share.id for kept in one.changed() or ()}
    for store in (one, other):
        store.close()


async def test_a_revocation_that_the_new_primary_lacks_is_told_it_also_where_nothing_is_open(
    lagging: Lagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "COMPARE_EVERY", 0.01)
    monkeypatch.setattr(others, "REMIND_EVERY", 0.05)
    book = await opened(open_shares(lagging.url, "", LOG))
    share = (await book.issue(route())).share
    await asyncio.to_thread(lagging.leave_behind)
    await book.revoke(share.id)
    await asyncio.to_thread(lagging.fail_over)
    other = await opened(open_shares(lagging.replica.url, "", LOG))

    async def is_ended() -> bool:
        await other.look()
        found = other.get(share.id)
        return found is not None and found.ended == REVOKED

    async with asyncio.timeout(20):
        while not await is_ended():
            await asyncio.sleep(0.02)
    await other.stop()
    await book.stop()


def test_what_a_replica_has_refused_is_asked_of_the_primary_in_the_same_call(
    lagging: Lagging,
) -> None:
    store = open_store(lagging.url)
    store.save({"a": ('{"n":1}', FAR)})
    lagging.leave_behind()
    lagging.primary.say("REPLICAOF", "127.0.0.1", str(lagging.replica.port))
    lagging.proxy.upstream = lagging.replica.port  # and its connection lives
    store.save({"a": ('{"n":2}', FAR)})
    other = open_store(lagging.replica.url)
    assert other.load("a") == '{"n":2}'
    for each in (store, other):
        each.close()


def test_a_server_that_lives_anew_behind_a_connection_that_lives_is_found_out(
    lagging: Lagging, monkeypatch: pytest.MonkeyPatch
) -> None:
    lagging.leave_behind()
    asked = Conversation(lagging.url)
    asked.ask(Call(["DEL", "k"]))
    before = asked.life_of(b"k")
    lagging.primary.say("REPLICAOF", "127.0.0.1", str(lagging.replica.port))
    up = "master_link_status:up"
    wait_for(lambda: says(lagging.primary, up), 20, "a primary that was a replica", every=0.005)
    lagging.primary.say("REPLICAOF", "NO", "ONE")
    asked.ask(Call(["DEL", "k"]))
    assert asked.life_of(b"k") == before  # nobody has looked
    monkeypatch.setattr(talk, "LOOK", 0.0)
    asked.ask(Call(["DEL", "k"]))
    assert asked.life_of(b"k") != before
    asked.close()


# ---- Sentinels -----------------------------------------------------------------------------------


def checked(url: str) -> tuple[int, str]:
    stream = io.StringIO()
    code = check_session_store("backplane", url, stream=stream)
    return code, stream.getvalue()


def test_a_service_is_tried_out_as_a_store_of_sessions(shared_service: Service) -> None:
    code, text = checked(shared_service.url)
    assert code == 0, text
    assert f"session store redis+sentinel://127.0.0.1:{shared_service.sentinels[0].port}," in text
    assert f"/{SERVICE}: Redis " in text
    assert "good: a session is saved and read within" in text


@pytest.mark.parametrize("is_there", [True, False])
def test_what_is_wrong_with_the_sentinels_of_a_store_is_told(
    shared_service: Service, is_there: bool
) -> None:
    sentinel = shared_service.sentinels[0].port if is_there else free_port()
    code, text = checked(f"redis+sentinel://u:{PASSWORD}@127.0.0.1:{sentinel}/roms")
    assert code == 1
    assert "not reached" in text
    assert (
        f"cannot be used: no Sentinel names the primary of 'roms': 127.0.0.1:{sentinel}: " in text
    )
    assert f"it knows no service of this name; it knows {SERVICE}" in text or not is_there
    assert PASSWORD not in text


def test_a_replica_that_is_named_is_told_as_such(shared_service: Service) -> None:
    primary = shared_service.primary
    (replica,) = [one for one in shared_service.stores if one is not primary]
    code, text = checked(replica.url)
    assert code == 1
    assert "expected a primary, found a slave: it takes no sessions and shares" in text
    assert "name the primary's address" in text


@pytest.mark.parametrize("patience", [1.6, 8.0], ids=["in one call", "in some calls"])
def test_sentinels_that_hang_are_passed_by(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    deaf = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]  # which accept nobody
    ports = [one.getsockname()[1] for one in deaf] + [shared_service.sentinels[0].port]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    monkeypatch.setattr(conversations, "TIMEOUT", patience)  # of which each Sentinel gets a quarter
    store = open_store(f"redis+sentinel://{hosts}/{SERVICE}", prefix=next(prefixes))
    monkeypatch.setattr(conversations, "TIMEOUT", 1.6)
    tries = 0

    def is_saved() -> bool:
        nonlocal tries
        tries += 1
        with suppress(StoreError):
            store.save({"a": ('{"n":1}', FAR)})
            return True
        return False

    wait_for(is_saved, 20, "a session that is saved")
    store.close()
    before = tries
    wait_for(is_saved, 20, "a session that is saved")
    assert tries <= before + 2  # who has not answered is not asked first again
    store.close()
    for one in deaf:
        one.close()


async def come(book: ShareBook, share_id: str, guest: str) -> bool:
    """Come by a share until the server says yes or no; return whether it is yes."""
    while True:
        share = book.get(share_id)
        assert share is not None
        try:
            await book.use(share, card(guest, pending=True))
            return True
        except ShareEnded:
            return False
        except StoreFailed:
            await asyncio.sleep(0.05)


async def test_over_a_failover_sessions_are_saved_and_each_use_is_counted_once(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (counts, writer):
        monkeypatch.setattr(module, "RETRY_EVERY", 0.05)
    prefix = next(prefixes)
    manager = SessionManager(open_store(shared_service.url, prefix=prefix), log=LOG)
    books = [await opened(open_shares(shared_service.url, "", LOG, prefix)) for _ in range(2)]
    session = await manager.attach("s", "user:ada", new=True)
    bound = (await books[0].issue(route(), uses=12)).share
    early, late = [(await books[0].issue(route())).share for _ in range(2)]
    await books[1].look()
    await books[0].revoke(early.id)
    guests = []

    async def go_on(first: int, count: int) -> None:
        for number in range(first, first + count):
            book = books[number % 2]
            guests.append(asyncio.create_task(come(book, bound.id, f"guest {number}")))
            session["n"] = number
            manager.touch(session)
            await manager.flush()
            await asyncio.sleep(0.02)

    try:
        await go_on(0, 5)
        await asyncio.to_thread(shared_service.wait_for_copy, f"{prefix}:session:*")
        old = await asyncio.to_thread(shared_service.kill_primary)
        with pytest.raises(StoreFailed):
            await books[0].revoke(late.id)  # which holds at once on this server
        assert books[0].get(late.id).ended == REVOKED  # type: ignore[union-attr]
        await go_on(5, 10)
        assert manager.is_away
        async with asyncio.timeout(40):
            let_in = sum(await asyncio.gather(*guests))
            while manager.is_away or books[1].get(late.id).ended != REVOKED:  # type: ignore[union-attr]
                await manager.flush()
                await asyncio.sleep(0.05)
        assert shared_service.primary is not old
        assert let_in == 12
        store = open_shares(shared_service.url, "", LOG, prefix)
        found = {kept.share.id: kept.share for kept in await asyncio.to_thread(store.load)}
        await asyncio.to_thread(store.close)
        assert (found[bound.id].used, found[early.id].ended) == (12, REVOKED)
        assert found[late.id].ended == REVOKED
        sessions = open_store(shared_service.url, prefix=prefix)
        assert await asyncio.to_thread(sessions.load, "s") == '{"n":14}'
        await asyncio.to_thread(sessions.close)
    finally:
        manager.detach(session)
        await manager.stop()
        for book in books:
            await book.stop()
        await asyncio.to_thread(shared_service.mend)


def test_a_primary_that_only_the_sentinels_have_lost_is_left(
    shared_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes what will be lost, over connections that live."""
    old, login = shared_service.primary, ("AUTH", "bots", PASSWORD)
    for one in shared_service.stores:
        one.say("ACL", "SETUSER", "bots", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    url = shared_service.url.replace("://", f"://bots:{PASSWORD}@")
    prefix = next(prefixes)
    store = open_store(url, prefix=prefix)
    store.save({"a": ('{"n":1}', FAR)})
    shared_service.wait_for_copy(f"{prefix}:session:*")
    for one in shared_service.sentinels:
        one.say("SENTINEL", "SET", SERVICE, "down-after-milliseconds", "500")
    try:
        # Sentinels and the replica cannot log in any more, and all others can.
        old.say("ACL", "SETUSER", "default", "off", after=login)
        old.say("CLIENT", "KILL", "USER", "default", after=login)
        wait_for(lambda: shared_service.primary is not old, 40, "a failover")
        other = open_store(shared_service.wait_for_other(old).url, prefix=prefix)
        store.save({"a": ('{"n":2}', FAR)})  # by the connection that lives
        assert other.load("a") == '{"n":1}'
        monkeypatch.setattr(talk, "LOOK", 0.0)
        store.save({"a": ('{"n":2,"m":3}', FAR)})
        assert json.loads(other.load("a") or "") == {"n": 2, "m": 3}
        other.close()
    finally:
        store.close()
        old.say("ACL", "SETUSER", "default", "on", after=login)
        # Sentinels would do this, too, but take their time.
        old.say("REPLICAOF", "127.0.0.1", str(shared_service.primary.port))
        for kind in ("normal", "pubsub"):
            old.say("CLIENT", "KILL", "TYPE", kind)
        shared_service.mend()
