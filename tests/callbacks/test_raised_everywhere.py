"""What is no Exception, raised in every place where user code runs: everybody else goes on."""

from __future__ import annotations

import contextlib
import re

import pytest
import websockets.exceptions
from support.notebook import eventually, notebook
from support.raising import BOTS, CLOSED, LOOSE, RAISED, RULES, SILENT, config, namespace
from support.server import running_server

from jupyter_wshandler.testing import Chat

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raising")
    with running_server(config(), folder=folder, modules={"bots.py": BOTS}) as server:
        yield server


@pytest.fixture(scope="module")
def book(server):
    with notebook(server) as book:
        book.run(
            BOTS
            + "import jupyter_wshandler as wsh\n"
            + "bots = {p: wsh.serve('/kernel/' + p, **f, wait=0) for p, f in PLACES.items()\n"
            + f"        if p not in {RULES!r}}}\n"
            + "bots['echo'] = wsh.serve('/kernel/echo', echo)\n"
        )
        state = "print({b.state for b in bots.values()} == {'live'})"
        eventually(lambda: "True" in book.run(state).text, "all bots live")
        yield book


@pytest.fixture(scope="module")
def other(server):
    with server.connect_sync("/echo") as socket:
        yield socket


@pytest.fixture(scope="module")
def kernels_other(server, book):
    with server.connect_sync("/kernel/echo") as socket:
        yield socket


def still_echoes(socket) -> None:
    socket.send("still here")
    assert socket.recv(timeout=10) == "still here"


def chat_with(place: str, **options) -> Chat:
    functions = dict(namespace()["PLACES"][place])
    of_route = {key: functions.pop(key) for key in ("every", "run") if key in functions}
    return Chat(**functions, options=of_route, **options)


def provoke(socket, place: str) -> str:
    """Do what makes a place raise; return what the client hears in the end."""
    if place == "on_pong":
        socket.pong()
    elif place not in ("open", "every"):
        socket.send("x")
    try:
        while True:
            heard = socket.recv(timeout=10)
            if heard != "begun" or place in SILENT + LOOSE:
                return heard
    except websockets.exceptions.ConnectionClosed as closed:
        return str(closed.rcvd.code if closed.rcvd else 1006)


@pytest.mark.parametrize("place", CLOSED)
@pytest.mark.parametrize("name", RAISED)
def test_a_server_closes_the_one_connection_with_1011(server, other, place, name):
    with server.connect_sync(f"/bad/{place}?raises={name}") as socket:
        assert provoke(socket, place) == "1011"
    still_echoes(other)


@pytest.mark.parametrize("place", SILENT)
@pytest.mark.parametrize("name", RAISED)
def test_a_server_goes_on_after_what_its_client_hears_nothing_of(server, other, place, name):
    with server.connect_sync(f"/bad/{place}?raises={name}") as socket:
        assert provoke(socket, place) in ("begun", "x")
    still_echoes(other)


@pytest.mark.parametrize("place", RULES)
@pytest.mark.parametrize("name", RAISED)
def test_a_server_answers_the_handshake_whose_rule_raises(server, other, place, name):
    headers = [*server.headers().items(), ("Sec-WebSocket-Protocol", "a")]
    headers.append(("Sec-WebSocket-Extensions", "permessage-deflate"))
    status, _, sock = server.raw_handshake(f"/bad/{place}?raises={name}", headers)
    sock.close()
    assert status in (403, 500)
    still_echoes(other)


@pytest.mark.parametrize("place", CLOSED)
@pytest.mark.parametrize("name", RAISED)
def test_a_kernel_tells_the_one_client_of_an_error(server, kernels_other, place, name):
    with server.connect_sync(f"/kernel/{place}?raises={name}") as socket:
        assert re.search("internal error|1011", provoke(socket, place))
    still_echoes(kernels_other)


@pytest.mark.parametrize("place", SILENT + LOOSE)
@pytest.mark.parametrize("name", RAISED)
def test_a_kernels_bots_go_on_after_what_no_client_hears_of(server, kernels_other, place, name):
    with server.connect_sync(f"/kernel/{place}?raises={name}") as socket:
        assert provoke(socket, place) in ("begun", "x")
    still_echoes(kernels_other)


def test_all_bots_of_the_kernel_are_live_after_all_that(book, server):
    """It comes last, on purpose: what it looks at is what the others have left."""
    cell = book.run("print({b.state for b in bots.values()}, bots['echo']._link.alive)")
    assert cell.text.strip() == "{'live'} True"
    assert server.process.poll() is None


@pytest.mark.parametrize("place", [place for place in CLOSED if place != "on_pong"])
@pytest.mark.parametrize("name", RAISED)
def test_a_chat_raises_an_exception_and_is_closed_with_1011(place, name):
    chat = None
    try:
        with chat_with(place, path=f"/?raises={name}") as chat:
            if place not in ("open", "every"):
                chat.send("x", wait=False)
            chat.expect_close(1011, timeout=10)
    except Exception as error:
        raised = type(error).__name__
    except BaseException as error:
        pytest.fail(f"{type(error).__name__} came out of the Chat")
    else:
        raised = ""  # `expect_close(1011)` takes the error
    assert raised in ("", "RuntimeError", "Unspeakable", "ValueError")
    assert chat is None or chat.closed


@pytest.mark.parametrize("place", ["open", "on_message", "body", "generator", "create_task"])
@pytest.mark.parametrize("name", RAISED)
def test_another_client_of_a_chat_goes_on(place, name):
    space = namespace()
    fail = space["PLACES"][place]["open" if place == "open" else "on_message"]

    def picky(handler, *args):
        return None if handler.get_argument("raises", "") == "" else fail(handler, *args)

    functions = {"on_message": space["echo"], "open" if place == "open" else "on_message": picky}
    with Chat(**functions) as first:
        with contextlib.suppress(Exception), first.visitor(path=f"/?raises={name}") as second:
            second.send("x", timeout=5)
            second.expect_close(timeout=5)
        first.send("still here")
        assert not first.closed


@pytest.mark.parametrize("place", [*LOOSE, "create_task", "ensure_future"])
@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "Own"])
def test_the_thread_of_a_chat_outlives_what_a_loose_function_raises(place, name):
    with chat_with(place, path=f"/?raises={name}") as chat:
        for _ in range(2):
            chat.send("x", wait=False)
            assert has_begun(chat)
        assert not chat.closed


def has_begun(chat) -> bool:
    """Return whether it says so; what a task or a timer has raised comes out of a call before."""
    for _ in range(5):
        with contextlib.suppress(RuntimeError):
            chat.expect("begun")
            return True
    return False


def test_every_place_of_the_bots_is_tried():
    assert set(namespace()["PLACES"]) == {*CLOSED, *SILENT, *LOOSE, *RULES}
