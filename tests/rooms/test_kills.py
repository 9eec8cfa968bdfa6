"""The store is killed again and again: each message comes once, or its client is told."""

from __future__ import annotations

import pytest
from support.roomload import held_under_load
from support.stores import KINDS, running_store

FILES = {"without files": (), "with files": ("appendonly yes", "appendfsync everysec")}


async def held_while_killed(
    kind: str, files: str, kills: int, listeners: int, apart: float
) -> None:
    with running_store(kind, *FILES[files]) as store:
        await held_under_load(
            store.url,
            f"{kind} {files}",
            kill=store.kill,
            mend=store.start,
            times=kills,
            listeners=listeners,
            apart=apart,
        )


@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("kind", KINDS)
async def test_each_message_comes_once_or_its_client_is_told_while_the_store_is_killed(kind, files):
    await held_while_killed(kind, files, kills=2, listeners=20, apart=0.7)


@pytest.mark.endurance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("files", FILES)
@pytest.mark.parametrize("kind", KINDS)
async def test_twenty_kills_within_five_minutes_under_fifty_messages_a_second(kind, files):
    await held_while_killed(kind, files, kills=20, listeners=200, apart=12)
