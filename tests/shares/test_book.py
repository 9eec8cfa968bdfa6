"""The book of shares: issued, found, used, ended; and stored before anybody hears."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import msgspec
import pytest
from support.server import wait_for
from support.sharebook import LOG, card, kept_of, opened, route
from support.stores import running_store

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.config.model import FunctionSpec, Place, RouteConfig
from jupyter_wshandler.routes import RouteTable
from jupyter_wshandler.sessions.stores import open_store
from jupyter_wshandler.shares import book as books
from jupyter_wshandler.shares import counts, others, writer
from jupyter_wshandler.shares.book import ShareBook
from jupyter_wshandler.shares.choose import open_shares
from jupyter_wshandler.shares.share import (
    CHANGED,
    EXPIRED,
    REVOKED,
    USED_UP,
    Guest,
    GuestCard,
    People,
    ShareEnded,
    ShareError,
    guest_of,
    new_card,
    read,
    terms_of,
    written,
)
from jupyter_wshandler.shares.stores import MemoryShares, StoreFailed


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Wait for a store on a machine that has much else to do."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)


@pytest.fixture(scope="module")
def redis():
    with running_store("redis") as redis:
        yield redis


@pytest.fixture
def file_url(tmp_path):
    return f"sqlite:///{tmp_path}/sessions.db"


@pytest.fixture(params=["sqlite", "redis"])
def url(request, file_url):
    """A store that several servers have in common."""
    if request.param == "sqlite":
        return file_url
    redis = request.getfixturevalue("redis")
    redis.say("FLUSHALL")
    return redis.url


async def test_a_token_finds_its_share_and_is_not_among_what_is_kept(file_url, tmp_path):
    book = await opened(open_shares(file_url, "here", LOG))
    share, token = msgspec.structs.astuple(await book.issue(route(), label="Ann"))
    assert len(token) == 22
    assert book.find(token) == book.get(share.id) == share
    assert book.find(token + "x") is None
    assert token not in repr(await book.issue(route()))
    await book.stop()
    assert all(token.encode() not in each.read_bytes() for each in tmp_path.iterdir())


async def test_a_share_is_stored_when_it_is_issued(url):
    book = await opened(open_shares(url, "here", LOG))
    issued = await book.issue(route(), uses=2, expires=60, people=People(users=("bob",)))
    other = await opened(open_shares(url, "here", LOG))
    assert other.find(issued.token) == issued.share
    for each in (book, other):
        await each.stop()


async def test_a_share_in_a_file_is_of_the_server_of_one_folder(file_url):
    book = await opened(open_shares(file_url, "here", LOG))
    issued = await book.issue(route())
    elsewhere = await opened(open_shares(file_url, "another folder", LOG))
    assert elsewhere.find(issued.token) is None
    await book.stop()
    await elsewhere.stop()


async def test_uses_are_counted_up_to_the_bound_and_one_that_came_to_nothing_is_given_back():
    book = await opened()
    share = (await book.issue(route(), uses=2)).share
    assert await book.use(share, card("a"))
    assert book.get(share.id).uses_left == 1
    await book.use(share, card("b"))
    with pytest.raises(ShareEnded, match=USED_UP):
        await book.use(share, card("c"))
    book.unuse(share)
    await book.use(share, card("c"))
    assert book.shares() == [book.get(share.id)]
    await book.stop()


async def test_of_many_who_come_at_once_no_more_are_let_in_than_may(url):
    book = await opened(open_shares(url, "here", LOG))
    share = (await book.issue(route(), uses=30)).share
    found = await asyncio.gather(
        *(book.use(share, card(str(n))) for n in range(50)), return_exceptions=True
    )
    assert sum(isinstance(each, ShareEnded) for each in found) == 20
    await book.stop()
    again = await opened(open_shares(url, "here", LOG))
    assert again.get(share.id).used == 30
    await again.stop()


async def test_a_guest_with_a_pending_card_counts_once_and_is_known_after_a_restart(url):
    book = await opened(open_shares(url, "here", LOG))
    share = (await book.issue(route(), uses=2)).share
    free = (await book.issue(route())).share
    ann, bob, cleo = (card(name, pending=True) for name in ("ann", "bob", "cleo"))
    assert not book.has_counted(share, ann)
    # Two tabs that open at the same time are one guest.
    found = await asyncio.gather(*(book.use(share, ann) for _ in range(4)))
    assert sorted(found) == [False, False, False, True]
    assert await book.use(share, bob)
    for _ in range(2):
        with pytest.raises(ShareEnded, match=USED_UP):
            await book.use(share, cleo)
    assert await book.use(free, cleo)
    assert not await book.use(free, cleo)
    assert (book.get(share.id).used, book.get(free.id).used) == (2, 1)
    await book.stop()
    again = await opened(open_shares(url, "here", LOG))
    assert (again.get(share.id).used, again.get(free.id).used) == (2, 1)
    for each, of, known in (
        *((share, ann, True), (share, bob, True), (share, cleo, False)),
        *((free, cleo, True), (free, ann, False)),
    ):
        await again.look_up(None, msgspec.structs.replace(of, share=each.id))
        assert again.has_counted(each, of) is known
    assert not await again.use(share, ann)
    with pytest.raises(ShareEnded, match=USED_UP):
        await again.use(share, cleo)
    await again.revoke(share.id)
    with pytest.raises(ShareEnded, match=REVOKED):
        await again.use(share, ann)
    await again.stop()


async def test_a_use_of_a_pending_card_that_is_stored_too_late_is_its_guests(monkeypatch):
    import threading

    free = threading.Event()

    class Slow(MemoryShares):
        def count(self, kept, change, guest=None):
            free.wait(20)
            return super().count(kept, change, guest)

    book = await opened(Slow())
    share = (await book.issue(route(), uses=1)).share
    ann = card("ann", pending=True)
    with monkeypatch.context() as short:
        short.setattr(writer, "PATIENCE", 0.05)
        with pytest.raises(StoreFailed):
            await book.use(share, ann)
    free.set()
    async with asyncio.timeout(10):
        while not book.has_counted(share, ann):
            await asyncio.sleep(0.01)
    assert not await book.use(share, ann)
    with pytest.raises(ShareEnded, match=USED_UP):
        await book.use(share, card("bob"))
    assert book.get(share.id).used == 1
    await book.stop()


async def test_of_a_share_without_a_bound_not_more_guests_are_remembered_than_may(monkeypatch):
    monkeypatch.setattr(books, "MOST_GUESTS", 2)
    book = await opened()
    share = (await book.issue(route())).share
    for name in ("ann", "bob", "cleo", "cleo", "ann"):
        await book.use(share, card(name, pending=True))
    assert book.get(share.id).used == 4
    await book.stop()


async def test_a_use_that_cannot_be_stored_lets_nobody_in_and_is_not_counted():
    class Full(MemoryShares):
        full = False

        def put(self, kept):
            self.look()
            super().put(kept)

        def count(self, kept, change, guest=None):
            self.look()
            return super().count(kept, change, guest)

        def look(self):
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")

    store = Full()
    book = await opened(store)
    share = (await book.issue(route(), uses=2)).share
    store.full = True
    with pytest.raises(StoreFailed):
        await book.use(share, card("a"))
    with pytest.raises(StoreFailed):
        await book.issue(route())
    assert book.get(share.id).used == 0
    assert len(book.shares()) == 1
    # A revocation holds at once, stored or not.
    ended = []
    book.watch(lambda share, words: ended.append(words))
    with pytest.raises(StoreFailed):
        await book.revoke(share.id)
    assert ended == [REVOKED]
    with pytest.raises(ShareEnded, match=REVOKED):
        await book.use(share, card("a"))
    await book.stop()


async def test_a_revoked_share_stays_revoked_whoever_writes_later(url):
    one = await opened(open_shares(url, "here", LOG))
    share = (await one.issue(route())).share
    two = await opened(open_shares(url, "here", LOG))
    assert await one.revoke(share.id) is True
    await two.use(share, card("late"))  # it has not heard of it yet
    await two.stop()  # which writes what it has counted
    await one.stop()
    again = await opened(open_shares(url, "here", LOG))
    assert again.get(share.id).ended == REVOKED
    assert again.shares() == []
    await again.stop()


async def test_another_server_of_the_same_folder_hears_of_a_revocation(url):
    one = await opened(open_shares(url, "here", LOG))
    share = (await one.issue(route())).share
    two = await opened(open_shares(url, "here", LOG))
    ended = []
    two.watch(lambda share, words: ended.append((share.id, words)))
    await one.revoke(share.id)
    async with asyncio.timeout(10):
        while not ended:
            await asyncio.sleep(0.02)
    assert ended == [(share.id, REVOKED)]
    await one.stop()
    await two.stop()


async def test_a_share_ends_when_its_time_has_come_and_says_so_once():
    book = await opened()
    ended = []
    book.watch(lambda share, words: ended.append(words))
    share = (await book.issue(route(), expires=1)).share
    assert book.why_ended(share, route()) is None
    async with asyncio.timeout(10):
        while not ended:
            await asyncio.sleep(0.02)
    assert book.why_ended(share, route()) == EXPIRED
    assert await book.revoke(share.id) is False
    assert ended == [EXPIRED]
    await book.stop()


async def test_a_clock_that_is_set_ends_what_is_over_by_it_and_brings_nothing_back(monkeypatch):
    monkeypatch.setattr(books, "LONGEST_WAIT", 0.02)
    real, jump = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])
    book = await opened()
    ended = []
    book.watch(lambda share, words: ended.append(words))
    hour, endless = [(await book.issue(route(), expires=end)).share for end in (3600, None)]
    jump[0] = -7200.0
    await asyncio.sleep(0.1)
    assert ended == []
    jump[0] = 3601.0
    # Who comes in that moment is told so, and who is in at the next look.
    assert book.why_ended(hour, route()) == EXPIRED
    with pytest.raises(ShareEnded, match=EXPIRED):
        await book.use(hour, card("ann"))
    async with asyncio.timeout(10):
        while not ended:
            await asyncio.sleep(0.02)
    jump[0] = 0.0
    assert ended == [EXPIRED]
    assert book.why_ended(hour, route()) == EXPIRED
    assert book.why_ended(endless, route()) is None
    await book.stop()


async def test_what_ended_long_ago_is_forgotten(url, monkeypatch):
    book = await opened(open_shares(url, "here", LOG))
    issued = await book.issue(route())
    await book.revoke(issued.share.id)
    monkeypatch.setattr(books, "REMEMBER", -1.0)
    await book.issue(route())
    assert book.find(issued.token) is None
    await book.stop()
    again = await opened(open_shares(url, "here", LOG))
    assert again.get(issued.share.id) is None
    await again.stop()


@pytest.mark.parametrize(
    "other",
    [
        route(users=("ann",)),
        route(guests=False),
        route(required=False),
        route(recheck=5.0),
        route(pattern="/bot/?"),
    ],
)
async def test_a_share_ends_for_good_when_the_rules_of_its_route_change(other):
    book = await opened()
    share = (await book.issue(route())).share
    book.judge(RouteTable([route(line=99)]))  # it stands elsewhere in the file now
    book.judge(RouteTable([]))  # its kernel is being restarted
    assert book.why_ended(share, route()) is None
    assert book.why_ended(share, other) == CHANGED
    book.judge(RouteTable([other]))
    assert book.why_ended(share, route()) == CHANGED
    await book.stop()


def test_terms_are_what_a_rule_says_and_not_where_it_stands():
    def condition(function: str, line: int) -> RouteConfig:
        spec = FunctionSpec(function=function, place=Place("wshandler.yaml", line, 1))
        return route(condition=spec).config

    assert terms_of(condition("bot.yes", 1)) == terms_of(condition("bot.yes", 2))
    assert terms_of(condition("bot.yes", 1)) != terms_of(condition("bot.no", 1))
    rule = ({"name": (1,)},)
    assert terms_of(route(membership=rule).config) != terms_of(
        route(membership=({"name": ("1",)},)).config
    )


@pytest.mark.parametrize(
    "path",
    [
        *("bot", "", "/rooms", "/rooms/", "/rooms/a/b", "/rooms/..", "/rooms/%2e%2e", "/bot"),
        *("/rooms/a?x=1", "/rooms/a#b", "/rooms/a%2Fb", "/rooms/" + "x" * 3000, "/rooms/a\0b"),
    ],
)
async def test_only_a_path_of_the_route_can_be_shared(path):
    book = await opened()
    with pytest.raises(ShareError, match="path: expected"):
        await book.issue(route(pattern="/rooms/{room}"), path=path)
    await book.stop()


def test_a_guest_is_somebody_whose_name_no_login_has_and_who_has_no_rights():
    share = msgspec.convert(
        {"id": "s", "route": "bot", "path": "/bot", "created": 0.0, "terms": "", "label": "Ann"},
        type=books.Share,
    )
    guest = guest_of(share, new_card(share))
    assert (guest.kind, guest.name, guest.display_name, guest.initials) == (
        *("guest", "Ann", "Ann"),
        "A",
    )
    assert guest.username.startswith("guest/")
    assert guest != guest_of(share, new_card(share))
    told = {"username": "bob", "name": "Bob", "groups": ["staff"], "kind": "user", "scopes": ["x"]}
    named = guest_of(share, new_card(share, told))
    assert named == Guest(
        username="bob",
        name="Bob",
        display_name="Bob",
        initials="B",
        groups=["staff"],
        kind="guest",
        share="s",
    )


def test_a_card_is_read_back_and_nothing_else_is():
    card = GuestCard(share="s", guest="g", session="i", person={"username": "bob"})
    assert read(written(card).encode()) == card
    for text in (None, b"", b"{}", b"\xff", b'{"share": 1, "guest": "g", "session": "i"}', b"[]"):
        assert read(text) is None


async def test_a_store_that_hangs_lets_nobody_wait_for_ever(monkeypatch):
    import threading

    free = threading.Event()

    class Hanging(MemoryShares):
        def load(self):
            free.wait(20)
            return []

    monkeypatch.setattr(books, "PATIENCE", 0.05)
    book = ShareBook(Hanging(), LOG)
    with pytest.raises(StoreFailed):
        await book.start()
    free.set()
    async with asyncio.timeout(10):
        while True:
            try:
                await book.start()
                break
            except StoreFailed:
                await asyncio.sleep(0.02)
    assert book.shares() == []
    await book.stop()
    wait_for(lambda: not any(t.name == "wshandler-shares" for t in threading.enumerate()))


async def test_a_share_of_another_server_expires_here_also_when_that_one_is_gone(url, monkeypatch):
    monkeypatch.setattr(others, "COMPARE_EVERY", 0.02)
    here = await opened(open_shares(url, "here", LOG))
    there = await opened(open_shares(url, "here", LOG))
    await here.issue(route())  # who has no share of its own does not look for those of others
    share = (await there.issue(route(), expires=1.5)).share
    await there.stop()
    told: list = []
    here.watch(lambda ended, words: told.append((ended.id, words)))
    async with asyncio.timeout(10):
        while here.get(share.id) is None or not told:
            await asyncio.sleep(0.02)
    assert told == [(share.id, EXPIRED)]
    await here.stop()


async def test_a_use_that_was_given_back_does_not_come_again_out_of_the_store(url, monkeypatch):
    monkeypatch.setattr(others, "COMPARE_EVERY", 0.02)
    monkeypatch.setattr(counts, "COUNT_EVERY", 0.5)
    book = await opened(open_shares(url, "here", LOG))
    share = (await book.issue(route(), uses=1)).share
    await book.use(share, card("one"))
    book.unuse(share)
    # Another connection writes into the file, as the sessions of the same server do.
    other = await opened(open_shares(url, "here", LOG))
    mark = (await other.issue(route())).share
    async with asyncio.timeout(10):
        while book.get(mark.id) is None:
            await asyncio.sleep(0.01)
    assert book.get(share.id).used == 0
    await book.use(share, card("two"))
    await book.stop()
    await other.stop()


async def test_what_was_revoked_while_the_store_failed_is_stored_as_soon_as_that_works(monkeypatch):
    monkeypatch.setattr(writer, "RETRY_EVERY", 0.02)
    stored: list = []

    class Failing(MemoryShares):
        fails = 0

        def put(self, kept):
            if self.fails:
                self.fails -= 1
                raise OSError("disk full")
            stored.append(kept.share)

    store = Failing()
    book = await opened(store)
    share = (await book.issue(route())).share
    store.fails = 3
    with pytest.raises(StoreFailed):
        await book.revoke(share.id)
    assert book.shares() == []
    async with asyncio.timeout(10):
        while not stored[-1].ended:
            await asyncio.sleep(0.01)
    assert (stored[-1].id, stored[-1].ended) == (share.id, REVOKED)
    await book.stop()


# ---- two servers of one folder -------------------------------------------------------------------


@pytest.fixture
async def both(url, monkeypatch):
    """Two books with one store, which do not hear of each other by themselves."""
    monkeypatch.setattr(others, "COMPARE_EVERY", 60.0)
    one = await opened(open_shares(url, "here", LOG))
    two = await opened(open_shares(url, "here", LOG))
    yield one, two
    await one.stop()
    await two.stop()


async def hear(book: ShareBook) -> None:
    """Let a book read again what the other has written."""
    book._loaded = False
    await book.start()


async def stored(url: str, share_id: str):
    book = await opened(open_shares(url, "here", LOG))
    await book.stop()
    return book.get(share_id)


async def test_two_servers_of_one_folder_let_in_no_more_than_may_between_them(both, url):
    one, two = both
    share = (await one.issue(route(), uses=3)).share
    await hear(two)
    found = await asyncio.gather(
        *(book.use(share, card(str(n))) for n in range(3) for book in both), return_exceptions=True
    )
    late = [each for each in found if isinstance(each, ShareEnded)]
    assert [each.words for each in late] == [USED_UP] * 3
    assert one.get(share.id).uses_left == two.get(share.id).uses_left == 0
    assert (await stored(url, share.id)).used == 3


async def test_a_place_that_one_server_gives_back_the_other_one_has(both):
    one, two = both
    share = (await one.issue(route(), uses=1)).share
    await hear(two)
    await one.use(share, card("a"))
    with pytest.raises(ShareEnded, match=USED_UP):
        await two.use(share, card("b"))
    one.unuse(share)
    await one.issue(route())  # which is stored after it
    await hear(two)
    await two.use(share, card("b"))
    assert two.get(share.id).uses_left == 0
    with pytest.raises(ShareEnded, match=USED_UP):
        await one.use(share, card("a"))


async def test_what_two_servers_count_of_a_share_without_a_bound_adds_up(both, url):
    one, two = both
    share = (await one.issue(route())).share
    await hear(two)
    for book, uses in ((one, 3), (two, 2)):
        for n in range(uses):
            await book.use(share, card(str(n)))
    two.unuse(share)
    assert (one.get(share.id).used, two.get(share.id).used) == (3, 1)
    await one.stop()
    await hear(two)
    assert two.get(share.id).used == 4
    await two.stop()
    assert (await stored(url, share.id)).used == 4


async def test_who_ends_a_share_does_not_write_over_what_another_server_has_counted(both, url):
    one, two = both
    share = (await one.issue(route(), uses=5)).share
    await hear(two)
    await two.use(share, card("a"))
    assert await one.revoke(share.id)
    found = await stored(url, share.id)
    assert (found.ended, found.used) == (REVOKED, 1)


async def test_a_share_that_another_server_has_revoked_lets_in_nobody_from_then_on(both):
    one, two = both
    share = (await one.issue(route(), uses=5)).share
    await hear(two)
    ended: list = []
    two.watch(lambda share, words: ended.append(words))
    await one.revoke(share.id)
    with pytest.raises(ShareEnded, match=REVOKED):
        await two.use(share, card("a"))
    assert ended == [REVOKED]


async def test_a_use_that_is_stored_when_nobody_waits_any_more_is_given_back(monkeypatch):
    import threading

    free = threading.Event()

    class Slow(MemoryShares):
        def count(self, kept, change, guest=None):
            free.wait(20)
            return super().count(kept, change, guest)

    book = await opened(Slow())
    share = (await book.issue(route(), uses=1)).share
    with monkeypatch.context() as short:
        short.setattr(writer, "PATIENCE", 0.05)
        with pytest.raises(StoreFailed):
            await book.use(share, card("a"))
    leaves = asyncio.create_task(book.use(share, card("b")))
    await asyncio.sleep(0)
    leaves.cancel()
    free.set()
    async with asyncio.timeout(10):
        while True:
            try:
                await book.use(share, card("c"))
                break
            except ShareEnded:
                await asyncio.sleep(0.02)
    assert book.get(share.id).uses_left == 0
    await book.stop()


async def test_a_count_that_cannot_be_stored_is_stored_as_soon_as_that_works(monkeypatch):
    monkeypatch.setattr(counts, "COUNT_EVERY", 0.01)
    monkeypatch.setattr(counts, "RETRY_EVERY", 0.01)

    class Failing(MemoryShares):
        fails = 2

        def count(self, kept, change, guest=None):
            if self.fails:
                self.fails -= 1
                raise OSError("disk full")
            return super().count(kept, change, guest)

    store = Failing()
    book = await opened(store)
    share = (await book.issue(route())).share
    await book.use(share, card("a"))
    await book.use(share, card("b"))
    async with asyncio.timeout(10):
        while store.load()[0].share.used != 2:
            await asyncio.sleep(0.01)
    assert book.get(share.id).used == 2
    await book.stop()
    assert store.load()[0].share.used == 2


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request, file_url):
    urls = {"memory": "memory://", "sqlite": file_url}
    if request.param == "redis":
        redis = request.getfixturevalue("redis")
        redis.say("FLUSHALL")
        urls["redis"] = redis.url
    return open_shares(urls[request.param], "here", LOG)


def test_a_store_counts_up_to_the_bound_and_down_to_nothing(store):
    kept = kept_of(uses=2)
    store.put(kept)
    answers = [store.count(kept, change) for change in (1, 1, 1, -1, 1, -1, -1, -1)]
    done = [each.done for each in answers]
    assert done == [True, True, False, True, True, True, True, True]
    assert [each.kept.share.used for each in answers] == [1, 2, 2, 1, 2, 1, 0, 0]
    store.close()


def test_a_store_counts_nothing_of_what_has_ended_and_keeps_its_count_when_that_is_put(store):
    kept = kept_of()
    assert store.count(kept, 2).done  # nothing was stored of it
    store.put(kept)
    assert [each.share.used for each in store.load()] == [2]
    store.put(kept_of(ended=REVOKED))
    answer = store.count(kept, 1)
    assert (answer.done, answer.kept.share.used, answer.kept.share.ended) == (False, 2, REVOKED)
    store.delete(["s"])
    assert store.load() == []
    store.close()


def test_a_session_that_is_written_makes_nobody_read_the_shares_again(file_url):
    url = file_url
    store, other = (open_shares(url, "here", LOG) for _ in range(2))
    elsewhere = open_shares(url, "another folder", LOG)
    sessions = open_store(url)
    assert store.load() == []
    store.put(kept_of())
    sessions.save({"a session": ("{}", 4e9)})
    elsewhere.put(kept_of(id="e"))
    assert store.changed() is None
    assert [kept.share.id for kept in other.changed()] == ["s"]
    for write in (
        lambda: other.put(kept_of(id="t")),
        lambda: other.count(kept_of(), 1),
        lambda: other.delete(["t"]),
    ):
        write()
        assert store.changed() == other.load()
        assert store.changed() is None
        assert other.changed() is None
    for each in (store, other, elsewhere, sessions):
        each.close()
