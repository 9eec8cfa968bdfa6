"""What is shared with whom, in memory and on the disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec
import pytest

from jupyter_wshandler.server.directory import registry as module
from jupyter_wshandler.server.directory.messages import Listing, Wrong
from jupyter_wshandler.server.directory.registry import Registry, is_among
from jupyter_wshandler.server.directory.stores import MemoryListings, open_listings


def listing(id="share-one", owner="ada", server="", **more) -> Listing:
    given = {"route": "pingbot", "path": "/pingbot", "users": ("bob",), "created": 1.0}
    return Listing(id=id, owner=owner, server=server, **(given | more))


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def registry(now):
    return Registry(lambda: now[0])


def ids(found) -> list[str]:
    return [entry.id for entry in found]


def test_who_is_named_and_who_is_in_a_group_finds_it_and_nobody_else(registry):
    registry.put(listing(users=("bob", "zoë b", "eve@example.org"), groups=("staff",)))
    for name in ("bob", "zoë b", "eve@example.org"):
        assert ids(registry.with_(name, [])) == ["share-one"]
    assert ids(registry.with_("carol", ["staff"])) == ["share-one"]
    assert registry.with_("carol", ["students"]) == []
    assert registry.with_("staff", []) == []
    assert registry.with_("Bob", ["bob"]) == []


def test_the_owner_finds_it_among_what_they_share_and_not_twice(registry):
    registry.put(listing(users=("ada", "bob")))
    assert ids(registry.by("ada")) == ["share-one"]
    assert registry.with_("ada", []) == []


def test_the_newest_comes_first(registry):
    for number in (2, 3, 1):
        registry.put(listing(f"share-no{number}", created=float(number)))
    assert ids(registry.with_("bob", [])) == ["share-no3", "share-no2", "share-no1"]


def test_what_has_changed_takes_the_place_of_what_was(registry):
    registry.put(listing(users=("bob",), groups=("staff",)))
    registry.put(listing(users=("carol",)))
    assert registry.with_("bob", ["staff"]) == []
    assert ids(registry.with_("carol", [])) == ["share-one"]
    assert len(registry) == 1


def test_what_has_expired_is_nowhere(registry, now):
    registry.put(listing(expires=now[0] + 10))
    now[0] += 9.9
    assert registry.get("share-one")
    now[0] += 0.1
    assert registry.get("share-one") is None
    assert registry.with_("bob", []) == registry.by("ada") == []
    assert registry.purge() == ["share-one"]
    assert len(registry) == 0


def test_what_is_withdrawn_leaves_nothing_behind(registry):
    registry.put(listing(groups=("staff",)))
    assert registry.remove("share-one") == listing(groups=("staff",))
    assert registry.remove("share-one") is None
    assert registry.with_("bob", ["staff"]) == []


@pytest.mark.parametrize("thief", [{"owner": "mallory"}, {"server": "other"}])
def test_an_id_is_taken_by_the_server_that_came_first(registry, thief):
    registry.put(listing())
    registry.check(listing(label="again"))
    with pytest.raises(Wrong, match="another server"):
        registry.check(listing(**thief))


def test_one_person_shares_a_bounded_number_and_is_told_so(registry, monkeypatch):
    monkeypatch.setattr(module, "OF_EACH_OWNER", 3)
    for number in range(3):
        registry.put(listing(f"share-no{number}"))
    with pytest.raises(Wrong, match="stop sharing one first"):
        registry.check(listing("share-more"))
    registry.check(listing("share-no1", label="a change is no new one"))
    registry.check(listing("share-more", owner="bob"))


def test_the_directory_is_bounded_and_what_has_expired_makes_room(registry, monkeypatch, now):
    monkeypatch.setattr(module, "AT_MOST", 2)
    registry.put(listing("share-no1", expires=now[0] + 5))
    registry.put(listing("share-no2", owner="carol"))
    with pytest.raises(Wrong, match="more bots"):
        registry.check(listing("share-no3", owner="dora"))
    now[0] += 6
    registry.check(listing("share-no3", owner="dora"))


def test_the_owner_is_always_among_those_it_is_shared_with():
    assert is_among(listing(), "ada", [])
    assert is_among(listing(), "bob", [])
    assert is_among(listing(groups=("staff",)), "carol", ["staff"])
    assert not is_among(listing(groups=("staff",)), "carol", ["students"])


# ---- the stores ------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/deep/sessions.db"
    store = open_listings(url)
    yield store
    store.close()


def test_a_store_keeps_what_is_put_and_forgets_what_is_deleted(store):
    one, two = listing(label="Zoë's “bot”"), listing("share-two", expires=5.0, page=False)
    store.put(one)
    store.put(two)
    store.put(msgspec.structs.replace(one, users=("carol",)))
    assert sorted(store.load(), key=lambda it: it.id) == [
        msgspec.structs.replace(one, users=("carol",)),
        two,
    ]
    store.delete(["share-one", "unknown"])
    assert store.load() == [two]


def test_a_store_keeps_who_has_come_until_the_share_or_the_user_is_gone(store):
    for share, user in (("share-one", "bob"), ("share-one", "zoë b"), ("share-two", "bob")):
        store.put(listing(share))
        store.add_comer(share, user)
        store.add_comer(share, user)
    assert sorted(store.comers()) == [
        *(("share-one", "bob"), ("share-one", "zoë b"), ("share-two", "bob")),
    ]
    store.delete(["share-one", "unknown"])
    assert store.comers() == [("share-two", "bob")]
    store.delete_comer("zoë b")
    assert store.comers() == [("share-two", "bob")]
    store.delete_comer("bob")
    assert store.comers() == []


def test_a_file_is_read_by_the_next_process_and_only_by_its_owner(tmp_path):
    url = f"sqlite:///{tmp_path}/sessions.db"
    first = open_listings(url)
    first.put(listing())
    # Not closed: that is what `kill -9` leaves.
    assert open_listings(url).load() == [listing()]
    assert (tmp_path / "sessions.db").stat().st_mode & 0o077 == 0
    first.close()


def test_a_row_that_cannot_be_read_costs_no_other(tmp_path):
    url = f"sqlite:///{tmp_path}/sessions.db"
    store = open_listings(url)
    store.put(listing())
    store.close()
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as file, file:
        file.execute("INSERT INTO wshandler_directory VALUES ('share-bad', '{\"id\": 5}')")
    file.close()
    assert open_listings(url).load() == [listing()]


def test_sessions_in_memory_mean_a_directory_in_memory():
    assert isinstance(open_listings("memory://"), MemoryListings)
