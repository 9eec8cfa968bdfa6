"""Rooms, without a server: who is in, who hears what, and in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bots import rooms as bot

import jupyter_wshandler as wsh
from jupyter_wshandler.errors import ConfigError, ConnectionRefused, RoomRefused
from jupyter_wshandler.testing import Chat

PATTERN = "/room/{room}"


def chat_in(room: str = "blue", *, user: str = "ada", **options: Any) -> Chat:
    options = {"rooms": ["{room}"], **options}
    return Chat(bot, pattern=PATTERN, path=f"/room/{room}", user=user, options=options)


@pytest.fixture
def ada() -> Iterator[Chat]:
    with chat_in() as chat:
        yield chat


def test_a_broadcast_reaches_all_in_the_room_of_the_pattern_and_nobody_else(ada: Chat) -> None:
    bob, eve = ada.visitor("bob"), ada.visitor("eve", path="/room/red")
    ada.send("say hello")
    for chat in (ada, bob):
        chat.expect("hello")
    eve.expect_nothing()


def test_who_speaks_can_be_left_out(ada: Chat) -> None:
    bob = ada.visitor("bob")
    ada.send("others hello")
    bob.expect("hello")
    ada.expect("said")
    ada.expect_nothing()


def test_awaited_a_broadcast_says_how_many_it_was_delivered_to(ada: Chat) -> None:
    ada.visitor("bob")
    ada.send("count hello")
    ada.expect("hello")
    ada.expect("0 2")


def test_what_is_said_and_written_comes_in_the_order_in_which_it_was_sent(ada: Chat) -> None:
    bob = ada.visitor("bob")
    ada.send("order")
    assert [ada.read() for _ in range(6)] == ["1", "2", "3", "4", "5", "6"]
    assert [bob.read() for _ in range(3)] == ["2", "4", "5"]


def test_what_is_said_before_a_close_arrives_before_it(ada: Chat) -> None:
    bob = ada.visitor("bob")
    ada.send("bye", wait=False)
    ada.expect("the last word")
    ada.expect_close(4000)
    bob.expect("the last word")


def test_joining_and_leaving_takes_effect_for_what_is_said_afterwards(ada: Chat) -> None:
    bob = ada.visitor("bob", path="/room/red")
    bob.send("join blue")
    bob.expect("in red,blue")
    ada.send("say one")
    bob.expect("one")
    bob.send("leave blue")
    bob.expect("in red")
    ada.send("say two")
    bob.expect_nothing()


def test_who_is_in_several_rooms_gets_what_is_said_in_them_in_one_order() -> None:
    def say(handler: Any, message: str) -> None:
        for number in range(6):
            handler.broadcast(f"{number}", room="ab"[number % 2])

    with Chat(on_message=say, options={"rooms": ["a", "b"], "run": "loop"}) as chat:
        chat.send("go")
        assert [chat.read() for _ in range(6)] == ["0", "1", "2", "3", "4", "5"]


def test_a_room_must_be_named_by_who_is_in_none_or_in_several() -> None:
    def say(handler: Any, message: str) -> str:
        try:
            handler.broadcast("x")
        except ValueError as error:
            return str(error)
        return "no error"

    with Chat(on_message=say, options={"rooms": ["a", "b"]}) as chat:
        chat.send("go")
        assert "a, b" in str(chat.read())


def test_the_room_of_a_user_is_theirs_and_a_visitor_cannot_choose_it() -> None:
    with chat_in("blue", rooms=["{room}", "user:{user}"]) as ada:
        tab, bob = ada.visitor("ada", path="/room/red"), ada.visitor("bob", path="/room/red")
        bob.send("to user:ada psst")
        ada.expect("psst")
        tab.expect("psst")
        bob.expect_nothing()
        with pytest.raises(ConnectionRefused, match="user:"):
            ada.visitor("eve", path="/room/user:ada")


def test_another_users_room_cannot_be_joined_by_code_either() -> None:
    def join(handler: Any, message: str) -> str:
        try:
            handler.join(message)
        except ValueError as error:
            return f"refused: {error}"
        return "in"

    with Chat(on_message=join, user="eve") as chat:
        chat.send("user:ada")
        assert "refused" in str(chat.read())
        chat.send("user:eve")
        chat.expect("in")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", "\x00", 5, None])
def test_what_can_be_no_name_of_a_room_is_refused(name: Any) -> None:
    found: list[Exception] = []

    def join(handler: Any, message: str) -> None:
        for attempt in (
            lambda: handler.join(name),
            lambda: handler.leave(name),
            lambda: wsh.room(name),
        ):
            try:
                attempt()
            except ValueError as error:
                found.append(error)

    with Chat(on_message=join) as chat:
        chat.send("go")
    assert len(found) == 3


def test_a_connection_is_in_64_rooms_at_most() -> None:
    async def join(handler: Any, message: str) -> str:
        try:
            for number in range(65):
                await handler.join(f"r{number}")
        except RoomRefused as refusal:
            return str(refusal)
        return "no error"

    with Chat(on_message=join) as chat:
        chat.send("go")
        assert "64 rooms" in str(chat.read())
        assert len(chat.handler.rooms) == 64


def test_may_join_is_asked_before_the_connection_opens() -> None:
    with chat_in("blue", may_join=bot.may_join) as ada:
        with pytest.raises(ConnectionRefused, match="not open to you"):
            ada.visitor("eve", path="/room/secret")


def test_to_user_reaches_all_tabs_of_a_user_in_whatever_room(ada: Chat) -> None:
    tab, bob = ada.visitor("ada", path="/room/red"), ada.visitor("bob")
    bob.send("pm ada psst")
    ada.expect("psst")
    tab.expect("psst")
    late = ada.visitor("ada", path="/room/green")
    tab.close()
    bob.send("pm ada again")
    late.expect("again")
    ada.expect("again")
    bob.expect_nothing()


def test_a_thread_of_a_callback_joins_speaks_and_hears_what_became_of_it() -> None:
    def work(handler: Any, message: str) -> Any:
        handler.join("blue").result()
        published = handler.broadcast("from a thread").result()
        said = wsh.room("blue").history()
        return [list(published), list(handler.rooms), [one.message for one in said]]

    with Chat(on_message=work, options={"history": True}) as chat:
        chat.send("go")
        chat.expect("from a thread")
        chat.expect([[1, 1], ["blue"], ["from a thread"]])


def test_a_thread_of_ones_own_speaks_to_a_room_by_its_space() -> None:
    threads: list[threading.Thread] = []

    def start(handler: Any, message: str) -> None:
        def speak() -> None:
            wsh.room("blue", space="talk").send("from afar")

        threads.append(threading.Thread(target=speak))
        threads[0].start()

    with Chat(on_message=start, name="talk", options={"rooms": ["blue"]}) as chat:
        chat.send("go")
        chat.expect("from afar")
        threads[0].join()


def test_a_space_that_no_route_has_and_a_room_without_a_space_are_errors() -> None:
    with Chat(on_message=bot.on_message, options={"rooms": ["blue"]}):
        with pytest.raises(LookupError, match="no callback is running"):
            wsh.room("blue")
        with pytest.raises(LookupError, match="there is no space 'nowhere'"):
            wsh.room("blue", space="nowhere")


def test_the_name_of_a_route_means_the_space_of_that_route() -> None:
    options = {"space": "both", "history": True}
    with Chat(on_message=bot.on_message, name="talk", options=options):
        wsh.room("blue", space="talk").send("by the route").result()
        said = wsh.room("blue", space="both").history()
        assert [one.message for one in said] == ["by the route"]


def test_a_failed_join_of_a_thread_is_raised_where_it_is_waited_for() -> None:
    def work(handler: Any, message: str) -> str:
        for number in range(64):
            handler.join(f"r{number}")
        try:
            handler.join("one more").result()
        except RoomRefused:
            return "refused"
        return "no error"

    with Chat(on_message=work) as chat:
        chat.send("go")
        chat.expect("refused")


def test_who_joins_is_sent_the_last_messages_before_anything_else() -> None:
    with chat_in(history={"size": 5, "replay": 3}) as ada:
        for number in range(7):
            ada.send(f"say {number}")
        bob = ada.visitor("bob")
        assert [bob.read() for _ in range(3)] == ["4", "5", "6"]
        ada.send("say 7")
        bob.expect("7")
        bob.expect_nothing()
        ada.send("history blue")
        assert [ada.read() for _ in range(8)] == [str(number) for number in range(8)]
        ada.expect([[4, "3"], [5, "4"], [6, "5"], [7, "6"], [8, "7"]])


def test_history_outlives_its_members_and_can_be_cleared() -> None:
    async def clear(handler: Any, message: str) -> Any:
        await wsh.room("blue").clear()
        return [one.message for one in await wsh.room("blue").history()]

    with chat_in(history=True) as ada:
        bob = ada.visitor("bob", path="/room/red")
        ada.send("say hello")
        ada.visitor("eve").close()
        bob.send("history blue")
        bob.expect([[1, "hello"]])
    with Chat(on_message=clear, options={"history": True, "rooms": ["blue"]}) as chat:
        chat.send("x")
        chat.expect([])


def test_rooms_without_history_or_presence_say_so_to_who_asks() -> None:
    for word, key in (("members", "presence"), ("history", "history")):
        with chat_in() as ada, pytest.raises(RoomRefused, match=f"no {key}"):
            ada.send(f"{word} blue")


def test_one_person_with_three_tabs_is_one_member() -> None:
    presence = {"card": bot.card, "on_join": bot.joined, "on_leave": bot.left}
    with chat_in(presence=presence) as ada:
        ada.expect("+ada")
        tabs = [ada.visitor("ada"), ada.visitor("ada")]
        bob = ada.visitor("bob")
        ada.expect("+bob")
        bob.expect("+bob")
        until(lambda: connections_of(ada, "ada") == 3)  # each has its card made in a thread
        ada.send("members blue")
        ada.expect([["ada", {"name": "ADA"}, 3], ["bob", {"name": "BOB"}, 1]])
        for tab in tabs:
            tab.close()
        until(lambda: connections_of(ada, "ada") == 1)
        ada.send("members blue")
        ada.expect([["ada", {"name": "ADA"}, 1], ["bob", {"name": "BOB"}, 1]])
        bob.close()
        ada.expect("-bob")
        ada.expect_nothing()


def test_who_comes_back_while_they_linger_has_not_left() -> None:
    presence = {"on_join": bot.joined, "on_leave": bot.left, "linger": 30}
    with chat_in(presence=presence) as ada:
        ada.expect("+ada")
        bob = ada.visitor("bob")
        ada.expect("+bob")
        bob.vanish()
        until(lambda: connections_of(ada, "bob") == 0)
        bob = ada.visitor("bob")
        until(lambda: connections_of(ada, "bob") == 1)
        ada.expect_nothing()
        bob.send("leave blue")
        ada.expect("-bob")


def test_a_person_whose_linger_is_over_leaves() -> None:
    presence = {"on_join": bot.joined, "on_leave": bot.left, "linger": "100ms"}
    with chat_in(presence=presence) as ada:
        ada.expect("+ada")
        bob = ada.visitor("bob")
        ada.expect("+bob")
        bob.vanish()
        ada.expect("-bob")


def test_a_card_that_fails_or_is_too_large_leaves_the_name() -> None:
    def card(handler: Any) -> Any:
        return {"x": "y" * 5000}

    options = {"rooms": ["blue"], "presence": {"card": card}}
    with Chat(bot, options=options, raise_errors=False) as chat:
        until(lambda: bool(chat.errors))
        chat.send("members blue")
        chat.expect([["visitor", {"name": "visitor"}, 1]])
        assert "4096" in str(chat.errors[0].exception)


def test_visitors_without_a_login_are_told_apart_by_their_browser_and_no_session_is_shown() -> None:
    with Chat(bot, user=None, options={"rooms": ["blue"], "presence": True}) as one:
        tab, other = one.visitor(session=one.session), one.visitor()
        one.send("members blue")
        found = one.expect(list)
        assert sorted(member[2] for member in found) == [1, 2]
        ids = [str(chat.session["id"]) for chat in (one, tab, other)]
        assert not any(key in str(found) for key in ids)


def test_the_list_and_the_differences_of_members_have_one_numbering() -> None:
    seen: list[Any] = []
    options = {"rooms": ["blue"], "presence": True}
    with Chat(bot, options=options, user="ada") as ada:
        manager = ada.handler._host  # what a part of the server does that shows differences
        manager.rooms.watchers = (lambda *what: seen.append(what),)
        before = wsh.room("blue", space=ada.handler.route).members()
        people = {member.id: member for member in before}
        visitors = [ada.visitor(f"user{number}") for number in range(5)]
        for visitor in visitors[:3]:
            visitor.close()
        now = wsh.room("blue", space=ada.handler.route).members()
    for _, _, difference in seen:
        if difference.offset <= before.offset or difference.offset > now.offset:
            continue
        if difference.kind == "leave":
            del people[difference.member.id]
        else:
            people[difference.member.id] = difference.member
    assert sorted(people) == sorted(member.id for member in now) == ["ada", "user3", "user4"]
    offsets = [difference.offset for _, _, difference in seen if difference.offset <= now.offset]
    assert offsets == list(range(before.offset + 1, now.offset + 1))


def test_members_are_listed_in_pages() -> None:
    options = {"rooms": ["blue"], "presence": True}
    with Chat(bot, options=options, user="u0") as chat:
        for number in range(1, 5):
            chat.visitor(f"u{number}")
        room = wsh.room("blue", space=chat.handler.route)
        pages = [room.members(limit=2, start=start) for start in (0, 2, 4)]
        assert [[member.id for member in page] for page in pages] == [
            ["u0", "u1"],
            ["u2", "u3"],
            ["u4"],
        ]
        assert pages[0].total == 5


def test_nothing_stays_of_a_room_that_everybody_has_left() -> None:
    presence = {"linger": "1s"}
    with chat_in(presence=presence) as ada:
        rooms = ada.handler._host.rooms
        for name in ("bob", "eve"):
            visitor = ada.visitor(name, path="/room/red")
            visitor.close()
        assert ada.handler.rooms == ("blue",)
        until(lambda: set(rooms._spaces["room-{room}"]) == {"blue"})
        assert len(rooms._joined) == 1


def test_a_member_that_its_bot_has_broken_keeps_nothing_from_the_others(ada: Chat) -> None:
    bob, eve = ada.visitor("bob"), ada.visitor("eve")
    bob.handler._protocol = None
    ada.send("say hello")
    ada.expect("hello")
    eve.expect("hello")
    bob.expect_close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rooms": ["{team}"]}, "named group"),
        ({"rooms": ["a", "a"]}, "twice"),
        ({"rooms": ["user:ada"]}, "user:{user}"),
        ({"rooms": ["user:{room}"]}, "user:{user}"),
        ({"rooms": ["{room"]}, "brace"),
        ({"rooms": ["x" * 201]}, "1 to 200 characters"),
        ({"rooms": [5]}, "text"),
        ({"rooms": [f"r{n}" for n in range(65)]}, "at most 64"),
        ({"space": ""}, "1 to 200 characters"),
        ({"space": "a\nb"}, "printable"),
        ({"history": "yes"}, "true, false or a mapping"),
        ({"history": {"size": 0}}, "from 1 to 10000"),
        ({"history": {"size": True}}, "from 1 to 10000"),
        ({"history": {"ttl": 0}}, "duration over 0"),
        ({"history": {"bytes": 10}}, "at least 1KiB"),
        ({"history": {"replay": -1}}, "from 0 to 10000"),
        ({"history": {"sise": 5}}, "unknown key"),
        ({"presence": 5}, "true, false or a mapping"),
        ({"presence": {"linger": "1h"}}, "at most 5 minutes"),
        ({"presence": {"card": "not a function"}}, "expected a function"),
        ({"may_join": "nothing"}, "expected a function"),
    ],
)
def test_a_mistake_in_what_a_route_says_of_rooms_is_named(options: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Chat(bot, pattern=PATTERN, path="/room/blue", options=options)
    assert words in str(caught.value)


def test_a_group_called_user_cannot_stand_for_who_has_logged_in() -> None:
    with pytest.raises(ConfigError, match="rename the group"):
        Chat(bot, pattern="/u/{user}", path="/u/ada", options={"rooms": ["user:{user}"]})


def connections_of(chat: Chat, user: str) -> int:
    members = wsh.room("blue", space=chat.handler.route).members()
    return next((member.connections for member in members if member.id == user), -1)


def until(condition: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
