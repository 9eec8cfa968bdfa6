"""The decisions of the directory, with a Hub that answers what a test says."""

from __future__ import annotations

import asyncio
import logging
import sqlite3

import msgspec
import pytest
from support.memory import until

from jupyter_wshandler.server.directory import service as services
from jupyter_wshandler.server.directory.codes import digest
from jupyter_wshandler.server.directory.errors import NotShared, NotStored, ServerStopped
from jupyter_wshandler.server.directory.hub import (
    HubSilent,
    HubUser,
    Place,
    ServerId,
    server_in,
)
from jupyter_wshandler.server.directory.messages import Question, Redemption, Registration, Wrong
from jupyter_wshandler.server.directory.service import NOT_COME, Directory
from jupyter_wshandler.server.directory.stores import MemoryListings

ADA = ServerId("ada", "")
STATE = digest("browser")
SHARED = Registration(id="share-one", route="pingbot", path="/pingbot", users=("bob",))


class FakeHub:
    """The Hub's answers: users by name; `silent` is why it has none."""

    def __init__(self):
        self.silent = ""
        self.users = {
            "ada": HubUser("ada", (), {"": Place("/user/ada/", True)}),
            "bob": HubUser("bob", ("staff",), {}),
            "carol": HubUser("carol", (), {}),
        }

    async def user(self, name):
        if self.silent:
            raise HubSilent(self.silent)
        return self.users.get(name)

    async def stop(self):
        pass


@pytest.fixture
def hub():
    return FakeHub()


@pytest.fixture
def store():
    return MemoryListings()


@pytest.fixture
async def directory(hub, store):
    log = logging.getLogger("directory")
    made = Directory(hub, store, "/services/bots/", log)
    yield made
    await made.stop()


async def code_for(directory, user="bob") -> str:
    where, code = await directory.code(user, "share-one", STATE)
    assert where == "/user/ada/wshandler/shared/share-one"
    return code


def redemption(code: str, **changes) -> Redemption:
    given = {"code": code, "share": "share-one", "path": "/pingbot", "state": STATE}
    return Redemption(**(given | changes))


async def test_bob_gets_a_code_and_the_server_learns_that_it_is_bob(directory):
    await directory.register(ADA, SHARED)
    person = await directory.redeem(ADA, redemption(await code_for(directory)))
    assert (person.name, person.groups) == ("bob", ("staff",))


async def test_a_code_is_redeemed_once_and_by_the_server_that_shares(directory):
    await directory.register(ADA, SHARED)
    code = await code_for(directory)
    assert await directory.redeem(ServerId("mallory", ""), redemption(code)) is None
    assert await directory.redeem(ADA, redemption(code)) is None
    code = await code_for(directory)
    assert await directory.redeem(ADA, redemption(code))
    assert await directory.redeem(ADA, redemption(code)) is None


async def test_who_it_is_not_shared_with_gets_no_code_and_learns_nothing(directory):
    await directory.register(ADA, SHARED)
    with pytest.raises(NotShared) as refused:
        await directory.code("carol", "share-one", STATE)
    with pytest.raises(NotShared) as unknown:
        await directory.code("carol", "no-such-share", STATE)
    assert refused.value.sentence == unknown.value.sentence
    with pytest.raises(NotShared):
        await directory.code("nobody", "share-one", STATE)


async def test_a_code_of_somebody_who_has_left_meanwhile_is_refused(directory, hub):
    shared = Registration(id="share-one", route="pingbot", path="/pingbot", groups=("staff",))
    await directory.register(ADA, shared)
    code = await code_for(directory)
    hub.users["bob"] = HubUser("bob", (), {})
    with pytest.raises(NotShared, match="not shared with you any more"):
        await directory.redeem(ADA, redemption(code))


async def shared_and_come(directory, shared=SHARED) -> None:
    """Share ada's bot, and have bob come by it."""
    await directory.register(ADA, shared)
    assert await directory.redeem(ADA, redemption(await code_for(directory)))


async def verdict(directory, user="bob", server=ADA, share="share-one"):
    (found,) = await directory.check(server, [Question(share, user)])
    return found


async def test_who_may_stay_is_told_with_the_groups_of_now(directory, hub):
    await shared_and_come(directory)
    found = await verdict(directory)
    assert (found.allowed, found.groups) == (True, ("staff",))
    hub.users["bob"] = HubUser("bob", ("staff", "new"), {})
    assert (await verdict(directory)).groups == ("staff", "new")


async def test_who_may_not_stay_is_told_why(directory, hub):
    await shared_and_come(directory)
    await directory.register(ADA, msgspec.structs.replace(SHARED, users=("carol",)))
    assert (await verdict(directory)).why == "this is not shared with you any more"
    del hub.users["bob"]
    assert (await verdict(directory)).why == "your account is not there any more"
    await directory.withdraw("share-one", lambda listing: listing.owner == "ada")
    found = await verdict(directory)
    assert (found.allowed, found.shared, found.why) == (
        False,
        False,
        "this is not shared any more",
    )


async def test_another_server_is_told_nothing_of_a_share(directory):
    await directory.register(ADA, SHARED)
    for other in (ServerId("mallory", ""), ServerId("ada", "other")):
        found = await verdict(directory, server=other)
        assert (found.allowed, found.shared, found.groups) == (False, False, ())


async def test_where_the_hub_is_silent_nobody_is_let_in_and_nobody_put_out(directory, hub):
    await shared_and_come(directory)
    code = await code_for(directory)
    hub.silent = "the Hub has answered 500"
    assert (await verdict(directory)).allowed is None
    with pytest.raises(HubSilent):
        await directory.redeem(ADA, redemption(code))
    with pytest.raises(HubSilent):
        await directory.code("bob", "share-one", STATE)


def again_with(hub, store) -> Directory:
    """Return the directory of the next process."""
    return Directory(hub, store, "/services/bots/", logging.getLogger("directory"))


async def test_a_server_learns_nothing_of_who_has_never_come(directory, hub):
    both = Registration(
        id="share-one", route="pingbot", path="/pingbot", users=("bob", "dan"), groups=("staff",)
    )
    await directory.register(ADA, both)
    hub.users["eve"] = HubUser("eve", ("staff",), {})
    # bob and eve are among those whom it is for, carol is not, and there is no dan.
    told = [await verdict(directory, user) for user in ("bob", "eve", "carol", "dan")]
    hub.silent = "the Hub has answered 500"
    told.append(await verdict(directory, "bob"))
    assert {(it.allowed, it.why, it.groups, it.shared) for it in told} == {
        (False, NOT_COME, (), True)
    }
    hub.silent = ""
    assert await directory.redeem(ADA, redemption(await code_for(directory)))
    assert (await verdict(directory)).groups == ("staff",)
    assert (await verdict(directory, "eve")).why == NOT_COME


async def test_who_has_come_may_stay_after_a_new_start_and_until_the_share_ends(
    directory, hub, store
):
    await shared_and_come(directory)
    again = again_with(hub, store)
    assert (await verdict(again)).allowed is True
    assert await again.withdraw("share-one", of_ada)
    await again.register(ADA, SHARED)
    assert (await verdict(again)).why == NOT_COME
    await again.stop()
    third = again_with(hub, store)
    assert (await verdict(third)).why == NOT_COME
    await third.stop()


async def test_a_new_account_of_the_name_of_a_deleted_one_has_not_come(directory, hub, store):
    await shared_and_come(directory)
    bob = hub.users.pop("bob")
    assert (await verdict(directory)).why == "your account is not there any more"
    hub.users["bob"] = bob
    again = again_with(hub, store)
    for each in (directory, again):
        assert (await verdict(each)).why == NOT_COME
    await again.stop()


async def test_who_comes_while_that_cannot_be_stored_is_let_in(directory, store, monkeypatch):
    def fails(share, user):
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(store, "add_comer", fails)
    await shared_and_come(directory)
    assert (await verdict(directory)).allowed is True


async def test_only_the_owner_stops_sharing(directory):
    await directory.register(ADA, SHARED)
    assert not await directory.withdraw("share-one", lambda listing: listing.owner == "bob")
    assert await directory.withdraw("share-one", lambda listing: listing.owner == "ada")
    assert not await directory.withdraw("share-one", lambda listing: listing.owner == "ada")


class FailingStore(MemoryListings):
    """A store that fails for as long as a test says so."""

    fails = False

    def delete(self, shares):
        if self.fails:
            raise sqlite3.OperationalError("database or disk is full")
        super().delete(shares)


@pytest.fixture
def failing(monkeypatch):
    monkeypatch.setattr(services, "RETRY_EVERY", 0.01)
    return FailingStore()


def of_ada(listing):
    return listing.owner == "ada"


async def test_what_ended_while_the_store_failed_does_not_come_back_with_a_new_start(hub, failing):
    directory = Directory(hub, failing, "/services/bots/", logging.getLogger("directory"))
    await directory.register(ADA, SHARED)
    failing.fails = True
    with pytest.raises(NotStored, match="has ended, but that cannot be stored now"):
        await directory.withdraw("share-one", of_ada)
    with pytest.raises(NotShared):
        await directory.open("bob", "share-one")
    with pytest.raises(NotStored):  # once more is no "there is nothing with this id"
        await directory.withdraw("share-one", of_ada)
    assert not await directory.withdraw("share-one", lambda listing: listing.owner == "bob")
    failing.fails = False
    await until(lambda: not failing.load(), "the end of what was stored")
    await directory.stop()


async def test_what_could_not_be_forgotten_is_forgotten_at_the_stop_at_last(hub, failing):
    directory = Directory(hub, failing, "/services/bots/", logging.getLogger("directory"))
    await directory.register(ADA, SHARED)
    failing.fails = True
    with pytest.raises(NotStored):
        await directory.withdraw("share-one", of_ada)
    failing.fails = False
    await directory.stop()
    assert failing.load() == []


@pytest.mark.parametrize("missing", [[], ["read:servers"]])
async def test_a_service_that_the_hub_does_not_let_ask_knows_it(directory, hub, missing):
    asked = []

    async def missing_scopes():
        asked.append(True)
        return missing

    hub.missing_scopes = missing_scopes
    assert directory.lacks_scopes is False
    directory.start()
    await until(lambda: asked and directory.lacks_scopes is bool(missing))


async def test_the_page_tells_each_what_is_theirs(directory):
    await directory.register(ADA, SHARED)
    bob = await directory.overview("bob", ["staff"])
    (entry,) = bob["with_me"]
    assert bob["by_me"] == []
    assert entry["owner"] == "ada"
    assert entry["state"] == "running"
    assert entry["open"] == "/services/bots/wshandler/directory/open/share-one"
    assert "users" not in entry  # whom else it is shared with
    ada = await directory.overview("ada", [])
    assert ada["with_me"] == []
    assert ada["by_me"][0]["users"] == ["bob"]
    assert (await directory.overview("carol", []))["with_me"] == []


@pytest.mark.parametrize(
    ("servers", "state"),
    [
        ({"": Place("/user/ada/", True)}, "running"),
        ({"": Place("/user/ada/", False)}, "stopped"),
        ({}, "stopped"),
        ({"other": Place("/user/ada/other/", True)}, "stopped"),
    ],
)
async def test_the_page_says_whether_the_server_runs(directory, hub, servers, state):
    await directory.register(ADA, SHARED)
    hub.users["ada"] = HubUser("ada", (), servers)
    assert (await directory.overview("bob", []))["with_me"][0]["state"] == state
    if state == "stopped":
        with pytest.raises(ServerStopped, match="ada's server is stopped"):
            await directory.open("bob", "share-one")


async def test_where_the_hub_is_silent_the_page_says_that_nobody_knows(directory, hub):
    await directory.register(ADA, SHARED)
    hub.silent = "the Hub has answered 500"
    assert (await directory.overview("bob", []))["with_me"][0]["state"] == "unknown"


async def test_a_named_server_with_a_host_of_its_own_is_opened_there(directory, hub):
    where = "http://ada.hub.example/user/ada/my%20server/"
    hub.users["ada"] = HubUser("ada", (), {"my server": Place(where, True)})
    await directory.register(ServerId("ada", "my server"), SHARED)
    assert await directory.open("bob", "share-one") == where + "wshandler/shared/share-one"


async def test_who_owns_the_server_needs_no_code(directory):
    await directory.register(ADA, SHARED)
    assert await directory.open("ada", "share-one") == "/user/ada/pingbot"


async def test_what_is_shared_is_stored_before_it_is_known(directory, store, monkeypatch):
    def fails(listing):
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(store, "put", fails)
    with pytest.raises(NotStored, match="cannot be read or stored now; try again"):
        await directory.register(ADA, SHARED)
    assert (await directory.overview("bob", []))["with_me"] == []


async def test_the_next_process_knows_what_was_shared(directory, hub, store):
    await directory.register(ADA, SHARED)
    again = Directory(hub, store, "/services/bots/", logging.getLogger("directory"))
    found = await asyncio.gather(*(again.overview("bob", []) for _ in range(5)))
    assert all(len(entry["with_me"]) == 1 for entry in found)
    await again.stop()


async def test_a_share_that_cannot_be_taken_is_refused(directory):
    with pytest.raises(Wrong, match="at least one user"):
        await directory.register(ADA, Registration(id="share-one", route="x", path="/x"))
    await directory.register(ADA, SHARED)
    with pytest.raises(Wrong, match="another server"):
        await directory.register(ServerId("mallory", ""), SHARED)


# ---- whose server a token is of -------------------------------------------------------------


def model(name="ada", scopes=(), kind="user"):
    return {"kind": kind, "name": name, "scopes": list(scopes)}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (model(scopes=["users:activity!user=ada", "access:servers!server=ada/"]), ADA),
        (model(scopes=["access:servers!server=ada/my lab"]), ServerId("ada", "my lab")),
        (
            model("zoë b", ["access:servers!server=zoë b/"]),
            ServerId("zoë b", ""),
        ),
        (
            model("eve@example.org", ["access:servers!server=eve@example.org/x"]),
            ServerId("eve@example.org", "x"),
        ),
    ],
)
def test_the_token_of_a_server_says_which_server_it_is(found, expected):
    assert server_in(found) == expected


@pytest.mark.parametrize(
    "found",
    [
        # Bob's login at ada's server, which that server has.
        model("bob", ["access:servers!server=ada/", "read:users:name!user=bob"]),
        # A token that ada has made herself, and may have given to somebody.
        model(scopes=["access:servers!user=ada", "users:activity!user=ada"]),
        model(scopes=["access:servers"]),
        model(scopes=["self"]),
        model(scopes=[]),
        # Of a service, of several servers, of another one whose name ends like hers.
        model(scopes=["access:servers!server=ada/"], kind="service"),
        model(scopes=["access:servers!server=ada/", "access:servers!server=ada/x"]),
        model(scopes=["access:servers!server=xada/"]),
        model(scopes=["read:servers!server=ada/"]),
        {},
    ],
)
def test_no_other_token_is_taken_for_a_servers(found):
    assert server_in(found) is None
