"""The backplane in memory keeps the contract, and its own bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jupyter_wshandler.backplane.base import Backplane, Entry, Keep, Publication
from jupyter_wshandler.backplane.memory import Hub, MemoryBackplane
from jupyter_wshandler.testing.backplanes import BackplaneContract, Heard

KEEP = Keep(size=10, bytes=10_000, ttl=60.0)


class TestMemory(BackplaneContract):
    """The contract, over nodes that share one memory."""

    async def nodes(self, count: int, lease: float = 0.0) -> Sequence[Backplane]:
        self.now = 1000.0
        hub = Hub(clock=lambda: self.now)
        return [MemoryBackplane(hub, lease=lease) for _ in range(count)]

    async def pass_time(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def test_a_node_alone_answers_at_once_and_has_delivered_when_it_does() -> None:
    """No turn of the loop lies between a broadcast and its members."""
    node, heard = MemoryBackplane(), Heard()
    node.subscribe("room", heard)
    assert node.publish("room", Publication("a"), KEEP).offset == 1
    assert heard.messages == [("a", 1)]


def test_all_logs_together_are_bounded_and_the_one_unused_longest_goes_first() -> None:
    """A visitor who makes many rooms cannot fill the memory with their histories."""
    node = MemoryBackplane(Hub(max_bytes=5000))
    before = node.publish("old", Publication("x" * 1000), KEEP)
    for number in range(10):
        node.publish(f"room{number}", Publication("x" * 1000), KEEP)
    past = node.history("old", before)
    assert not past.messages
    assert not past.complete
    assert node.publish("old", Publication("x"), KEEP).epoch != before.epoch
    assert node.history("room9").messages


def test_a_message_larger_than_the_whole_bound_is_not_kept_and_numbers_go_on() -> None:
    """It was delivered; whoever was away is told that something is missing."""
    node = MemoryBackplane()
    first = node.publish("room", Publication("a"), KEEP)
    node.publish("room", Publication("x" * 20_000), KEEP)
    past = node.history("room", first)
    assert not past.messages
    assert not past.complete


def test_nothing_stays_of_channels_that_are_over() -> None:
    """Logs, lists and leases go when nobody hears of them, and nothing is in them."""
    now = 0.0
    hub = Hub(clock=lambda: now)
    node = MemoryBackplane(hub, lease=1.0)
    for number in range(100):
        node.publish(f"room{number}", Publication("a"), KEEP)
        node.add(f"room{number}", "c1", Entry("ada"))
    now = 61.0
    node.sweep()
    assert not hub.logs
    assert not hub.presences
    assert hub.bytes == 0
