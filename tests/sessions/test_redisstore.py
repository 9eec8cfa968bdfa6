"""Sessions on Redis and Valkey: several servers have them in common."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support.clusters import SHARED
from support.memory import until
from support.server import free_port
from support.stores import KINDS, Store, running_store

from jupyter_wshandler.backplane.redis import conversation as conversations
from jupyter_wshandler.backplane.redis.conversation import StoreError
from jupyter_wshandler.sessions import manager as managers
from jupyter_wshandler.sessions.manager import SessionManager
from jupyter_wshandler.sessions.redisstore import fields_of
from jupyter_wshandler.sessions.stores import SessionStore, open_store

FAR = time.time() + 86400
LOG = logging.getLogger("test-sessions")
SECRET = "a-word-that-only-the-store-knows"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a store on a machine that has much else to do."""
    monkeypatch.setattr(conversations, "TIMEOUT", 30.0)


alone = pytest.mark.parametrize("redis", KINDS, indirect=True)
"""Of a test that kills a server, or fills it."""


@pytest.fixture(scope="module", params=(*KINDS, *SHARED))
def redis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Return a server, a service with Sentinels, or a cluster."""
    if request.param in SHARED:
        yield request.getfixturevalue(request.param)
    else:
        with running_store(request.param) as redis:
            yield redis


@pytest.fixture
def both(redis: Any) -> Iterator[tuple[SessionStore, SessionStore]]:
    """The ends of two servers."""
    redis.say("FLUSHALL")
    one, two = open_store(redis.url), open_store(redis.url)
    yield one, two
    one.close()
    two.close()


def values(store: SessionStore, name: str = "a") -> dict[str, object]:
    text = store.load(name)
    assert text is not None
    found: dict[str, object] = json.loads(text)
    return found


def save(store: SessionStore, name: str = "a", **session: object) -> None:
    store.save({name: (json.dumps(session), FAR)})


def test_what_one_server_has_saved_the_other_one_has(both: tuple[SessionStore, ...]) -> None:
    one, two = both
    session = {"n": 1, "ü\n": [1.5, None, {"a": "é"}], "": "", "v": {}, "big": 2**70}
    save(one, **session)
    assert values(two) == session
    assert list(values(two)) == list(session)


def test_two_servers_do_not_write_over_each_others_values(both: tuple[SessionStore, ...]) -> None:
    one, two = both
    save(one, shared=0, gone=1)
    assert values(two) == {"shared": 0, "gone": 1}
    save(two, shared=0, two=2)  # and `gone` is gone
    save(one, shared=0, gone=1, one=1)
    assert values(two) == {"shared": 0, "two": 2, "one": 1}
    save(one, shared=1, gone=1, one=1)
    assert values(two) == {"shared": 1, "two": 2, "one": 1}


def test_a_value_that_looks_like_another_one_is_saved_all_the_same(
    both: tuple[SessionStore, ...],
) -> None:
    one, two = both
    for value in (1, True, 1.0, "1", [1], None, 0, False):
        save(one, n=value)
        found = values(two)["n"]
        assert (found, type(found)) == (value, type(value))


def test_a_session_that_one_server_has_emptied_is_empty_for_all(
    both: tuple[SessionStore, ...],
) -> None:
    one, two = both
    save(one, n=1, m=2)
    save(two, k=3)
    one.delete(["a"])
    assert two.load("a") is None


def test_what_was_emptied_does_not_come_back_with_another_servers_next_change(
    both: tuple[SessionStore, ...],
) -> None:
    one, two = both
    save(one, n=1, m=2)
    assert values(two) == {"n": 1, "m": 2}
    one.delete(["a"])
    save(two, n=1, m=2, k=3)
    assert values(one) == {"k": 3}


def test_what_could_not_be_saved_is_saved_with_what_comes_later(
    both: tuple[SessionStore, ...], redis: Store
) -> None:
    one, two = both
    save(one, n=1, m=1)
    redis.say("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreError, match="its memory is full"):
            save(one, n=2)
    finally:
        redis.say("CONFIG", "SET", "maxmemory", "0")
    save(one, n=2, k=3)
    assert values(two) == {"n": 2, "k": 3}


def test_a_session_expires_by_the_clock_of_the_store(
    both: tuple[SessionStore, ...], redis: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)  # a server whose clock is wrong
    both[0].save({"a": ('{"n":1}', time.time() + 60)})
    monkeypatch.undo()
    (name,) = [word for word in redis.say("KEYS", "*").split(b"\r\n") if b"session" in word]
    left = int(redis.say("PTTL", name.decode())[1:-2])
    assert 50_000 < left <= 60_000


def test_no_name_of_a_key_tells_the_id_of_a_session(
    both: tuple[SessionStore, ...], redis: Store
) -> None:
    save(both[0], "an-id-in-a-cookie", n=1)
    names = redis.say("KEYS", "*")
    assert b"wshandler:session:" in names
    assert b"an-id" not in names


def test_deployments_with_other_prefixes_share_nothing(redis: Store) -> None:
    one, two = open_store(redis.url, prefix="one"), open_store(redis.url, prefix="two")
    save(one, n=1)
    assert two.load("a") is None
    one.close()
    two.close()


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a:b"])
def test_a_prefix_that_reaches_beyond_its_deployment_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="1 to 64 letters"):
        open_store("redis://127.0.0.1/0", prefix=prefix)


@pytest.mark.parametrize(
    "url", [f"redis://:{SECRET}@h/0?x=1", f"redis://:{SECRET}/@h/0", "unix://"]
)
def test_a_url_that_can_be_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected|unknown option") as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


def test_half_a_surrogate_pair_is_kept() -> None:
    text = '{"a\\ud83d":1,"b":"\\ud83d","c":[1, 2]}'
    assert fields_of(text)[b'"b"'] == b'"\\ud83d"'
    assert set(fields_of(text)) == {b'"a\\ud83d"', b'"b"', b'"c"'}


# ---- the manager ---------------------------------------------------------------------------------


async def test_a_browser_that_comes_to_another_server_finds_its_session(
    both: tuple[SessionStore, ...],
) -> None:
    managers = [SessionManager(store, log=LOG) for store in both]
    session = await managers[0].attach("s1", "user:ada", new=True)
    managers[0].touch(session)
    session["n"] = [1]
    managers[0].detach(session)
    await until(lambda: not managers[0]._live)
    other = await managers[1].attach("s1", "user:ada")
    assert other == {"id": "s1", "n": [1]}
    managers[1].detach(other)
    for manager in managers:
        await manager.stop()
    assert not any(store._known for store in both)  # type: ignore[attr-defined]


@alone
async def test_a_store_that_is_away_holds_up_nobody_and_is_told_once(
    redis: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.05)
    caplog.set_level(logging.INFO)
    store = open_store(redis.url)
    manager = SessionManager(store, log=LOG)
    seen = await manager.attach("seen", "user:ada", new=True)
    manager.touch(seen)
    seen["n"] = 1
    await manager.flush()
    await asyncio.to_thread(redis.kill)
    async with asyncio.timeout(30):
        late = [await manager.attach(f"s{n}", "user:bob") for n in range(50)]
    for session in (*late, seen):
        manager.touch(session)
        session["m"] = 2
    for _ in range(3):
        await manager.flush()
    await asyncio.to_thread(redis.start)
    other = open_store(redis.url)

    async def is_saved() -> bool:
        await manager.flush()
        text = await asyncio.to_thread(other.load, "s49")
        return text == '{"m":2}'

    async with asyncio.timeout(20):
        while not await is_saved():
            await asyncio.sleep(0.02)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("cannot be read" in line for line in lines) == 1
    assert sum("cannot be written" in line for line in lines) == 1
    assert sum("can be read again" in line for line in lines) == 1
    assert sum("can be written again" in line for line in lines) == 1
    # It had no files: what was saved before is saved again with what is changed next.
    seen["n"] = 3
    await manager.flush()
    assert await asyncio.to_thread(values, other, "seen") == {"n": 3, "m": 2}
    await manager.stop()
    await asyncio.to_thread(other.close)


async def test_a_wrong_password_is_in_no_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = f"redis://:{SECRET}@127.0.0.1:{free_port()}/0"
    manager = SessionManager(open_store(url), log=LOG)
    session = await manager.attach("s1", "user:ada")
    manager.touch(session)
    session["n"] = 1
    await manager.flush()
    await manager.stop()
    assert "The session store cannot be read" in caplog.text
    assert SECRET not in caplog.text


@alone
async def test_that_a_store_is_away_is_known_also_while_nobody_needs_it(
    redis: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "FIRST_REST", 0.01)
    monkeypatch.setattr(conversations, "LONGEST_REST", 0.01)
    monkeypatch.setattr(managers, "PROBE_EVERY", 0.0)
    caplog.set_level(logging.INFO)
    manager = SessionManager(open_store(redis.url), log=LOG, probes=True)

    async def becomes(is_away: bool) -> None:
        async with asyncio.timeout(30):
            while manager.is_away is not is_away:
                await manager.flush(wait=False)
                await asyncio.sleep(0.02)

    assert not manager.is_away
    await asyncio.to_thread(redis.kill)
    await becomes(True)
    await asyncio.to_thread(redis.start)
    await becomes(False)
    await manager.stop()
    lines = [record.getMessage() for record in caplog.records]
    assert sum("cannot be read" in line for line in lines) == 1
    assert sum("can be read again" in line for line in lines) == 1
