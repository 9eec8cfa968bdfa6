"""Rooms of a notebook's bot: they are the server's, and its callbacks and cells use them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.bots import bot_text
from support.notebook import Notebook, notebook
from support.server import RunningServer, running_server

YAML = """
url:
  talk:
    pattern: /talk/{room}
    handler: WebSocketHandler
    kwargs: {on_message: rooms.on_message, rooms: ["{room}"], space: shared}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("rooms")
    with running_server(YAML, folder=folder, modules={"rooms.py": bot_text("rooms")}) as running:
        yield running


@pytest.fixture(scope="module")
def book(server) -> Iterator[Notebook]:
    with notebook(server) as opened:
        cell = opened.run(bot_text("rooms_cell"))
        assert "Error" not in cell.text, cell.text
        yield opened


@pytest.fixture(scope="module")
def neighbour(server) -> Iterator[Notebook]:
    """Return a notebook without a bot."""
    with notebook(server, path="neighbour.ipynb") as opened:
        yield opened


@pytest.fixture
def two(server, book) -> Iterator[tuple]:
    book.run("wsh.room('blue', space='shared').clear().result()")
    with server.connect_sync("/nb/blue") as ada, server.connect_sync("/nb/blue") as bob:
        for socket in (ada, bob):
            assert socket.recv(timeout=20).startswith("in blue,user:")
        yield ada, bob


def test_a_broadcast_of_a_kernels_bot_reaches_all_in_the_room_and_says_what_became_of_it(two):
    ada, bob = two
    ada.send("count hello")
    assert ada.recv(timeout=20) == "hello"
    assert bob.recv(timeout=20) == "hello"
    offset, delivered = json.loads(ada.recv(timeout=20))
    assert offset >= 1
    assert delivered == 2


def test_bytes_go_to_the_others_alone_where_who_speaks_is_left_out(two):
    ada, bob = two
    ada.send("others hello")
    assert ada.recv(timeout=20) == "said"
    assert bob.recv(timeout=20) == b"hello"


def test_what_a_kernels_bot_writes_and_says_comes_in_the_order_in_which_it_was_sent(two):
    ada, bob = two
    ada.send("order")
    assert [ada.recv(timeout=20) for _ in range(5)] == ["1", "2", "3", "4", "5"]
    assert [bob.recv(timeout=20) for _ in range(2)] == ["2", "4"]


def test_who_speaks_wsh_v1_to_a_kernels_bot_gets_what_is_said_in_the_room_apart_from_the_answer(
    server, two
):
    two[0].send("count earlier")  # and so there is something to be sent to who joins
    with server.connect_sync("/nb/blue", subprotocols=["wsh.v1"]) as eve:
        assert json.loads(eve.recv(timeout=20))["wsh"] == "v1"
        first = [json.loads(eve.recv(timeout=20)) for _ in range(2)]
        earlier, opened = first
        assert (earlier["message"], earlier["room"]) == ("earlier", "blue")
        assert set(opened) == {"message"}
        eve.send('{"message": "order", "ask": 1}')
        said = [json.loads(eve.recv(timeout=20)) for _ in range(6)]
    assert [frame.get("message") for frame in said[:4]] == ["1", "2", "3", "4"]
    assert ["room" in frame for frame in said[:4]] == [False, True, False, True]
    assert said[4:] == [{"reply": "5", "of": 1}, {"end": 1, "how": "done"}]


def test_who_speaks_wsh_v1_to_a_kernels_bot_catches_up_in_its_rooms_and_gets_into_no_others(
    server, two
):
    def asks(socket, frame):
        socket.send(json.dumps(frame))
        return json.loads(socket.recv(timeout=20))

    two[0].send("count earlier")
    assert two[0].recv(timeout=20) == "earlier"
    assert json.loads(two[0].recv(timeout=20))[1] == 2
    with server.connect_sync("/nb/blue", subprotocols=["wsh.v1"]) as eve:
        assert json.loads(eve.recv(timeout=20))["wsh"] == "v1"
        earlier, _ = (json.loads(eve.recv(timeout=20)) for _ in range(2))
        since = {"epoch": earlier["epoch"], "offset": earlier["offset"] - 1}
        joined = asks(eve, {"join": "blue", "since": since, "presence": True})
        assert (joined["recovered"], joined["offset"]) == (True, earlier["offset"])
        again, members = (json.loads(eve.recv(timeout=20)) for _ in range(2))
        assert (again["message"], again["offset"]) == ("earlier", earlier["offset"])
        assert sum(member["connections"] for member in members["members"]) == 3
        assert asks(eve, {"join": "red"})["refused"] == "red"
        assert asks(eve, {"leave": "blue"}) == {"left": "blue"}
        two[0].send("count later")
        assert two[0].recv(timeout=20) == "later"
        assert asks(eve, {"join": "blue", "since": since})["recovered"] is True
        assert [json.loads(eve.recv(timeout=20))["message"] for _ in range(2)] == [
            "earlier",
            "later",
        ]


def test_a_kernels_bot_joins_and_leaves_and_is_refused_what_the_server_refuses(two):
    ada, _ = two
    ada.send("join red")
    assert ada.recv(timeout=20).endswith("red")
    for number in range(61):
        ada.send(f"join r{number}")
        assert ada.recv(timeout=20).endswith(f"r{number}")
    ada.send("join onemore")
    assert "refused" in ada.recv(timeout=20)
    ada.send("leave red")
    assert "red" not in ada.recv(timeout=20).split(",")
    ada.send("join onemore")
    assert ada.recv(timeout=20).endswith("onemore")


def test_a_kernels_bot_hears_who_is_in_and_what_was_said(two):
    ada, _ = two
    ada.send("count one")
    ada.recv(timeout=20)
    ada.recv(timeout=20)
    ada.send("members")
    assert [connections for _, connections in json.loads(ada.recv(timeout=20))] == [1, 1]
    ada.send("history")
    assert [text for _, text in json.loads(ada.recv(timeout=20))] == ["one"]


def test_a_cell_asks_for_what_was_said_after_a_message_that_it_knows(two, book):
    cell = book.run(
        "room = wsh.room('blue', space='shared')\n"
        "for word in ('one', 'two', 'three'):\n"
        "    room.send(word).result()\n"
        "known = room.history()[0]\n"
        "said = room.history(since=(room.history().epoch, known.offset))\n"
        "print([one.message for one in said], said.complete)\n"
        "print(room.history(since=('another', 1)).complete)"
    )
    assert cell.text.splitlines()[-2:] == ["['two', 'three'] True", "False"]


def test_who_joins_a_room_of_a_notebook_is_sent_what_was_said_last(server, two):
    ada, _ = two
    for number in range(3):
        ada.send(f"count {number}")
        ada.recv(timeout=20)
        ada.recv(timeout=20)
    with server.connect_sync("/nb/blue") as late:
        # Before anything of the bot's: it is in the room before `open` runs.
        assert [late.recv(timeout=20) for _ in range(2)] == ["1", "2"]
        assert late.recv(timeout=20).startswith("in blue")


def test_a_cell_speaks_to_a_room_and_looks_at_it(two, book):
    ada, bob = two
    cell = book.run(
        "room = wsh.room('blue', space='shared')\n"
        "print(room.send('from a cell').result().delivered)\n"
        "print([m.connections for m in room.members()], [s.message for s in room.history()])"
    )
    assert cell.text.splitlines()[-2:] == ["2", "[1, 1] ['from a cell']"]
    assert ada.recv(timeout=20) == bob.recv(timeout=20) == "from a cell"


def test_a_cell_sends_to_all_connections_of_a_user_and_to_nobody_else(two, book):
    ada, bob = two
    book.run(
        "who = bot.connections[0].current_user.username\n"
        "wsh.to_user(who).send('psst').result()\n"
        "wsh.room('blue', space='shared').send('to all').result()"
    )
    assert ada.recv(timeout=20) == "psst"
    assert ada.recv(timeout=20) == bob.recv(timeout=20) == "to all"


def test_a_notebook_gets_into_no_room_of_the_servers_own(server, two):
    ada, _ = two
    with server.connect_sync("/talk/blue") as own:
        ada.send("count hello")
        assert ada.recv(timeout=20) == "hello"
        own.send("count mine")
        assert own.recv(timeout=20) == "mine"
        assert own.recv(timeout=20) == "0 1"


def test_the_name_of_a_bot_means_the_space_of_that_bot(two, book):
    ada, bob = two
    cell = book.run("wsh.room('blue', space='nb').send('by the name').result().delivered")
    assert cell.result == "2"
    assert ada.recv(timeout=20) == bob.recv(timeout=20) == "by the name"


def test_a_cell_reaches_a_room_of_a_routes_of_a_file_over_rest_and_its_own_space_comes_first(
    server, two, book
):
    with server.connect_sync("/talk/blue") as own:
        # Its bot has a space `shared` as well: the file's has another name to be called by.
        cell = book.run(
            "sent = await wsh.room('blue', space='talk').send('to the file')\n"
            "said = wsh.room('blue', space='shared').history()\n"
            "print(sent.delivered, [one.message for one in said])"
        )
        assert cell.text.splitlines()[-1] == "1 []"
        assert own.recv(timeout=20) == "to the file"


def test_a_neighbour_reaches_the_rooms_of_a_notebooks_bots_by_way_of_the_server(two, neighbour):
    ada, bob = two
    cell = neighbour.run(
        "import jupyter_wshandler as wsh\n"
        "room = wsh.room('blue', space='nb')\n"
        "room.send(b'from a neighbour')\n"
        "print([one.message for one in room.history()], [m.connections for m in room.members()])"
    )
    assert cell.text.splitlines()[-1] == "[b'from a neighbour'] [1, 1]"
    assert ada.recv(timeout=20) == bob.recv(timeout=20) == b"from a neighbour"


def test_a_space_that_nobody_has_is_an_error_in_the_cell(book):
    cell = book.run("wsh.room('blue', space='nowhere').send('x').result()", fails=True)
    assert "there is no space 'nowhere', and no route of that name" in str(cell.error)


@pytest.mark.parametrize("options", ["may_join=print", "presence={'card': print}"])
def test_functions_that_only_a_server_asks_are_refused_with_what_to_do(book, options):
    cell = book.run(f"wsh.serve('/refused', lambda h, m: None, {options})", fails=True)
    assert "asked in the server" in str(cell.error)
