"""A chat joins and leaves rooms as a client does, and is told who is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bots import rooms as bot

from jupyter_wshandler.errors import ConnectionClosed, RoomRefused
from jupyter_wshandler.testing import AsyncChat, Chat

OPTIONS = {"may_join": bot.may_join, "history": {"replay": 1}, "presence": {"card": bot.card}}


@pytest.fixture
def ada() -> Iterator[Chat]:
    with Chat(bot, user="ada", options=OPTIONS) as chat:
        yield chat


def test_a_chat_joins_a_room_hears_what_is_said_and_leaves_it(ada: Chat) -> None:
    bob = ada.visitor("bob")
    room = ada.join("blue")
    assert (room.name, room.is_in, room.recovered) == ("blue", True, None)
    bob.send("to blue hello")
    ada.expect("hello")
    assert room.offset == 1
    ada.leave("blue")
    assert not room.is_in
    bob.send("to blue again")
    ada.expect_nothing()


def test_a_room_that_is_not_open_is_refused_and_the_chat_goes_on(ada: Chat) -> None:
    with pytest.raises(RoomRefused, match="secret: this room is not open to you"):
        ada.join("secret")
    with pytest.raises(RoomRefused, match="no name of a room"):
        ada.join("")
    assert ada.join("blue").is_in


def test_who_comes_back_asks_for_what_was_missed(ada: Chat) -> None:
    bob = ada.visitor("bob")
    room = ada.join("blue")
    bob.send("to blue 1")
    ada.expect("1")
    ada.leave("blue")
    for number in range(2, 5):
        bob.send(f"to blue {number}")
    again = ada.join("blue", since=room.since)
    assert again.recovered is True
    assert [ada.read() for _ in range(3)] == ["2", "3", "4"]
    assert again.offset == 4
    assert ada.visitor("eve").join("blue", since=("another", 1)).recovered is False


def test_a_chat_is_told_who_is_in_and_of_every_change(ada: Chat) -> None:
    ada.join("blue", presence=True)
    ada.expect_members("blue", ["ada"])  # with a card, which may take its time
    bob = ada.visitor("bob")
    bob.join("blue")
    ada.expect_members("blue", ["ada", "bob"])
    tab = ada.visitor("bob")
    tab.join("blue")
    members = ada.expect_members("blue", {"ada": 1, "bob": 2})
    assert [member.card for member in members] == [{"name": "ADA"}, {"name": "BOB"}]
    tab.leave("blue")
    bob.vanish()
    ada.expect_members("blue", ["ada"])
    assert ada.unread == [], "it is no message"


def test_a_list_that_is_not_what_was_expected_fails_with_what_was_found(ada: Chat) -> None:
    ada.join("blue", presence=True)
    ada.expect_members("blue", ["ada"])
    with pytest.raises(
        AssertionError, match=r"expected: \['bob'\] in blue\nfound:    \{'ada': 1\}"
    ):
        ada.expect_members("blue", ["bob"], timeout=0.05)


def test_who_has_not_asked_is_told_so(ada: Chat) -> None:
    room = ada.join("blue")
    with pytest.raises(LookupError, match="presence=True"):
        _ = room.members
    with pytest.raises(LookupError, match="has not joined"):
        ada.expect_members("red", [])


def test_without_may_join_only_the_routes_own_rooms_are_open() -> None:
    with Chat(bot, options={"rooms": ["lobby"]}) as chat:
        assert chat.join("lobby", presence=True).is_in
        with pytest.raises(RoomRefused):
            chat.join("blue")


def test_joins_over_the_ratelimit_are_refused_with_the_time() -> None:
    limit = {"messages": "1/m", "burst": "1m", "then": "error"}
    with Chat(bot, options={**OPTIONS, "ratelimit": limit}) as chat:
        chat.join("blue")
        with pytest.raises(RoomRefused, match="try again in"):
            chat.join("red")


def test_who_has_left_joins_nothing(ada: Chat) -> None:
    bob = ada.visitor("bob")
    bob.close()
    with pytest.raises(ConnectionClosed):
        bob.join("blue")


def test_a_may_join_that_raises_fails_the_test_as_any_callback_does() -> None:
    def may_join(handler: Any, room: str) -> bool:
        raise ZeroDivisionError("a mistake")

    with (
        Chat(bot, options={"may_join": may_join}) as chat,
        pytest.raises(ZeroDivisionError, match="a mistake"),
    ):
        chat.join("blue")


async def test_awaited_the_words_are_the_same() -> None:
    async with AsyncChat(bot, user="ada", options=OPTIONS) as ada:
        bob = await ada.visitor("bob")
        await ada.join("blue", presence=True)
        await bob.join("blue")
        await ada.expect_members("blue", ["ada", "bob"])
        await bob.leave("blue")
        await ada.expect_members("blue", ["ada"])
