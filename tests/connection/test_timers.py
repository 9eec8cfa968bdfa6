"""Timers and tasks that a callback leaves behind: not too quick, and not without end."""

from __future__ import annotations

import asyncio

import pytest
from support.memory import Visitor, route, until

from jupyter_wshandler.connection.background import TASKS, TIMERS
from jupyter_wshandler.errors import ConfigError
from jupyter_wshandler.testing import Chat

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("seconds", [0, -1, 1e-9, 0.009, float("nan"), float("inf"), 10**400])
async def test_a_timer_that_would_spin_or_never_come_is_refused(manager, seconds) -> None:
    visitor = Visitor(manager, route("bot", open=lambda handler: None)).open()
    with pytest.raises(ValueError, match=r"is from 0\.01 s to 10\*\*9 s, not"):
        visitor.connection.every(seconds, print)
    visitor.connection.every(0.01, lambda handler: None)


def test_a_chat_and_a_notebook_refuse_what_a_file_refuses() -> None:
    with pytest.raises(ConfigError, match=r"'1ms' is under 0\.01 s"):
        Chat(on_message=print, options={"every": {"1ms": print}})


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_bot_that_sets_a_timer_for_each_message_is_told_before_it_drowns(
    manager, kind, caplog
) -> None:
    def set_them(handler):
        for _ in range(3 * TIMERS):
            handler.every(60, print)

    async def on_loop(handler, message):
        set_them(handler)

    def in_thread(handler, message):
        set_them(handler)

    bot = on_loop if kind == "async" else in_thread
    visitor = Visitor(manager, route("bot", on_message=bot)).open()
    visitor.send("go")
    await until(lambda: "set them in open, and not for each message" in caplog.text)
    await until(lambda: visitor.connection._background.timers < 1.5 * TIMERS)


async def test_a_bot_that_starts_tasks_without_end_is_told_before_others_wait(
    manager, caplog
) -> None:
    async def on_message(handler, message):
        for number in range(3 * TASKS):
            handler.start_task(asyncio.sleep(0 if number < TASKS // 2 else 60))
            if number == TASKS // 2:
                await asyncio.sleep(0.05)
            started.append(number)

    started: list[int] = []
    visitor = Visitor(manager, route("bot", on_message=on_message)).open()
    visitor.send("go")
    await until(lambda: f"has {TASKS} tasks that have not ended" in caplog.text)
    assert len(started) == TASKS + TASKS // 2
    assert "never awaited" not in caplog.text
