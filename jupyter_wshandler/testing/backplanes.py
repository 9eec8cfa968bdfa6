"""The contract of a backplane as tests: subclass `BackplaneContract`, and pytest runs them.

::

    class TestMine(BackplaneContract):
        async def nodes(self, count, lease=0.0):
            return [MyBackplane(url, lease=lease) for _ in range(count)]

The contract itself is the text of `backplane.base`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from ..backplane.base import (
    Backplane,
    Change,
    Entries,
    Entry,
    Keep,
    Position,
    Publication,
    answered,
)

KEEP = Keep(size=100, bytes=1024 * 1024, ttl=60.0)
"""As much as a test here publishes."""

Test: TypeAlias = Callable[[Sequence[Backplane]], Coroutine[Any, Any, None]]

PATIENCE = 10.0
"""Seconds for a message to reach another node."""


class Heard:
    """A receiver that remembers what it hears."""

    def __init__(self) -> None:
        self.messages: list[tuple[str | bytes, int]] = []
        self.epochs: list[str] = []
        self.changes: list[Change] = []
        self.gaps: list[Position] = []
        self.lists: list[Entries] = []
        self.for_users: list[tuple[str, str | bytes]] = []

    def published(self, publication: Publication, position: Position) -> None:
        """Remember a message."""
        self.messages.append((publication.message, position.offset))
        self.epochs.append(position.epoch)

    def changed(self, change: Change) -> None:
        """Remember a change of presence."""
        self.changes.append(change)

    def missed(self, position: Position) -> None:
        """Remember that messages were missed."""
        self.gaps.append(position)

    def listed(self, entries: Entries) -> None:
        """Remember a list that has come anew."""
        self.lists.append(entries)

    def to_user(self, user: str, publication: Publication) -> None:
        """Remember a message to a user."""
        self.for_users.append((user, publication.message))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: It does not, in time.
    """
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 # what is waited for is on another machine
            await asyncio.sleep(0.005)


class BackplaneContract:
    """What every backplane does. A subclass says how nodes are made, and how time passes."""

    async def nodes(self, count: int, lease: float = 0.0) -> Sequence[Backplane]:
        """Return nodes that share one store, which is empty.

        Args:
            count: How many.
            lease: Seconds of their leases; 0 for none.
        """
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """Let time pass for the store; a clock of the test's own may be moved instead."""
        await asyncio.sleep(seconds)

    def _run(
        self,
        test: Callable[[Sequence[Backplane]], Coroutine[Any, Any, None]],
        *,
        lease: float = 0.0,
    ) -> None:
        async def run() -> None:
            nodes = await self.nodes(2, lease)
            try:
                await test(nodes)
            finally:
                for node in nodes:
                    await answered(node.close())

        asyncio.run(run())

    def test_a_message_reaches_every_node_that_has_subscribed_with_one_number(self) -> None:
        """Each node hears each message once, the one that has published it as well."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = [Heard(), Heard()]
            for node, one in zip(nodes, heard, strict=True):
                await answered(node.subscribe("room", one))
            first = await answered(nodes[0].publish("room", Publication("a"), KEEP))
            second = await answered(nodes[1].publish("room", Publication(b"b"), KEEP))
            await until(lambda: all(len(one.messages) == 2 for one in heard))
            assert (first.offset, second.offset) == (1, 2)
            assert first.epoch == second.epoch != ""
            for one in heard:
                assert one.messages == [("a", 1), (b"b", 2)]
                assert set(one.epochs) == {first.epoch}

        self._run(test)

    def test_many_nodes_that_publish_at_once_are_given_one_order(self) -> None:
        """Both nodes hear the same messages in the same order, without a gap."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = [Heard(), Heard()]
            for node, one in zip(nodes, heard, strict=True):
                await answered(node.subscribe("room", one))

            async def say(node: Backplane, who: str) -> None:
                for number in range(30):
                    await answered(node.publish("room", Publication(f"{who}{number}"), KEEP))
                    await asyncio.sleep(0)

            await asyncio.gather(say(nodes[0], "a"), say(nodes[1], "b"))
            await until(lambda: all(len(one.messages) == 60 for one in heard))
            assert heard[0].messages == heard[1].messages
            assert [offset for _, offset in heard[0].messages] == list(range(1, 61))

        self._run(test)

    def test_what_is_not_kept_has_no_number_and_no_history(self) -> None:
        """A message without `Keep` is delivered, and forgotten."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = Heard()
            await answered(nodes[1].subscribe("room", heard))
            position = await answered(nodes[0].publish("room", Publication("a")))
            await until(lambda: heard.messages == [("a", 0)])
            assert position.offset == 0
            assert not (await answered(nodes[0].history("room"))).messages

        self._run(test)

    def test_who_has_unsubscribed_hears_nothing_and_other_channels_are_others(self) -> None:
        """Channels do not mix, and the end of a subscription is one."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard, other = Heard(), Heard()
            await answered(nodes[0].subscribe("room", heard))
            await answered(nodes[0].subscribe("other", other))
            await answered(nodes[0].unsubscribe("room"))
            await answered(nodes[1].publish("room", Publication("a"), KEEP))
            await answered(nodes[1].publish("other", Publication("b"), KEEP))
            await until(lambda: other.messages == [("b", 1)])
            assert heard.messages == []

        self._run(test)

    def test_history_says_what_came_after_a_position_and_whether_that_is_all(self) -> None:
        """The bound by number drops the oldest, and whoever has missed those is told."""

        async def test(nodes: Sequence[Backplane]) -> None:
            keep = Keep(3, KEEP.bytes, KEEP.ttl)
            places = [
                await answered(nodes[number % 2].publish("room", Publication(f"m{number}"), keep))
                for number in range(1, 6)
            ]
            past = await answered(nodes[1].history("room", places[2]))
            assert [one.publication.message for one in past.messages] == ["m4", "m5"]
            assert past.complete
            assert past.position == places[4]
            late = await answered(nodes[0].history("room", places[0]))
            assert [one.offset for one in late.messages] == [3, 4, 5]
            assert not late.complete
            foreign = await answered(nodes[0].history("room", Position("another", 4)))
            assert [one.offset for one in foreign.messages] == [3, 4, 5]
            assert not foreign.complete
            ahead = Position(places[4].epoch, 9)
            assert not (await answered(nodes[0].history("room", ahead))).complete
            nothing = await answered(nodes[0].history("room", places[4]))
            assert (list(nothing.messages), nothing.complete) == ([], True)
            newest = await answered(nodes[0].history("room", None, 2))
            assert [one.offset for one in newest.messages] == [4, 5]

        self._run(test)

    def test_history_is_bounded_by_bytes_and_by_time(self) -> None:
        """Both bounds drop messages; numbers go on, and nobody takes a gap for all."""

        async def test(nodes: Sequence[Backplane]) -> None:
            keep = Keep(size=100, bytes=4000, ttl=1.0)
            first = await answered(nodes[0].publish("room", Publication("x" * 1500), keep))
            for _ in range(3):
                await answered(nodes[0].publish("room", Publication("x" * 1500), keep))
            past = await answered(nodes[1].history("room", first))
            assert 1 <= len(past.messages) <= 2
            assert not past.complete
            await self.pass_time(1.2)
            gone = await answered(nodes[1].history("room", Position(past.position.epoch, 3)))
            assert not gone.messages
            assert not gone.complete

        self._run(test)

    def test_a_cleared_log_is_empty_and_says_that_something_is_missing(self) -> None:
        """`clear` takes the messages, and not the numbers."""

        async def test(nodes: Sequence[Backplane]) -> None:
            first = await answered(nodes[0].publish("room", Publication("a"), KEEP))
            await answered(nodes[0].publish("room", Publication("b"), KEEP))
            await answered(nodes[1].clear("room"))
            past = await answered(nodes[0].history("room", first))
            assert (list(past.messages), past.complete) == ([], False)
            third = await answered(nodes[0].publish("room", Publication("c"), KEEP))
            if third.epoch == first.epoch:
                assert third.offset == 3

        self._run(test)

    def test_presence_has_a_list_and_changes_in_one_numbering(self) -> None:
        """Whoever applies the changes after the list's offset has the list of now."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = Heard()
            await answered(nodes[1].subscribe("room", heard))
            ada = Entry("ada", {"name": "Ada"}, 1.0)
            first = await answered(nodes[0].add("room", "c1", ada))
            listed = await answered(nodes[1].entries("room"))
            assert listed.by_key == {"c1": ada}
            assert listed.position == first
            away = Entry("ada", {"name": "Ada"}, 1.0, True)
            await answered(nodes[0].add("room", "c1", away))
            await answered(nodes[1].add("room", "c2", ada))
            await answered(nodes[0].remove("room", "c1"))
            await answered(nodes[0].remove("room", "c1"))
            await until(lambda: len(heard.changes) == 4)
            found = dict(listed.by_key)
            for change in heard.changes:
                if change.position.offset <= listed.position.offset:
                    continue
                if change.kind == "add":
                    found[change.key] = change.entry
                else:
                    del found[change.key]
            now = await answered(nodes[0].entries("room"))
            assert found == now.by_key == {"c2": ada}
            assert now.position == heard.changes[-1].position
            assert [change.position.offset for change in heard.changes] == [1, 2, 3, 4]

        self._run(test)

    def test_an_entry_that_nobody_renews_leaves_with_its_lease(self) -> None:
        """A node that has died cannot say so; the others are told by whoever looks."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = Heard()
            await answered(nodes[1].subscribe("room", heard))
            await answered(nodes[0].add("room", "dead", Entry("ada")))
            await answered(nodes[0].add("room", "alive", Entry("bob")))
            await self.pass_time(0.6)
            assert list(await answered(nodes[0].renew("room", ["alive"]))) == []
            await self.pass_time(0.6)
            listed = await answered(nodes[1].entries("room"))
            assert set(listed.by_key) == {"alive"}
            await until(lambda: [one.kind for one in heard.changes] == ["add", "add", "remove"])
            assert heard.changes[-1].key == "dead"
            assert list(await answered(nodes[0].renew("room", ["dead", "alive"]))) == ["dead"]

        self._run(test, lease=1.0)

    def test_a_message_to_a_user_reaches_every_node(self) -> None:
        """Only the nodes know where somebody's connections are."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = [Heard(), Heard()]
            for node, one in zip(nodes, heard, strict=True):
                await answered(node.receive_for_users(one.to_user))
            await answered(nodes[0].send_to_user("ada", Publication("a")))
            await until(lambda: all(one.for_users == [("ada", "a")] for one in heard))

        self._run(test)

    def test_a_closed_node_hears_nothing_and_the_others_go_on(self) -> None:
        """The end of one node is nobody else's."""

        async def test(nodes: Sequence[Backplane]) -> None:
            heard = [Heard(), Heard()]
            for node, one in zip(nodes, heard, strict=True):
                await answered(node.subscribe("room", one))
            await answered(nodes[0].close())
            await answered(nodes[1].publish("room", Publication("a"), KEEP))
            await until(lambda: heard[1].messages == [("a", 1)])
            assert heard[0].messages == []

        self._run(test)

    def test_sweeping_takes_nothing_that_is_in_use(self) -> None:
        """What can still be asked for stays."""

        async def test(nodes: Sequence[Backplane]) -> None:
            place = await answered(nodes[0].publish("room", Publication("a"), KEEP))
            await answered(nodes[0].add("room", "c1", Entry("ada")))
            await answered(nodes[0].sweep())
            past = await answered(nodes[1].history("room", Position(place.epoch, 0)))
            assert [one.offset for one in past.messages] == [1]
            assert set((await answered(nodes[1].entries("room"))).by_key) == {"c1"}

        self._run(test)
