"""What may be sent again is done once, and answered alike."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_wshandler.server.records import outcomes as module
from jupyter_wshandler.server.records.outcomes import OtherRequest, Outcomes

KEY = ("user:ada", "/api", "key")


class Work:
    """Something that is done, and counts how often."""

    def __init__(self, fails: int = 0) -> None:
        self.done = 0
        self.fails = fails
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> int:
        self.done += 1
        await self.may_end.wait()
        if self.done <= self.fails:
            raise LookupError("not yet")
        return self.done


async def test_the_second_request_has_the_outcome_of_the_first():
    outcomes, work = Outcomes(), Work()
    assert await outcomes.once(KEY, b"x", work) == (1, False)
    assert await outcomes.once(KEY, b"x", work) == (1, True)
    assert await outcomes.once(("user:bob", *KEY[1:]), b"x", work) == (2, False)


async def test_another_body_is_another_request():
    outcomes, work = Outcomes(), Work()
    await outcomes.once(KEY, b"x", work)
    with pytest.raises(OtherRequest):
        await outcomes.once(KEY, b"y", work)
    assert work.done == 1


async def test_who_asks_again_while_it_is_done_waits_for_that():
    outcomes, work = Outcomes(), Work()
    work.may_end.clear()
    first = asyncio.create_task(outcomes.once(KEY, b"x", work))
    second = asyncio.create_task(outcomes.once(KEY, b"x", work))
    gone = asyncio.create_task(outcomes.once(KEY, b"x", work))
    await asyncio.sleep(0)
    gone.cancel()
    work.may_end.set()
    assert (await first, await second) == ((1, False), (1, True))


async def test_what_has_failed_fails_for_who_waits_and_is_tried_again_then():
    outcomes, work = Outcomes(), Work(fails=1)
    work.may_end.clear()
    first = asyncio.create_task(outcomes.once(KEY, b"x", work))
    second = asyncio.create_task(outcomes.once(KEY, b"x", work))
    await asyncio.sleep(0)
    work.may_end.set()
    for task in (first, second):
        with pytest.raises(LookupError):
            await task
    assert await outcomes.once(KEY, b"x", work) == (2, False)


async def test_an_outcome_is_forgotten_after_its_time_and_the_oldest_where_there_are_many(
    monkeypatch,
):
    now = 0.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    outcomes, work = Outcomes(), Work()
    await outcomes.once(KEY, b"x", work)
    now = module.SECONDS - 1
    assert await outcomes.once(KEY, b"x", work) == (1, True)
    now += 2
    assert await outcomes.once(KEY, b"another", work) == (2, False)
    monkeypatch.setattr(module, "MOST", 3)
    for number in range(3):
        await outcomes.once(("user", "/", str(number)), b"x", work)
    assert await outcomes.once(KEY, b"another", work) == (6, False)
