"""Somebody else's answer, awaited in the task of who asks: it costs no task, and has an end."""

from __future__ import annotations

import asyncio
import contextvars
from types import SimpleNamespace

import pytest
from jupyter_server.base.call_context import CallContext
from support.memory import until
from tornado.web import HTTPError

from jupyter_wshandler.server.access.asking import Asker, ClientGone, Denied, Unanswered
from jupyter_wshandler.server.access.waiting import GivenUp, Waiting, begin

NAMED = contextvars.ContextVar("named", default="")


async def ask(question, patience=30.0, gone=None, asker=None):
    return await (asker or Asker()).ask("somebody", question, SimpleNamespace(), patience, gone)


async def test_an_answer_that_waits_for_nothing_makes_no_task_and_no_timer():
    loop = asyncio.get_running_loop()
    made = []
    loop.set_task_factory(lambda *args, **options: made.append(args))

    async def question():
        return "yes"

    try:
        handles = len(loop._scheduled)
        assert await ask(question) == "yes"
        assert await ask(lambda: "at once") == "at once"
        assert len(loop._scheduled) == handles
    finally:
        loop.set_task_factory(None)
    assert made == []


async def test_who_is_asked_finds_the_handler_in_its_context():
    handler = SimpleNamespace()
    found = await Asker().ask(
        "somebody", lambda: CallContext.get(CallContext.JUPYTER_HANDLER), handler
    )
    assert found is handler


@pytest.mark.parametrize("wait", [0, 0.01])
async def test_time_limits_in_what_is_asked_end_its_own_waiting_and_nothing_else(wait):
    async def question():
        await asyncio.sleep(wait)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return await asyncio.wait_for(asyncio.sleep(0, "in time"), 5)

    assert await ask(question) == "in time"
    assert asyncio.current_task().cancelling() == 0


async def test_a_group_of_tasks_in_what_is_asked_works():
    async def one(n):
        await asyncio.sleep(0.001)
        return n

    async def question():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n)) for n in range(3)]
        return [task.result() for task in tasks]

    assert await ask(question) == [0, 1, 2]


async def test_what_a_task_cannot_wait_for_is_an_error_of_who_was_asked():
    class Odd:
        def __await__(self):
            yield 42

    async def question():
        await Odd()

    with pytest.raises(Unanswered) as caught:
        await ask(question)
    assert isinstance(caught.value.error, RuntimeError)


async def stubborn(until_now: asyncio.Event):
    while not until_now.is_set():
        try:
            await until_now.wait()
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_what_does_not_let_itself_be_cancelled_is_left_when_its_time_is_over(in_a_task):
    end, asker = asyncio.Event(), Asker()

    async def question():
        if in_a_task:
            await asyncio.create_task(stubborn(end))
        else:
            await stubborn(end)

    with pytest.raises(Unanswered) as caught:
        await asyncio.wait_for(ask(question, 0.02, asker=asker), 10)
    assert caught.value.late
    end.set()
    await until(lambda: not asker._left)
    await asker.stop()


async def test_who_spins_without_waiting_is_left_when_its_time_is_over():
    ended = []

    async def question():
        try:
            while True:
                await asyncio.sleep(0)
        finally:
            ended.append(True)

    asker = Asker()
    with pytest.raises(Unanswered):
        await asyncio.wait_for(ask(question, 0.02, asker=asker), 10)
    await until(lambda: ended)
    await until(lambda: not asker._left)


async def test_a_question_ends_when_nobody_wants_the_answer():
    gone = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, gone.set_result, None)
    with pytest.raises(ClientGone):
        await ask(lambda: asyncio.sleep(60), gone=gone)


@pytest.mark.parametrize("wait", [None, 0, 0.005])
async def test_who_cancels_the_task_of_a_request_has_not_answered_it(wait):
    async def question():
        if wait is not None:
            await asyncio.sleep(wait)
        asyncio.current_task().cancel()
        return "yes"

    with pytest.raises(Unanswered) as caught:
        await ask(question)
    assert isinstance(caught.value.error, asyncio.CancelledError)
    assert asyncio.current_task().cancelling() == 0
    await asyncio.sleep(0.001)  # it is not cancelled later either


async def test_what_looks_like_no_object_is_a_fault_of_who_has_made_it():
    class Odd:
        @property
        def __class__(self):
            raise ValueError("what are you looking at")

    with pytest.raises(Unanswered):
        await ask(Odd)


@pytest.mark.parametrize("raised", [HTTPError(403), HTTPError(503), SystemExit(3), ValueError()])
@pytest.mark.parametrize("waits", [False, True])
async def test_a_no_is_told_from_a_fault_whether_it_comes_at_once_or_not(raised, waits):
    async def later():
        await asyncio.sleep(0)
        raise raised

    def at_once():
        raise raised

    is_no = isinstance(raised, HTTPError) and raised.status_code < 500
    with pytest.raises(Denied if is_no else Unanswered) as caught:
        await ask(later if waits else at_once)
    assert caught.value.error is raised


async def test_all_questions_end_when_the_server_stops():
    asker, end = Asker(), asyncio.Event()
    gone = asyncio.get_running_loop().create_future()
    asking = [
        asyncio.create_task(ask(lambda: stubborn(end), asker=asker)),
        asyncio.create_task(ask(lambda: asyncio.sleep(60), gone=gone, asker=asker)),
    ]
    await until(lambda: len(asker._open) == 2)
    stopping = asyncio.create_task(asker.stop())
    first, second = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, ClientGone)
    end.set()
    await stopping
    assert not asker._open
    asked = []
    with pytest.raises(asyncio.CancelledError):
        await ask(lambda: asked.append(True), asker=asker)
    assert asked == []


async def test_a_request_that_is_cancelled_from_outside_cancels_what_it_waits_for():
    seen = []

    async def question():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    waiting = Waiting(question(), 30.0)

    async def wait():
        await waiting

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
    assert not waiting.is_over


async def test_what_is_given_up_is_cancelled_and_runs_to_its_end():
    steps = []

    async def question():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            steps.append("cleaned up")

    waiting = Waiting(question(), 0.01)
    with pytest.raises(GivenUp):
        await waiting
    await waiting.leave()
    assert steps == ["cleaned up"]


async def test_what_begins_at_once_has_a_task_only_from_where_it_waits():
    async def simple():
        return NAMED.get()

    async def longer():
        before = asyncio.current_task()
        NAMED.set("inside")
        await asyncio.sleep(0.001)
        try:
            await asyncio.create_task(asyncio.sleep(60, None))
        except asyncio.CancelledError:
            return before, asyncio.current_task(), NAMED.get(), "cancelled"

    NAMED.set("outside")
    done = begin(simple())
    assert done.done()
    assert done.result() == "outside"
    task = begin(longer())
    assert not task.done()
    assert NAMED.get() == "outside"  # as in a task, what it sets is its own
    await asyncio.sleep(0.02)
    task.cancel()
    before, after, name, end = await task
    assert (before, after) == (asyncio.current_task(), task)
    assert (name, end) == ("inside", "cancelled")


async def test_what_begins_at_once_fails_as_a_task_does():
    async def later():
        await asyncio.sleep(0)
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        await begin(later())
