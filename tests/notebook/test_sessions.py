"""The sessions of a kernel's bots: sent as they change, and never at the cost of others."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest

from jupyter_wshandler.notebook.sessions import KernelSessions


@pytest.fixture
async def sent():
    return []


@pytest.fixture
async def sessions(sent):
    kept = KernelSessions(lambda *change: sent.append(change), logging.getLogger("test"))
    yield kept
    await kept.stop()


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_small_change_is_sent_at_once_and_only_once(sessions, sent):
    session = sessions.open("s1", {"n": 1, "old": True})
    sessions.touch(session)
    session["n"] = 2
    del session["old"]
    sessions.send_light(session)
    sessions.send_light(session)
    assert sent == [("s1", {"n": "2"}, ["old"])]
    sessions.detach(session)
    assert len(sent) == 1


async def test_a_large_one_is_encoded_beside_the_loop_and_before_its_end_is_told(sessions, sent):
    session = sessions.open("s1", {})
    sessions.touch(session)
    session["big"] = {str(n): n for n in range(40_000)}
    began = time.perf_counter()
    sessions.send_light(session)  # as each message is handled
    assert time.perf_counter() - began < 0.05
    assert not sent
    sessions.detach(session)
    sessions.when_sent("s1", lambda: sent.append("closed"))
    assert not sent
    await until(lambda: "closed" in sent)
    (name, changed, removed), closed = sent
    assert (name, removed, closed) == ("s1", [], "closed")
    assert len(json.loads(changed["big"])) == 40_000
    assert not sessions._live
    assert not sessions._known


async def test_while_a_server_takes_nothing_changes_wait_in_the_session(sent):
    room = False
    sessions = KernelSessions(
        lambda *change: sent.append(change), logging.getLogger("test"), lambda: room
    )
    session = sessions.open("s1", {})
    for turn in range(100):
        session["n"] = turn
        sessions.touch(session)
        sessions.send_light(session)
        await sessions.flush(wait=False)
    assert sent == []
    room = True
    await sessions.flush(wait=False)
    assert sent == [("s1", {"n": "99"}, [])]
    room = False
    session["n"] = 100
    sessions.touch(session)
    sessions.detach(session)  # it was the last connection: nothing else will bring it
    assert sent[1:] == [("s1", {"n": "100"}, [])]
    await sessions.stop()


async def test_a_change_during_the_encoding_is_sent_before_the_end_is_told(sessions, sent):
    session = sessions.open("s1", {})
    sessions.touch(session)
    session["big"] = {str(n): n for n in range(40_000)}
    await sessions.flush(wait=False)
    session["last"] = "word"
    sessions.detach(session)
    again = sessions.open("s1", {"stale": True})
    assert again is session
    sessions.detach(again)
    sessions.when_sent("s1", lambda: sent.append("closed"))
    await until(lambda: "closed" in sent)
    values = {key: text for change in sent[:-1] for key, text in change[1].items()}
    assert values["last"] == '"word"'
    assert not sessions._live


async def test_one_that_is_too_large_is_not_kept_and_named_once(sessions, sent, caplog):
    session = sessions.open("s1", {})
    sessions.touch(session)
    session["big"] = {str(n): n for n in range(200_000)}
    for _ in range(2):
        await sessions.flush()
        await until(lambda: not sessions._encoding)
    sessions.detach(session)
    await until(lambda: not sessions._live)
    assert not sent
    assert caplog.text.count("is not kept") == 1


@pytest.mark.parametrize(
    "entry", [("\ud800", 1), ("key", "\ud800"), ("key", [{"\udfff": 1}])], ids=["key", "text", "in"]
)
async def test_what_utf8_cannot_write_is_not_kept_and_the_rest_is(sessions, sent, caplog, entry):
    session = sessions.open("s1", {})
    sessions.touch(session)
    session["before"] = "\U0001f600"
    session[entry[0]] = entry[1]
    sessions.send_light(session)
    assert sent == [("s1", {"before": '"\\ud83d\\ude00"'}, [])]
    assert "half of a pair of surrogates" in caplog.text
