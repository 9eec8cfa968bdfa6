"""Named guests at a user's server: who comes in, who may stay, and what becomes of their shares."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from jupyter_wshandler.server.directory import named as module
from jupyter_wshandler.server.directory.client import DirectoryError
from jupyter_wshandler.server.directory.messages import Person, Verdict
from jupyter_wshandler.server.directory.named import SILENT, NamedGuests, card_of
from jupyter_wshandler.shares.share import UNSHARED, GuestCard, People, Share, ShareError

YES = Verdict(allowed=True, groups=("staff",))
NO = Verdict(allowed=False, why="this is not shared with you any more")
GONE = Verdict(allowed=False, why="this is not shared any more", shared=False)

SHARE = Share(
    id="share-one", route="pingbot", path="/pingbot", created=1.0, terms="", people=People(("bob",))
)
CARD = GuestCard(share="share-one", guest="g", session="s", person=card_of(Person("bob", ("old",))))


class Client:
    """A directory that answers what a test says; `silent` is what it raises instead."""

    url = "http://directory/"

    def __init__(self):
        self.verdict, self.silent = YES, None
        self.asked, self.withdrawn, self.registered = [], [], []
        self.ids = ("share-one",)

    async def _answer(self):
        await asyncio.sleep(0)
        if self.silent is not None:
            raise self.silent

    async def home(self):
        await self._answer()
        return "/services/bots/"

    async def shares(self):
        await self._answer()
        return self.ids

    async def register(self, share):
        await self._answer()
        self.registered.append(share)

    async def withdraw(self, share):
        await self._answer()
        self.withdrawn.append(share)

    async def check(self, questions):
        self.asked += questions
        await self._answer()
        return tuple(self.verdict for _ in questions)

    def close(self):
        pass


class Book:
    """A book with the shares of a test."""

    def __init__(self):
        self.own, self.revoked = [SHARE], []

    def watch(self, callback):
        self.callback = callback

    async def start(self):
        pass

    def shares(self):
        return list(self.own)

    async def revoke(self, share_id):
        self.revoked.append(share_id)
        self.own = [share for share in self.own if share.id != share_id]
        return True


class Guests:
    """The open connections of a test, and who was put out and why."""

    def __init__(self):
        self.open, self.out = [], []

    def connections(self, share_id):
        return [connection for connection, _ in self.inside(share_id)]

    def inside(self, share_id):
        return [(it, it.guest) for it in self.open if it.guest.share == share_id]

    def put_out(self, connection, words):
        connection.closed = True
        self.out.append(words)


@pytest.fixture
def now(monkeypatch):
    now = [1000.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(module, "time", clock)
    return now


@pytest.fixture
def parts():
    return SimpleNamespace(client=Client(), book=Book(), guests=Guests())


@pytest.fixture
def named(parts, now):
    return NamedGuests(parts.client, parts.guests, parts.book, logging.getLogger("named"))


def route(recheck=10.0, grace=30.0):
    auth = SimpleNamespace(recheck=recheck, grace=grace)
    return SimpleNamespace(config=SimpleNamespace(auth=auth, page=True))


def connection(name="bob", **auth):
    user = SimpleNamespace(username=f"guest/{name}", share="share-one")
    return SimpleNamespace(current_user=user, guest=user, entry=route(**auth), closed=False)


async def test_who_comes_again_is_asked_about_and_has_the_groups_of_now(named, parts):
    card, why = await named.admit(SHARE, CARD, route())
    assert why == ""
    assert card.person["groups"] == ["staff"]
    assert (parts.client.asked[0].share, parts.client.asked[0].user) == ("share-one", "bob")


async def test_a_yes_is_good_for_the_recheck_and_no_longer(named, parts, now):
    await named.admit(SHARE, CARD, route())
    now[0] += 9.9
    await named.admit(SHARE, CARD, route())
    assert len(parts.client.asked) == 1
    now[0] += 0.2
    parts.client.verdict = NO
    assert (await named.admit(SHARE, CARD, route()))[1] == NO.why
    assert len(parts.client.asked) == 2


async def test_a_no_is_no_yes_of_before(named, parts, now):
    await named.admit(SHARE, CARD, route())
    now[0] += 11
    parts.client.verdict = NO
    assert (await named.admit(SHARE, CARD, route()))[1] == NO.why
    parts.client.silent = DirectoryError("the directory does not answer")
    assert (await named.admit(SHARE, CARD, route()))[1] == SILENT


async def test_where_nobody_answers_only_who_had_a_yes_of_late_comes_in(named, parts, now):
    parts.client.silent = DirectoryError("the directory does not answer")
    assert (await named.admit(SHARE, CARD, route()))[1] == SILENT
    parts.client.silent = None
    await named.admit(SHARE, CARD, route())
    parts.client.silent = DirectoryError("the directory does not answer")
    now[0] += 29
    assert (await named.admit(SHARE, CARD, route()))[1] == ""
    now[0] += 1
    assert (await named.admit(SHARE, CARD, route()))[1] == SILENT


async def test_a_route_that_never_asks_again_asks_at_each_new_handshake_after_a_minute(
    named, parts, now
):
    await named.admit(SHARE, CARD, route(recheck=0.0, grace=0.0))
    now[0] += 61
    parts.client.verdict = NO
    assert (await named.admit(SHARE, CARD, route(recheck=0.0)))[1] == NO.why


async def looked(named):
    return await named._look()


async def test_all_who_are_in_are_asked_about_in_one_message(named, parts, now):
    parts.guests.open = [connection(), connection(), connection("zoë b")]
    await looked(named)
    assert sorted(question.user for question in parts.client.asked) == ["bob", "zoë b"]
    now[0] += 5
    await looked(named)
    assert len(parts.client.asked) == 2
    now[0] += 6
    await looked(named)
    assert len(parts.client.asked) == 4
    assert parts.guests.out == []


async def test_a_no_puts_out_all_connections_of_the_guest(named, parts):
    parts.guests.open = [connection(), connection()]
    parts.client.verdict = NO
    await looked(named)
    assert parts.guests.out == [NO.why, NO.why]
    assert parts.book.revoked == []


@pytest.mark.parametrize("user", [None, SimpleNamespace(username="guest/zoe", share="share-one")])
async def test_a_guest_whose_bot_has_written_over_who_they_are_is_asked_about_as_before(
    named, parts, user
):
    parts.guests.open = [connection(), connection()]
    parts.guests.open[0].current_user = user
    parts.client.verdict = NO
    await looked(named)
    assert [question.user for question in parts.client.asked] == ["bob"]
    assert parts.guests.out == [NO.why, NO.why]


async def test_what_is_not_shared_any_more_ends_here_too(named, parts):
    parts.guests.open = [connection(), connection("zoë b")]
    parts.client.verdict = GONE
    await looked(named)
    assert set(parts.guests.out) == {UNSHARED}
    assert len(parts.guests.out) == 2
    assert parts.book.revoked == ["share-one"]


async def test_where_nobody_answers_a_guest_stays_for_the_grace_and_is_told_then(named, parts, now):
    parts.guests.open = [connection()]
    await looked(named)
    parts.client.silent = DirectoryError("the directory does not answer")
    for _ in range(2):
        now[0] += 14
        await looked(named)
    assert parts.guests.out == []
    now[0] += 2.5
    await looked(named)
    assert parts.guests.out == ["nobody could be asked whether this is shared with you for 30 s"]


async def test_a_guest_whom_nobody_has_ever_vouched_for_since_the_start_does_not_stay(named, parts):
    parts.guests.open = [connection()]
    parts.client.silent = DirectoryError("the directory does not answer")
    await looked(named)
    assert parts.guests.out


async def test_a_route_without_recheck_or_grace_is_left_alone(named, parts, now):
    parts.guests.open = [
        connection(recheck=0.0),
    ]
    now[0] += 10_000
    await looked(named)
    assert parts.client.asked == []
    parts.guests.open = [connection(grace=0.0)]
    parts.client.silent = DirectoryError("the directory does not answer")
    await looked(named)
    assert parts.guests.out == []


async def test_a_share_that_the_directory_does_not_take_is_none(named, parts):
    parts.client.silent = DirectoryError("expected a path such as /pingbot", 400)
    with pytest.raises(ShareError, match="has not taken it: expected a path"):
        await named.register(SHARE, route())


async def test_registering_tells_whom_it_is_for_and_where_it_is_opened(named, parts):
    where = await named.register(SHARE, route())
    assert where == "/services/bots/wshandler/directory/open/share-one"
    assert parts.client.registered[0].users == ("bob",)


async def test_what_has_ended_is_withdrawn_as_soon_as_the_directory_hears_it(named, parts, now):
    parts.client.silent = DirectoryError("the directory does not answer")
    parts.book.callback(SHARE, "this link has expired")
    parts.book.own = []
    await named._tell()
    assert parts.client.withdrawn == []
    parts.client.silent = None
    now[0] += 16
    await named._tell()
    assert parts.client.withdrawn == ["share-one"]
    await named._tell()
    assert parts.client.withdrawn == ["share-one"]


async def test_after_a_start_both_sides_agree(named, parts):
    other = "share-of-nobody"
    parts.client.ids = (other,)
    await named._tell()
    # What was stopped on the page meanwhile ends here, and what has ended here, there.
    assert parts.book.revoked == ["share-one"]
    assert other in parts.client.withdrawn


async def test_the_watch_goes_on_after_a_fault_of_ours_and_stops_when_told(named, parts):
    def fails(share_id):
        raise ZeroDivisionError

    parts.guests.inside = fails
    named.start()
    await asyncio.sleep(0.1)
    assert any("asks the directory" in task.get_name() for task in asyncio.all_tasks())
    await named.stop()
    assert not any("asks the directory" in task.get_name() for task in asyncio.all_tasks())
